"""The default method: inner products, and ranks where LoRA left them to be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Group
from mother.heritage import gram
from mother.heritage.forest import Forest
from mother.heritage.lora import passed_over
from mother.heritage.untouched import Told, told_by_rows
from mother.measures import Measures

Indices = NDArray[np.intp]


def rows_of(group: Group) -> Callable[[Indices], Told]:
    """What rows say of some of a group's models, which must be relatives; looked at once."""
    known: dict[bytes, Told] = {}

    def told(models: Indices) -> Told:
        key = models.tobytes()
        if key not in known:
            known[key] = told_by_rows(group.among(models.tolist()))
        return known[key]

    return told


def recover(
    group: Group,
    m: Measures,
    replicates: int = 0,
    seed: int = 0,
    trees: int | None = None,
    original: Indices | None = None,
    rows: Callable[[Indices], Told] | None = None,
) -> Forest:
    """The forest of a group's models, measured: as `gram.recover`, with what the rows say that
    training left untouched, and again without the edges that by their ranks lead over another
    model, until there is none. rows: `rows_of` the group, where it is recovered several times."""
    n = len(group.checkpoints)
    apart = np.zeros((n, n), dtype=bool)
    rows = rows or rows_of(group)
    while True:
        forest = gram.recover(m, replicates, seed, trees, original, apart, rows)
        found = passed_over(group, m, forest.parents) & ~apart
        if not found.any():
            return forest
        apart |= found
