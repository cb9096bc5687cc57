"""Whether what is said with a probability is true as often as it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures.families import Data
from experiments.figures.judged import ROLE, demo_by_ours
from experiments.figures.pages import Page, Table, markdown, mean
from experiments.figures.pictures import GREY, OURS, panels
from experiments.figures.splits import by_ours, there
from mother import ModelGraph
from mother.graph.evaluation import Truth

QUESTION = """
Each edge has the probability that it points the right way, and bootstrap support: the share of
replicates, 1000 draws of the layers with replacement, in which its child has this parent. Of edges
that say 0.9, nine in ten should be right. The expected calibration error is the mean over edges of
how far their bin, one of ten of equal width, is from that.
"""

NOTES = """
The probability of direction is one given that the two are parent and child: it is judged on edges
that are right but for direction; beside it, on all edges, those between a model and its sibling or
grandparent counting as wrong. Support is judged on all edges. Mixed is left out, for its edges are
those of the other splits.
"""

REPLICATES, BINS = 1000, 10


@dataclass(frozen=True)
class Bin:
    """Edges that say about the same: how many, what they say, and the share that is right."""

    edges: int
    said: float
    right: float


def bins(said: Sequence[float], right: Sequence[float]) -> list[Bin]:
    """The bins that are not empty, of ten of equal width; 1 belongs to the last.

    >>> bins([0.92, 0.98, 0.55], [1, 1, 0])
    [Bin(edges=1, said=0.55, right=0.0), Bin(edges=2, said=0.95, right=1.0)]
    """
    own, true = np.asarray(said, dtype=float), np.asarray(right, dtype=float)
    place = np.minimum((own * BINS).astype(int), BINS - 1)
    return [
        Bin(int(there.sum()), float(own[there].mean()), float(true[there].mean()))
        for there in (place == k for k in range(BINS))
        if there.any()
    ]


def calibration_error(said: Sequence[float], right: Sequence[float]) -> float:
    """Expected calibration error; NaN without edges.

    >>> round(calibration_error([0.92, 0.98, 0.55], [1, 1, 0]), 3)
    0.217
    """
    found = bins(said, right)
    return sum(b.edges * abs(b.said - b.right) for b in found) / len(said) if found else np.nan


def page(data: Data) -> Page:
    table = Table()
    for split, seed in there(data):
        if split != "mixed":
            built, graph = by_ours(data.folder(split, seed), data.processes, REPLICATES)
            _add(table, {"split": split, "seed": seed}, graph, built.truth)
    for family, (graph, truth) in demo_by_ours(data.processes, REPLICATES).items():
        _add(table, {"split": family}, graph, truth)
    return Page(
        "Calibration",
        QUESTION,
        _text(table, data.scale),
        table.rows,
        _picture(table),
        "Share of edges that are right against what they say",
    )


def _add(table: Table, at: dict[str, object], graph: ModelGraph, truth: Truth) -> None:
    true = set(truth.edges)
    loose = {frozenset(edge) for edge in true}
    for edge in graph.edges:
        if edge.direction_probability is None or edge.support is None:
            continue  # of copies nothing is drawn
        table.add(
            **at,
            parent=edge.parent,
            child=edge.child,
            joined=int(frozenset((edge.parent, edge.child)) in loose),
            right=int((edge.parent, edge.child) in true),
            direction=edge.direction_probability,
            support=edge.support,
        )


def _text(table: Table, scale: str) -> str:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    rows = [_line("**all**", table, {}), *(_line(s, table, {"split": s}) for s in splits)]
    head = [
        "family",
        "edges",
        "right but for direction",
        "right",
        "mean probability of direction",
        "error of direction",
        "the same, all edges",
        "mean support",
        "error of support",
    ]
    return "\n\n".join(
        [
            ROLE[scale],
            markdown(head, rows),
            NOTES.strip(),
            "## Bins",
            "Probability of direction, edges right but for direction:",
            _bins(table, "direction", {"joined": 1}),
            "Support, all edges:",
            _bins(table, "support", {}),
        ]
    )


def _line(name: str, table: Table, wanted: dict[str, object]) -> list[object]:
    joined = {**wanted, "joined": 1}

    def error(figure: str, of: dict[str, object]) -> str:
        found = calibration_error(table.of(figure, **of), table.of("right", **of))
        return "–" if np.isnan(found) else f"{found:.3f}"

    def average(figure: str, of: dict[str, object]) -> str:
        found = mean(table.of(figure, **of))
        return "–" if np.isnan(found) else f"{found:.3f}"

    return [
        name,
        len(table.of("right", **wanted)),
        len(table.of("right", **joined)),
        f"{sum(table.of('right', **wanted)):.0f}",
        average("direction", joined),
        error("direction", joined),
        error("direction", wanted),
        average("support", wanted),
        error("support", wanted),
    ]


def _bins(table: Table, figure: str, wanted: dict[str, object]) -> str:
    found = bins(table.of(figure, **wanted), table.of("right", **wanted))
    rows = [[b.edges, f"{b.said:.3f}", f"{b.right:.3f}"] for b in found]
    return markdown(["edges", "say", "right"], rows)


def _picture(table: Table) -> Figure:
    with panels(1, 2, width=3.4, height=3.2) as (figure, (direction, support)):
        _reliability(direction, table, "direction", {"joined": 1})
        direction.set(xlabel="probability of direction", ylabel="share right")
        _reliability(support, table, "support", {})
        support.set(xlabel="bootstrap support")
    return figure


def _reliability(ax: Axes, table: Table, figure: str, wanted: dict[str, object]) -> None:
    """The share right of each bin, as large as its number of edges."""
    found = bins(table.of(figure, **wanted), table.of("right", **wanted))
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    ax.plot([b.said for b in found], [b.right for b in found], color=OURS)
    size = [15 + 10 * np.log10(b.edges) ** 2 for b in found]
    ax.scatter([b.said for b in found], [b.right for b in found], size, color=OURS)
    ax.set(xlim=(0, 1.03), ylim=(0, 1.03))
