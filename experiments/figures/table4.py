"""Table 4: accuracy on smaller trees, drawn from those of full fine-tuning."""

from __future__ import annotations

import random

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data, Family
from experiments.figures.methods import CHOSEN, count, ours, papers
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import OURS, PAPER, panels
from experiments.plan import seed_of

DRAWS = 10
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
#: of the paper's 21 models; whole trees were taken once
PUBLISHED = ("0.87 ± 0.25", "0.90 ± 0.18", "0.88 ± 0.20", "0.89 ± 0.19", "0.89")

QUESTION = f"""
Does a method need the whole tree? From each tree of full fine-tuning {DRAWS} smaller ones are
drawn of each size: from a random model on, random neighbours are added, so that a draw is a tree
whose edges are true ones. Accuracy is right edges over true ones in the draw, mean ± standard
deviation over all draws, trees and seeds.
"""


def page(data: Data) -> Page:
    table = Table()
    for _, seed, family in data.families("ft"):
        for root, tree in family.trees().items():
            rng = random.Random(seed_of(seed, "table 4", root))
            for share in SHARES:
                for draw in range(DRAWS if share < 1 else 1):
                    part = subtree(tree, max(2, round(share * len(tree.parents))), rng)
                    at = {"split": "ft", "seed": seed, "root": root, "share": share, "draw": draw}
                    found = papers(part, CHOSEN["ft"]), ours(part)
                    for method, parents in zip(("paper", "ours"), found, strict=True):
                        right = count(parents, part.parents)
                        table.add(
                            **at,
                            models=len(part.parents),
                            method=method,
                            right=right.right,
                            true=right.true,
                            accuracy=right.accuracy,
                            without_direction=right.loosely,
                        )
    return Page("Table 4: smaller trees", QUESTION, _text(table), table.rows, _picture(table))


def subtree(tree: Family, size: int, rng: random.Random) -> Family:
    """A connected part of a tree, grown from a random model."""
    beside: dict[int, set[int]] = {k: set() for k in range(len(tree.parents))}
    for parent, child in tree.edges:
        beside[parent].add(child)
        beside[child].add(parent)
    part = {rng.randrange(len(beside))}
    while len(part) < size:
        part.add(rng.choice(sorted(set().union(*(beside[k] for k in part)) - part)))
    return tree.among(sorted(part))


def _text(table: Table) -> str:
    rows = []
    for share, printed in zip(SHARES, PUBLISHED, strict=True):
        models = sorted({int(k) for k in table.of("models", share=share)})
        rows.append(
            [
                f"{share:.0%} ({', '.join(map(str, models))})",
                printed,
                *(spread(table.of("accuracy", share=share, method=m)) for m in ("paper", "ours")),
                spread(table.of("without_direction", share=share, method="paper")),
            ]
        )
    head = ["of a tree (models)", "paper, as printed", "paper's method here", "ours"]
    return markdown([*head, "paper's method here, without direction"], rows)


def _picture(table: Table) -> Figure:
    with panels(1, 1, width=4.5) as (figure, (ax,)):
        for method, colour in (("paper", PAPER), ("ours", OURS)):
            drawn = [table.of("accuracy", share=share, method=method) for share in SHARES]
            ax.errorbar(
                [100 * share for share in SHARES],
                [mean(v) for v in drawn],
                [float(np.std(v)) for v in drawn],
                marker="o",
                capsize=2,
                label=method,
                color=colour,
            )
        ax.set(xlabel="models kept, %", ylabel="accuracy", ylim=(0, 1.05))
        ax.legend()
    return figure
