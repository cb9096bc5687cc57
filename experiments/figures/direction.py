"""The default method on every split and on the demo's families, each a family of its own."""

from __future__ import annotations

import numpy as np
from demo import run as demo
from matplotlib.figure import Figure

from experiments.figures.families import Data
from experiments.figures.judged import ROLE, Kind, demo_by_ours, kinds, measured, part, verdict
from experiments.figures.methods import Count, by_polarity
from experiments.figures.pages import Page, Table, markdown, mean
from experiments.figures.pictures import bars, legend_below, panels
from experiments.figures.splits import best, both_methods, figures, there
from mother import ModelGraph
from mother.checkpoints import Checkpoint, discover
from mother.graph.evaluation import Truth
from mother.layouts import align
from mother.options import Options
from mother.recovery import recover_checkpoints

QUESTION = """
Who is whose parent, and which of the two ways: by the default method, which is told nothing; by the
paper's, which is told the true stage of every model, the true number of trees, and for each line
the choice of L with the most edges right, which nobody could know; and by polarity alone: the same
edges as the default method's, in each tree from the root from which polarity, summed over the
edges, is least.
"""

NOTES = """
*Right* counts edges with direction, *undirected* without; *direction* is the share of the right
among these. *False* are relations that are not true; in same-seed, strangers, vgg7 and resnet10 no
model has its parent among the others, so all that are found are false. The adjusted Rand index is
of the trees, where they are known. The demo's models are packages of the registry: edges are those
that their documentation names, the paper's method is told that all are specializations. Splits with
several seeds are added up. Mixed holds the other splits' models of its seed all together.
"""

METHODS = ("ours", "paper", "polarity")
#: of the share of edges right in a split, in mixed, in any family, and of their direction
SPLIT, MIXED, LEAST, DIRECTION = 0.97, 0.95, 0.90, 0.98


def page(data: Data) -> Page:
    splits = both_methods(data)
    names = list(dict.fromkeys(str(row["split"]) for row in splits.rows))
    chosen = {split: best(splits, split) for split in names}
    table = Table()
    for row in splits.rows:
        if row["method"] == "ours" or row["layers"] == chosen[str(row["split"])]:
            table.add(source="builder", **row)
    for split, seed in there(data):
        of = _by_polarity(kinds(data.folder(split, seed), data.processes))
        table.add(source="builder", split=split, seed=seed, method="polarity", layers="", **of)
    _add_demo(table, data.processes)
    return Page(
        "Direction",
        QUESTION,
        _text(table, data.scale),
        table.rows,
        _picture(table),
        "Edges right of true edges, by family",
    )


def _by_polarity(kinds: tuple[Kind, ...]) -> dict[str, object]:
    of = Count(0, 0, 0, 0)
    for kind in kinds:
        of += kind.count(by_polarity(kind.measures, kind.recover()))
    return {
        "right": of.right,
        "undirected": of.undirected,
        "true": of.true,
        "found": of.found,
        "false": of.found - of.right,
    }


def _add_demo(table: Table, threads: int) -> None:
    by_ours = demo_by_ours(threads, 0)  # fetches them where they aren't there
    checkpoints, _ = discover([demo.WEIGHTS])
    for family, (graph, truth) in by_ours.items():
        at = {"source": "demo", "split": family}
        table.add(**at, method="ours", layers="", **figures([graph], truth))
        own = [c for c in checkpoints if c.id.startswith(demo.FAMILIES[family])]
        papers = _papers(own, truth, threads)
        table.add(**at, method="paper", layers="all matrices", **figures(papers, truth))
        of = _by_polarity(measured(own, truth, threads))
        table.add(**at, method="polarity", layers="", **of)


def _papers(checkpoints: list[Checkpoint], truth: Truth, threads: int) -> list[ModelGraph]:
    """By the paper's method, one graph an architecture: as many trees as there are, one where no
    edge is documented and all are siblings."""
    graphs = []
    for group in align(checkpoints):
        ids = {c.id for c in group.checkpoints}
        children = sum(child in ids for _, child in truth.edges)
        options = Options(
            method="mother",
            stage="specialization",
            trees=len(ids) - children if truth.edges else 1,
            threads=threads,
        )
        graphs.append(part(recover_checkpoints(list(group.checkpoints), options), ids))
    return graphs


def _sum(table: Table, figure: str, split: str, method: str) -> float:
    return sum(table.of(figure, split=split, method=method))


def _share(table: Table, split: str, method: str) -> float:
    """Edges right of true edges; NaN where there are none."""
    true = _sum(table, "true", split, method)
    return _sum(table, "right", split, method) / true if true else float("nan")


def _direction(table: Table, split: str, method: str) -> float:
    """Right of those right without direction."""
    loose = _sum(table, "undirected", split, method)
    return _sum(table, "right", split, method) / loose if loose else float("nan")


def _families(table: Table) -> list[str]:
    return list(dict.fromkeys(str(row["split"]) for row in table.rows))


def _text(table: Table, scale: str) -> str:
    rows = []
    for split in _families(table):
        for method in METHODS:
            if not table.of("true", split=split, method=method):
                continue
            true = _sum(table, "true", split, method)
            right, loose, false = (
                f"{_sum(table, figure, split, method):.0f}"
                for figure in ("right", "undirected", "false")
            )
            index = mean(table.of("adjusted_rand_index", split=split, method=method))
            rows.append(
                [
                    split if method == "ours" else "",
                    _label(table, split, method),
                    f"{right} ({_number(_share(table, split, method))})" if true else "–",
                    loose if true else "–",
                    f"{true:.0f}",
                    _number(_direction(table, split, method)),
                    false,
                    _number(index),
                ]
            )
    head = ["family", "method", "right", "undirected", "of true", "direction", "false"]
    return "\n\n".join(
        [
            ROLE[scale],
            markdown([*head, "adjusted Rand index"], rows),
            NOTES.strip(),
            "## Aims",
            _aims(table),
        ]
    )


def _label(table: Table, split: str, method: str) -> str:
    if method == "paper":
        own = (r for r in table.rows if r["split"] == split and r["method"] == method)
        return f"paper, {next(own)['layers']}"
    return "**ours**" if method == "ours" else "polarity alone"


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _aims(table: Table) -> str:
    """What the default method is to reach, and what it does."""
    share = {f: s for f in _families(table) if not np.isnan(s := _share(table, f, "ours"))}
    built = {row["split"] for row in table.rows if row["source"] == "builder"}
    rows = [
        [f"edges right, {f}", f"≥ {aim:.2f}", f"{s:.3f}", verdict(s, aim)]
        for f, s in share.items()
        if f in built
        for aim in [MIXED if f == "mixed" else SPLIT]
    ]
    ways = mean(_direction(table, f, "ours") for f in share)
    rows.append(
        [
            "direction, mean of families",
            f"≥ {DIRECTION:.2f}",
            f"{ways:.3f}",
            verdict(ways, DIRECTION),
        ]
    )
    each = [
        (
            int(r["right"]) / int(r["true"]),  # type: ignore[call-overload]
            f"{r['split']}, seed {r['seed']}" if "seed" in r else str(r["split"]),
        )
        for r in table.rows
        if r["method"] == "ours" and r["true"]
    ]
    worst, name = min(each)
    rows.append(
        [
            f"edges right, the worst family of one seed ({name})",
            f"≥ {LEAST:.2f}",
            f"{worst:.3f}",
            verdict(worst, LEAST),
        ]
    )
    return markdown(["", "aim", "found", ""], rows)


def _picture(table: Table) -> Figure:
    names = [f for f in _families(table) if _sum(table, "true", f, "ours")]
    with panels(1, 1, width=8) as (figure, (ax,)):
        bars(
            ax,
            names,
            {
                m: [np.nan_to_num(_share(table, f, m)) for f in names]
                for m in ("paper", "polarity", "ours")
            },
            {},
        )
        ax.set(ylabel="edges right", ylim=(0, 1.05))
        ax.tick_params(axis="x", rotation=35)
        legend_below(figure, ax)
    return figure
