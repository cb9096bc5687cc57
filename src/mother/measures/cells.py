"""Weights that take few values in each block: how wide the cells are that rounding put them in.

Whatever codes a quantizer stores, the weights that are read from them repeat: a block of 64 has at
most 16 values at 4 bits, a row of thousands at most 256 at 8 bits. Between a model and its copy
lies about what is uniform in such a cell: a twelfth of its width squared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mother.thresholds import MOST, NEARLY_ALL

Array = NDArray[np.float64]
BLOCKS = (16, 32, 64)  # weights in a row that share a scale, and parts of them
FINER = 1.2  # times as narrow are cells of longer blocks that are none
FEWEST_IN_BLOCK = 5  # values of a block: fewer lie on a grid by chance
MOST_IN_ROW = 256  # values of a row that are codes of 8 bits
_ONE_VALUE = 1e-4  # of the largest in a block, by which values are one
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
    none = Cells(False, 0.0, float(width))
    if not np.isfinite(rows).all():
        return none
    found, wide = None, np.inf
    for length in [*sorted({min(n, width) for n in (*BLOCKS, width)}), rows.size]:
        longer, middle = _at(rows, length)
        # codes of several blocks lie on one grid, too: that of their scales' common part
        if found is not None and (longer is None or middle * FINER < wide):
            break
        found, wide = longer, middle
        if found is not None and found.by_row:
            break
    return found or none


def _at(rows: Array, length: int) -> tuple[Cells | None, float]:
    """The cells of rows as blocks of one length, and how wide those of half of the weights are;
    None and infinity where their values are no codes."""
    width = rows.shape[1]
    parts = _parts(rows, length)
    ordered = np.sort(parts, axis=1)
    gap = np.diff(ordered, axis=1)
    same = _ONE_VALUE * np.maximum(-ordered[:, 0], ordered[:, -1])
    apart = gap > same[:, None]
    many = 1 + apart.sum(axis=1)
    # beside one that is far larger, others are near to each other, but no value that repeats
    melted = np.where(apart, 0.0, gap).sum(axis=1) > many * same
    many = np.where(melted, length, many)
    levels = float(many.mean())
    held = max(float((parts != 0).sum(axis=1).mean()), 1.0)
    most = min(np.inf if length <= max(BLOCKS) else MOST_IN_ROW, parts.shape[1] / 2)
    few = levels < MOST * held and levels <= most
    least = np.where(apart, gap, np.inf).min(axis=1)
    spread = ordered[:, -1] - ordered[:, 0]
    # what floats are multiples of is no grid of codes; a step is below 1.5 times the least gap
    maybe = spread < 1.5 * (MOST_IN_ROW + 1) * least
    may_be_grids = length <= width and levels > FEWEST_IN_BLOCK and float(maybe.mean()) > NEARLY_ALL
    if not (few or may_be_grids):
        return None, np.inf
    even, step = np.zeros(len(parts), dtype=bool), np.zeros((len(parts), 1))
    even[maybe], step[maybe] = _even(spread[maybe], gap[maybe], apart[maybe], least[maybe])
    on_grids = may_be_grids and float(even.mean()) > NEARLY_ALL
    if not (few or on_grids):
        return None, np.inf
    gaps = np.where(even[:, None], step, _widths(gap, apart))
    by_row = on_grids and length == width
    found = Cells(
        True, float(np.square(gaps).mean()), levels, by_row, gaps[:, 0] if by_row else None
    )
    return found, float(np.median(gaps))


def _parts(rows: Array, length: int) -> Array:
    """Rows in blocks of one length, what is left of each row cut off."""
    rows = rows.reshape(1, -1) if length > rows.shape[1] else rows
    return rows[:, : rows.shape[1] // length * length].reshape(-1, length)


def _even(
    spread: Array, gap: Array, apart: NDArray[np.bool_], least: Array
) -> tuple[NDArray[np.bool_], Array]:
    """Whether the values of each block lie on a uniform grid, (blocks,), and its step, (blocks, 1).
    spread, least: (blocks,) from the first value to the last, and to the next at the least."""
    one = apart & (gap < 1.5 * least[:, None])
    step = (gap * one).sum(axis=1, keepdims=True) / np.maximum(one.sum(axis=1, keepdims=True), 1)
    with np.errstate(all="ignore"):
        steps = gap / step
        off = np.abs(steps - np.rint(steps))
    even = np.where(apart, off, 0.0).max(axis=1, initial=0.0) < _OFF
    return even & (step[:, 0] > 0) & (spread < (MOST_IN_ROW + 1) * step[:, 0]), step


def _widths(gap: Array, apart: NDArray[np.bool_]) -> Array:
    """The width of each value's cell, (blocks, length): to the next other value on either side, in
    the mean of both."""
    blocks, length = len(gap), gap.shape[1] + 1
    # values that are one, by where they begin among all sorted blocks, one behind the other
    begins = np.concatenate([np.ones((blocks, 1), dtype=bool), apart], axis=1)
    at = np.flatnonzero(begins)
    block, place = np.divmod(at, length)
    flat = np.append(gap.reshape(-1), np.nan)
    left = np.where(place > 0, flat[np.maximum(at - block - 1, 0)], np.nan)
    right = np.append(left[1:], np.nan)  # that of the first in the next block is none
    both = (np.where(np.isnan(left), right, left) + np.where(np.isnan(right), left, right)) / 2
    many = np.diff(np.append(at, blocks * length))
    return np.repeat(np.nan_to_num(both), many).reshape(blocks, length)
