"""Figure 7: telling the trees apart, by the size of the graph."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data, Family
from experiments.figures.methods import chosen
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import COLOURS, OURS, PAPER, panels
from experiments.plan import seed_of
from mother.measures.clustering import adjusted_rand_index
from mother.methods import gram, paper
from mother.thresholds import NEARLY_ALL

SPLITS = ("ft", "lora-v")
DRAWS = 10
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
METHODS = ("paper, number given", "paper, threshold", "ours")

QUESTION = f"""
From the whole graph {DRAWS} smaller ones of each size are drawn at random, one model of each tree
at least, and the models are told apart into trees. The paper clusters L1 distances (sec. 5.2) and
is given the number of trees; *threshold* cuts where the distance reaches {NEARLY_ALL:g} of
what independent weights would have instead. Ours are the trees of its forest; it is not told
their number. Adjusted Rand index: 1 where the trees are the true ones, near 0 for chance.
"""


def page(data: Data) -> Page:
    table = Table()
    for split, seed, family in data.families(*SPLITS):
        rng = random.Random(seed_of(seed, "figure 7", split))
        n, trees = len(family.parents), len(np.unique(family.tree))
        for share in SHARES:
            size = max(trees, round(share * n))
            for draw in range(DRAWS if share < 1 else 1):
                part = family.among(_draw(family.tree, size, rng))
                at = {"split": split, "seed": seed, "models": size, "draw": draw}
                for method, labels in zip(METHODS, _clusters(part, trees), strict=True):
                    index = adjusted_rand_index(labels, part.tree)
                    table.add(**at, method=method, adjusted_rand_index=index)
    there = [s for s in SPLITS if table.of("models", split=s)]
    return Page(
        "Figure 7: clustering against the size of the graph",
        QUESTION,
        _text(table, there),
        table.rows,
        _picture(table, there),
    )


def _draw(tree: Sequence[int] | np.ndarray, size: int, rng: random.Random) -> list[int]:
    """Models, at random, one of each tree at least."""
    tree = np.asarray(tree)
    first = [rng.choice(np.flatnonzero(tree == label).tolist()) for label in np.unique(tree)]
    rest = sorted(set(range(len(tree))) - set(first))
    return sorted(first + rng.sample(rest, size - len(first)))


def _clusters(part: Family, trees: int) -> list[np.ndarray]:
    m = chosen(part, "all matrices")
    return [paper.clusters(m, trees), paper.clusters(m, None), gram.recover(part.measures).labels()]


def _text(table: Table, splits: list[str]) -> str:
    rows = []
    for split in splits:
        for size in sorted(set(table.of("models", split=split))):
            found = [
                spread(table.of("adjusted_rand_index", split=split, models=size, method=m))
                for m in METHODS
            ]
            rows.append([split, int(size), *found])
    return markdown(["split", "models", *METHODS], rows) + (
        "\n\nMeans ± standard deviations over draws and seeds."
    )


def _picture(table: Table, splits: list[str]) -> Figure:
    with panels(1, len(splits)) as (figure, axes):
        for ax, split in zip(axes, splits, strict=True):
            sizes = sorted(set(table.of("models", split=split)))
            for method, colour, style in zip(
                METHODS, (PAPER, COLOURS[2], OURS), ("-", "--", ":"), strict=True
            ):
                heights = [
                    mean(table.of("adjusted_rand_index", split=split, models=k, method=method))
                    for k in sizes
                ]
                ax.plot(sizes, heights, style, marker="o", label=method, color=colour)
            ax.set(title=split, xlabel="models", ylim=(0, 1.05))
        axes[0].set_ylabel("adjusted Rand index")
        axes[0].legend()
    return figure
