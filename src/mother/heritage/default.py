"""The default method: inner products, and ranks where LoRA left them to be read."""

from __future__ import annotations

import numpy as np

from mother.checkpoints import Group
from mother.heritage import gram
from mother.heritage.forest import Forest
from mother.heritage.lora import passed_over
from mother.heritage.untouched import told_by_rows
from mother.measures import Measures


def recover(
    group: Group,
    m: Measures,
    replicates: int = 0,
    seed: int = 0,
    trees: int | None = None,
    original: gram.Indices | None = None,
) -> Forest:
    """The forest of a group's models, measured: as `gram.recover`, with what the rows say that
    training left untouched, and again without the edges that by their ranks lead over another
    model, until there is none."""
    n = len(group.checkpoints)
    if original is None:
        original = np.full(n, -1, dtype=np.intp)
    apart, shrunk = np.zeros((n, n), dtype=bool), np.zeros((n, n))
    own = np.flatnonzero(original < 0)
    families = [own[family] for family in gram.families(m.among(own.tolist()), trees)]
    for family in families:
        pairs = np.ix_(family, family)
        apart[pairs], shrunk[pairs] = told_by_rows(group.among(family.tolist()))
    while True:
        forest = gram.recover(m, replicates, seed, trees, original, apart, shrunk)
        found = passed_over(group, m, forest.parents) & ~apart
        if not found.any():
            return forest
        apart |= found
