"""Edges of a tree that by the ranks of low-rank steps lead over another model.

Ranks of such steps add up along a tree (paper, eq. 2), as whole numbers without noise: where
rank(p - k) + rank(k - c) = rank(p - c) in the matrices looked at, the way from p to c leads over k,
and neither p nor c is the other's parent. A step that undoes a part of the one before it ends
nearer to where that began, but its rank is no less.

Looked at are models that are about as near to c as p is, and pairs that LoRA made: they hold some
matrices in common and differ by a low rank in others. A rank that is too high for a window is
doubtful: it adds up with any, where one of the others is low, or the window is too small for most
of those that LoRA has.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import UNCHANGED
from mother.evidence.ranks import LOOKED_AT, ROUNDED, cut, highest, unchanged
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix
from mother.measures.formats import roundings
from mother.measures.lowrank import noise_of, rank, sketches
from mother.sketches.samples import Samples

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
NEAREST = 6  # models that may lie between another and its parent
TYPICAL = 16  # rank that LoRA rarely exceeds
KEPT = 2 * LOOKED_AT  # layers of which sketches and ranks are
#: groups with the numbers of their models: of all, then of some what was looked at more closely
Looks = Sequence[tuple[Sequence[int], Group]]


def passed_over(
    matrices: Matrices, m: Measures, parents: Indices, doubting: bool = False
) -> NDArray[np.bool_]:
    """Pairs of models that an edge joins which leads over another, (n, n), symmetric.

    parents: (n,), -1 at a root. doubting: those that may, too, as far as windows show ranks.
    """
    out = np.zeros((len(parents),) * 2, dtype=bool)
    same = unchanged(m, matrices.rounding)
    c = np.flatnonzero(parents >= 0)
    p = parents[c]
    apart = np.nansum(m.squared_distance[list(matrices.told)], axis=0)

    def near(child: int) -> list[int]:
        nearest: list[int] = np.argsort(apart[child], kind="stable")[: NEAREST + 2].tolist()
        return nearest

    ways = _Ways(matrices, same[:, p, c], lambda k, i, j: bool(same[k, i, j]))
    passed = ways.lead_over(p, c, near, doubting)
    out[p[passed], c[passed]] = out[c[passed], p[passed]] = True
    return out


@dataclass(frozen=True)
class _Look:
    """The matrices that are held of models, by name and shape. place: of models in these, by their
    numbers."""

    place: dict[int, int]
    matrices: dict[tuple[str, tuple[int, ...]], Layer]

    @classmethod
    def at(cls, models: Sequence[int], group: Group) -> _Look:
        matrices = {(x.name, x.shape): x for x in group.layers if _is_one_matrix(x)}
        return cls({k: at for at, k in enumerate(models)}, matrices)


@dataclass(frozen=True)
class Matrices:
    """Those that are told of: of the layers of the first group by number, those that all of its
    models have. looks: the closest first. rounding: (n,) as of `roundings`."""

    told: dict[int, tuple[str, tuple[int, ...]]]
    looks: Sequence[_Look]
    rounding: Array
    _views: dict[int, list[_View]] = field(default_factory=dict)

    @classmethod
    def of(cls, looks: Looks) -> Matrices:
        models, group = looks[0]
        told = {
            k: (x.name, x.shape)
            for k, x in enumerate(group.layers)
            if len(x.members) == len(models) and _is_one_matrix(x)
        }
        return cls(told, [_Look.at(*look) for look in reversed(looks)], roundings(group))

    def among(self, members: Indices) -> Matrices:
        """The same of some of the models, at a cost of these alone: a hub has many families."""
        looks = []
        for look in self.looks:
            numbers = enumerate(members.tolist())
            place = {at: look.place[k] for at, k in numbers if k in look.place}
            looks.append(replace(look, place=place))
        return replace(self, looks=looks, rounding=self.rounding[members], _views={})

    def views(self, number: int) -> list[_View]:
        """A layer in all looks that hold it, the closest first; of few layers kept."""
        if number not in self._views:
            if len(self._views) >= KEPT:
                self._views.clear()
            key = self.told[number]
            looks = [x for x in self.looks if key in x.matrices]
            self._views[number] = [_View(x.place, x.matrices[key]) for x in looks]
        return self._views[number]


@dataclass(frozen=True)
class WaysOfMany:
    """The same on samples, in families too large for n x n matrices; of all layers that `samples`
    has, in their order."""

    matrices: Matrices
    samples: Samples

    @classmethod
    def of(cls, looks: Looks, samples: Samples) -> WaysOfMany:
        return cls(Matrices.of(looks), samples)

    def among(self, members: Indices) -> WaysOfMany:
        """The same of some of the models."""
        return WaysOfMany(self.matrices.among(members), self.samples.among(members))

    def passed_over(
        self,
        parents: Indices,
        near: Callable[[int], Sequence[int]],
        doubting: bool = False,
    ) -> NDArray[np.bool_]:
        """Models whose edge leads over another one, (n,). near: those about as near to one as its
        parent."""
        out = np.zeros(len(parents), dtype=bool)
        c = np.flatnonzero(parents >= 0)
        if len(c):
            p = parents[c]
            ways = _Ways(self.matrices, self._same(p, c), self._same_in())
            out[c] = ways.lead_over(p, c, near, doubting)
        return out

    def _same(self, i: Indices, j: Indices) -> NDArray[np.bool_]:
        """Layers in which pairs hold the same weights, (L, E)."""
        ii, jj, ij = self.samples.products(i, j)
        return np.asarray(ii + jj - 2 * ij <= self._least(i, j) * np.maximum(ii, jj))

    def _least(self, i: Indices, j: Indices) -> Array:
        """As in `unchanged`, (E,)."""
        rounding = self.matrices.rounding
        one, other = rounding[i], rounding[j]
        both = ROUNDED * (one**2 + other**2)
        return np.where(one != other, np.maximum(UNCHANGED, both), UNCHANGED)

    def _same_in(self) -> Callable[[int, int, int], bool]:
        @lru_cache(maxsize=1 << 16)
        def same(i: int, j: int) -> NDArray[np.bool_]:
            return self._same(np.array([i]), np.array([j]))[:, 0]

        return lambda layer, i, j: bool(same(min(i, j), max(i, j))[layer])


class _Ways:
    """Those of edges. same: (L, E), the layers in which their ends hold the same weights; same_in:
    whether two models do in a layer."""

    def __init__(
        self,
        matrices: Matrices,
        same: NDArray[np.bool_],
        same_in: Callable[[int, int, int], bool],
    ) -> None:
        told = list(matrices.told)
        lora = same[told]
        self._by_lora = lora.any(axis=0) & ~lora.all(axis=0)
        order = np.argsort(-(~lora).sum(axis=1), kind="stable")[:LOOKED_AT].tolist()
        self._ranks = [_Ranks(matrices.views(told[k]), told[k], same_in) for k in order]

    def lead_over(
        self, p: Indices, c: Indices, near: Callable[[int], Sequence[int]], doubting: bool
    ) -> NDArray[np.bool_]:
        """Which edges lead over another model, (E,)."""
        out = np.zeros(len(p), dtype=bool)
        for e in np.flatnonzero(self._by_lora).tolist():
            ends = int(p[e]), int(c[e])
            others = (k for k in near(ends[1]) if k not in ends)
            out[e] = any(self._leads(*ends, k, doubting) for k in others)
        return out

    def _leads(self, p: int, c: int, k: int, doubting: bool) -> bool:
        between = all(r.between(p, k, c, doubting) for r in self._ranks)
        return between and all(any(r.of(k, end) != 0 for r in self._ranks) for end in (p, c))


def _is_one_matrix(layer: Layer) -> bool:
    """Whether all members hold the same of a layer, the whole or a window, and it is a matrix."""
    shapes = {tensor.shape for tensor in layer.tensors}
    return len(shapes) == 1 and is_matrix(shapes.pop())


@dataclass(frozen=True)
class _View:
    """What is held of one layer. place: of models in its group, by their numbers."""

    place: dict[int, int]
    layer: Layer
    _sketched: dict[int, tuple[Array, float]] = field(default_factory=dict)
    _ranks: dict[tuple[int, int], int | None] = field(default_factory=dict)

    def at(self, i: int) -> int:
        """Where among the layer's tensors a model's is, -1 if it holds none."""
        k = self.place.get(i, -1)
        at = bisect_left(self.layer.members, k)
        return at if self.layer.members[at : at + 1] == (k,) else -1

    def rank(self, i: int, j: int) -> int | None:
        """That of two models' difference, None if it is not low; i < j."""
        if (i, j) not in self._ranks:
            (one, noise), (other, more) = self._sketch(i), self._sketch(j)
            found = rank(one - other, float(np.hypot(noise, more)))
            self._ranks[i, j] = found if 0 < found <= highest(self.layer) else None
        return self._ranks[i, j]

    def _sketch(self, i: int) -> tuple[Array, float]:
        """Of the way from the layer's first model to one, and the noise on it."""
        if i not in self._sketched:
            tensors = self.layer.tensors[0], self.layer.tensors[self.at(i)]
            pair = Layer(self.layer.name, self.layer.shape, (0, 1), tensors)
            self._sketched[i] = sketches(pair)[1], float(noise_of(pair)[1])
        return self._sketched[i]


class _Ranks:
    """Ranks of the differences of models in one layer, each taken when it is asked for."""

    def __init__(
        self, views: Sequence[_View], layer: int, same_in: Callable[[int, int, int], bool]
    ) -> None:
        self._views, self._layer, self._same_in = views, layer, same_in
        self._found: dict[tuple[int, int], int | None] = {}

    def between(self, i: int, k: int, j: int, doubting: bool) -> bool:
        """Whether k lies on the way from i to j."""
        last, whole = self.of(k, j), self.of(i, j)
        if whole is not None:
            return last is not None and last <= whole and self.of(i, k) == whole - last
        layer = self._view(i, j).layer
        small = highest(layer) < TYPICAL
        return doubting and cut(layer) and (small or bool(last) or bool(self.of(i, k)))

    def of(self, i: int, j: int) -> int | None:
        """That of i and j, None if it is not low."""
        pair = min(i, j), max(i, j)
        if pair not in self._found:
            same = self._same_in(self._layer, *pair)
            self._found[pair] = 0 if same else self._view(*pair).rank(*pair)
        return self._found[pair]

    def _view(self, i: int, j: int) -> _View:
        """The closest of both."""
        return next(x for x in self._views if min(x.at(i), x.at(j)) >= 0)
