"""The page about simulated hubs: a row a run, kept in its CSV, so that sizes can be run apart."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.judged import verdict
from experiments.figures.pages import Page, Row, markdown
from experiments.figures.pictures import OURS, PAPER, panels
from experiments.hub.phylogeny import ALIKE, HUBS, LARGEST, LAYERS, MISSING, SEEN, STRANGERS
from experiments.hub.steps import FIGURES, read_steps

NAME = "hub"
QUESTION = f"""
Hubs that never were, of which everything is known: sketches of {LAYERS} layers with {SEEN} weights
each ({LAYERS * SEEN * 4 // 1024} KB a model) drawn from a Brownian phylogeny. Families are
heavy-tailed, the largest {LARGEST:.0%} of all; {STRANGERS:.0%} are strangers to all. Trees have
hubs (a newcomer hangs from a random model's parent with probability {HUBS}); {MISSING:.0%} of the
models with children are taken away, with the edges from them. Each step is one that was measured
on the families of the dataset builder (below); children of one model resemble each other in groups
of {ALIKE}, as many as it has there.
"""
LIMITS = {
    "right": 0.95,
    "recover_s": 1800.0,
    "peak_gb": 16.0,
}


def merged(path: Path, new: Row) -> list[Row]:
    """The rows of a CSV, as text, with one of the same models, seed and mixture replaced."""
    rows: list[Row] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    key = ("models", "seed", "mixed")
    rows = [row for row in rows if any(str(row[k]) != str(new[k]) for k in key)]
    return sorted([*rows, new], key=lambda row: (str(row["mixed"]), int(str(row["models"]))))


def page(rows: Sequence[Row]) -> Page:
    return Page(
        "A hub, simulated",
        QUESTION,
        f"{_results(rows)}\n\n{_growth(rows)}\n\n## What steps were drawn from\n\n{_steps()}",
        [{"split": f"hub of {row['models']}", **row} for row in rows],
        _picture(rows),
        "Seconds against models, and the share of edges that are right",
    )


def _f(row: Row, name: str) -> float:
    return float(str(row.get(name) or "nan"))


def _results(rows: Sequence[Row]) -> str:
    head = ["models", "faint among others", "edges", "right", "undirected", "families right (ARI)"]
    head += ["recover, s", "of it families", "of processors", "memory, GB"]
    body = []
    for row in rows:
        body.append(
            [
                f"{_f(row, 'models'):,.0f}",
                "yes" if str(row["mixed"]) == "True" else "no",
                f"{_f(row, 'edges'):,.0f}",
                f"{_f(row, 'right'):.3f}",
                f"{_f(row, 'undirected'):.3f}",
                f"{_f(row, 'families_ari'):.3f}",
                f"{_f(row, 'recover_s'):.1f}",
                f"{_f(row, 'families_s'):.1f}",
                f"{_f(row, 'recover_cpu_s'):.1f}",
                f"{_f(row, 'peak_gb'):.1f}",
            ]
        )
    said = (
        "Recovery starts from sketches in a file and ends with the forest, by a process a core. "
        "*Of processors*: the seconds that all computed, where others shared the machine. "
        "Memory is what all processes hold at once, the mapped file apart."
    )
    full = [row for row in rows if _f(row, "models") >= 1e6 and str(row["mixed"]) != "True"]
    asked = "Of 1,000,000 models nothing is said yet: that size was not run here."
    if full:
        asked = _judged(full[0])
    return "\n\n".join([markdown(head, body), said, asked])


def _judged(row: Row) -> str:
    """What was asked of 1,000,000 models, each with what was found."""
    said = [
        f"{LIMITS[name]:g}{unit} {what}, {verdict(sign * _f(row, name), sign * LIMITS[name])}"
        for name, what, unit, sign in (
            ("right", "of edges", "", 1),
            ("recover_s", "to recover", " s", -1),
            ("peak_gb", "of memory", " GB", -1),
        )
    ]
    told = f"Asked at 1,000,000: {'; '.join(said)}."
    if _f(row, "recover_s") > _f(row, "recover_cpu_s"):
        told += (
            f" Other work had most of the machine then: in {_f(row, 'recover_s'):.0f} s the "
            f"processes of the two cores computed {_f(row, 'recover_cpu_s'):.0f} s."
        )
    return told


def _growth(rows: Sequence[Row]) -> str:
    usual = [row for row in rows if str(row["mixed"]) != "True" and _f(row, "models") >= 1e4]
    if len(usual) < 2:
        return "Growth is told from two sizes on."
    x, y = (np.log([_f(row, name) for row in usual]) for name in ("models", "recover_cpu_s"))
    power = np.polyfit(x, y, 1)[0]
    return f"From 10,000 on, the processors' time grows with the {power:.2f}th power of models."


def _steps() -> str:
    """The measured steps in one table a split."""
    table = read_steps()
    body = []
    for scale, split in dict.fromkeys((row["scale"], row["split"]) for row in table):
        some = [row for row in table if (row["scale"], row["split"]) == (scale, split)]
        cells = []
        for figure in FIGURES:
            values = [v for row in some if not math.isnan(v := float(row[figure] or "nan"))]
            cells.append(" / ".join(f"{q:.3g}" for q in np.quantile(values, [0.1, 0.5, 0.9])))
        body.append([scale, split, len(some), *cells])
    said = (
        "True edges p -> c of the builder's families, over matrices that all models of an "
        "architecture have from each other (`experiments/hub/steps.py`, data: "
        "`experiments/hub/steps.csv`); 10 %, 50 % and 90 % quantiles. *step* |c - p| / |p|; "
        "*frozen*: share of weights in matrices left as they are; *spread*: standard deviation of "
        "log step over the others; *shrink*: what decay took of p, median over matrices; *turn*: "
        "cos(c - p, p - g), g the parent of p; *alike*: mean cosine with the steps of siblings."
    )
    return f"{markdown(['scale', 'split', 'edges', *FIGURES], body)}\n\n{said}"


def _picture(rows: Sequence[Row]) -> Figure:
    usual = [row for row in rows if str(row["mixed"]) != "True"]
    x = [_f(row, "models") for row in usual]
    with panels(1, 2, width=3.6) as (figure, (time, edges)):
        time.plot(x, [_f(row, "recover_s") for row in usual], "o-", color=OURS, label="recover")
        time.plot(x, [_f(row, "families_s") for row in usual], "o-", color=PAPER, label="families")
        spent = [_f(row, "recover_cpu_s") for row in usual]
        time.plot(x, spent, "s--", color=OURS, alpha=0.6, label="of processors")
        first = [spent[0] * n / x[0] for n in x]
        time.plot(x, first, ":", label="linear")
        time.set(xscale="log", yscale="log", xlabel="models", ylabel="seconds")
        time.legend()
        edges.plot(x, [_f(row, "right") for row in usual], "o-", color=OURS)
        edges.axhline(LIMITS["right"], linestyle=":")
        edges.set(xscale="log", xlabel="models", ylabel="edges right", ylim=(0, 1))
    return figure
