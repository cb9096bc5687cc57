"""What weights were rounded to, whatever they are stored in now: a number format, or a grid."""

from __future__ import annotations

import math
from weakref import WeakKeyDictionary

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Tensor
from mother.layouts import Group
from mother.measures.cells import cells_of
from mother.measures.shapes import as_matrix, is_matrix, spans
from mother.thresholds import LARGELY

Array = NDArray[np.float64]
WEIGHTS_SEEN = 256  # weights of a tensor that tell its format
COARSE = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))
FEWEST_ON_GRID = 4  # different values that make a grid
GRID_LEVELS = 2048  # of a grid to either side of zero: up to 12 bits
ROWS_SEEN = 256  # rows of a matrix that steps are taken from
CELL_WEIGHTS = 1 << 17  # of these rows, about, that tell how wide cells of codes are
NORM_AT_ONCE = 1 << 20  # weights of which a norm is taken at once
PARTS = 4  # so many of these of one tensor, spread over it
_known: WeakKeyDictionary[Tensor, float] = WeakKeyDictionary()  # and no tensor is kept by it


def number_format(values: NDArray[np.generic]) -> np.dtype[np.generic]:
    """The coarsest format that holds weights as they are: those that were rounded to bfloat16 stay
    so when they are stored in float32.

    >>> number_format(np.array([0.1, 0.5], np.float32))
    dtype('float32')
    >>> number_format(np.array([0.25, 0.5], np.float32))
    dtype(bfloat16)
    """
    if values.dtype.itemsize > 2:
        with np.errstate(over="ignore", invalid="ignore"):
            for kind in COARSE:
                if (values.astype(kind).astype(values.dtype) == values).all():
                    return kind
    return values.dtype


def _middle(tensor: Tensor) -> NDArray[np.generic]:
    middle = tensor.size // 2
    return tensor.read(max(0, middle - WEIGHTS_SEEN // 2), middle + WEIGHTS_SEEN // 2)


def error_of(dtype: np.dtype[np.generic]) -> float:
    """Relative error of rounding to a number format, root mean square.

    >>> round(error_of(np.dtype(ml_dtypes.bfloat16)), 4)
    0.0016
    """
    return float(ml_dtypes.finfo(dtype).eps) / 24**0.5


def rounding(tensor: Tensor) -> float:
    """Relative error that rounding left on a tensor's weights, root mean square: that of its number
    format, or of the grid that they lie on.

    >>> from mother.checkpoints.tensor import constant
    >>> w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    >>> rounding(constant("w", w)) < 1e-7 < rounding(constant("w", w.astype(np.float16))) < 1e-3
    True
    >>> round(rounding(constant("w", np.rint(8 * w) / 8)), 3)
    0.036
    """
    known = _known.get(tensor)
    if known is None:
        known = _known[tensor] = _rounding(tensor)
    return known


def _rounding(tensor: Tensor) -> float:
    few = _middle(tensor)
    relative = error_of(number_format(few))
    if is_matrix(tensor.shape) and len(np.unique(np.abs(few))) < LARGELY * np.count_nonzero(few):
        noise = rounding_noise(tensor)
        if noise > 0:
            relative = math.hypot(relative, math.sqrt(noise / squared_norm(tensor)))
    return relative


def roundings(group: Group) -> Array:
    """That of each model of a group, in its largest layer, (n,)."""
    largest: list[Tensor | None] = [None] * len(group.checkpoints)
    for layer in group.layers:
        for model, tensor in zip(layer.members, layer.tensors, strict=True):
            known = largest[model]
            if known is None or tensor.size > known.size:
                largest[model] = tensor
    return np.array([rounding(t) if t is not None else 0.0 for t in largest])


def squared_norm(tensor: Tensor) -> float:
    """Sum of the squares of a tensor's weights; of a large one it is taken of some parts.

    >>> from mother.checkpoints.tensor import constant
    >>> squared_norm(constant("w", np.full((8, 8), 0.5, np.float16)))
    16.0
    """
    blocks = range(0, tensor.size, NORM_AT_ONCE)
    squared, many = 0.0, 0
    for start in blocks[:: max(1, -(-len(blocks) // PARTS))]:
        values = tensor.read(start, min(start + NORM_AT_ONCE, tensor.size))
        wide = values.astype(np.float32, copy=False).astype(np.float64)
        squared += float(wide @ wide)
        many += len(wide)
    return squared * (tensor.size / max(many, 1))


def rounding_noise(tensor: Tensor) -> float:
    """Sum of s^2/12 over a matrix whose rows lie on grids of step s, or whose weights repeat in
    blocks, as codes do, in cells of width s; 0 where they don't."""
    rows, width = as_matrix(tensor.shape)
    picked = picked_rows(rows)
    read = (tensor.read(*span).astype(np.float64) for span in spans(tensor.shape, picked))
    steps, seen = [], []
    for row in read:
        seen.append(row)
        step = grid_step(row)
        if not step:
            break
        steps.append(step)
    if len(steps) == len(picked):
        return float(np.mean(np.square(steps)) / 12 * tensor.size)
    # codes are as coarse in one row as in the next
    every = np.stack([*seen, *read]) if len(picked) * width <= CELL_WEIGHTS else None
    if every is None:
        some = picked[:: max(1, len(picked) * width // CELL_WEIGHTS)]
        every = np.stack([tensor.read(*s).astype(np.float64) for s in spans(tensor.shape, some)])
    return cells_of(every).squared / 12 * tensor.size


def picked_rows(rows: int) -> list[int]:
    """Which rows of a matrix steps are taken from.

    >>> picked_rows(3), len(picked_rows(5000))
    ([0, 1, 2], 256)
    """
    spread = np.linspace(0, rows - 1, min(rows, ROWS_SEEN))
    return sorted({int(row) for row in spread})


def grid_step(row: Array) -> float:
    """The step of the uniform grid that values lie on, 0.0 if there is none of up to GRID_LEVELS.

    >>> grid_step(np.array([0.0, 0.5, -1.5, 2.0, 1.0])), grid_step(np.array([0.1, 0.2, 0.37]))
    (0.5, 0.0)
    """
    values = np.unique(np.abs(row))
    if len(values) < FEWEST_ON_GRID:
        return 0.0
    gaps = np.diff(values, prepend=0.0)
    step = float(gaps[gaps > 1e-4 * values[-1] / GRID_LEVELS].min(initial=np.inf))
    if not np.isfinite(step) or values[-1] > GRID_LEVELS * step:
        return 0.0
    codes = np.rint(values / step)
    step = float(values @ codes / (codes @ codes))
    return step if np.abs(values - step * codes).max() < 0.02 * step else 0.0
