"""Telling a low-rank update from full fine-tuning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Group, Layer
from mother.heritage.direction import UNCHANGED
from mother.measures import Measures, as_matrix, is_matrix, pair_rank
from mother.measures.formats import roundings
from mother.measures.lowrank import noise_of, rank, sketches

ROUNDED = 1.5  # times the mean square of rounding, that a layer differs by at most for it
LOOKED_AT = 3  # matrices of a pair whose rank is taken
NEAREST = 6  # models that may lie between another and its parent


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
        layer = group.layers[k]
        side = min(as_matrix(layer.tensors[0].shape))
        rank = pair_rank(layer, i, j)
        if rank == 0 or rank > side // 2:  # 0: it changed, but by less than rounding can hide
            return None
        most = max(most, rank)
    return most


def low_rank(group: Group, m: Measures) -> bool:
    """Whether most models differ from the one nearest to them by a low rank."""
    same = unchanged(m, roundings(group))
    distance = m.squared_distance.sum(axis=0)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argmin(distance, axis=1)
    every = np.ones(len(m.names), dtype=bool)
    ranks = [update_rank(group, same[:, k, j], every, k, int(j)) for k, j in enumerate(nearest)]
    return 2 * sum(r is not None for r in ranks) > len(ranks)


def passed_over(group: Group, m: Measures, parents: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Edges of a tree that by their ranks lead over another model, (n, n), symmetric: neither of
    the two is the other's parent.

    Ranks of low-rank steps add up along a tree (paper, eq. 2), as whole numbers without noise:
    where rank(p - k) + rank(k - c) = rank(p - c) in the matrices looked at, the way from p to c
    leads over k. A step that undoes a part of the one before it ends nearer to where that began,
    but its rank is no less. Looked at are models that are about as near to c as p is, and pairs
    that LoRA made: they hold some matrices in common and differ by a low rank in others.

    parents: (n,), -1 at a root.
    """
    n = len(parents)
    out = np.zeros((n, n), dtype=bool)
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
    ranks = [_Ranks(group.layers[k], same[k]) for k in most]
    apart = np.nansum(m.squared_distance[told], axis=0)
    for child in c.tolist():
        p = int(parents[child])
        for k in np.argsort(apart[child], kind="stable")[: NEAREST + 2].tolist():
            if k in (p, child):
                continue
            if all(r.between(p, k, child) for r in ranks) and all(
                any(r.of(k, end) for r in ranks) for end in (p, child)
            ):
                out[p, child] = out[child, p] = True
    return out


def _is_one_matrix(layer: Layer) -> bool:
    """Whether all members hold the same of a layer, the whole or a window, and it is a matrix."""
    shapes = {tensor.shape for tensor in layer.tensors}
    return len(shapes) == 1 and is_matrix(shapes.pop())


class _Ranks:
    """Ranks of the differences of the models of one layer, each taken when it is asked for."""

    def __init__(self, layer: Layer, same: NDArray[np.bool_]) -> None:
        self._same, self._side = same, min(as_matrix(layer.tensors[0].shape))
        self._sketches, self._noise = sketches(layer), noise_of(layer)
        self._found: dict[tuple[int, int], int | None] = {}

    def between(self, i: int, k: int, j: int) -> bool:
        """Whether k lies on the way from i to j."""
        last, whole = self.of(k, j), self.of(i, j)
        if last is None or whole is None or last > whole:
            return False
        return self.of(i, k) == whole - last

    def of(self, i: int, j: int) -> int | None:
        """That of i and j, None if it is not low."""
        pair = min(i, j), max(i, j)
        if self._same[pair]:
            return 0
        if pair not in self._found:
            gap = self._sketches[pair[0]] - self._sketches[pair[1]]
            found = rank(gap, float(np.hypot(*self._noise[list(pair)])))
            self._found[pair] = found if 0 < found <= self._side // 2 else None
        return self._found[pair]
