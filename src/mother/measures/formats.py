"""The number format that weights were in, whatever they are stored in now."""

from __future__ import annotations

from functools import lru_cache

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Group, Tensor

SEEN = 256  # weights of a tensor that tell its format
COARSE = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float16))


def rounding(dtype: np.dtype[np.generic]) -> float:
    """Relative rounding error of a number format, root mean square.

    >>> rounding(np.dtype(np.float32)) < 1e-7 < rounding(np.dtype(np.float16)) < 1e-3
    True
    """
    return float(ml_dtypes.finfo(dtype).eps) / 24**0.5


@lru_cache(maxsize=1 << 16)
def number_format(tensor: Tensor) -> np.dtype[np.generic]:
    """The coarsest format that holds a tensor's weights as they are: weights that were rounded to
    bfloat16 stay so when they are stored in float32.

    >>> from mother.checkpoints.tensor import constant
    >>> number_format(constant("w", np.array([0.1, 0.5], np.float32)))
    dtype('float32')
    >>> number_format(constant("w", np.array([0.25, 0.5], np.float32)))
    dtype(bfloat16)
    """
    middle = tensor.size // 2
    values = tensor.read(max(0, middle - SEEN // 2), middle + SEEN // 2)
    if values.dtype.itemsize > 2:
        with np.errstate(over="ignore", invalid="ignore"):
            for kind in COARSE:
                if (values.astype(kind).astype(values.dtype) == values).all():
                    return kind
    return values.dtype


def roundings(group: Group) -> NDArray[np.float64]:
    """Relative rounding error of each model's weights, as in its largest layer, (n,)."""
    out = np.zeros(len(group.checkpoints))
    size = np.zeros(len(out))
    for layer in group.layers:
        for model, tensor in zip(layer.members, layer.tensors, strict=True):
            if tensor.size > size[model]:
                size[model], out[model] = tensor.size, rounding(number_format(tensor))
    return out
