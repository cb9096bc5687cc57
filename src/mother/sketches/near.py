"""Pairs of models that were looked at more closely than the many others of their family."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mother.measures.products import Bools, Indices, Products


def keys(i: Indices, j: Indices) -> NDArray[np.int64]:
    """One number for each unordered pair, in the order of the pairs (lower, higher).

    >>> keys(np.array([0, 1]), np.array([1, 0])).tolist()
    [1, 1]
    """
    return (np.minimum(i, j).astype(np.int64) << 32) | np.maximum(i, j)


@dataclass(frozen=True)
class Near:
    """What larger samples say of E pairs i, j of models, each once."""

    i: Indices
    j: Indices
    of: Products

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], Indices]:
        own = keys(self.i, self.j)
        order = np.argsort(own, kind="stable")
        return own[order], order

    def at(self, i: Indices, j: Indices) -> Indices:
        """Which of these some pairs are, in either order, -1 for none, (E,)."""
        known, order = self._sorted
        if not len(known):
            return np.full(len(i), -1, dtype=np.intp)
        wanted = keys(i, j)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[at] == wanted, order[at], -1)

    def among(self, members: Indices) -> Near:
        """Those of some models, (m,), by their place among these."""
        place = {k: at for at, k in enumerate(members.tolist())}
        i, j = (
            np.array([place.get(k, -1) for k in side.tolist()], np.intp)
            for side in (self.i, self.j)
        )
        kept = np.flatnonzero((i >= 0) & (j >= 0))
        return Near(i[kept], j[kept], self.of.of(kept))

    def over(self, layers: Bools) -> Near:
        """The same for some of the layers, (L,) bool."""
        return Near(self.i, self.j, self.of.over(layers))

    def laid_over(self, products: Products, i: Indices, j: Indices) -> Products:
        """Products of pairs (i[e], j[e]), with these in the place of what was said of the same."""
        at = self.at(i, j)
        here = np.flatnonzero(at >= 0)
        if not len(here):
            return products
        found = self.of.of(at[here])
        turned = self.i[at[here]] != i[here]
        ii, jj, ij = products.ii.copy(), products.jj.copy(), products.ij.copy()
        ii[:, here] = np.where(turned, found.jj, found.ii)
        jj[:, here] = np.where(turned, found.ii, found.jj)
        ij[:, here] = found.ij
        chance = np.broadcast_to(products.chance, ij.shape).copy()
        chance[:, here] = found.chance
        return Products(ii, jj, ij, chance)
