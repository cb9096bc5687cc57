"""Copies into whose matrices the norms between them were folded, as converters for phones do.

A batch norm behind a layer multiplies each of its outputs by a number. Whoever exports a net for
use multiplies the rows of the layer's matrix by these numbers, moves what is left into its bias and
drops the norm. All distances between the two are as large as the numbers are, and yet they compute
the same. Every row of the one is a row of the other times a number, or every column where outputs
are stored last: no training does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.duplicates import COMPARED_AT_ONCE, Duplicate, without
from mother.copies.scaled import ROUNDED_TWICE, SAME_DIRECTION, rounding
from mother.layouts import Group
from mother.measures import is_matrix
from mother.measures.shapes import as_matrix, spans
from mother.thresholds import MOST

Array = NDArray[np.float64]
FOLDED_GLANCE = 4, 8  # largest matrices that are looked at first, and rows of each
FAR = 16  # times its error, by which the numbers of a matrix differ
_NO_DIGITS = float(np.finfo(np.float16).smallest_normal) / 512  # below it float16 holds no digits


def find_folded(group: Group, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """Models of a group that are another one with every row multiplied by a number of its own:
    "converted", from the one that holds more vectors, its norms. copies: those known before, which
    are left out.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> from mother.layouts import align
    >>> w, by = np.random.default_rng(0).normal(size=(9, 9)), np.arange(1.0, 10.0)
    >>> plain = {"w": constant("w", w), "norm": constant("norm", by)}
    >>> folded = {"w": constant("w", w * by[:, None])}
    >>> models = [Checkpoint(x, Path(x), "npz", y) for x, y in (("a", folded), ("b", plain))]
    >>> (found,) = find_folded(align(models)[0], [])
    >>> found.original.id, found.copy.id, found.scheme
    ('b', 'a', 'norms folded in')
    """
    known = set(map(id, without(group, copies)))
    own = [k for k, c in enumerate(group.checkpoints) if id(c) in known and not c.is_sketch]
    vectors = {k: _vectors(group.checkpoints[k]) for k in own}
    if len(set(vectors.values())) < 2:  # as in most collections, which pay nothing for it
        return []
    order = sorted(own, key=lambda k: (-vectors[k], group.checkpoints[k].id))
    found: list[Duplicate] = []
    folded = set[int]()
    for o, k in combinations(order, 2):
        if vectors[o] == vectors[k] or {o, k} & folded:
            continue
        pairs = _in_common(group, o, k)
        if not pairs:
            continue
        if all(map(_alike, pairs[: FOLDED_GLANCE[0]])) and _is_folded(pairs):
            folded.add(k)
            models = group.checkpoints[o], group.checkpoints[k]
            found.append(Duplicate(*models, "converted", "norms folded in", distance=0.0))
    return found


def _vectors(checkpoint: Checkpoint) -> int:
    return sum(t.is_weight and len(t.shape) == 1 for t in checkpoint.tensors.values())


def _in_common(group: Group, o: int, k: int) -> list[tuple[Tensor, Tensor]]:
    """Their matrices, the largest first; none where these are too little of either."""
    pairs = [
        (layer.tensors[layer.members.index(o)], layer.tensors[layer.members.index(k)])
        for layer in group.layers
        if is_matrix(layer.shape) and {o, k} <= set(layer.members)
    ]
    held = sum(a.size for a, _ in pairs)
    if held < MOST * max(group.checkpoints[x].parameters for x in (o, k)):
        return []
    return sorted(pairs, key=lambda pair: -pair[0].size)


def _alike(pair: tuple[Tensor, Tensor]) -> bool:
    """Whether rows of two matrices, or their columns, point the same way or the opposite, at a
    glance."""
    height, _ = as_matrix(pair[0].shape)
    rows = np.unique(np.linspace(0, height - 1, FOLDED_GLANCE[1]).astype(int)).tolist()
    x, y = (t.parts(spans(t.shape, rows)).astype(np.float64) for t in pair)
    return any(_one_way(x, y, axis) for axis in (1, 0))


def _one_way(x: Array, y: Array, axis: int) -> bool:
    squared_cosine = (x * y).sum(axis=axis) ** 2
    lengths = (x * x).sum(axis=axis) * (y * y).sum(axis=axis)
    return bool((squared_cosine >= (1 - SAME_DIRECTION) * lengths).all())


def _is_folded(pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """Whether all rows, or all columns, of each matrix are the other's times a number, to the
    rounding of both, and these numbers differ within some matrix by more than that."""
    differ = False
    for pair in pairs:
        scales = next((s for k in (1, 0) if (s := _scales(*pair, axis=k)) is not None), None)
        if scales is None:
            return False
        least = max(SAME_DIRECTION, FAR * _error(*pair)) * np.abs(scales).max(initial=0.0)
        differ = differ or bool(np.ptp(scales) > least)
    return differ


def _error(a: Tensor, b: Tensor) -> float:
    """What rounding may make of a weight, as a share of it."""
    return ROUNDED_TWICE * max(map(rounding, (a, b)))


def _scales(a: Tensor, b: Tensor, axis: int) -> Array | None:
    """By what each row of a (axis 1), or each column (axis 0), must be multiplied to be that of b;
    None if it can't be."""
    sums = [((x * y).sum(axis=axis), (x * x).sum(axis=axis)) for x, y in _blocks(a, b)]
    join = np.concatenate if axis else np.sum
    both, squared = (join([part[k] for part in sums], axis=0) for k in (0, 1))
    scales = both / np.where(squared > 0, squared, 1.0)
    error, at = _error(a, b), 0
    for x, y in _blocks(a, b):
        scale = np.expand_dims(scales[at : at + len(x)] if axis else scales, axis)
        if not (np.abs(y - scale * x) <= error * np.abs(y) + _NO_DIGITS).all():
            return None
        at += len(x)
    return np.asarray(scales)


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[Array, Array]]:
    """Both matrices, some rows at a time."""
    height, width = as_matrix(a.shape)
    step = max(1, COMPARED_AT_ONCE // width)
    for top in range(0, height, step):
        start, stop = top * width, min(top + step, height) * width
        x, y = (t.read(start, stop).reshape(-1, width).astype(np.float64) for t in (a, b))
        yield x, y
