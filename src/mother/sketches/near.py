"""Pairs of models that were looked at more closely than the many others of their family."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mother.sketches.samples import Samples

Array = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Near:
    """What larger samples say of E pairs i < j of models in L layers.

    i, j        (E,)
    ii, jj, ij  (L, E)  |w_i|^2, |w_j|^2 and <w_i, w_j>, scaled to whole layers
    chance      (L, E)  the variance of a cosine there
    """

    i: Indices
    j: Indices
    ii: Array
    jj: Array
    ij: Array
    chance: Array

    def among(self, members: Indices) -> Near:
        """Those of some models, (m,) ascending, by their place among these."""
        i, j = np.searchsorted(members, self.i), np.searchsorted(members, self.j)
        i, j = np.minimum(i, len(members) - 1), np.minimum(j, len(members) - 1)
        kept = np.flatnonzero((members[i] == self.i) & (members[j] == self.j))
        told = (x[:, kept] for x in (self.ii, self.jj, self.ij, self.chance))
        return Near(i[kept], j[kept], *told)

    def over(self, layers: NDArray[np.bool_]) -> Near:
        """The same for some of the layers, (L,) bool."""
        told = (x[layers] for x in (self.ii, self.jj, self.ij, self.chance))
        return Near(self.i, self.j, *told)

    def scaled(self, samples: Samples) -> Samples:
        """The smaller samples, in each layer on the scale of the larger ones: what a sample happens
        to hold makes all distances in it too long or too short alike, and models would seem nearer
        to those that were looked at as they were.

        >>> rows = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]], np.float32)
        >>> s = Samples(("w",), ((2, 2),), np.array([0, 2]), rows)
        >>> one, few = np.array([[1.0]]), np.array([0])
        >>> Near(few, few + 1, 10 * one, 12 * one, 7 * one, one).scaled(s).rows.tolist()
        [[2.0, 2.0], [2.0, 4.0], [2.0, 6.0]]
        """
        ii, jj, ij = samples.products(self.i, self.j)
        before = np.maximum(ii + jj - 2 * ij, 0.0).sum(axis=1)
        now = np.maximum(self.ii + self.jj - 2 * self.ij, 0.0).sum(axis=1)
        told = (before > 0) & (now > 0)
        scale = np.sqrt(np.where(told, now / np.where(told, before, 1.0), 1.0))
        column = np.repeat(scale, samples.held).astype(np.float32)
        return replace(samples, rows=samples.rows * column)
