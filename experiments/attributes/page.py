"""The page about attributes: by attribute, method and share hidden."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.attributes.methods import METHODS, STEPS
from experiments.attributes.trial import OURS
from experiments.figures.pages import Page, Row, markdown, spread
from experiments.figures.pictures import COLOURS, panels
from experiments.figures.pictures import OURS as BLUE
from mother.attributes.inference import LIKELY

NAME = "attributes"
OTHERS = (*METHODS, STEPS)
ALL = (*OTHERS, OURS)
QUESTION = """
What the graph knows of a model that its card does not say. Of models of which everything is known a
share is hidden, one by one (*cells*) or by whole subtrees, and inferred from the rest by every
method: *majority*, what most models state; *nearest neighbours*, votes of those the fewest steps
away, as in arXiv:2503.10633; *label propagation* (Zhu, Ghahramani and Lafferty 2003); *like steps*,
votes of the nine models whose own step is most alike in relation, rank, length, share of layers
left alone and unevenness, whoever their relatives are; and *ancestral states*, the default of
`mother infer`.

*hub*: simulated models, siblings more alike than parent and child, licences that drift to
permissive ones and languages to English. arXiv:2508.06811 found these directions; its rates were
not at hand, those here are ours. *population*: small networks, trained with recipes drawn at
random; their graphs are recovered by `mother.recover`. Graphs are true, recovered (of the hub 5 %
of the edges wrong, and merges hung from one parent), and recovered with a fifth of the models
missing. A graph neural network was not tried.
"""
CLEARLY = 0.02  # of accuracy, or of the numbers' spread, by which a method tells more than another


def page(rows: Sequence[Row], scale: Sequence[Row]) -> Page:
    """scale: rows of `experiments.attributes.scale`."""
    every = ((str(r["world"]), str(r["attribute"]), str(r["kind"])) for r in rows)
    names = list(dict.fromkeys(every))
    parts = [
        "## Accuracy\n\nOf the best guess for every hidden cell, of sets by element; of numbers "
        "the error, in units of the numbers' spread (less is better). Means over graphs and seeds, "
        "with the standard deviation.",
        _accuracy(rows, names),
        "## Calibration\n\nExpected calibration error over ten bins, of all hidden cells of an "
        "attribute together, and the largest share of cells, the surest first, of which 95 % are "
        "right. Of numbers: how many intervals of 90 % hold the number. *Said*: the error of those "
        "cells alone of which a value is said, with a probability of a half and more; all others "
        "are *not known*. By seed: the error of the cells of each seed.",
        _calibration(rows, names),
        "## True graphs, recovered ones, and ones where a fifth is missing\n\nThe default alone, "
        "all shares hidden together.",
        _graphs(rows, names),
        _verdict(rows, names),
        _places(rows, names),
        *([_scale(scale)] if scale else []),
    ]
    return Page("Attributes", QUESTION, "\n\n".join(parts), rows, _picture(rows, names), "Accuracy")


def _of(rows: Iterable[Row], figure: str, **wanted: str) -> list[float]:
    return [
        float(str(r[figure]))
        for r in rows
        if r.get(figure) not in (None, "") and all(str(r[k]) == v for k, v in wanted.items())
    ]


def _figure(kind: str) -> str:
    return "error" if kind == "number" else "accuracy"


_Names = Sequence[tuple[str, str, str]]


def _accuracy(rows: Sequence[Row], names: _Names) -> str:
    body = []
    for world, name, kind in names:
        for by in ("cells", "subtrees"):
            for share in ("0.9", "0.7", "0.5", "0.2"):
                at = {"world": world, "attribute": name, "by": by, "hidden": share}
                cells = [spread(_of(rows, _figure(kind), method=m, **at)) for m in ALL]
                if any(c != "–" for c in cells):
                    body.append([world, f"{name} ({kind})", f"{float(share):.0%} {by}", *cells])
    return markdown(["world", "attribute", "hidden", *ALL], body)


def _calibration(rows: Sequence[Row], names: _Names) -> str:
    body = []
    for world, name, kind in names:
        at = {"world": world, "attribute": name}
        if kind == "number":
            inside = spread(_of(rows, "inside", method=OURS, **at))
            body.append([world, name, *["–"] * len(OTHERS), f"{inside} inside", "–", "–"])
            continue
        told = []
        for m in ALL:
            sure = np.mean(_of(rows, "coverage", method=m, **at) or [np.nan])
            told.append(f"{pooled(rows, method=m, **at):.3f}, {sure:.0%}")
        of_seed = (pooled(rows, method=OURS, seed=str(k), **at) for k in _seeds(rows))
        said = pooled(rows, of_those=LIKELY, method=OURS, **at)
        body.append([world, name, *told, f"{said:.3f}", spread(of_seed, 3)])
    return markdown(["world", "attribute", *ALL, "said", "by seed"], body)


def _seeds(rows: Iterable[Row]) -> list[str]:
    return sorted({str(r["seed"]) for r in rows})


def pooled(rows: Iterable[Row], of_those: float = 0.0, **wanted: str) -> float:
    """The calibration error of all cells of some rows together; of_those: with such a probability
    and more, a multiple of a tenth."""
    sums: np.ndarray = np.zeros((0, 3))
    for r in rows:
        if r.get("bins") and all(str(r[k]) == v for k, v in wanted.items()):
            own = np.array([[float(x) for x in b.split("/")] for b in str(r["bins"]).split()])
            sums = own if not len(sums) else sums + own
    sums = sums[round(of_those * len(sums)) :]
    return float(np.abs(sums[:, 1] - sums[:, 2]).sum() / sums[:, 0].sum()) if sums.sum() else np.nan


def _graphs(rows: Sequence[Row], names: _Names) -> str:
    graphs = list(dict.fromkeys(str(r["graph"]) for r in rows))
    body = []
    for world, name, kind in names:
        at = {"world": world, "attribute": name, "method": OURS}
        cells = [spread(_of(rows, _figure(kind), graph=g, **at)) for g in graphs]
        body.append([world, f"{name} ({kind})", *cells])
    return markdown(["world", "attribute", *graphs], body)


def _verdict(rows: Sequence[Row], names: _Names) -> str:
    """For each attribute whether the default is the best, and what bits relatives give."""
    lines = ["## What that comes to", ""]
    for world, name, kind in names:
        sign = -1 if kind == "number" else 1
        at = {"world": world, "attribute": name}
        found = {m: _of(rows, _figure(kind), method=m, **at) or [np.nan] for m in ALL}
        means = {m: sign * float(np.mean(values)) for m, values in found.items()}
        best = max(OTHERS, key=lambda m: means[m])
        ahead = means[OURS] - means[best]
        bits = np.mean(_of(rows, "bits", method=OURS, **at) or [np.nan])
        said = "ahead of" if ahead > 0.002 else "level with" if ahead > -0.005 else "behind"
        lines.append(
            f"- {world}, {name}: {said} the best other method, {best}, by {ahead:+.3f}; relatives "
            f"tell {bits:.2f} bits a model."
        )
    return "\n".join(lines)


def _places(rows: Sequence[Row], names: _Names) -> str:
    """Where attributes live: where those are alike that tell clearly more of them than majority."""
    body = []
    for world, name, kind in names:
        sign = -1 if kind == "number" else 1
        at = {"world": world, "attribute": name}
        mean = {m: np.mean(_of(rows, _figure(kind), method=m, **at) or [np.nan]) for m in ALL}
        gain = {m: sign * float(mean[m] - mean["majority"]) for m in ALL}
        lives = [x for x, m in (("nodes", OURS), ("edges", STEPS)) if gain[m] > CLEARLY]
        lives.sort(key=lambda x: -gain[OURS if x == "nodes" else STEPS])
        body.append(
            [
                world,
                name,
                f"{gain[OURS]:+.3f}",
                f"{gain[STEPS]:+.3f}",
                ", ".join(lives) or "nowhere",
            ]
        )
    return (
        "## Where attributes live\n\nBy how much relatives (ancestral states) and steps alike are "
        "ahead of majority, over all graphs and shares hidden. *Nodes*: relatives are, by more "
        f"than {CLEARLY}; *edges*: like steps are; the one that tells more stands first.\n\n"
        + markdown(["world", "attribute", "relatives", "like steps", "lives on"], body)
    )


def _scale(rows: Sequence[Row]) -> str:
    head = ["models", "attributes", "seconds of processor", "by the clock", "most memory, GB"]
    keys = ("models", "attributes", "processor", "clock", "gigabytes")
    body = [[f"{float(str(r[k])):,.{int(k == 'gigabytes')}f}" for k in keys] for r in rows]
    return (
        "## How it grows\n\n`mother infer graph.json --attributes stated.csv -o inferred.csv`, a "
        "process of one thread, of a simulated hub with half of the cells hidden; reading and "
        "writing are in it. Other work ran on the same two cores, so the clock tells less than "
        "the processor's time. By `python -m experiments attributes --scale MODELS`.\n\n"
        + markdown(head, body)
    )


def _picture(rows: Sequence[Row], names: _Names) -> Figure:
    chosen = [n for n in names if n[2] != "number"][:6]
    with panels(2, 3, width=2.6, height=2.2) as (figure, axes):
        for ax, (world, name, _) in zip(axes, chosen, strict=False):
            for k, method in enumerate(ALL):
                x = [0.2, 0.5, 0.7, 0.9]
                at = {"world": world, "attribute": name, "by": "cells", "method": method}
                y = [np.mean(_of(rows, "accuracy", hidden=str(h), **at) or [np.nan]) for h in x]
                colour = BLUE if method == OURS else COLOURS[k + 1]
                ax.plot(x, y, "o-", ms=3, color=colour, label=method)
            ax.set(title=f"{world}: {name}", xlabel="share hidden")
        axes[0].legend()
    return figure
