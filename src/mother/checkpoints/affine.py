"""Weights stored as integers, each (code - zero point) * scale, as exchange formats have them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.laid_out import Span, c_strides
from mother.checkpoints.tensor import Array, DType, Slice, Tensor


def affine(
    name: str,
    codes: Tensor,
    scales: Tensor,
    zeros: Tensor | None,
    steps: Sequence[int],
    dtype: DType | None = None,
    divide: bool = False,
) -> Tensor:
    """The numbers that codes stand for, as floats of `dtype`, that of the scales by default.

    steps: along each axis, how many places in turn share a scale: 1 where each has its own, the
    axis' size where all share one, a block's size in between. zeros: as many as scales, 0 where
    None. divide: by the scale, in place of multiplying. Raises ValueError, one line without the
    name, where sizes do not fit.

    >>> from mother.checkpoints.tensor import constant
    >>> codes = constant("q", np.array([[1, 2], [3, 4]], np.int8))
    >>> scales = constant("s", np.array([0.5, 2], np.float32))
    >>> affine("w", codes, scales, None, (1, 2)).read()
    array([0.5, 1. , 6. , 8. ], dtype=float32)
    """
    if len(steps) != len(codes.shape) or (codes.size and min(steps, default=1) < 1):
        raise ValueError(f"of shape {codes.shape} has scales for other dimensions")
    sides = tuple(-(-n // max(step, 1)) for n, step in zip(codes.shape, steps, strict=True))
    if scales.size != math.prod(sides) or not scales.is_weight:
        raise ValueError(f"of shape {codes.shape} has {scales.size} scales of {scales.dtype}")
    if zeros is not None and zeros.size != scales.size:
        raise ValueError(f"has {scales.size} scales and {zeros.size} zero points")
    made = _Affine(codes, scales, zeros, tuple(steps), sides, dtype or scales.dtype, divide)
    return Tensor(name, made.dtype, codes.shape, made, scheme=str(codes.dtype))


@dataclass(frozen=True, eq=False)
class _Affine:
    codes: Tensor
    scales: Tensor
    zeros: Tensor | None
    steps: tuple[int, ...]
    sides: tuple[int, ...]
    dtype: DType
    divide: bool

    def read(self, start: int, stop: int) -> Array:
        values = self.codes.read(start, stop)
        # integers as wide as any difference of codes
        wide: DType = np.dtype(np.int64 if values.dtype.itemsize > 2 else np.int32)
        values = values.astype(np.float32 if self.codes.is_weight else wide)
        first, last, which = self._which(start, stop)
        with np.errstate(all="ignore"):  # a scale or a zero may be anything
            if self.zeros is not None:
                values = values - self.zeros.read(first, last).astype(values.dtype)[which]
            scale = self.scales.read(first, last).astype(np.float32)[which]
            numbers = values.astype(np.float32)
            return (numbers / scale if self.divide else numbers * scale).astype(self.dtype)

    def _which(self, start: int, stop: int) -> tuple[int, int, Array]:
        """The scales [first, last) that elements [start, stop) need, and for each its place there,
        an array of one place where they all share it."""
        if self.scales.size == 1:
            return 0, 1, np.zeros(1, np.int64)
        rest, places = np.arange(start, stop), np.zeros(stop - start, np.int64)
        weights = c_strides(self.sides)
        for axis in reversed(range(len(self.sides))):
            side = self.codes.shape[axis]
            if self.sides[axis] == 1:
                rest = rest // side
                continue
            rest, index = np.divmod(rest, side)
            places += index // self.steps[axis] * weights[axis]
        first, last = int(places.min()), int(places.max()) + 1
        return first, last, places - first

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        yield from self.codes.slices(start, stop)
        yield from self.scales.slices()
        if self.zeros is not None:
            yield from self.zeros.slices()


def nibbles(name: str, span: Span, shape: tuple[int, ...], signed: bool) -> Tensor:
    """4-bit integers, two to a byte, the first in the low half. Raises ValueError.

    >>> from mother.checkpoints.laid_out import Bytes
    >>> nibbles("q", Bytes(b"\\x21\\xf3"), (4,), signed=True).read()
    array([ 1,  2,  3, -1], dtype=int8)
    """
    size = math.prod(shape)
    if any(n < 0 for n in shape) or span.nbytes < -(-size // 2):
        raise ValueError(f"tensor {name[:200]!r} needs {-(-size // 2)} bytes, has {span.nbytes}")
    return Tensor(name, np.dtype(np.int8 if signed else np.uint8), shape, Nibbles(span, signed))


def looked_up(name: str, span: Span, shape: tuple[int, ...], table: Sequence[float]) -> Tensor:
    """Floats of 4 bits, packed in the same way, each an entry of a table. Raises ValueError.

    >>> from mother.checkpoints.laid_out import Bytes
    >>> looked_up("w", Bytes(b"\\x21"), (2,), [k / 2 for k in range(16)]).read()
    array([0.5, 1. ], dtype=float32)
    """
    codes = nibbles(name, span, shape, signed=False)
    dtype = np.dtype(np.float32)
    return Tensor(name, dtype, shape, _LookedUp(codes, np.array(table, dtype)))


@dataclass(frozen=True, eq=False)
class _LookedUp:
    codes: Tensor
    table: Array

    def read(self, start: int, stop: int) -> Array:
        values: Array = self.table[self.codes.read(start, stop)]
        return values

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.codes.slices(start, stop)


@dataclass(frozen=True, eq=False)
class Nibbles:
    """The source of 4-bit integers."""

    span: Span
    signed: bool

    def read(self, start: int, stop: int) -> Array:
        low, high = start // 2, -(-stop // 2)
        data = self.span.array(low, high)
        both = np.stack([data & 15, data >> 4], axis=1).reshape(-1)[
            start - 2 * low : stop - 2 * low
        ]
        return (both ^ 8).astype(np.int8) - np.int8(8) if self.signed else both

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.span.slices(start // 2, -(-stop // 2))
