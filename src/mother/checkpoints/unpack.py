"""The compiled loops (unpack.c) for the two layouts of which most quantized models are made.

`native` tells whether they are in use; without a compiler numpy does the same, beside the layouts.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import ml_dtypes
import numpy as np

from mother.checkpoints.tensor import Array, DType

_NUMBERS = {
    np.dtype(np.float32): 0,
    np.dtype(np.float16): 1,
    np.dtype(ml_dtypes.bfloat16): 2,
}


def _library() -> ctypes.CDLL | None:
    for path in sorted(Path(__file__).parent.glob("_unpack*")):
        if path.suffix in (".so", ".pyd", ".dylib"):
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                continue
    return None


_lib = _library()
native: bool = _lib is not None


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def q4_k(blocks: Array) -> Array | None:
    """Blocks of GGUF's Q4_K, (n,) of 144 bytes that follow one another, as (n, 256) float32; None
    where nothing is compiled."""
    if _lib is None or not blocks.flags.c_contiguous:
        return None
    out = np.empty((len(blocks), 256), np.float32)
    _lib.mother_q4_k(_pointer(blocks), ctypes.c_int64(len(blocks)), _pointer(out))
    return out


def columns(
    words: Array, bits: int, groups: Array, zeros: Array, scales: Array, dtype: DType
) -> Array | None:
    """(code - zero) * scale of columns of words, in which codes follow one another along the
    inputs: (columns, inputs) of dtype; None where nothing is compiled for it.

    words: (rows, columns) of 32 bits, whose rows may lie apart. groups: of each input, or of each
    row where all its codes are of one, (inputs,) or (rows,). zeros, scales: (columns, many),
    float32.
    """
    if _lib is None or bits not in (4, 8) or dtype not in _NUMBERS or words.strides[1] != 4:
        return None
    rows, many = words.shape
    out = np.empty((many, rows * 32 // bits), dtype)
    held = np.ascontiguousarray(groups, np.int32)
    zeros, scales = np.ascontiguousarray(zeros), np.ascontiguousarray(scales)
    _lib.mother_columns(
        _pointer(words),
        *(ctypes.c_int64(n) for n in (words.strides[0] // 4, rows, many)),
        ctypes.c_int(bits),
        _pointer(held),
        ctypes.c_int(len(held) != rows),
        _pointer(zeros),
        _pointer(scales),
        ctypes.c_int64(scales.shape[1]),
        ctypes.c_int(_NUMBERS[dtype]),
        _pointer(out),
    )
    return out
