"""Weight tensors as matrices."""

from __future__ import annotations

import math


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a weight tensor: output channels against all else.

    >>> as_matrix((64, 3, 7, 7))
    (64, 147)
    """
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Whether a layer can tell a low rank from a full one.

    >>> is_matrix((64, 64)), is_matrix((64,)), is_matrix((1, 1, 64))
    (True, False, False)
    """
    return len(shape) > 1 and min(as_matrix(shape)) >= 4
