"""The kernel's functions in numpy: its oracle, and its stand-in where no compiler was at hand.

A *block* is a 1-D array of consecutive weights of one checkpoint in one layer; the blocks given
together have equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.generic]
T = TypeVar("T")
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Sums:
    """What one reading of n blocks yields; None where it was not asked for.

    gram, linf, l1  (n, n)  as `gram` and `distances` have them
    moments         (n, 6)  as `moments` has them
    """

    gram: NDArray[np.float64] | None
    linf: NDArray[np.float64] | None
    l1: NDArray[np.float64] | None
    moments: NDArray[np.float64] | None


def known(value: T | None) -> T:
    """The value, which was asked for."""
    assert value is not None
    return value


def sums(
    blocks: Sequence[Block],
    reference: NDArray[np.int64] | None,
    *,
    linf: bool = False,
    l1: bool = False,
    moments: bool = False,
) -> Sums:
    """What is asked for of n blocks.

    >>> sums([np.array([1.0, 2.0])], np.array([-1])).gram
    array([[5.]])
    """
    most, total = distances(blocks) if linf or l1 else (None, None)
    return Sums(
        None if reference is None else gram(blocks, reference),
        most,
        total if l1 else None,
        _moments(blocks) if moments else None,
    )


def _chunks(blocks: Sequence[Block]) -> list[NDArray[np.float64]]:
    count = blocks[0].size
    return [
        np.stack([b[at : at + _CHUNK].astype(np.float64) for b in blocks])
        for at in range(0, count, _CHUNK)
    ]


def gram(blocks: Sequence[Block], reference: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inner products of increments d_i = w_i - w_reference[i] (w_i where reference is -1), (n, n).

    >>> gram([np.array([1.0, 2.0]), np.array([1.0, 5.0])], np.array([-1, 0]))
    array([[5., 6.],
           [6., 9.]])
    """
    n = len(blocks)
    total = np.zeros((n, n))
    for w in _chunks(blocks):
        d = w - np.where(reference[:, None] >= 0, w[reference], 0)
        total += d @ d.T
    return total


def distances(blocks: Sequence[Block]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest |w_i - w_j|, and the sum of |w_i - w_j|; both (n, n).

    >>> distances([np.array([1.0, 2.0]), np.array([1.5, 5.0])])[1]
    array([[0. , 3.5],
           [3.5, 0. ]])
    """
    n = len(blocks)
    most, total = np.zeros((n, n)), np.zeros((n, n))
    for w in _chunks(blocks):
        for i in range(n):
            gap = np.abs(w[i] - w)
            most[i] = np.maximum(most[i], gap.max(axis=1))
            total[i] += gap.sum(axis=1)
    return most, total


def moments(block: Block) -> NDArray[np.float64]:
    """Mean, sums of 2nd, 3rd and 4th powers about it, minimum, maximum; (6,).

    >>> moments(np.array([1.0, 2.0, 3.0]))
    array([2., 2., 0., 2., 1., 3.])
    """
    x = block.astype(np.float64)
    c = x - x.mean()
    powers = [float((c**k).sum()) for k in (2, 3, 4)]
    return np.array([x.mean(), *powers, x.min(), x.max()])


def _moments(blocks: Sequence[Block]) -> NDArray[np.float64]:
    return np.stack([moments(block) for block in blocks])


def histogram(block: Block, low: float, high: float, bins: int) -> NDArray[np.int64]:
    """Counts in equal bins of [low, high]; the end bins take what lies outside; (bins,).

    >>> histogram(np.array([-1.0, 0.1, 0.9, 7.0]), 0.0, 1.0, 2)
    array([2, 2])
    """
    x = block.astype(np.float32)
    scale = np.float32(bins / (high - low))
    index = np.clip((x - np.float32(low)) * scale, 0, bins - 1).astype(np.int64)
    return np.bincount(index, minlength=bins)


def pivots(matrix: NDArray[np.float64], stop: float) -> tuple[int, float, float]:
    """Elimination with complete pivoting of a (k, k) matrix.

    The number of pivots above `stop` * sqrt(1 + steps before), by which rounding grows; the
    smallest of them; and the first that is not above, 0 if all are.

    >>> pivots(np.diag([3.0, 1.0, 1e-9]), 1e-6)
    (2, 1.0, 1e-09)
    """
    rest = np.array(matrix, dtype=np.float64)
    smallest = 0.0
    for r in range(matrix.shape[0]):
        row, column = np.unravel_index(np.argmax(np.abs(rest)), rest.shape)
        pivot = rest[row, column]
        if not abs(pivot) > stop * np.sqrt(1 + r):
            return r, smallest, float(abs(pivot))
        smallest = min(smallest, float(abs(pivot))) if r else float(abs(pivot))
        eliminated = rest - np.outer(rest[:, column] / pivot, rest[row])
        rest = np.delete(np.delete(eliminated, row, axis=0), column, axis=1)
    return int(matrix.shape[0]), smallest, 0.0
