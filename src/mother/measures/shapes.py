"""Weight tensors as matrices."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

WIDEST = 1 << 16  # columns that are looked at of rows which stand for a matrix: experts that are
# stacked in one tensor, or a hostile shape, make rows of any length
LOW_RANK_SIDE = 4  # rows, and columns, of a matrix that can tell a low rank from a full one


@lru_cache(maxsize=1 << 12)
def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a weight tensor: output channels against all else. Where the first side
    is too short for that, as in kernels that are stored height and width first, the split that
    leaves the shorter side longest.

    >>> as_matrix((64, 3, 7, 7)), as_matrix((3, 3, 16, 32)), as_matrix((3, 3, 64, 1))
    ((64, 147), (144, 32), (9, 64))
    """
    if not shape:
        return 1, 1
    splits = [(math.prod(shape[:k]), math.prod(shape[k:])) for k in range(1, max(2, len(shape)))]
    return splits[0] if shape[0] >= LOW_RANK_SIDE else max(splits, key=min)


def spans(shape: tuple[int, ...], rows: Iterable[int]) -> list[tuple[int, int]]:
    """The elements [start, stop) of some rows of a tensor as a matrix, of the first WIDEST columns.

    >>> spans((3, 5), [0, 2])
    [(0, 5), (10, 15)]
    """
    _, width = as_matrix(shape)
    return [(row * width, row * width + min(width, WIDEST)) for row in rows]


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Whether a layer can tell a low rank from a full one.

    >>> is_matrix((64, 64)), is_matrix((64,)), is_matrix((1, 1, 64)), is_matrix((1, 1, 8, 64))
    (True, False, False, True)
    """
    return len(shape) > 1 and min(as_matrix(shape)) >= LOW_RANK_SIDE
