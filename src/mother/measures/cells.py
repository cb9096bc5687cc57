"""Weights that take few values in each block: how wide the cells are that rounding put them in.

Whatever codes a quantizer stores, the weights that are read from them repeat: a block of 64 has at
most 16 values at 4 bits, a row of thousands at most 256 at 8 bits. Between a model and its copy
lies about what is uniform in such a cell: a twelfth of its width squared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BLOCKS = (64, 32, 16)  # weights in a row that share a scale, and parts of them
FEW = 0.5  # share of different values in a block, below which weights are codes
TWICE = 1.6  # times as many values, from which a block is two
EVEN = 0.9  # share of rows on uniform grids, from which they are codes even if none repeats
FEWEST = 5  # values of a block: fewer lie on a grid by chance
MOST_IN_ROW = 256  # values of a row that are codes of 8 bits
_SAME = 1e-4  # of the largest in a block, by which values are one
_OFF = 0.2  # of a step, by which values that were rounded again lie off a uniform grid


@dataclass(frozen=True)
class Cells:
    """Of some rows of a matrix. few: whether their values repeat, as codes do. squared: mean square
    of the width of the cells that they lie in, 0 where they don't repeat. levels: values in a
    block, in the mean. by_row: whether rows lie on one uniform grid each,
    and of which steps, (r,)."""

    few: bool
    squared: float
    levels: float
    by_row: bool = False
    steps: Array | None = field(default=None, repr=False, compare=False)


def cells_of(rows: Array) -> Cells:
    """The cells of a matrix, from some of its rows, (r, c).

    >>> w = np.random.default_rng(0).normal(size=(16, 256))
    >>> cells_of(w).few, cells_of(np.rint(4 * w) / 4)
    (False, Cells(few=True, squared=0.0625, levels=..., by_row=True))
    """
    width = rows.shape[1]
    found: Cells | None = None
    if not np.isfinite(rows).all():
        return Cells(False, 0.0, float(width))
    for length in dict.fromkeys(min(n, width) for n in (width, *BLOCKS)):
        gaps, many, even = _gaps(_parts(rows, length))
        if even.mean() > EVEN and many.mean() > FEWEST:
            by_row = length == width
            squared, steps = float(np.square(gaps).mean()), gaps[:, 0] if by_row else None
            return Cells(True, squared, float(many.mean()), by_row, steps)
    block = _block(rows, width)
    for length, most in ((block, np.inf), (width, MOST_IN_ROW), (rows.size, MOST_IN_ROW)):
        parts = _parts(rows, min(length, rows.size) if length == rows.size else min(length, width))
        gaps, many, _ = _gaps(parts)
        held = max(float((parts != 0).sum(axis=1).mean()), 1.0)
        if many.mean() < FEW * held and many.mean() <= min(most, parts.shape[1] / 2):
            found = Cells(True, float(np.square(gaps).mean()), float(many.mean()))
            break
    return found or Cells(False, 0.0, float(width))


def _block(rows: Array, width: int) -> int:
    """How many weights in a row share a scale: two blocks together have as many values as both."""
    for length, half in pairwise(BLOCKS):
        if length <= width:
            whole, part = (float(_gaps(_parts(rows, n))[1].mean()) for n in (length, half))
            if whole < TWICE * part:
                return length
    return BLOCKS[-1]


def _parts(rows: Array, length: int) -> Array:
    """Rows in blocks of one length, what is left of each row cut off."""
    rows = rows.reshape(1, -1) if length > rows.shape[1] else rows
    return rows[:, : rows.shape[1] // length * length].reshape(-1, length)


def _gaps(parts: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """The width of each value's cell, (blocks, length), how many values each block has, and whether
    they lie on a uniform grid."""
    ordered = np.sort(parts, axis=1)
    largest = np.abs(ordered).max(axis=1, keepdims=True)
    gap = np.diff(ordered, axis=1)
    apart = gap > _SAME * largest
    many = 1 + apart.sum(axis=1)
    step = np.where(apart, gap, np.inf).min(axis=1, keepdims=True)
    one = apart & (gap < 1.5 * step)
    step = (gap * one).sum(axis=1, keepdims=True) / np.maximum(one.sum(axis=1, keepdims=True), 1)
    with np.errstate(all="ignore"):
        steps = gap / step
    even = np.where(apart, np.abs(steps - np.rint(steps)), 0.0).max(axis=1, initial=0.0) < _OFF
    # to the next other value on either side: as wide as that is far, in the mean of both
    below = np.where(apart, gap, np.nan)
    left = _carried(np.concatenate([np.full((len(gap), 1), np.nan), below], axis=1))
    right = _carried(np.concatenate([below, np.full((len(gap), 1), np.nan)], axis=1)[:, ::-1])
    right = right[:, ::-1]
    both = (np.where(np.isnan(left), right, left) + np.where(np.isnan(right), left, right)) / 2
    width = np.nan_to_num(both)
    even &= step[:, 0] > 0
    return np.where(even[:, None], step, width), many, even


def _carried(values: Array) -> Array:
    """Each NaN replaced by what stands before it in its row."""
    known = np.where(np.isnan(values), 0, np.arange(values.shape[1]))
    np.maximum.accumulate(known, axis=1, out=known)
    return np.take_along_axis(values, known, axis=1)
