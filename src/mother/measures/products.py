"""Inner products of pairs of models by layer: what all evidence on pairs is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mother.measures.stream import Measures

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Products:
    """What L layers say of E pairs of models (i[e], j[e]).

    ii, jj, ij  (L, E)  |w_i|^2, |w_j|^2 and <w_i, w_j>
    chance      (L, E) or (L, 1)  the variance of a cosine there by chance
    common      (L, E)  the share of a layer that the sums are over, where weights were pruned;
                        None where that is all of it
    """

    ii: Array
    jj: Array
    ij: Array
    chance: Array
    common: Array | None = None

    @property
    def squared(self) -> Array:
        """|w_i - w_j|^2, (L, E)."""
        return self._whole(np.maximum(self.ii + self.jj - 2 * self.ij, 0.0))

    @property
    def lost(self) -> Array:
        """What of i is gone in j: <w_i - w_j, w_i>, (L, E)."""
        return self._whole(self.ii - self.ij)

    def _whole(self, sums: Array) -> Array:
        return sums if self.common is None else np.asarray(sums / self.common)

    def turned(self) -> Products:
        """Of the pairs (j[e], i[e])."""
        return replace(self, ii=self.jj, jj=self.ii)

    def of(self, pairs: slice | Indices) -> Products:
        """Of some of the pairs."""
        chance = self.chance if self.chance.shape[1] == 1 else self.chance[:, pairs]
        common = None if self.common is None else self.common[:, pairs]
        return Products(self.ii[:, pairs], self.jj[:, pairs], self.ij[:, pairs], chance, common)

    def over(self, layers: Bools) -> Products:
        """Of some of the layers, (L,) bool."""
        if layers.all():
            return self
        common = None if self.common is None else self.common[layers]
        return Products(
            self.ii[layers], self.jj[layers], self.ij[layers], self.chance[layers], common
        )

    def beside(self, other: Products) -> Products:
        """Of these pairs and then of others, of the same layers."""

        def joined(one: Array, two: Array) -> Array:
            return np.concatenate([one, two], axis=1)

        chance, common = self.chance, self.common
        if chance.shape[1] > 1:
            chance = joined(chance, other.chance)
        if common is not None and other.common is not None:
            common = joined(common, other.common)
        parts = joined(self.ii, other.ii), joined(self.jj, other.jj), joined(self.ij, other.ij)
        return Products(*parts, chance, common)


class Source(Protocol):
    """Where inner products of n models come from: measured for all pairs, or taken from samples as
    they are asked for."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]: ...
    @property
    def sizes(self) -> NDArray[np.int64]: ...
    @property
    def seen(self) -> NDArray[np.int64]: ...
    def __len__(self) -> int: ...
    def two(self, i: int, j: int) -> Measures:
        """Measures of two of the models, (L, 2, 2)."""
        ...

    def pairs(self, i: Indices, j: Indices) -> Products:
        """Of the pairs (i[e], j[e])."""
        ...

    def squared_norms(self) -> Array:
        """|w|^2 of each model in each layer, (L, n)."""
        ...

    def changed(self) -> Bools:
        """The layers that differ between some models, (L,)."""
        ...

    def over(self, layers: Bools) -> Self:
        """The same for some of the layers, (L,) bool."""
        ...

    def among(self, models: Indices) -> Self:
        """The same of some of the models."""
        ...
