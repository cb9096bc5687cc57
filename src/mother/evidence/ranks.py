"""Telling a low-rank update from full fine-tuning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import UNCHANGED
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix, pair_rank
from mother.measures.formats import roundings
from mother.measures.lowrank import sketch_size

Indices = NDArray[np.intp]
ROUNDED = 1.5  # times the mean square of rounding, that a layer differs by at most for it
LOOKED_AT = 3  # matrices of a pair whose rank is taken
LOW_IN_WINDOW = 0.75  # of its smaller side


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
