"""Tensors as they are laid out in bytes: one after another, or strided."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, DType, Slice, Tensor

#: numpy before 2.0 takes no more
MAX_DIMENSIONS = 32
#: elements that an expanded tensor (stride 0) may make of a small storage
MAX_EXPANDED = 1 << 20


class Span(Protocol):
    """A run of bytes that tensors lie in."""

    @property
    def nbytes(self) -> int: ...

    def array(self, start: int, stop: int) -> Array:
        """Bytes [start, stop) of it as uint8."""

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """The bytes of files that such a read needs."""


@dataclass(frozen=True, eq=False)
class Window:
    """Bytes [offset, offset + nbytes) of a file, as they are; the range is checked by the maker."""

    file: File
    offset: int
    nbytes: int

    def array(self, start: int, stop: int) -> Array:
        return self.file.array(self.offset + start, self.offset + stop)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        yield Slice(self.file, self.offset + start, self.offset + stop)


@dataclass(frozen=True, eq=False)
class Bytes:
    """A span of bytes in memory."""

    data: bytes

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def array(self, start: int, stop: int) -> Array:
        return np.frombuffer(self.data, np.uint8, stop - start, start)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return iter(())


def _native(data: Array, dtype: DType) -> Array:
    """uint8 data as an aligned array of `dtype` in native byte order; a view where it can be."""
    values = data.view(dtype)
    if not dtype.isnative:
        return values.astype(dtype.newbyteorder("="))
    return values if values.flags.aligned else values.copy()


@dataclass(frozen=True, eq=False)
class Contiguous:
    """Elements in C order from byte `offset` of a span on; `dtype` is as stored."""

    span: Span
    offset: int
    dtype: DType

    def read(self, start: int, stop: int) -> Array:
        item = self.dtype.itemsize
        data = self.span.array(self.offset + start * item, self.offset + stop * item)
        return _native(data, self.dtype)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        item = self.dtype.itemsize
        return self.span.slices(self.offset + start * item, self.offset + stop * item)


@dataclass(frozen=True, eq=False)
class Strided:
    """Elements of a strided view, `strides` in elements; reads yield them in C order."""

    span: Span
    offset: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        low, shape, strides = self._rows(start, stop)
        inner = math.prod(shape[1:])
        flat = self._elements.read(*self._touched(low, shape, strides))
        item = flat.dtype.itemsize
        steps = tuple(item * step for step in strides)
        view = np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
        return np.asarray(view.flat[start - low * inner : stop - low * inner])

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self._elements.slices(*self._touched(*self._rows(start, stop)))

    def _rows(self, start: int, stop: int) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
        """The first of the rows along the outermost axis that elements [start, stop) lie in, and
        the shape and the strides of all of them."""
        axis = next((a for a, n in enumerate(self.shape) if n > 1), 0)
        inner = math.prod(self.shape[axis + 1 :])
        low, high = start // inner, -(-stop // inner)
        return low, (high - low, *self.shape[axis + 1 :]), self.strides[axis:]

    def _touched(
        self, low: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> tuple[int, int]:
        base = low * strides[0]
        return base, base + _extent(shape, strides)

    @property
    def _elements(self) -> Contiguous:
        return Contiguous(self.span, self.offset, self.dtype)


def _extent(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one that a strided view touches; 0 if it is empty."""
    if 0 in shape:
        return 0
    return 1 + sum((count - 1) * step for count, step in zip(shape, strides, strict=True))


@lru_cache(maxsize=1 << 12)
def c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous array.

    >>> c_strides((2, 3, 4))
    (12, 4, 1)
    """
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def lay_out(
    name: str,
    span: Span,
    dtype: DType,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
    offset: int = 0,
) -> Tensor:
    """A tensor in a span, from byte `offset` on; `strides` in elements, C order if None.

    `dtype` is as stored (either byte order). Raises ValueError, one line without the name, if
    the tensor does not lie inside the span or claims more elements than the span could hold.
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"has {len(shape)} dimensions; {MAX_DIMENSIONS} are the most")
    if any(count < 0 for count in shape) or any(step < 0 for step in strides or ()):
        raise ValueError("has a negative dimension or stride")
    plain = c_strides(shape)
    strides = plain if strides is None else strides
    if len(strides) != len(shape):
        raise ValueError(f"has {len(shape)} dimensions but {len(strides)} strides")
    end = offset + _extent(shape, strides) * dtype.itemsize
    if offset < 0 or end > span.nbytes:
        raise ValueError(f"needs {end} bytes of a storage of {span.nbytes}")
    if math.prod(shape) > max(span.nbytes, MAX_EXPANDED):
        raise ValueError(f"claims {math.prod(shape)} elements in a storage of {span.nbytes} bytes")
    contiguous = all(n <= 1 or s == p for n, s, p in zip(shape, strides, plain, strict=True))
    native = dtype.newbyteorder("=") if dtype.kind in "iufc" else dtype
    dtype = native if dtype.isnative else dtype
    if contiguous or 0 in shape:
        return Tensor(name, native, shape, Contiguous(span, offset, dtype))
    return Tensor(name, native, shape, Strided(span, offset, dtype, shape, strides))
