"""What sketches of some size lose against the full weights."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data
from experiments.figures.judged import ROLE, verdict
from experiments.figures.pages import Page, Table, markdown, mean
from experiments.figures.pictures import legend_below, panels
from experiments.figures.splits import Built, by_ours, there
from mother import ModelGraph, evaluate
from mother.checkpoints import Checkpoint
from mother.layouts import Group, align
from mother.measures import Measures, measure
from mother.methods.refinement import Refinement
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.levels import MAX_LEVELS, TIMES
from mother.sketches.sketch import sketch
from mother.sketches.windows import BUDGET, FAR_APART

QUESTION = """
A sketch holds a window of every layer, and the method runs on it as on the weights. Where a
decision lies within its error, as an index does it, more bytes are asked of the models it concerns.
How much is lost, from 4 KB a model to 4 MB? Ours with its defaults, on every split but mixed; of
sketches of 256 KB at most 0.01 of the edges that are right must be lost.
"""

NOTES = """
*Right* is the share of true edges found with direction, from the full weights and from sketches.
*In bands* is lost where all windows are as in large matrices, of rows that follow one another.
*Of the first sketches alone* is the same where nobody is asked for more. *Bytes a model* are those
of all that was looked at: sketches, the larger ones among them, and models that the largest left
in doubt, in full, each time that they were read. *As with all weights* is the share
of the edges found from the full weights that are found from sketches, too, right or wrong. Where a
model is smaller than the budget, its sketch holds all but the vectors, which break ties.
"""

BUDGETS = tuple(1 << k for k in range(12, 23, 2))
LOSS = 0.01


def page(data: Data) -> Page:
    table = Table()
    for split, seed in there(data):
        if split == "mixed":
            continue
        built, full = by_ours(data.folder(split, seed), data.processes)
        for budget in (0, *BUDGETS):
            closer, alone, held = full, full, 0
            if budget:
                closer, alone, held = _from_sketches(built, budget, data.processes)
            found = evaluate(closer, built.truth)
            near = (
                closer if budget != BUDGET else _from_sketches(built, budget, data.processes, 0)[0]
            )
            table.add(
                split=split,
                seed=seed,
                budget=budget,
                right=found.right,
                alone=evaluate(alone, built.truth).right,
                near=evaluate(near, built.truth).right,
                true=found.true,
                false=found.false,
                alike=len(_edges(closer) & _edges(full)),
                of_full=len(_edges(full)),
                bytes=held / len(built.checkpoints),
            )
    return Page(
        "Sketches",
        QUESTION,
        _text(table, data.scale),
        table.rows,
        _picture(table),
        "Edges right from sketches, by bytes a model",
    )


def _from_sketches(
    built: Built, budget: int, threads: int, apart: int = FAR_APART
) -> tuple[ModelGraph, ModelGraph, int]:
    """The graph where models are asked for more bytes, that of the first sketches alone, and the
    bytes that all sketches of the former hold. apart: as for `sketch`."""
    held: dict[tuple[str, int], int] = {}

    def reduced(checkpoint: Checkpoint, level: int) -> Checkpoint:
        small = sketch(built.checkpoints[checkpoint.id], budget * TIMES**level, apart=apart)
        held[checkpoint.id, level] = sum(t.kept.nbytes for t in small.tensors.values())
        return small

    def whole(group: Group) -> Measures:
        opened = [built.checkpoints[c.id] for c in group.checkpoints]
        for c in opened:
            read = held.get((c.id, MAX_LEVELS + 1), 0)
            held[c.id, MAX_LEVELS + 1] = read + sum(t.nbytes for t in c.tensors.values())
        wanted = {(x.name, x.shape) for x in group.layers}
        (full,) = align(opened)
        full = full.over((x.name, x.shape) in wanted for x in full.layers)
        return measure(full, l1=False, threads=threads)

    first = [reduced(c, 0) for c in built.checkpoints.values()]
    options = Options(bootstrap=0, threads=threads)
    alone = recover_checkpoints(first, options)
    closer = recover_checkpoints(first, options, refinement=Refinement(reduced, whole))
    return closer, alone, sum(held.values())


def _edges(graph: ModelGraph) -> set[tuple[str, str]]:
    return {(edge.parent, edge.child) for edge in graph.edges}


def _splits(table: Table) -> list[str]:
    every = dict.fromkeys(str(row["split"]) for row in table.rows)
    return [split for split in every if sum(table.of("true", split=split))]


def _share(table: Table, split: str, budget: int, part: str, whole: str) -> float:
    at: dict[str, object] = {"split": split, "budget": budget}
    pairs = zip(table.of(part, **at), table.of(whole, **at), strict=True)
    return mean(p / w for p, w in pairs if w)


def _name(budget: int) -> str:
    """
    >>> _name(4096), _name(1 << 22), _name(0)
    ('4 KB', '4 MB', 'all weights')
    """
    if not budget:
        return "all weights"
    return f"{budget >> 10} KB" if budget < 1 << 20 else f"{budget >> 20} MB"


def _text(table: Table, scale: str) -> str:
    splits, sizes = _splits(table), (*BUDGETS, 0)

    def by_size(part: str, whole: str) -> list[list[object]]:
        return [[s, *(f"{_share(table, s, b, part, whole):.3f}" for b in sizes)] for s in splits]

    names = [_name(budget) for budget in sizes]
    looked_at = [
        [s, *(f"{mean(table.of('bytes', split=s, budget=b)) / 1024:.0f} KB" for b in BUDGETS)]
        for s in dict.fromkeys(str(row["split"]) for row in table.rows)
    ]
    lines = []
    for split in splits:
        full, small = (_share(table, split, b, "right", "true") for b in (0, BUDGET))
        near = _share(table, split, BUDGET, "near", "true")
        lost = [f"{full - kept:+.3f}" for kept in (small, near)]
        lines.append([split, *lost, verdict(small, full - LOSS)])
    false = [
        [s, *(f"{sum(table.of('false', split=s, budget=b)):.0f}" for b in sizes)]
        for s in dict.fromkeys(str(row["split"]) for row in table.rows)
    ]
    return "\n\n".join(
        [
            ROLE[scale],
            "## Lost with 256 KB",
            markdown(["split", "lost", "in bands", f"at most {LOSS}"], lines),
            "## Right",
            markdown(["split", *names], by_size("right", "true")),
            "## Right of the first sketches alone",
            markdown(["split", *names], by_size("alone", "true")),
            "## Bytes a model",
            markdown(["split", *names[:-1]], looked_at),
            "## As with all weights",
            markdown(["split", *names], by_size("alike", "of_full")),
            "## Relations that are not true",
            markdown(["split", *names], false),
            NOTES.strip(),
        ]
    )


def _picture(table: Table) -> Figure:
    with panels(1, 1, width=6, height=3.2) as (figure, (ax,)):
        for split in _splits(table):
            lost = [
                _share(table, split, 0, "right", "true") - _share(table, split, b, "right", "true")
                for b in BUDGETS
            ]
            ax.plot([b / 1024 for b in BUDGETS], -np.array(lost), marker="o", ms=3, label=split)
        ax.axhline(-LOSS, color="grey", lw=0.8, ls=":")
        ax.set(xscale="log", xlabel="sketch, KB a model", ylabel="accuracy against all weights")
        legend_below(figure, ax)
    return figure
