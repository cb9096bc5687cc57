"""The page about attributes: by attribute, method and share hidden."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.attributes.methods import METHODS, NETWORK, STEPS
from experiments.attributes.trial import OURS
from experiments.figures.pages import Page, Row, markdown, spread
from experiments.figures.pictures import COLOURS, panels
from experiments.figures.pictures import OURS as BLUE
from mother.attributes.inference import LIKELY

NAME = "attributes"
SIMPLE = tuple(METHODS)
ALL = (*METHODS, STEPS, NETWORK, OURS)
TRUE, FOUND, FEWER = GRAPHS = ("true", "recovered", "a fifth missing")
SHARES, WAYS = ("0.9", "0.7", "0.5", "0.2"), ("cells", "subtrees")
QUESTION = """
What the graph knows of a model that its card does not say. Of models of which everything is known a
share is hidden, one by one (*cells*) or by whole subtrees, the same ones whatever the graph, and
inferred from the rest by every method: *majority*, what most models state; *nearest neighbours*,
votes of those the fewest steps away, as in arXiv:2503.10633; *label propagation* (Zhu, Ghahramani
and Lafferty 2003); *like steps*, votes of the nine models that look most alike and were made by the
most similar steps, whoever their relatives are; *graph network*, GraphSAGE (Hamilton, Ying and
Leskovec 2017) on plain torch, two layers over parents, children and siblings; and *ancestral
states*, the default of `mother infer`. Like steps and the graph network see the weights: of models
moments and spectra, of steps length, which layers moved, moments, spectra, ranks and how they lie
to what was there; they are tried with the first seed only. Ancestral states see the graph and what
is stated, no more.

*hub*: simulated models, siblings more alike than parent and child, licences that drift to
permissive ones and languages to English. arXiv:2508.06811 found these directions; its rates were
not at hand, those here are ours. Of its edges 5 % are wrong, and merges hang from one parent; a hub
has no weights. *population*: small networks, trained with recipes drawn at random, of the half of
the [population](population.md) that nothing was tuned on (other architectures, other optimizers).
*splits*: models of the builder's splits. The last two are recovered by `mother.recover`.
"""
CLEARLY = 0.02  # of accuracy, or of the numbers' spread, by which a method tells more than another
Key = tuple[str, str, str]
TRIAL = ("seed", "hidden", "by")


class Figures:
    """Rows by world, attribute and kind."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows: dict[Key, list[Row]] = {}
        for row in rows:
            key = (str(row["world"]), str(row["attribute"]), str(row["kind"]))
            self.rows.setdefault(key, []).append(row)

    def some(self, key: Key, **wanted: object) -> list[Row]:
        return [r for r in self.rows[key] if all(str(r[k]) == v for k, v in wanted.items())]

    def of(self, key: Key, figure: str, **wanted: str) -> list[float]:
        rows = self.some(key, **wanted)
        return [float(str(r[figure])) for r in rows if r.get(figure) not in (None, "")]

    def mean(self, key: Key, figure: str, **wanted: str) -> float:
        return float(np.mean(self.of(key, figure, **wanted) or [np.nan]))

    def ahead(self, key: Key, one: Mapping[str, str], other: Mapping[str, str]) -> float:
        """How much better one method or graph is than another, over the trials of both."""
        sign, figure = (-1 if key[2] == "number" else 1), _figure(key[2])
        found = [
            {tuple(r[k] for k in TRIAL): float(str(r[figure])) for r in self.some(key, **which)}
            for which in (one, other)
        ]
        both = [sign * (found[0][k] - found[1][k]) for k in found[0].keys() & found[1].keys()]
        return float(np.mean(sorted(both))) if both else np.nan


def page(rows: Sequence[Row], scale: Sequence[Row]) -> Page:
    """scale: rows of `experiments.attributes.scale`."""
    found = Figures(rows)
    parts = [
        "## What that comes to\n\nOn recovered graphs, all shares hidden together. *Ahead*: of the "
        "best of majority, nearest neighbours and label propagation, in accuracy or, of numbers, "
        "in units of their spread. *Calibration*: expected calibration error over ten bins of the "
        f"cells of all seeds; *said*: of those with a probability of {LIKELY:g} and more, all "
        "others being told as *not known*. *Inside*: intervals that hold their number, of which "
        "0.90 should. *Told*: in how many trials of ten `mother infer` says anything at all, "
        "because relatives tell more than chance.",
        _verdict(found),
        "## Accuracy\n\nOf the best guess for every hidden cell, of sets by element; of numbers "
        "the error, in units of the numbers' spread (less is better). On recovered graphs; means "
        "over seeds, with the standard deviation.",
        _by_share(found, _figure),
        "## Calibration error\n\nExpected calibration error over ten bins, of each trial by "
        "itself: of few cells it is some hundredths by chance alone. Of numbers, of ancestral "
        "states, how many intervals of 0.90 hold the number.",
        _by_share(found, lambda kind: "inside" if kind == "number" else "calibration"),
        "## Coverage\n\nThe largest share of cells, the surest first, of which 95 % are right.",
        _by_share(found, lambda kind: None if kind == "number" else "coverage"),
        "## True graphs, recovered ones, and ones where a fifth is missing\n\nThe default alone, "
        "shares hidden together that all three were tried with: accuracy, or error.",
        _graphs(found),
        _places(found),
        "## What was tried\n\nThe default, of each seed in so many trials: an attribute, a share "
        "and a way of hiding each.",
        _tried(found),
        *([_scale(scale)] if scale else []),
    ]
    text = "\n\n".join(parts)
    return Page("Attributes", QUESTION, text, rows, _picture(found), "Accuracy")


def _figure(kind: str) -> str:
    return "error" if kind == "number" else "accuracy"


def _by_share(found: Figures, of_kind: Callable[[str], str | None]) -> str:
    body = []
    for key in found.rows:
        world, name, kind = key
        figure = of_kind(kind)
        for by in WAYS if figure else ():
            for share in SHARES:
                at = {"graph": FOUND, "by": by, "hidden": share}
                cells = [spread(found.of(key, figure or "", method=m, **at)) for m in ALL]
                if any(c != "–" for c in cells):
                    body.append([world, f"{name} ({kind})", f"{float(share):.0%} {by}", *cells])
    return markdown(["world", "attribute", "hidden", *ALL], body)


def pooled(rows: Iterable[Row], of_those: float = 0.0) -> float:
    """The calibration error of all cells of some rows together; of_those: with such a probability
    and more, a multiple of a tenth."""
    sums: np.ndarray = np.zeros((0, 3))
    for r in rows:
        if r.get("bins"):
            own = np.array([[float(x) for x in b.split("/")] for b in str(r["bins"]).split()])
            sums = own if not len(sums) else sums + own
    sums = sums[round(of_those * len(sums)) :]
    return float(np.abs(sums[:, 1] - sums[:, 2]).sum() / sums[:, 0].sum()) if sums.sum() else np.nan


def _verdict(found: Figures) -> str:
    body = []
    for key in found.rows:
        world, name, kind = key
        mine = {"method": OURS, "graph": FOUND}
        over = {m: found.ahead(key, mine, {"method": m, "graph": FOUND}) for m in ALL if m != OURS}
        over = {m: x for m, x in over.items() if not np.isnan(x)}
        ahead = min((x for m, x in over.items() if m in SIMPLE), default=np.nan)
        ours = found.some(key, method=OURS, graph=FOUND)
        told = float(np.mean([str(r["follows"]) == "True" for r in ours] or [np.nan]))
        if kind == "number":
            sure = [f"{found.mean(key, 'inside', method=OURS, graph=FOUND):.3f} inside", "–"]
        else:
            sure = [_three(pooled(ours)), _three(pooled(ours, LIKELY))]
        if not over:
            continue
        best = min(over, key=lambda m: over[m])
        bits = found.mean(key, "bits", method=OURS, graph=FOUND)
        tens = f"{10 * told:.0f}"
        most = f"{best} {-over[best]:+.3f}"
        body.append(
            [world, f"{name} ({kind})", _three(ahead, "+"), most, *sure, f"{bits:.2f}", tens]
        )
    head = ["world", "attribute", "ahead", "best of all others, and by how much it is ahead"]
    return markdown([*head, "calibration", "said", "bits a model", "told"], body)


def _three(x: float, sign: str = "") -> str:
    return "–" if np.isnan(x) else f"{x:{sign}.3f}"


def _gains(found: Figures, key: Key) -> Mapping[str, float]:
    """By method, how much more it tells than majority, on recovered graphs."""
    base = {"method": "majority", "graph": FOUND}
    return {m: found.ahead(key, {"method": m, "graph": FOUND}, base) for m in ALL}


def _graphs(found: Figures) -> str:
    body = []
    for key in found.rows:
        world, name, kind = key
        figure = _figure(kind)
        other = [r for r in found.some(key, method=OURS) if r["graph"] != FOUND]
        tried = {tuple(r[k] for k in TRIAL) for r in other}
        both = [r for r in found.some(key, method=OURS) if tuple(r[k] for k in TRIAL) in tried]
        cells = [spread(float(str(r[figure])) for r in both if r["graph"] == g) for g in GRAPHS]
        less = found.ahead(key, *({"method": OURS, "graph": g} for g in (FOUND, TRUE)))
        if not np.isnan(less):
            body.append([world, f"{name} ({kind})", *cells, _three(less, "+")])
    return markdown(["world", "attribute", *GRAPHS, "recovered over true"], body)


def _places(found: Figures) -> str:
    """Where attributes live: where those are alike that tell clearly more of them than majority."""
    body = []
    for key in found.rows:
        gain = _gains(found, key)
        lives = [x for x, m in (("nodes", OURS), ("edges", STEPS)) if gain[m] > CLEARLY]
        lives.sort(key=lambda x: -gain[OURS if x == "nodes" else STEPS])
        told = [_three(gain[m], "+") for m in (OURS, STEPS, NETWORK)]
        body.append([*key[:2], *told, ", ".join(lives) or "nowhere"])
    return (
        "## Where attributes live\n\nBy how much relatives (ancestral states), steps alike and "
        "both together (the graph network) are ahead of majority, over all shares hidden. "
        f"*Nodes*: relatives are, by more than {CLEARLY}; *edges*: like steps are; the one that "
        "tells more stands first. A number format stands in the file itself and needs no "
        "guess.\n\n"
        + markdown(["world", "attribute", "relatives", "steps", "both", "lives on"], body)
    )


def _tried(found: Figures) -> str:
    body: dict[tuple[str, str], list[int]] = {}
    for key in found.rows:
        for row in found.some(key, method=OURS):
            own = body.setdefault((key[0], str(row["seed"])), [0] * len(GRAPHS))
            own[GRAPHS.index(str(row["graph"]))] += 1
    return markdown(["world", "seed", *GRAPHS], [[*key, *own] for key, own in body.items()])


def _scale(rows: Sequence[Row]) -> str:
    head = ["models", "attributes", "seconds of processor", "by the clock", "most memory, GB"]
    keys = ("models", "attributes", "processor", "clock", "gigabytes")
    body = [[f"{float(str(r[k])):,.{int(k == 'gigabytes')}f}" for k in keys] for r in rows]
    return (
        "## How it grows\n\n`mother infer graph.json --attributes stated.csv -o inferred.csv`, of "
        "a simulated hub with half of the cells hidden; reading and writing are in it. By "
        "`python -m experiments attributes --scale MODELS`.\n\n" + markdown(head, body)
    )


def _picture(found: Figures) -> Figure:
    chosen = [key for key in found.rows if key[2] != "number"]
    chosen = [k for k in chosen if k[0] == "hub"][:3] + [k for k in chosen if k[0] != "hub"][:3]
    with panels(2, 3, width=2.6, height=2.2) as (figure, axes):
        for ax, key in zip(axes, chosen, strict=False):
            for k, method in enumerate(ALL):
                at = {"graph": FOUND, "by": "cells", "method": method}
                y = [found.mean(key, "accuracy", hidden=h, **at) for h in SHARES]
                colour = BLUE if method == OURS else COLOURS[k + 1]
                ax.plot([float(h) for h in SHARES], y, "o-", ms=3, color=colour, label=method)
            ax.set(title=f"{key[0]}: {key[1]}", xlabel="share hidden")
        axes[0].legend()
    return figure
