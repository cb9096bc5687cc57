"""What each kind of evidence adds, and what it costs: the default method without one at a time."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data, Indices
from experiments.figures.judged import ROLE, Kind, kinds
from experiments.figures.methods import Count, nearest_by_polarity
from experiments.figures.pages import Page, Table, markdown
from experiments.figures.pictures import OURS, panels
from experiments.figures.splits import there
from mother.evidence.direction import TRAINING
from mother.evidence.registry import KINDS
from mother.trees.rules import RULES, Rules

QUESTION = """
The default method without one kind of evidence at a time, on the same measurements, and what is
left without all of them: in each family the minimum spanning tree of distances, from the root by
summed polarity.
"""

NOTES = """
A split's figure is its edges right of true edges; *undirected* and *false* are sums over all
splits, *false* with those that have no true edge. *Time* is that of the recovery from what was
measured, by the processor's clock and the better of two, as a share of the whole method's: one less
that is what the evidence costs. Reading and measuring, the same for all, are not in it.

- *whitening*: the directions that trainings of a family have in common count less;
- *hubs*: who has many neighbours is the likelier root where weights don't tell;
- *common shrink*: weight decay, one factor for all layers;
- *free scale*: how well this training knew its start;
- *ranks*: edges that by their ranks lead over another model are none (LoRA alone);
- *untouched rows*: rows that training left as they were, or that only shrank;
- *tails and spread*: how far weights have come from how nets begin;
- *leaving out vectors*: distances and direction are taken from matrices.
"""

TIMES = 2  # that each is timed: the fastest counts
ALL = "the whole method"
LEFT = "distances and polarity alone"


def _all_but(kind: str) -> tuple[str, ...]:
    return tuple(name for name in KINDS if name != kind)


VARIANTS: dict[str, Rules] = {
    ALL: RULES,
    "without whitening": replace(RULES, whitened=False),
    "without hubs": replace(RULES, prior=False),
    "without common shrink": replace(RULES, training=replace(TRAINING, decayed=1e-300)),
    "without free scale": replace(RULES, training=replace(TRAINING, scales=(1.0,) * 6)),
    "without ranks": replace(RULES, kinds=_all_but("ranks")),
    "without untouched rows": replace(RULES, kinds=_all_but("rows")),
    "without tails and spread": replace(RULES, kinds=_all_but("trained")),
    "vectors as well": replace(RULES, vectors=True),
}


def found(kind: Kind, variant: str) -> Indices:
    """Parents, (n,), by the whole method, by one of its VARIANTS, or by what is LEFT."""
    if variant == LEFT:
        return nearest_by_polarity(kind.measures)
    return kind.recover(rules=VARIANTS[variant]).parents


def page(data: Data) -> Page:
    table = Table()
    for split, seed in there(data):
        parts = kinds(data.folder(split, seed), data.processes)
        for variant in (*VARIANTS, LEFT):
            of, seconds = Count(0, 0, 0, 0), 0.0
            for kind in parts:
                parents, took = _timed(kind, variant)
                of, seconds = of + kind.count(parents), seconds + took
            table.add(
                split=split,
                seed=seed,
                variant=variant,
                right=of.right,
                undirected=of.undirected,
                true=of.true,
                false=of.found - of.right,
                seconds=seconds,
            )
    return Page(
        "Ablation",
        QUESTION,
        _text(table, data.scale),
        table.rows,
        _picture(table),
        "Edges right without each kind of evidence, and the time it takes",
    )


def _timed(kind: Kind, variant: str) -> tuple[Indices, float]:
    """What is found, and the seconds it takes, the best of TIMES."""
    seconds = []
    for _ in range(TIMES):
        start = time.process_time()
        parents = found(kind, variant)
        seconds.append(time.process_time() - start)
    return parents, min(seconds)


def _total(table: Table, figure: str, variant: str, split: str = "") -> float:
    return sum(table.of(figure, variant=variant, **({"split": split} if split else {})))


def _share(table: Table, variant: str, split: str = "") -> float:
    true = _total(table, "true", variant, split)
    return _total(table, "right", variant, split) / true if true else float("nan")


def _text(table: Table, scale: str) -> str:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    told = [split for split in splits if _total(table, "true", ALL, split)]
    rows = []
    for variant in (*VARIANTS, LEFT):
        rows.append(
            [
                f"**{variant}**" if variant == ALL else variant,
                f"{_share(table, variant):.3f}",
                "" if variant == ALL else f"{_share(table, variant) - _share(table, ALL):+.3f}",
                f"{_total(table, 'undirected', variant):.0f}",
                f"{_total(table, 'false', variant):.0f}",
                f"{_total(table, 'seconds', variant) / _total(table, 'seconds', ALL):.2f}",
                *(f"{_share(table, variant, split):.3f}" for split in told),
            ]
        )
    head = ["", "right", "change", "undirected", "false", "time", *told]
    true = f"Of {_total(table, 'true', ALL):.0f} true edges."
    return "\n\n".join([ROLE[scale], markdown(head, rows), true, NOTES.strip()])


def _picture(table: Table) -> Figure:
    names = [*VARIANTS, LEFT]
    with panels(1, 2, width=4.2, height=2.8) as (figure, (right, cost)):
        places = np.arange(len(names))[::-1]
        right.barh(places, [_share(table, v) for v in names], color=OURS)
        right.set_yticks(places, names)
        right.set(xlabel="edges right", xlim=(0, 1.02))
        whole = _total(table, "seconds", ALL)
        cost.barh(places, [_total(table, "seconds", v) / whole for v in names], color=OURS)
        cost.set_yticks(places, [""] * len(names))
        cost.set(xlabel="time, of the whole method's")
    return figure
