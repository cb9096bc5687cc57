"""The effect of c, which weighs direction against distance in the paper's method."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data
from experiments.figures.methods import CHOSEN, DISTANCE, count, ours, papers, papers_told
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import COLOURS, OURS, PAPER, panels
from mother.methods import paper

SPLITS = ("ft", "lora-f", "lora-v")
VALUES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
METHODS = ("paper", "paper, true direction", "ours")

QUESTION = f"""
The paper's lambda is c times the mean distance (sec. 5.2); it does not print its c, ours is
{paper.C:g} by default. Accuracy of each tree, with kurtosis and with the true direction in its
place, at the paper's L. With c = 0 distance alone decides, and direction is a matter of chance;
far above 1 direction can't be outvoted. Our method has no such constant: its line is flat.
"""


def page(data: Data) -> Page:
    table = Table()
    for split, seed, family in data.families(*SPLITS):
        layers, distance = CHOSEN[split], DISTANCE.get(split, "ft")
        for root, tree in family.trees().items():
            at = {"split": split, "seed": seed, "root": root}
            right = count(ours(tree), tree.parents).accuracy
            for c in VALUES:
                found = papers(tree, layers, distance, c=c)
                told = papers_told(tree, layers, distance, c=c)
                accuracy = [count(parents, tree.parents).accuracy for parents in (found, told)]
                for method, value in zip(METHODS, [*accuracy, right], strict=True):
                    table.add(**at, method=method, c=c, accuracy=value)
    there = [split for split in SPLITS if table.of("accuracy", split=split)]
    rows = [
        [s, m, *(spread(table.of("accuracy", split=s, method=m, c=c)) for c in VALUES)]
        for s in there
        for m in METHODS
    ]
    text = markdown(["split", "method", *(f"c = {c:g}" for c in VALUES)], rows)
    text += "\n\nMeans ± standard deviations over trees and seeds."
    return Page("The effect of c", QUESTION, text, table.rows, _picture(table, there))


def _picture(table: Table, splits: list[str]) -> Figure:
    with panels(1, len(splits)) as (figure, axes):
        for ax, split in zip(axes, splits, strict=True):
            for method, colour in zip(METHODS, (PAPER, COLOURS[2], OURS), strict=True):
                heights = [
                    mean(table.of("accuracy", split=split, method=method, c=c)) for c in VALUES
                ]
                ax.plot(np.arange(len(VALUES)), heights, marker="o", label=method, color=colour)
            ax.set_xticks(np.arange(len(VALUES)), [f"{c:g}" for c in VALUES])
            ax.set(title=split, xlabel="c", ylim=(0, 1.05))
        axes[0].set_ylabel("accuracy")
        axes[0].legend()
    return figure
