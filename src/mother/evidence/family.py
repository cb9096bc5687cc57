"""One family as it is looked at: its layers that tell, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import telling
from mother.evidence.kinship import inherited, threshold
from mother.measures import Measures
from mother.measures.products import Array, Bools, Indices, Products, Source
from mother.sketches.points import squared_distances
from mother.sketches.samples import Samples

if TYPE_CHECKING:
    from mother.evidence.looks import Look

MODELS_ASKED = 256  # models of a family of samples that tell which layers are inherited
VECTORS = 1e-9  # weight of layers that are no matrices: they break ties
HEAVY = 0.999  # of the weights that moved, in the layers that are looked at
PAIRS_TOGETHER = 1 << 14  # looked at together
NO_NORM = 1e-200  # of a squared norm: less is none


@dataclass(frozen=True)
class Family:
    """A family of n models, from the L layers that its models have from each other and that moved.

    weight  (L,)  how much the squared change of each layer counts
    tells   (L,)  which of them direction is read from
    norm    (n,)  |w|^2 of models, so counted
    part    (L,)  the mean of it in each layer
    whole         of all layers
    looks         the models' layers as they are held, then at ever fewer of them ever more closely
    members (n,)  the models' numbers in these
    seed          of the error that what is said of samples is off by; None for none
    """

    source: Source
    weight: Array
    tells: Bools
    norm: Array
    part: Array
    whole: Source
    looks: Sequence[Look] = ()
    members: Indices | None = None
    seed: int | None = None

    @classmethod
    def of(
        cls,
        source: Source,
        looks: Sequence[Look] = (),
        members: Indices | None = None,
        seed: int | None = None,
        *,
        vectors: bool = False,
    ) -> Family | None:
        """None where nothing differs in what its models have from each other. vectors: whether
        layers that are no matrices count as much as these."""
        if isinstance(source, Samples):
            source = source.scaled()
        chosen = inherited(_some(source))
        moved = chosen & source.changed()
        if not moved.any():
            return None
        told = moved & heavy(moved, source.sizes)
        norms = source.squared_norms()
        mean = norms.mean(axis=1)
        weight = source.sizes / source.sizes[chosen].sum() / np.where(mean > 0, mean, 1.0)
        norm = weight[chosen] @ norms[chosen]
        part = (weight * mean)[told]
        whole, source, weight = source, source.over(told), weight[told]
        tells = np.ones(len(weight), dtype=bool) if vectors else telling(source)
        weight = np.where(tells, weight, VECTORS * weight)
        return cls(source, weight, tells, norm, part, whole, looks, members, seed)

    def __len__(self) -> int:
        return len(self.norm)

    @property
    def chance(self) -> float:
        """Standard deviation of the cosine of two steps that know nothing of each other."""
        return float(max(1, self.source.seen.sum()) ** -0.5)

    @cached_property
    def points(self) -> NDArray[np.float32] | None:
        """Points whose squared distances are the sum over layers of weight times |i - j|^2, about
        the family's middle, so that float32 loses little of them; None where that is not how they
        are held."""
        samples = self.source
        if not isinstance(samples, Samples):
            return None
        middle = samples.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        column = np.repeat(np.sqrt(self.weight * samples.sizes / samples.held), samples.held)
        points: NDArray[np.float32] = samples.rows - middle
        points *= column.astype(np.float32)
        return points

    @cached_property
    def table(self) -> Array:
        """|i - j|^2 of all pairs of models that are measured in pairs, (n, n)."""
        i, j = np.triu_indices(len(self))
        out = np.empty((len(self),) * 2)
        for at in range(0, len(i), PAIRS_TOGETHER):
            a, b = i[at : at + PAIRS_TOGETHER], j[at : at + PAIRS_TOGETHER]
            out[a, b] = out[b, a] = self.by_layer(a, b).sum(axis=0)
        return out

    def squared(self, i: Indices, j: Indices) -> Array:
        """|i - j|^2 of pairs, layers as they count, (E,)."""
        if self.points is None:
            return np.asarray(self.table[i, j])
        out = squared_distances(self.points, i, j)
        if isinstance(self.source, Samples) and (near := self.source.near) is not None:
            at = near.at(i, j)
            out[at >= 0] = self.weight @ near.of.of(at[at >= 0]).squared
        return out

    def by_layer(self, i: Indices, j: Indices) -> Array:
        """The same by layer, (L, E). Of two that have a layer not from each other, the others stand
        for all."""
        of = self.source.pairs(i, j)
        squared = self.weight[:, None] * of.squared
        cosine = of.ij / np.sqrt(np.maximum(of.ii * of.jj, NO_NORM))
        strange = self.tells[:, None] & (cosine < threshold(self.source.seen)[:, None])
        if not strange.any():
            return np.asarray(squared)
        kept = np.where(strange, 0.0, self.part[:, None]).sum(axis=0)
        share = np.where(kept > 0, self.part.sum() / np.where(kept > 0, kept, 1.0), 1.0)
        return np.where(strange & (kept > 0), 0.0, squared * share)

    def told(self, i: Indices, j: Indices) -> Products:
        """What the layers say of pairs that direction is read from."""
        return self.source.pairs(i, j).over(self.tells)


def _some(source: Source) -> Measures:
    """Of all pairs of the models, or of some of many."""
    if isinstance(source, Measures):
        return source
    assert isinstance(source, Samples)
    n = len(source)
    some = np.unique(np.linspace(0, n - 1, min(n, MODELS_ASKED)).astype(np.intp))
    return source.among(some).measures()


def speaking(source: Source) -> Bools:
    """The layers of one family that its directions are read from, (L,)."""
    chosen = inherited(_some(source)) & source.changed()
    if not chosen.any():
        return chosen
    chosen &= heavy(chosen, source.sizes)
    chosen[chosen] = telling(source.over(chosen))
    return chosen


def heavy(moved: Bools, sizes: NDArray[np.int64]) -> Bools:
    """The layers that together hold all but a thousandth of the weights that moved: the many small
    ones beside them cost time and tell nothing. (L,)

    >>> heavy(np.array([True, True, False]), np.array([9, 10_000, 10_000]))
    array([False,  True, False])
    """
    size = np.where(moved, sizes, 0)
    largest = np.argsort(-size, kind="stable")
    held = np.cumsum(size[largest])
    found = np.zeros(len(size), dtype=bool)
    found[largest[: int(np.searchsorted(held, HEAVY * held[-1])) + 1]] = True
    return found
