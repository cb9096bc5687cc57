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
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind, Near
from mother.evidence.looks import Look
from mother.evidence.ranks import RANKED_MATRICES, cut, highest, same_weights
from mother.layouts import Layer
from mother.measures import is_matrix
from mother.measures.formats import roundings
from mother.measures.lowrank import noise_of, rank, rows_sketched, sketches
from mother.measures.products import Array, Bools, Indices, Source
from mother.measures.shapes import as_matrix

BETWEEN = 7  # models, the parent with them, that may lie between another and its parent
TYPICAL = 16  # rank that LoRA rarely exceeds
LOOKED_AT = 1 << 22  # weights of a matrix, of which a larger one's rank is taken
KEPT = 2 * RANKED_MATRICES  # layers of which sketches and ranks are
Key = tuple[str, tuple[int, ...]]


class Ways(Evidence):
    """What the ranks of steps say of a family's models.

    source: of all layers of the first look, in their order. members: (n,) their numbers in looks.
    """

    def __init__(self, source: Source, looks: Sequence[Look], members: Indices) -> None:
        self._told = looks[0].kept(_told)
        self._source, self._members = source, members.tolist()
        self._held = [look.kept(Held) for look in reversed(looks)]
        self._rounding = looks[0].kept(_roundings)[members]

    def objections(self, parents: Indices, near: Near, *, doubting: bool = False) -> Bools:
        """Models whose edge leads over another one."""
        out = np.zeros(len(parents), dtype=bool)
        c = np.flatnonzero(parents >= 0)
        if not (len(c) and self._told):
            return out
        same = self._same(parents[c], c)
        lora = same[list(self._told)]
        by_lora = np.flatnonzero(lora.any(axis=0) & ~lora.all(axis=0))
        order = np.argsort(-(~lora).sum(axis=1), kind="stable")[:RANKED_MATRICES].tolist()
        numbers = [list(self._told)[k] for k in order]
        alike: dict[tuple[int, int], Bools] = {}
        ranks = [_Ranks(self, number, alike) for number in numbers]
        for e in by_lora.tolist():
            child = int(c[e])
            ends = int(parents[child]), child
            others = [k for k in near(child)[:BETWEEN] if k not in ends]
            out[child] = any(self._leads(ranks, *ends, k, doubting) for k in others)
        return out

    @staticmethod
    def _leads(ranks: list[_Ranks], p: int, c: int, k: int, doubting: bool) -> bool:
        between = all(r.between(p, k, c, doubting) for r in ranks)
        return between and all(any(r.of(k, end) != 0 for r in ranks) for end in (p, c))

    def _same(self, i: Indices, j: Indices) -> Bools:
        """Layers in which pairs hold the same weights, (L, E)."""
        return same_weights(self._source.pairs(i, j), self._rounding[i], self._rounding[j])

    def same(self, alike: dict[tuple[int, int], Bools], i: int, j: int) -> Bools:
        """The same of one pair, (L,), looked up first among those known."""
        if (i, j) not in alike:
            alike[i, j] = self._same(np.array([i]), np.array([j]))[:, 0]
        return alike[i, j]

    def closest(self, layer: int, i: int, j: int) -> tuple[_View, int, int]:
        """A layer in the closest look at two models, and what they are called there."""
        one, other = self._members[i], self._members[j]
        views = (held.view(self._told[layer]) for held in self._held)
        view = next(x for x in views if x and min(x.at(one), x.at(other)) >= 0)
        return view, one, other


def ways(family: Family) -> Ways | None:
    """What ranks say of a family; None where its layers are not held."""
    if not family.looks or family.members is None or len(family) < 3:
        return None
    return Ways(family.whole, family.looks, family.members)


RANKS = Kind("ranks", "ranks add up along a tree: Horwitz et al. 2024, eq. 2", ways)


def _told(look: Look) -> dict[int, Key]:
    """The layers that ranks are taken of, by number: matrices that all models have."""
    return {
        k: (x.name, x.shape)
        for k, x in enumerate(look.group.layers)
        if len(x.members) == len(look.models) and _is_one_matrix(x)
    }


def _roundings(look: Look) -> Array:
    return roundings(look.group)


def _is_one_matrix(layer: Layer) -> bool:
    """Whether all members hold the same of a layer, the whole or a window, and it is a matrix."""
    shapes = {tensor.shape for tensor in layer.tensors}
    return len(shapes) == 1 and is_matrix(shapes.pop())


class Held:
    """The matrices of a look, and of few of them sketches and ranks."""

    def __init__(self, look: Look) -> None:
        self._place = look.place
        self._layers = {(x.name, x.shape): x for x in look.group.layers if _is_one_matrix(x)}
        self._views: dict[Key, _View] = {}

    def view(self, key: Key) -> _View | None:
        """Of a layer, None if it is not held."""
        if key not in self._layers:
            return None
        if key not in self._views:
            if len(self._views) >= KEPT:
                self._views.clear()
            self._views[key] = _View(self._place, self._layers[key])
        return self._views[key]


class _View:
    """What is held of one layer. place: of models in its group, by their numbers."""

    def __init__(self, place: dict[int, int], layer: Layer) -> None:
        self.place, self.layer = place, layer
        self._sketched: dict[int, tuple[Array, float]] = {}
        self._ranks: dict[tuple[int, int], int | None] = {}

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
            own = replace(pair, members=(0,), tensors=tensors[1:])
            # what rounding leaves grows with the rows that are looked at
            at, rows = rows_sketched(self.layer.shape, LOOKED_AT), as_matrix(self.layer.shape)[0]
            share = sum(stop - start for start, stop in at) / rows
            noise = float(noise_of(own)[0]) * share**0.5
            self._sketched[i] = sketches(pair, weights=LOOKED_AT)[1], noise
        return self._sketched[i]


class _Ranks:
    """Ranks of the differences of models in one layer, each taken when it is asked for. alike: the
    layers in which pairs hold the same weights, as far as they were asked for."""

    def __init__(self, ways: Ways, layer: int, alike: dict[tuple[int, int], Bools]) -> None:
        self._ways, self._layer, self._alike = ways, layer, alike
        self._found: dict[tuple[int, int], int | None] = {}

    def between(self, i: int, k: int, j: int, doubting: bool) -> bool:
        """Whether k lies on the way from i to j."""
        last, whole = self.of(k, j), self.of(i, j)
        if whole is not None:
            return last is not None and last <= whole and self.of(i, k) == whole - last
        layer = self._ways.closest(self._layer, i, j)[0].layer
        small = highest(layer) < TYPICAL
        return doubting and cut(layer) and (small or bool(last) or bool(self.of(i, k)))

    def of(self, i: int, j: int) -> int | None:
        """That of i and j, None if it is not low."""
        i, j = min(i, j), max(i, j)
        if (i, j) not in self._found:
            same = bool(self._ways.same(self._alike, i, j)[self._layer])
            view, one, other = self._ways.closest(self._layer, i, j)
            self._found[i, j] = 0 if same else view.rank(one, other)
        return self._found[i, j]
