"""Figures 9 to 14: five directional scores over fine-tuning."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.figures.courses import change, courses, draw, draw_polarity, falling, in_order
from experiments.figures.families import Data
from experiments.figures.figure3 import lines
from experiments.figures.methods import chosen, parent_probability, polarity
from experiments.figures.pages import Page, Table, markdown, spread
from experiments.figures.pictures import legend_below, panels
from experiments.scales import SCALES
from mother.methods.scores import SCORES

NAMES = ("mean", "variance", "skewness", "kurtosis", "entropy")
OURS = "ours: polarity"

QUESTION = """
Five scores of the dense layers over the fine-tuning of each root. In the paper kurtosis alone is
(almost) monotonic, and falls, for all five roots. A score is of use if it goes one way for all: the
shares below are of pairs of checkpoints of a run whose later one has the lower score, 1 where it
falls throughout, 0 where it grows throughout, near 1/2 where it wanders. The sixth panel is what
ours has instead, polarity of the start and each checkpoint; it is of use where it is below 1/2.
"""


def page(data: Data) -> Page:
    table = Table()
    for course in courses(data, "fine-tuning"):
        if course.root not in SCALES[data.scale].roots:
            continue
        at = {"split": "courses", "seed": course.seed, "root": course.root}
        dense = chosen(course.models, "dense")
        for name in NAMES:
            score = SCORES[name](dense)
            scaled = change(score)
            table.add(**at, score=name, falling=falling(score))
            for x, value, moved in zip(course.progress, score, scaled, strict=True):
                table.add(
                    **at, score=name, progress=float(x), value=float(value), change=float(moved)
                )
        m = course.models.measures
        lack = polarity(m)[0]
        table.add(**at, score=OURS, in_order=in_order(parent_probability(m)))
        for k, x in enumerate(course.progress):
            value = float(lack[k]) if k else 0.0
            table.add(**at, score=OURS, progress=float(x), value=value, change=value)
    return Page(
        "Figures 9 to 14: directional scores over fine-tuning",
        QUESTION,
        _text(table),
        table.rows,
        _picture(table),
        "Five scores and polarity over fine-tuning, by root",
    )


def _text(table: Table) -> str:
    roots = list(dict.fromkeys(str(row["root"]) for row in table.rows))
    rows = []
    for name in NAMES:
        falls = table.of("falling", score=name)
        steady = sum(f >= 0.9 for f in falls), sum(f <= 0.1 for f in falls)
        rows.append(
            [
                name,
                *(spread(table.of("falling", score=name, root=root)) for root in roots),
                spread(falls),
                f"{steady[0]} fall, {steady[1]} grow, {len(falls) - sum(steady)} neither",
            ]
        )
    of_ours = [spread(table.of("in_order", score=OURS, root=root)) for root in roots]
    every = table.of("in_order", score=OURS)
    steady = sum(v >= 0.9 for v in every)
    rows.append(
        [
            "**ours**, pairs in order",
            *of_ours,
            spread(every),
            f"{steady} in order, {len(every) - steady} not",
        ]
    )
    return markdown(["score", *roots, "all", "runs, in nine pairs of ten"], rows) + (
        "\n\nMeans ± standard deviations over seeds; in *all*, over roots and seeds."
    )


def _picture(table: Table) -> Figure:
    roots = list(dict.fromkeys(str(row["root"]) for row in table.rows))
    with panels(2, 3, width=2.7, height=2.2) as (figure, axes):
        for ax, name in zip(axes, NAMES, strict=False):
            draw(ax, lines(table, "change", score=name), roots)
            ax.set(title=name, ylim=(-1.1, 1.1))
        draw_polarity(axes[5], lines(table, "change", score=OURS), roots)
        axes[5].set_title(OURS)
        axes[0].set_ylabel("change, scaled")
        axes[3].set_ylabel("change, scaled")
        axes[4].set_xlabel("share of fine-tuning done")
        legend_below(figure, axes[0], 5)
    return figure
