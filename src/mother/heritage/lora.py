"""Telling a low-rank update from full fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Group, Layer
from mother.heritage.direction import UNCHANGED
from mother.measures import Measures, is_matrix, pair_rank
from mother.measures.formats import roundings
from mother.measures.lowrank import noise_of, rank, sketch_size, sketches

Indices = NDArray[np.intp]
ROUNDED = 1.5  # times the mean square of rounding, that a layer differs by at most for it
LOOKED_AT = 3  # matrices of a pair whose rank is taken
NEAREST = 6  # models that may lie between another and its parent
LOW_IN_WINDOW = 0.75  # of its smaller side
TYPICAL = 16  # rank that LoRA rarely exceeds


def unchanged(m: Measures, rounding: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
    """Layers in which a pair of models holds the same weights, (L, n, n).

    rounding: (n,) the relative rounding error of each model's number format, as `roundings` has it:
    where those of a pair are not the same, weights may differ by both.
    """
    norm = np.diagonal(m.gram, axis1=1, axis2=2)
    least = np.full(norm.shape[1:] * 2, UNCHANGED)
    if rounding is not None:
        one, other = rounding[:, None], rounding
        both = ROUNDED * (one**2 + other**2)
        least = np.where(one != other, np.maximum(least, both), least)
    return np.asarray(m.squared_distance <= least * np.maximum(norm[:, :, None], norm[:, None]))


def update_rank(
    group: Group, frozen: NDArray[np.bool_], kept: NDArray[np.bool_], i: int, j: int
) -> int | None:
    """The rank by which two models of a group differ, or None if it is not low.

    frozen: (L,), the layers in which they do not differ. kept: (L,), the layers that they share at
    all; a new head tells nothing. LoRA leaves layers frozen; where none
    is, or all are, no rank is sought. Otherwise it is taken in LOOKED_AT of the matrices that
    changed, from the smallest to the largest.
    """
    changed = sorted(
        (layer.tensors[0].size, k)
        for k, layer in enumerate(group.layers)
        if kept[k] and not frozen[k] and {i, j} <= set(layer.members)
        if is_matrix(layer.tensors[0].shape)
    )
    if not changed or not frozen.any():
        return None
    most = 0
    picked = np.linspace(0, len(changed) - 1, LOOKED_AT).astype(int).tolist()
    for _, k in (changed[at] for at in dict.fromkeys(picked)):
        rank = pair_rank(group.layers[k], i, j)
        if (
            not 0 < rank <= highest(group.layers[k])
        ):  # 0: it changed, by less than rounding can hide
            return None
        most = max(most, rank)
    return most


def highest(layer: Layer) -> int:
    """The highest rank that is low."""
    side = sketch_size(layer.tensors[0].shape)
    return int(LOW_IN_WINDOW * side) if cut(layer) else side // 2


def cut(layer: Layer) -> bool:
    """Whether a larger window of a layer would show higher ranks."""
    return sketch_size(layer.tensors[0].shape) < sketch_size(layer.shape)


def low_rank(group: Group, m: Measures) -> bool:
    """Whether most models differ from the one nearest to them by a low rank."""
    same = unchanged(m, roundings(group))
    distance = m.squared_distance.sum(axis=0)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argmin(distance, axis=1)
    every = np.ones(len(m.names), dtype=bool)
    ranks = [update_rank(group, same[:, k, j], every, k, int(j)) for k, j in enumerate(nearest)]
    return 2 * sum(r is not None for r in ranks) > len(ranks)


def passed_over(
    looks: Sequence[tuple[Sequence[int], Group]],
    m: Measures,
    parents: Indices,
    doubting: bool = False,
) -> NDArray[np.bool_]:
    """Edges of a tree that by their ranks lead over another model, (n, n), symmetric: neither of
    the two is the other's parent.

    Ranks of low-rank steps add up along a tree (paper, eq. 2), as whole numbers without noise:
    where rank(p - k) + rank(k - c) = rank(p - c) in the matrices looked at, the way from p to c
    leads over k. A step that undoes a part of the one before it ends nearer to where that began,
    but its rank is no less. Looked at are models that are about as near to c as p is, and pairs
    that LoRA made: they hold some matrices in common and differ by a low rank in others.

    looks: a group with all models, by numbers, then of some of them what was looked at more
    closely: larger windows show higher ranks. parents: (n,), -1 at a root. doubting: a rank that is
    too high for a window adds up with any; of the others one must be low, unless the window is too
    small for most of those that LoRA has.
    """
    n = len(parents)
    out = np.zeros((n, n), dtype=bool)
    group = looks[0][1]
    same = unchanged(m, roundings(group))
    told = np.flatnonzero(
        [len(layer.members) == n and _is_one_matrix(layer) for layer in group.layers]
    )
    c = np.flatnonzero(parents >= 0)
    lora = same[told][:, parents[c], c]
    c, moved = c[lora.any(axis=0) & ~lora.all(axis=0)], ~lora
    if not len(c):
        return out
    most = told[np.argsort(-moved.sum(axis=1), kind="stable")[:LOOKED_AT]]
    ranks = [_Ranks(_views(looks, k), same[k]) for k in most]
    apart = np.nansum(m.squared_distance[told], axis=0)
    for child in c.tolist():
        p = int(parents[child])
        for k in np.argsort(apart[child], kind="stable")[: NEAREST + 2].tolist():
            if k in (p, child):
                continue
            if all(r.between(p, k, child, doubting) for r in ranks) and all(
                any(r.of(k, end) != 0 for r in ranks) for end in (p, child)
            ):
                out[p, child] = out[child, p] = True
    return out


def _is_one_matrix(layer: Layer) -> bool:
    """Whether all members hold the same of a layer, the whole or a window, and it is a matrix."""
    shapes = {tensor.shape for tensor in layer.tensors}
    return len(shapes) == 1 and is_matrix(shapes.pop())


def _views(looks: Sequence[tuple[Sequence[int], Group]], number: int) -> list[_View]:
    """A layer of the first group in all of them, the closest first."""
    first = looks[0][1].layers[number]
    return [
        _View({models[k]: at for at, k in enumerate(layer.members)}, layer)
        for models, group in reversed(looks)
        for layer in group.layers
        if (layer.name, layer.shape) == (first.name, first.shape) and _is_one_matrix(layer)
    ]


@dataclass(frozen=True)
class _View:
    """What is held of one layer. place: of models in it, by their numbers."""

    place: dict[int, int]
    layer: Layer

    @cached_property
    def sketches(self) -> NDArray[np.float64]:
        return sketches(self.layer)

    @cached_property
    def noise(self) -> NDArray[np.float64]:
        return noise_of(self.layer)

    def rank(self, i: int, j: int) -> int | None:
        """That of two models' difference, None if it is not low."""
        at = [self.place[i], self.place[j]]
        gap = self.sketches[at[0]] - self.sketches[at[1]]
        found = rank(gap, float(np.hypot(*self.noise[at])))
        return found if 0 < found <= highest(self.layer) else None


class _Ranks:
    """Ranks of the differences of the models of one layer, each taken when it is asked for."""

    def __init__(self, views: Sequence[_View], same: NDArray[np.bool_]) -> None:
        self._views, self._same = views, same
        self._found: dict[tuple[int, int], int | None] = {}

    def between(self, i: int, k: int, j: int, doubting: bool = False) -> bool:
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
        if self._same[pair]:
            return 0
        if pair not in self._found:
            self._found[pair] = self._view(*pair).rank(*pair)
        return self._found[pair]

    def _view(self, i: int, j: int) -> _View:
        """The closest of both."""
        return next(view for view in self._views if i in view.place and j in view.place)
