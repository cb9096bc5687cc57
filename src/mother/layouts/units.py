"""Which units of one model are which of another's, and how one stream is turned into another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Tensor
from mother.layouts.wiring import Stream
from mother.thresholds import MOST

Array = NDArray[Any]
Order = NDArray[np.intp]
T = TypeVar("T")

LABELS_TIMES = 4  # labels that are looked at, as a multiple of the stream's width
LABELS_COMPARED = 64  # labels whose Gram matrix is looked at
WIDE = 1e15  # numbers whose squares single precision does not hold, summed
MONOMIAL = 0.8  # middle cosine of axes matched one to one, above which nothing was rotated


def directions(rows: Array) -> Array:
    """Rows of length 1; those of zeros, or of what is not finite, stay zeros."""
    rows = np.nan_to_num(np.asarray(rows, np.float32), posinf=0.0, neginf=0.0)
    # no square is too large, or too small, after this
    most = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    rows = rows / np.where(most > 0, most, 1)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm > 0, norm, 1))


def cosines(a: Array, b: Array) -> Array:
    """Cosine of each row of a with each of b, (m, n)."""
    return np.asarray(directions(a) @ directions(b).T)


def assigned(alike: Array) -> Order:
    """For each of m units the one of n >= m that it is, no two the same: the assignment with the
    largest sum of |alike|, (m, n). (Kuhn 1955)

    >>> assigned(np.array([[0.1, -1.0], [0.9, 0.2]]))
    array([1, 0])
    """
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(np.abs(alike), maximize=True)[1])


def turn(a: Array, b: Array) -> Array:
    """The orthogonal matrix R that brings labelled rows of b, (N, d), to those of a, b R ~ a.

    A permutation with signs where that does it, else by singular values (Schoenemann 1966).

    >>> draw = np.random.default_rng(0)
    >>> a, spin = draw.normal(size=(50, 4)), np.linalg.qr(draw.normal(size=(4, 4)))[0]
    >>> np.allclose(turn(a, a @ spin), spin.T)
    True
    >>> turn(a, -a[:, [1, 0, 2, 3]]).astype(int)[0].tolist()
    [0, -1, 0, 0]
    """
    alike = cosines(a.T, b.T)
    order = assigned(alike)
    each = alike[np.arange(len(order)), order]
    if np.median(np.abs(each)) >= MONOMIAL:
        turned = np.zeros_like(alike)
        turned[order, np.arange(len(order))] = np.where(each < 0, -1.0, 1.0)
        return np.asarray(turned)
    left, _, right = np.linalg.svd(np.asarray(b, np.float64).T @ a, full_matrices=False)
    return np.asarray(left @ right)


def spread(values: Sequence[T], most: int) -> list[T]:
    """At most so many of the values, evenly spread.

    >>> spread(range(10), 4)
    [0, 3, 6, 9]
    """
    many = len(values)
    return [values[k] for k in sorted({int(x) for x in np.linspace(0, many - 1, min(many, most))})]


def values_of(tensor: Tensor) -> Array:
    """All of its elements in their shape, sides of one at the front left out, in single precision
    at least; those that are not finite as zeros."""
    shape = tensor.shape
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return np.nan_to_num(_floats(tensor.read()), copy=False, posinf=0.0, neginf=0.0).reshape(shape)


def _floats(values: Array) -> Array:
    """Wide enough for their squares."""
    if values.dtype == np.float64 or float(np.abs(values).max(initial=0)) > WIDE:
        return values.astype(np.float64)
    return values.astype(np.float32)


def labelled_rows(tensor: Tensor, axis: int, width: int, most: int) -> Array:
    """Rows of a tensor that labels have, (n, width), as many as wanted. axis: the stream's, the
    last (-1), where rows are stored one by one, or the first (0)."""
    count = tensor.size // width
    some = spread(range(count), most)
    if axis == 0:
        return np.asarray(_floats(tensor.read()).reshape(width, count)[:, some].T)
    return np.stack([_floats(tensor.read(k * width, (k + 1) * width)) for k in some])


def gram(rows: Array) -> Array:
    """The cosines of all pairs of rows, which no turn of their space changes, centred and of
    length 1: two such are alike by their inner product."""
    found = cosines(rows, rows)[np.triu_indices(len(rows), 1)].astype(np.float64)
    found -= found.mean() if len(found) else 0.0
    length = float(np.linalg.norm(found))
    return np.asarray(found / length if length else found)


def stream_turns(
    stream: Stream, one: Mapping[str, Tensor], other: Mapping[str, Tensor]
) -> list[Array]:
    """Orthogonal matrices of which one may bring the other model's stream to the one's. That from
    the rows of all labels, the tensors counting alike; those whose labels mean something else are
    left out. Where all seem to, labels may stand in another order: then that which leaves all where
    it is, too, and the permutation by how much of each matrix lies in each channel."""
    found: list[tuple[float, Array, Array]] = []
    for name, axis in stream.labelled.items():
        most = LABELS_TIMES * stream.width
        rows = [labelled_rows(side[name], axis, stream.width, most) for side in (one, other)]
        few = [gram(x[spread(range(len(x)), LABELS_COMPARED)]) for x in rows]
        rows = [np.nan_to_num(x, posinf=0.0, neginf=0.0) for x in rows]
        rows = [x / max(float(np.linalg.norm(x)), 1e-30) for x in rows]
        found.append((float(few[0] @ few[1]), rows[0], rows[1]))
    best = max(alike for alike, _, _ in found)
    kept = [(one, two) for alike, one, two in found if alike >= min(best, best / 2)]
    a, b = (np.concatenate([each[k] for each in kept]) for k in (0, 1))
    turns = [turn(a, b)]
    if best < MOST:
        lying = np.eye(stream.width, dtype=turns[0].dtype)
        turns += [lying, lying[:, _channels(stream, one, other)]]
    return turns


def _channels(stream: Stream, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Order:
    """For each channel of the one's stream the other's that it is most like, by the lengths that
    matrices have in it, whatever order their units and labels are in."""
    axes = dict(stream.labelled)
    axes |= {n: -1 for h in stream.hidden for n in h.written}
    axes |= {n: 0 for h in stream.hidden for n in h.read}
    a, b = (_lengths(side, axes) for side in (one, other))
    apart = np.square(a[:, None] - b).sum(axis=2)
    return assigned(apart.max(initial=0.0) - apart)


def _lengths(side: Mapping[str, Tensor], axes: Mapping[str, int]) -> Array:
    """Logarithms of the lengths of channels in each matrix, about their mean, (width, matrices)."""
    found = []
    for name, axis in axes.items():
        values = np.moveaxis(values_of(side[name]), axis, 0)
        most = float(np.abs(values).max(initial=0.0))  # no square is too large, or too small, then
        rows = values.reshape(len(values), -1) / (most or 1.0)
        found.append(np.log(np.maximum(np.linalg.norm(rows, axis=1), 1e-30)))
    return np.stack([x - x.mean() for x in found], axis=1)
