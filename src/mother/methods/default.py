"""The default method: inner products, and characters where training left some to be read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.evidence.characters import Characters
from mother.evidence.merges import Merged
from mother.measures import Measures
from mother.methods import gram
from mother.trees.forest import Forest

Indices = NDArray[np.intp]


def recover(
    characters: Characters,
    m: Measures,
    replicates: int = 0,
    seed: int = 0,
    trees: int | None = None,
    original: Indices | None = None,
    without: NDArray[np.bool_] | None = None,
    merged: Merged | None = None,
) -> Forest:
    """The forest of a group's models, measured: as `gram.recover`, with what the rows say that
    training left untouched, and again without the edges that by their ranks lead over another
    model, until there is none. without: edges, (n, n), symmetric, that it must not have."""
    n = m.gram.shape[1]
    apart = np.zeros((n, n), dtype=bool) if without is None else without
    while True:
        forest = gram.recover(m, replicates, seed, trees, original, apart, characters.rows, merged)
        found = characters.passed_over(m, forest.parents) & ~apart
        if not found.any():
            return forest
        apart = apart | found
