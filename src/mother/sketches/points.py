"""Models as points: distances of pairs, and projections by which near ones are found."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mother.measures.products import Array, Indices

Points = NDArray[np.float32]
DIMENSIONS = 256  # of the points as they are scanned
PAIRS_AT_ONCE = 1 << 22  # numbers of pairs worked on at once


def squared_distances(points: NDArray[np.float32], i: Indices, j: Indices) -> Array:
    """|x_i - x_j|^2 of pairs, (E,), from their differences.

    >>> squared_distances(np.eye(2, dtype=np.float32), np.array([0]), np.array([1]))
    array([2.])
    """
    out = np.empty(len(i))
    step = max(1, PAIRS_AT_ONCE // points.shape[1])
    for at in range(0, len(i), step):
        pairs = slice(at, at + step)
        gap = points[i[pairs]] - points[j[pairs]]
        out[pairs] = np.square(gap, out=gap).sum(axis=1)
    return out


def projected(points: Points, seed: int = 0) -> Points:
    """Points with about the same distances in at most DIMENSIONS dimensions: random signs."""
    d = points.shape[1]
    if d <= DIMENSIONS:
        return points
    return np.asarray(points @ _signs(d, seed))


@lru_cache(maxsize=8)
def _signs(d: int, seed: int) -> Points:
    signs = np.random.default_rng(seed).integers(0, 2, (d, DIMENSIONS)).astype(np.float32)
    return (2 * signs - 1) / np.float32(DIMENSIONS**0.5)
