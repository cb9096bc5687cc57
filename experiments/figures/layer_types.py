"""Figures 15 to 19: kurtosis of each type of layer over fine-tuning."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.figures.courses import change, courses, draw, draw_polarity, falling, in_order
from experiments.figures.families import Data
from experiments.figures.figure3 import lines
from experiments.figures.methods import chosen, parent_probability, polarity
from experiments.figures.pages import Page, Table, markdown, spread
from experiments.figures.pictures import legend_below, panels
from experiments.scales import SCALES
from mother.methods.scores import kurtosis

TYPES = ("query", "key", "value", "dense")

QUESTION = """
Kurtosis by type of layer over the fine-tuning of each root (above), and polarity of the start and
each checkpoint from the same layers alone (below). In the paper the dense layers alone fall for all
roots. Shares of pairs of checkpoints of a run: those whose later one has the lower kurtosis (1:
falls throughout, 0: grows throughout), and those whose earlier one ours holds for the parent.
"""


def page(data: Data) -> Page:
    table = Table()
    for course in courses(data, "fine-tuning"):
        if course.root not in SCALES[data.scale].roots:
            continue
        for layers in TYPES:
            at = {
                "split": "courses",
                "seed": course.seed,
                "root": course.root,
                "layers": layers,
            }
            m = chosen(course.models, layers)
            score, lack = kurtosis(m), polarity(m)[0]
            scaled = change(score)
            table.add(**at, falling=falling(score), in_order=in_order(parent_probability(m)))
            for k, x in enumerate(course.progress):
                table.add(
                    **at,
                    progress=float(x),
                    kurtosis=float(score[k]),
                    change=float(scaled[k]),
                    polarity=float(lack[k]) if k else 0.0,
                )
    return Page(
        "Figures 15 to 19: types of layers",
        QUESTION,
        _text(table),
        table.rows,
        _picture(table),
        "Kurtosis and polarity by type of layer over fine-tuning",
    )


def _text(table: Table) -> str:
    roots = list(dict.fromkeys(str(row["root"]) for row in table.rows))
    rows = []
    for layers in TYPES:
        for figure, name in (("falling", "kurtosis falls"), ("in_order", "**ours** in order")):
            by_root = [spread(table.of(figure, layers=layers, root=root)) for root in roots]
            rows.append([layers, name, *by_root, spread(table.of(figure, layers=layers))])
    return markdown(["layers", "", *roots, "all"], rows) + (
        "\n\nMeans ± standard deviations over seeds; in *all*, over roots and seeds."
    )


def _picture(table: Table) -> Figure:
    roots = list(dict.fromkeys(str(row["root"]) for row in table.rows))
    with panels(2, 4, width=2.3, height=2.0) as (figure, axes):
        for layers, above, below in zip(TYPES, axes[:4], axes[4:], strict=True):
            draw(above, lines(table, "change", layers=layers), roots)
            above.set(title=layers, ylim=(-1.1, 1.1))
            draw_polarity(below, lines(table, "polarity", layers=layers), roots)
            below.set_xlabel("share done")
        axes[0].set_ylabel("kurtosis, change")
        axes[4].set_ylabel("polarity")
        legend_below(figure, axes[0], 5)
    return figure
