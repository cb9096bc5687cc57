"""Ablation: LoRA of varying rank, recovered with the distance for full fine-tuning."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data
from experiments.figures.methods import CHOSEN, count, ours, papers
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import bars, panels

METHODS = ("paper, eq. 2 (rank)", "paper, eq. 1 (largest change)", "ours")
#: of the paper, whole graph
PUBLISHED = ("1.00", "0.78", "")

QUESTION = """
Is the rank of the difference needed? The trees of LoRA-V are recovered by the paper's method with
its distance for LoRA (eq. 2) and with the one for full fine-tuning (eq. 1), both on value layers.
Ours has one distance for all. The paper prints the fall from 1.00 to 0.78.
"""


def page(data: Data) -> Page:
    table = Table()
    for _, seed, family in data.families("lora-v"):
        for root, tree in family.trees().items():
            found = [papers(tree, CHOSEN["lora-v"], distance) for distance in ("lora", "ft")]
            for method, parents in zip(METHODS, [*found, ours(tree)], strict=True):
                right = count(parents, tree.parents)
                table.add(
                    split="lora-v",
                    seed=seed,
                    root=root,
                    method=method,
                    right=right.right,
                    true=right.true,
                    accuracy=right.accuracy,
                    without_direction=right.loosely,
                )
    rows = [
        [m, printed, *(spread(table.of(f, method=m)) for f in ("accuracy", "without_direction"))]
        for m, printed in zip(METHODS, PUBLISHED, strict=True)
    ]
    head = ["method", "paper, as printed", "accuracy here", "without direction"]
    text = markdown(head, rows) + "\n\nMeans ± standard deviations over trees and seeds."
    title = "Ablation: which distance for LoRA"
    return Page(title, QUESTION, text, table.rows, _picture(table))


def _picture(table: Table) -> Figure:
    with panels(1, 1, width=5) as (figure, (ax,)):
        figures = {"accuracy": "accuracy", "without direction": "without_direction"}
        of = {k: [table.of(name, method=m) for m in METHODS] for k, name in figures.items()}
        bars(
            ax,
            [m.replace(", ", ",\n") for m in METHODS],
            {name: [mean(v) for v in values] for name, values in of.items()},
            {name: [float(np.std(v)) for v in values] for name, values in of.items()},
        )
        ax.set(ylim=(0, 1.1))
        ax.legend(loc="lower right")
    return figure
