"""Figure 3: the directional score over pre-training and fine-tuning."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.figures.courses import (
    WAYS,
    change,
    courses,
    draw,
    draw_polarity,
    falling,
    in_order,
)
from experiments.figures.families import Data
from experiments.figures.methods import chosen, matrices, parent_probability, polarity
from experiments.figures.pages import Page, Table, markdown, spread
from experiments.figures.pictures import legend_below, panels
from mother.methods.scores import kurtosis

QUESTION = """
Kurtosis over a training run, which the paper finds growing in pre-training and falling in
fine-tuning, so that with the stage known it tells which of two models is the later one. Beside it
what ours tells direction by: polarity <s - w, s> / |s - w|^2 of the start s and each checkpoint w,
which is near 0 while w still holds all of s and would be above 1/2 if w were the earlier one.
Vision transformers (dense layers) by their five ways of pre-training, and residual networks (all
matrices). Each line is one training run; a fine-tuning starts from the root of that name.
"""


def page(data: Data) -> Page:
    table = Table()
    for course in courses(data):
        dense = matrices(course.models, "dense").any()
        score = kurtosis(chosen(course.models, "dense" if dense else "all matrices"))
        m = course.models.measures
        lack, probability = polarity(m)[0], parent_probability(m)
        at = {"split": "courses", "seed": course.seed, "training": course.way, "root": course.root}
        table.add(
            **at,
            kurtosis_falling=falling(score),
            in_order=in_order(probability),
        )
        scaled = change(score)
        for k, progress in enumerate(course.progress):
            table.add(
                **at,
                progress=float(progress),
                kurtosis=float(score[k]),
                change=float(scaled[k]),
                polarity=float(lack[k]) if k else 0.0,
                start_is_parent=float(probability[0, k]),
            )
    return Page(
        "Figure 3: the directional score over training",
        QUESTION,
        _text(table),
        table.rows,
        _picture(table),
        "Kurtosis and polarity over pre-training and fine-tuning",
    )


def _text(table: Table) -> str:
    rows = []
    roots = list(dict.fromkeys((r["training"], r["root"]) for r in table.rows))
    for way, expected in (("pre-training", "grows"), ("fine-tuning", "falls")):
        for name in [*(root for w, root in roots if w == way), None]:
            at = {"training": way} | ({"root": name} if name else {})
            falls = table.of("kurtosis_falling", **at)
            as_paper = [1 - f for f in falls] if expected == "grows" else falls
            last = table.of("polarity", progress=1.0, **at)
            rows.append(
                [
                    way,
                    name or "**all**",
                    f"{expected}: {spread(as_paper)}",
                    spread(table.of("in_order", **at)),
                    spread(last),
                    spread(table.of("start_is_parent", progress=1.0, **at)),
                ]
            )
    head = ["training", "root", "kurtosis as the paper has it", "ours in order"]
    notes = (
        "\n\nShares of all pairs of checkpoints of a run: those whose kurtosis goes the way that "
        "the paper's stage label says, and those whose earlier one ours holds for the parent. "
        "1/2 is a coin. Last columns: polarity, and the probability that the start is the parent, "
        "at the end. Means ± standard deviations over seeds, and over roots in the rows of all."
    )
    return markdown([*head, "polarity", "start is the parent"], rows) + notes


def _picture(table: Table) -> Figure:
    roots = list(dict.fromkeys(str(row["root"]) for row in table.rows))
    with panels(2, 2) as (figure, axes):
        for way, above, below in zip(WAYS.values(), axes[:2], axes[2:], strict=True):
            draw(above, lines(table, "change", training=way), roots)
            above.set(title=way, ylim=(-1.1, 1.1))
            draw_polarity(below, lines(table, "polarity", training=way), roots)
            below.set_xlabel("share of training done")
        axes[0].set_ylabel("kurtosis, change, scaled")
        axes[2].set_ylabel("polarity")
        legend_below(figure, axes[0])
    return figure


def lines(table: Table, figure: str, **wanted: object) -> list[tuple[str, list, list]]:
    """A figure over each training: root, progress, values."""
    found: dict[tuple[object, object], tuple[str, list, list]] = {}
    for row in table.rows:
        if figure in row and "progress" in row and all(row[k] == v for k, v in wanted.items()):
            root = str(row["root"])
            _, x, y = found.setdefault((row["seed"], root), (root, [], []))
            x.append(row["progress"])
            y.append(row[figure])
    return list(found.values())
