"""Near-identical siblings: fine-tunings of one root that differ by their seed only."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.courses import RECIPES, SIBLINGS
from experiments.figures.families import Data, Family, read
from experiments.figures.methods import CHOSEN, count, our_distance, ours, papers, papers_distance
from experiments.figures.pages import Page, Table, markdown, spread
from experiments.figures.pictures import GREY, OURS, PAPER, panels

METHODS = ("paper", "ours")

QUESTION = f"""
Can children that were made by one recipe be mistaken for parent and child? Each root has
{RECIPES} times {SIBLINGS} children of the same task and hyper-parameters, and another order of
examples and another new head, by their seed. In the paper (3 siblings, one root) siblings are
further from each other than from their parent in all 3 cases. *Ratio* is the smallest distance
between siblings over the largest from the parent to one of them: above 1 no sibling can be taken
for a parent by distance alone. Unrelated steps of one length have 1.41 in ours.
"""


def page(data: Data) -> Page:
    table = Table()
    for seed, folder in data.watched("siblings"):
        for root, tree in read(folder, data.processes).trees().items():
            for letter, part in _families(tree, root):
                at = {"split": "siblings", "seed": seed, "root": root, "recipe": letter}
                theirs = papers_distance(part, CHOSEN["ft"], "ft")
                distances = {"paper": theirs, "ours": our_distance(part)}
                found = {"paper": papers(part, CHOSEN["ft"]), "ours": ours(part)}
                for method in METHODS:
                    right = count(found[method], part.parents)
                    ratio = _ratio(part, distances[method])
                    table.add(
                        **at,
                        method=method,
                        ratio=ratio,
                        further=int(ratio > 1),
                        right=right.right,
                        true=right.true,
                        accuracy=right.accuracy,
                        without_direction=right.loosely,
                    )
    return Page("Near-identical siblings", QUESTION, _text(table), table.rows, _picture(table))


def _families(tree: Family, root: str) -> list[tuple[str, Family]]:
    """The root with the children of each recipe; their names end in its letter and a number."""
    letters = sorted({id[-2] for id in tree.ids if id != root})
    return [
        (letter, tree.among([k for k, id in enumerate(tree.ids) if id == root or id[-2] == letter]))
        for letter in letters
    ]


def _ratio(part: Family, distance: np.ndarray) -> float:
    edges = part.edges_between()
    pairs = np.triu_indices(len(edges), 1)
    near, far = distance[pairs][edges[pairs] == 1], distance[pairs][edges[pairs] == 2]
    return float(far.min() / near.max())


def _text(table: Table) -> str:
    rows = []
    for method in METHODS:
        ratios = table.of("ratio", method=method)
        further = int(sum(table.of("further", method=method)))
        rows.append(
            [
                method,
                f"{further} of {len(ratios)}",
                f"{spread(ratios)}, at least {min(ratios):.2f}",
                spread(table.of("without_direction", method=method)),
                spread(table.of("accuracy", method=method)),
            ]
        )
    head = ["method", "siblings further than their parent", "ratio", "without direction"]
    return markdown([*head, "accuracy"], rows) + (
        "\n\nMeans ± standard deviations over roots, recipes and seeds; accuracy as in "
        "table 1, the paper's method told the stage."
    )


def _picture(table: Table) -> Figure:
    with panels(1, 1, width=5) as (figure, (ax,)):
        roots = list(dict.fromkeys(str(row["root"]) for row in table.rows))
        for method, colour, shift in (("paper", PAPER, -0.1), ("ours", OURS, 0.1)):
            for k, root in enumerate(roots):
                values = table.of("ratio", root=root, method=method)
                label = method if k == 0 else None
                x = np.full(len(values), k + shift)
                ax.plot(x, values, "o", color=colour, label=label, markersize=4, alpha=0.8)
        ax.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
        ax.set_xticks(range(len(roots)), roots)
        top = max(1.5, 1.05 * max(table.of("ratio")))
        ax.set(ylabel="sibling's / parent's distance", ylim=(0, top))
        ax.legend(loc="lower right")
    return figure
