"""The default method: inner products, and ranks where LoRA left them to be read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Group
from mother.heritage import gram
from mother.heritage.forest import Forest
from mother.heritage.lora import passed_over
from mother.heritage.untouched import Told, told_by_rows
from mother.measures import Measures

Indices = NDArray[np.intp]


def recover(
    group: Group,
    m: Measures,
    replicates: int = 0,
    seed: int = 0,
    trees: int | None = None,
    original: Indices | None = None,
) -> Forest:
    """The forest of a group's models, measured: as `gram.recover`, with what the rows say that
    training left untouched, and again without the edges that by their ranks lead over another
    model, until there is none."""
    n = len(group.checkpoints)
    apart = np.zeros((n, n), dtype=bool)
    looked_at: dict[tuple[int, ...], Told] = {}

    def told(models: Indices) -> Told:
        key = tuple(models.tolist())
        if key not in looked_at:
            looked_at[key] = told_by_rows(group.among(key))
        return looked_at[key]

    while True:
        forest = gram.recover(m, replicates, seed, trees, original, apart, told)
        found = passed_over(group, m, forest.parents) & ~apart
        if not found.any():
            return forest
        apart |= found
