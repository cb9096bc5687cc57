"""Who is called a relative, or a parent, without being one."""

from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure

from experiments.figures.families import Data
from experiments.figures.judged import ROLE
from experiments.figures.pages import Page, Table, markdown
from experiments.figures.pictures import OURS, panels
from experiments.figures.splits import Built, by_ours, there
from mother import ModelGraph

QUESTION = """
All pairs of models of one architecture that are of different trees, and all pairs of trainings that
have nothing in common but the initialization they started from. The first are strangers: none must
be put into one tree. The second have a common ancestor, which nobody has: to call them relatives is
right, to call one the other's parent is not.
"""

FIGURES = ("strangers", "called_relatives", "of_one_start", "one_start_related", "called_parent")
#: pairs to judge by
LEAST = 1000


def page(data: Data) -> Page:
    table = Table()
    for split, seed in there(data):
        built, graph = by_ours(data.folder(split, seed), data.processes)
        table.add(split=split, seed=seed, **counted(built, graph))
    return Page(
        "Strangers",
        QUESTION,
        _text(table, data.scale),
        table.rows,
        _picture(table),
        "Pairs of strangers, and those called relatives",
    )


def counted(built: Built, graph: ModelGraph) -> dict[str, object]:
    """Pairs of strangers, and of one start, by what they were called."""
    true = {id: k for k, tree in enumerate(built.truth.trees) for id in tree}
    found = {id: k for k, tree in enumerate(graph.trees) for id in tree.members}
    trained = {id for edge in built.truth.edges for id in edge}
    joined = {frozenset((edge.parent, edge.child)) for edge in graph.edges}
    out = dict.fromkeys(FIGURES, 0)
    for ids in built.by_architecture():
        for a, b in combinations(ids, 2):
            related = found[a] == found[b]
            if true[a] != true[b]:
                out["strangers"] += 1
                out["called_relatives"] += related
            elif a not in trained and b not in trained:
                out["of_one_start"] += 1
                out["one_start_related"] += related
                out["called_parent"] += frozenset((a, b)) in joined
    return dict(out)


def _text(table: Table, scale: str) -> str:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    rows = []
    for split in splits:
        rows.append([split, *(f"{sum(table.of(f, split=split)):.0f}" for f in FIGURES)])
    totals = [
        sum(sum(table.of(figure, split=split)) for split in splits if split != "mixed")
        for figure in FIGURES
    ]
    rows.append(["**all but mixed**", *(f"**{total:.0f}**" for total in totals)])
    head = [
        "split",
        "pairs of strangers",
        "called relatives",
        "pairs of one start",
        "called relatives",
        "called parent and child",
    ]
    pairs = totals[0] + totals[2]
    said = f"{pairs:.0f} pairs are judged; {LEAST} were to be."
    if pairs < LEAST:
        said = f"Only {pairs:.0f} pairs are judged, {LEAST} were to be: build more splits."
    return "\n\n".join(
        [
            ROLE[scale],
            markdown(head, rows),
            f"{said} Mixed holds the models of the other splits again, where strangers of "
            "different splits meet; it is not counted in the sum.",
        ]
    )


def _picture(table: Table) -> Figure:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    with panels(1, 1, width=7) as (figure, (ax,)):
        for figure_, colour, label in (
            ("strangers", "#7d8590", "pairs of strangers"),
            ("called_relatives", OURS, "called relatives"),
        ):
            x = [k + 0.4 * (figure_ == "called_relatives") for k in range(len(splits))]
            heights = [sum(table.of(figure_, split=split)) for split in splits]
            ax.bar(x, heights, 0.4, color=colour, label=label)
        ax.set(ylabel="pairs", yscale="symlog")
        ax.set_xticks(range(len(splits)), splits)
        ax.tick_params(axis="x", rotation=35)
        ax.legend()
    return figure
