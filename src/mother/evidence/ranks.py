"""Telling a low-rank update from full fine-tuning."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from mother.evidence.direction import UNCHANGED
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix
from mother.measures.formats import picked_rows, rounding, roundings
from mother.measures.lowrank import ROUNDING_ENERGY, low_rank_of_pair, sketch_size
from mother.measures.products import Array, Bools, Products
from mother.measures.shapes import as_matrix
from mother.thresholds import LARGELY, PRECISE

RANKED_MATRICES = 3  # matrices of a pair whose rank is taken
FEW_MATRICES = 3  # matrices, of which one alone may be adapted by a low rank


def unchanged(m: Measures, rounding: Array | None = None) -> Bools:
    """Layers in which a pair of models holds the same weights, (L, n, n).

    rounding: (n,) the relative rounding error of each model's number format, as `roundings` has it:
    where those of a pair are not the same, weights may differ by both.
    """
    n = len(m)
    every = np.broadcast_to(0.0 if rounding is None else rounding, n)
    i, j = np.divmod(np.arange(n * n), n)
    return same_weights(m.pairs(i, j), every[i], every[j]).reshape(-1, n, n)


def same_weights(of: Products, rounding: Array, other: Array) -> Bools:
    """The same of pairs, (L, E), of which both models have a rounding error, (E,) each."""
    both = ROUNDING_ENERGY * (rounding**2 + other**2)
    least = np.where(rounding != other, np.maximum(UNCHANGED, both), UNCHANGED)
    return np.asarray(of.squared <= least * np.maximum(of.ii, of.jj))


def update_rank(group: Group, frozen: Bools, kept: Bools, i: int, j: int) -> int | None:
    """The rank by which two models of a group differ, or None if it is not low.

    frozen: (L,), the layers in which they do not differ. kept: (L,), the layers that they share at
    all; a new head tells nothing. A low rank is there where it holds 99 % of the step in each of
    RANKED_MATRICES of those that changed, from the smallest to the largest, and all rows changed.
    LoRA leaves matrices frozen, or at least vectors: that says nothing where these are stored so
    coarsely that training moves none. One matrix that changed alone is a head that was trained,
    unless by a rank of one.
    """
    matrices = [k for k, layer in enumerate(group.layers) if is_matrix(layer.tensors[0].shape)]
    changed = sorted(
        (group.layers[k].tensors[0].size, k)
        for k in matrices
        if kept[k] and not frozen[k] and {i, j} <= set(group.layers[k].members)
    )
    fine = [k for k in np.flatnonzero(frozen) if k in set(matrices) or _fine(group.layers[k])]
    if not changed or not fine:
        return None
    most = 0
    picked = np.linspace(0, len(changed) - 1, RANKED_MATRICES).astype(int).tolist()
    for _, k in (changed[at] for at in dict.fromkeys(picked)):
        rank = low_rank_of_pair(group.layers[k], i, j)
        if not 0 < rank <= highest(group.layers[k]) or _rows_alike(group.layers[k], i, j):
            return None  # 0: it changed, by less than rounding can hide
        most = max(most, rank)
    return most if len(changed) > 1 or len(matrices) <= FEW_MATRICES or most == 1 else None


def _fine(layer: Layer) -> bool:
    """Whether its weights are stored finely enough for training to move them."""
    return max(rounding(tensor) for tensor in layer.tensors) < PRECISE


def _rows_alike(layer: Layer, i: int, j: int) -> bool:
    """Whether half of the rows are the same bit by bit in both: new rows in an embedding, say."""
    one, other = (layer.tensors[layer.members.index(x)] for x in (i, j))
    height, columns = as_matrix(one.shape)
    rows = picked_rows(height)
    spans = [(r * columns, (r + 1) * columns) for r in rows]
    alike = sum(np.array_equal(one.read(*at), other.read(*at)) for at in spans)
    return 2 * alike >= len(rows)


def edited(group: Group, frozen: Bools, i: int, j: int, rank: int | None) -> bool:
    """Whether a low rank was added to so few matrices that it is an edit, and no training: by a
    rank of one to one of them, or to less than half of the matrices of one kind.

    Locating and editing facts: Meng and others, ROME (2022) and MEMIT (2023).
    """
    layers = [
        (re.sub(r"\d+", "#", layer.name), bool(frozen[k]))
        for k, layer in enumerate(group.layers)
        if is_matrix(layer.shape) and {i, j} <= set(layer.members)
    ]
    changed = Counter(kind for kind, same in layers if not same)
    if rank is None or len(changed) != 1:
        return False
    ((kind, many),) = changed.items()
    of_kind = sum(name == kind for name, _ in layers)
    return 2 * many < of_kind or (rank == 1 and many == 1 and len(layers) > FEW_MATRICES)


def highest(layer: Layer) -> int:
    """The highest rank that is low."""
    side = sketch_size(layer.tensors[0].shape)
    return int(LARGELY * side) if cut(layer) else side // 2


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
