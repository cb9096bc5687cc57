"""Plots that are the same bytes every time, and can be read on white and on black."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "#7d8590"
#: of the paper's method, and of ours
PAPER, OURS = "#d1742f", "#3f8fd8"
#: of roots or layers
COLOURS = ("#3f8fd8", "#d1742f", "#3fa45b", "#b565c4", "#c9534f", "#8f8a2e", "#2aa3a3", "#8a6a55")
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY
    ),
}


@contextmanager
def panels(
    rows: int, columns: int, *, width: float = 3.2, height: float = 2.5
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure and its axes, row by row, in the style of all."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        yield figure, list(axes.flat)


def svg(figure: Figure, name: str) -> str:
    """The picture as text. Fonts are the reader's, the background is transparent."""
    out = io.StringIO()
    hidden = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata=hidden)
    text = out.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', sans-serif")
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def bars(
    axes: Axes, groups: list[str], heights: dict[str, list[float]], errors: dict[str, list[float]]
) -> None:
    """A bar a group and series, side by side."""
    width = 0.8 / len(heights)
    for k, (series, values) in enumerate(heights.items()):
        x = np.arange(len(groups)) + (k - (len(heights) - 1) / 2) * width
        axes.bar(
            x,
            values,
            width,
            yerr=errors.get(series),
            label=series,
            color=colour(series, k),
            error_kw={"ecolor": GREY, "elinewidth": 0.8},
        )
    axes.set_xticks(np.arange(len(groups)), groups)


def colour(series: str, k: int) -> str:
    """Ours and the paper's have one each, in all pictures."""
    return {"ours": OURS, "paper": PAPER}.get(series, COLOURS[(k + 2) % len(COLOURS)])


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """One legend for all axes."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
