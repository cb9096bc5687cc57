"""The compiled inner loops (kernel.c) behind the same functions as `numpy_kernel`.

`native` tells whether the compiled ones are in use.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.measures import numpy_kernel
from mother.measures.numpy_kernel import Block, Sums

_CODES = {
    np.dtype(np.float32): 0,
    np.dtype(np.float64): 1,
    np.dtype(np.float16): 2,
    np.dtype(ml_dtypes.bfloat16): 3,
}


def _library() -> ctypes.CDLL | None:
    for path in sorted(Path(__file__).parent.glob("_kernel*")):
        if path.suffix in (".so", ".pyd", ".dylib"):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            library.mother_pivots.restype = ctypes.c_int64
            return library
    return None


_lib = _library()
native: bool = _lib is not None


def _readable(block: Block) -> Block:
    """The block as the kernel can read it: contiguous, and a type it knows (fp8 is widened)."""
    known = block if block.dtype in _CODES else block.astype(np.float32)
    return np.ascontiguousarray(known)


def _sources(blocks: Sequence[Block]) -> tuple[list[Block], object, object]:
    held = [_readable(b) for b in blocks]
    pointers = (ctypes.c_void_p * len(held))(*(b.ctypes.data for b in held))
    codes = (ctypes.c_int32 * len(held))(*(_CODES[b.dtype] for b in held))
    return held, pointers, codes


def _pointer(array: NDArray[np.generic] | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _symmetric(lower: NDArray[np.generic] | None) -> NDArray[np.float64] | None:
    if lower is None:
        return None
    full = np.asarray(lower, dtype=np.float64)
    return np.tril(full) + np.tril(full, -1).T


def sums(
    blocks: Sequence[Block],
    reference: NDArray[np.int64] | None,
    *,
    linf: bool = False,
    l1: bool = False,
    moments: bool = False,
) -> Sums:
    """What is asked for of n blocks, in one reading of them. Increments are formed before products
    and summed in float64, so that close models keep their distance.

    reference: (n,) int64, for `gram`, which is left out where it is None. l1 only beside linf.

    >>> found = sums([np.array([1.0, 2.0]), np.array([1.5, 5.0])], None, linf=True, moments=True)
    >>> found.linf, found.moments[:, 0]
    (array([[0., 3.],
           [3., 0.]]), array([1.5 , 3.25]))
    """
    if _lib is None:
        return numpy_kernel.sums(blocks, reference, linf=linf, l1=l1, moments=moments)
    held, pointers, codes = _sources(blocks)
    n = len(held)
    order = None if reference is None else np.ascontiguousarray(reference, dtype=np.int64)
    products = None if reference is None else np.zeros((n, n))
    most = np.zeros((n, n), dtype=np.float32) if linf or l1 else None
    total = np.zeros((n, n)) if l1 else None
    powers = np.zeros((n, 6)) if moments else None
    sizes = ctypes.c_int64(n), ctypes.c_int64(held[0].size)
    out = map(_pointer, (products, most, total, powers))
    if _lib.mother_pass(pointers, codes, _pointer(order), *sizes, *out):
        raise MemoryError("no memory for a tile")
    return Sums(_symmetric(products), _symmetric(most), _symmetric(total), powers)


def histogram(block: Block, low: float, high: float, bins: int) -> NDArray[np.int64]:
    """Counts in equal bins of [low, high]; the end bins take what lies outside; (bins,), int64.

    >>> histogram(np.array([-1.0, 0.1, 0.9, 7.0]), 0.0, 1.0, 2)
    array([2, 2])
    """
    if _lib is None:
        return numpy_kernel.histogram(block, low, high, bins)
    held = _readable(block)
    counts = np.zeros(bins, dtype=np.int64)
    _lib.mother_histogram(
        _pointer(held),
        _CODES[held.dtype],
        ctypes.c_int64(held.size),
        ctypes.c_double(low),
        ctypes.c_double(high),
        ctypes.c_int64(bins),
        _pointer(counts),
    )
    return counts


def pivots(matrix: NDArray[np.float64], stop: float) -> tuple[int, float, float]:
    """Elimination with complete pivoting of a (k, k) matrix.

    The number of pivots above `stop` * sqrt(1 + steps before), by which rounding grows; the
    smallest of them; and the first that is not above, 0 if all are.

    >>> pivots(np.diag([3.0, 1.0, 1e-9]), 1e-6)
    (2, 1.0, 1e-09)
    """
    if _lib is None:
        return numpy_kernel.pivots(matrix, stop)
    work = np.array(matrix, dtype=np.float64, order="C")
    last = np.zeros(2)
    k = ctypes.c_int64(work.shape[0])
    count = int(_lib.mother_pivots(_pointer(work), k, ctypes.c_double(stop), _pointer(last)))
    return count, float(last[0]), float(last[1])
