"""Which of two models is the original of the other, by what their relatives are nearer to.

What was done to a copy is its own: seen from any relative, the original has none of it, and the
copy has all. So a relative lies at one end of the way from the original to the copy, where the
original is, but for what its own training knows of that way: as much as chance, and COSINE.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import COSINE
from mother.evidence.family import NO_NORM
from mother.measures import Measures
from mother.thresholds import LITTLE

ORIGINALS_TRIED = 4  # of the nearest models, as the original of a copy


def distances(m: Measures) -> NDArray[np.float64]:
    """Squared distances of all models, layers by their weights and in units of their mean squared
    norm, (n, n); infinite from a model to itself."""
    norm = np.nanmean(np.diagonal(m.gram, axis1=1, axis2=2), axis=1)
    weight = np.where(norm > 0, m.sizes / np.where(norm > 0, norm, 1.0), 0.0)
    apart = np.nansum(weight[:, None, None] * m.squared_distance, axis=0)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart)


def nearer(
    m: Measures, differ: NDArray[np.bool_], i: int, k: int, kin: Sequence[int]
) -> tuple[int | None, bool]:
    """The one of two models that others are nearer to, in the layers in which the two differ, (L,),
    and whether that tells which was first; None where they are as near to both. kin: relatives.

    >>> rng = np.random.default_rng(0)
    >>> w = rng.standard_normal((4, 900)); w[1:] = w[0] + 0.3 * w[1:]
    >>> m = Measures(("u",), ((30, 30),), np.array([900]), w[None] @ w.T)
    >>> nearer(m, np.array([True]), 0, 1, [2, 3]), nearer(m, np.array([True]), 1, 0, [2, 3])
    ((0, True), (0, True))
    """
    if not kin or not differ.any():
        return None, False
    apart, chance = m.squared_distance[differ], COSINE**2 + 1 / m.seen[differ]
    way = apart[:, i, k]
    length = max(float(np.nansum(way)), NO_NORM)
    where = [(1 + np.nansum(apart[:, x, i] - apart[:, x, k]) / length) / 2 for x in kin]
    by_chance = [np.sqrt(np.nansum(chance * way * apart[:, x, i])) / length for x in kin]
    at, spread = float(np.median(where)), float(np.median(by_chance)) / len(kin) ** 0.5
    if abs(at - 0.5) < LITTLE:
        return None, False
    first, end = (i, 0) if at < 0.5 else (k, 1)
    return first, abs(at - end) < 0.5 - LITTLE and spread < LITTLE
