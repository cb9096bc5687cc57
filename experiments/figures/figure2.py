"""Figure 2: distance of weights against the number of edges between two models."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.figures.families import Data
from experiments.figures.methods import CHOSEN, DISTANCE, our_distance, papers_distance
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import OURS, PAPER, panels

SPLITS = ("ft", "lora-v", "lora-f")
METHODS = ("paper", "ours")

QUESTION = """
How far two models of a tree are from each other, by the number of edges between them: the paper's
distance (eq. 1 on dense layers for full fine-tuning, eq. 2 on value layers for LoRA) and ours
(|u - v| over the inherited layers; squared, because lengths of independent steps add up as
squares). The correlation is Pearson's over the pairs of a tree, and once more of the means at each
number of edges, which is what the paper plots: it prints 0.99. The last column is what a method
lives by: the share of models whose nearest one is a true neighbour.
"""


def page(data: Data) -> Page:
    table = Table()
    for split, seed, family in data.families(*SPLITS):
        for root, tree in family.trees().items():
            between = tree.edges_between()
            theirs = papers_distance(tree, CHOSEN[split], DISTANCE.get(split, "ft"))
            distances = {"paper": theirs, "ours": our_distance(tree) ** 2}
            for method, distance in distances.items():
                at = {"split": split, "seed": seed, "root": root, "method": method}
                _pairs(table, at, between, distance)
    there = [split for split in SPLITS if table.of("mean_distance", split=split)]
    return Page(
        "Figure 2: distance against number of edges",
        QUESTION,
        _text(table, there),
        table.rows,
        _picture(table, there),
        "Distance by number of edges, scaled to the mean over the pairs of a tree",
    )


def correlation(between: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    """Pearson's, over unordered pairs."""
    pairs = np.triu_indices(len(between), 1)
    x, y = between[pairs], distance[pairs]
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _pairs(table: Table, at: dict, between: np.ndarray, distance: np.ndarray) -> None:
    pairs = np.triu_indices(len(between), 1)
    scaled = distance[pairs] / distance[pairs].mean()
    steps = np.unique(between[pairs])
    means = np.array([scaled[between[pairs] == k].mean() for k in steps])
    off = np.where(np.eye(len(between), dtype=bool), np.inf, distance)
    near = between[np.arange(len(off)), off.argmin(axis=1)] == 1
    table.add(
        **at,
        correlation=correlation(between, distance),
        correlation_of_means=float(np.corrcoef(steps, means)[0, 1]),
        nearest_is_neighbour=float(near.mean()),
    )
    for k, value in zip(steps, means, strict=True):
        spread_ = float(scaled[between[pairs] == k].std())
        table.add(**at, edges=int(k), mean_distance=float(value), deviation=spread_)


def _text(table: Table, splits: list[str]) -> str:
    rows = []
    for split in splits:
        for method in METHODS:
            figures = ("correlation", "correlation_of_means", "nearest_is_neighbour")
            found = [spread(table.of(f, split=split, method=method)) for f in figures]
            rows.append([split, method, *found])
    head = ["split", "distance", "correlation", "of the means", "nearest is a neighbour"]
    return markdown(head, rows) + "\n\nMeans ± standard deviations over trees and seeds."


def _picture(table: Table, splits: list[str]) -> Figure:
    with panels(1, len(splits)) as (figure, axes):
        for ax, split in zip(axes, splits, strict=True):
            for method, colour, shift in (("paper", PAPER, -0.06), ("ours", OURS, 0.06)):
                steps = sorted({int(row["edges"]) for row in table.rows if "edges" in row})  # type: ignore[call-overload]
                of = [
                    (
                        table.of("mean_distance", split=split, method=method, edges=k),
                        table.of("deviation", split=split, method=method, edges=k),
                    )
                    for k in steps
                ]
                ax.errorbar(
                    np.array(steps) + shift,
                    [mean(means) for means, _ in of],
                    [mean(deviations) for _, deviations in of],
                    marker="o",
                    capsize=2,
                    label=method,
                    color=colour,
                )
            ax.set(title=split, xlabel="edges between two models", ylim=(0, None))
            ax.set_xticks(steps)
        axes[0].set_ylabel("distance / mean distance")
        axes[0].legend()
    return figure
