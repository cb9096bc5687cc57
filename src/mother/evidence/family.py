"""One family as it is looked at: its layers that tell, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import telling
from mother.evidence.kinship import inherited, threshold
from mother.evidence.lengths import Lengths, apply, block, enough, factors, logs, usual, whitening
from mother.evidence.looks import Look
from mother.measures import Measures
from mother.measures.products import Array, Bools, Indices, Products, Source
from mother.measures.shapes import as_matrix
from mother.sketches.points import PAIRS_AT_ONCE, squared_distances
from mother.sketches.replicates import heavier
from mother.sketches.samples import Samples
from mother.thresholds import LITTLE

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
    whitened      whether the lengths of ways are those of whitened layers
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
    whitened: bool = True

    @classmethod
    def of(
        cls,
        source: Source,
        looks: Sequence[Look] = (),
        members: Indices | None = None,
        seed: int | None = None,
        *,
        vectors: bool = False,
        whitened: bool = True,
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
        return cls(source, weight, tells, norm, part, whole, looks, members, seed, whitened)

    def __len__(self) -> int:
        return len(self.norm)

    @property
    def chance(self) -> float:
        """Standard deviation of the cosine of two steps that know nothing of each other."""
        return float(max(1, self.source.seen.sum()) ** -0.5)

    @cached_property
    def table(self) -> Array:
        """|i - j|^2 of all pairs of models that are measured in pairs, (n, n)."""
        return self._of_all(lambda i, j: self.by_layer(i, j).sum(axis=0))

    def squared(self, i: Indices, j: Indices) -> Array:
        """|i - j|^2 of pairs, layers as they count, (E,)."""
        if isinstance(self.source, Samples):
            return np.asarray(self.weight @ self.source.pairs(i, j).squared)
        return np.asarray(self.table[i, j])

    def by_layer(self, i: Indices, j: Indices) -> Array:
        """The same by layer, (L, E). Of two that have a layer not from each other, the others stand
        for all."""
        of = self.source.pairs(i, j)
        squared = self.weight[:, None] * of.squared
        strange = self._strange(of)
        if not strange.any():
            return np.asarray(squared)
        kept = np.where(strange, 0.0, self.part[:, None]).sum(axis=0)
        share = np.where(kept > 0, self.part.sum() / np.where(kept > 0, kept, 1.0), 1.0)
        return np.where(strange & (kept > 0), 0.0, squared * share)

    def _strange(self, of: Products) -> Bools:
        """Whether two models have a layer not from each other, (L, E)."""
        cosine = of.ij / np.sqrt(np.maximum(of.ii * of.jj, NO_NORM))
        return np.asarray(self.tells[:, None] & (cosine < threshold(self.source.seen)[:, None]))

    def _of_all(self, of: Callable[[Indices, Indices], Array]) -> Array:
        """What is said of pairs, (E,), of all pairs, (n, n)."""
        i, j = np.triu_indices(len(self))
        out = np.empty((len(self),) * 2)
        for at in range(0, len(i), PAIRS_TOGETHER):
            a, b = i[at : at + PAIRS_TOGETHER], j[at : at + PAIRS_TOGETHER]
            out[a, b] = out[b, a] = of(a, b)
        return out

    # the ways that trees are sought by

    def length(self, i: Indices, j: Indices) -> Array:
        """Squared lengths of the ways between pairs, (E,), for the search of trees."""
        if self.points is None:
            return np.asarray(self._table_of_lengths[i, j])
        out = np.empty(len(i))
        for at in range(0, len(i), PAIRS_TOGETHER):
            some = slice(at, at + PAIRS_TOGETHER)
            out[some] = self.lengths(i[some], j[some]).over()
        return out

    def lengths(self, i: Indices, j: Indices) -> Lengths:
        """The same by layer."""
        if self.points is not None:
            return self._lengths_of_points(i, j)
        low, high = np.minimum(i, j), np.maximum(i, j)
        return self._every.of(low * (2 * len(self) - low - 3) // 2 + high - 1)

    @cached_property
    def _counts(self) -> Array:
        """How much each layer counts for the length of a way, (L,)."""
        return np.asarray(self.source.sizes * self._ties)

    @property
    def _ties(self) -> Array:
        """How much less than by its size each layer counts, (L,)."""
        return np.where(self.tells, 1.0, VECTORS)

    @cached_property
    def _every(self) -> Lengths:
        """Of all pairs i < j of models that are measured in pairs."""
        i, j = np.triu_indices(len(self), 1)
        squared, strange = np.empty((len(self.weight), len(i))), list[Bools]()
        whole = np.ones(squared.shape, dtype=bool)  # of neither anything was pruned
        for at in range(0, len(i), PAIRS_TOGETHER):
            some = slice(at, at + PAIRS_TOGETHER)
            of = self.source.pairs(i[some], j[some])
            squared[:, some] = of.squared
            strange.append(self._strange(of))
            if of.common is not None:
                whole[:, some] = of.common >= 1
        faint = self._faint(squared)
        for k, held, counted in self._blocks():
            factor = factors(held, i, j, counted)
            known = whole[k] if whole[k].any() else np.ones(len(i), dtype=bool)
            squared[k] *= np.where(known, factor, np.median(factor[known]))
        log = logs(squared / np.array([[usual(lengths)] for lengths in squared]), faint)
        every = np.concatenate(strange, axis=1)
        return Lengths(log, self._counts, every if every.any() else None)

    def _faint(self, squared: Array) -> Array:
        """Of the usual squared distance in each layer, (L,), what is LITTLE of the usual step of
        all layers, as a share of norms. squared: of pairs, (L, E)."""
        step, norm = usual(self.weight @ squared), self.part * self._ties / self.weight
        return np.asarray(LITTLE**2 * step * norm / [usual(lengths) for lengths in squared])

    def _blocks(self) -> Iterator[tuple[int, Array, Array | None]]:
        """Parts of layers that tell, each with its number, and how often weights count there."""
        if not self.whitened or not self.looks or self.members is None:
            return
        look = self.looks[0]
        known = {(x.name, x.shape): x for x in look.group.layers}
        for k, of in enumerate(zip(self.source.names, self.source.shapes, strict=True)):
            found = block(look, known[of], self.members.tolist()) if self.tells[k] else None
            if found is not None:
                held, window = found
                seed = self.seed
                yield k, held, None if seed is None else heavier(known[of], seed, window)

    @cached_property
    def _table_of_lengths(self) -> Array:
        i, j = np.triu_indices(len(self), 1)
        out = np.zeros((len(self),) * 2)
        out[i, j] = out[j, i] = self._every.over()
        return out

    @cached_property
    def points(self) -> NDArray[np.float32] | None:
        """Points whose squared distances are the sum over layers of what each counts times squared
        lengths, about the family's middle, so that float32 loses little of them; None where models
        are measured in pairs."""
        samples = self.source
        if not isinstance(samples, Samples):
            return None
        some = asked(len(self))
        i, j = np.triu_indices(len(some), 1)
        out = np.empty(samples.rows.shape, dtype=np.float32)
        layers = zip(samples.names, samples.shapes, strict=True)
        for k, (layer, (start, stop)) in enumerate(
            zip(layers, pairwise(samples.columns.tolist()), strict=True)
        ):
            rows, window = samples.rows[:, start:stop], self._windows.get(layer)
            points = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            if self.tells[k] and window is not None:
                by = whitening(points[some].reshape(-1, *window).astype(np.float64))
                points = apply(points.reshape(-1, *window), by).reshape(len(points), -1)
            scale = usual(squared_distances(points[some], i, j))
            out[:, start:stop] = points * np.float32(np.sqrt(self._counts[k] / scale))
        return out

    @cached_property
    def _faint_of_samples(self) -> Array:
        some = asked(len(self))
        i, j = np.triu_indices(len(some), 1)
        return self._faint(self.source.among(some).pairs(i, j).squared)

    @cached_property
    def _windows(self) -> dict[tuple[str, tuple[int, ...]], tuple[int, int]]:
        """Rows and columns of the windows that samples are of, by layer."""
        if not self.whitened or not self.looks:
            return {}
        layers = (
            (x, as_matrix(x.tensors[0].shape)) for x in self.looks[0].group.layers if enough(x)
        )
        return {(x.name, x.shape): window for x, window in layers}

    def _lengths_of_points(self, i: Indices, j: Indices) -> Lengths:
        samples = self.source
        assert self.points is not None
        assert isinstance(samples, Samples)
        squared = np.empty((len(self.weight), len(i)))
        step = max(1, PAIRS_AT_ONCE // self.points.shape[1])
        for at in range(0, len(i), step):
            some = slice(at, at + step)
            gap = self.points[i[some]] - self.points[j[some]]
            squared[:, some] = np.add.reduceat(
                np.square(gap, out=gap), samples.columns[:-1], axis=1
            ).T
        squared /= self._counts[:, None]
        if samples.near is not None:
            closer = samples.near.at(i, j)
            here = np.flatnonzero(closer >= 0)
            plain = replace(samples, near=None).pairs(i[here], j[here]).squared
            near = samples.near.of.of(closer[here]).squared
            known = (plain > 0) & (near > 0)
            squared[:, here] *= np.where(known, near / np.where(known, plain, 1.0), 1.0)
        return Lengths(logs(squared, self._faint_of_samples), self._counts)

    def told(self, i: Indices, j: Indices) -> Products:
        """What the layers say of pairs that direction is read from."""
        return self.source.pairs(i, j).over(self.tells)


def _some(source: Source) -> Measures:
    """Of all pairs of the models, or of some of many."""
    if isinstance(source, Measures):
        return source
    assert isinstance(source, Samples)
    return source.among(asked(len(source))).measures()


def asked(n: int) -> Indices:
    """Those of n models that stand for all, MODELS_ASKED at the most.

    >>> asked(3), len(asked(1000))
    (array([0, 1, 2]), 256)
    """
    return np.unique(np.linspace(0, n - 1, min(n, MODELS_ASKED)).astype(np.intp))


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
