"""Tensors that are stored as codes: decoded when they are read, some elements at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mother.checkpoints.tensor import Array, DType, Slice, Tensor

#: elements that are decoded at a time, so that what lies between codes and values stays in cache
PIECE = 1 << 16
#: of a matrix that is stored the other way round: lines of the cache hold 16 of its rows
PIECE_ACROSS = 1 << 20


class Runs(Protocol):
    """A tensor as runs of `width` elements in C order, each of which can be decoded alone: the
    blocks or the rows of a format."""

    @property
    def width(self) -> int: ...

    def decode(self, low: int, high: int) -> Array:
        """The elements of runs [low, high), 1-D."""

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        """The bytes of files that they are decoded from."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Elements by runs; a read takes `piece` of them at a time into an array of `dtype`."""

    runs: Runs
    dtype: DType
    piece: int = PIECE

    def read(self, start: int, stop: int) -> Array:
        width = self.runs.width
        out = np.empty(stop - start, self.dtype)
        step = max(1, self.piece // width)
        for low in range(start // width, -(-stop // width), step):
            high = min(low + step, -(-stop // width))
            first, last = max(start, low * width), min(stop, high * width)
            try:
                values = self.runs.decode(low, high)
            except ValueError as error:
                where = next(iter(self.runs.slices(low, high)))
                raise where.file.fault(f"can't be decoded: {error}") from None
            out[first - start : last - start] = values[first - low * width : last - low * width]
        return out

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.runs.slices(start // self.runs.width, -(-stop // self.runs.width))


@dataclass(frozen=True, eq=False)
class Reordered:
    """The rows of a tensor, `width` elements each, in another order that repeats: row k of each
    len(order) rows is row order[k] of as many in `stored`."""

    stored: Tensor
    width: int
    order: Array

    def read(self, start: int, stop: int) -> Array:
        low, rows = self._rows(start, stop)
        first, last = int(rows.min()), int(rows.max()) + 1
        values = self.stored.read(first * self.width, last * self.width)
        taken: Array = values.reshape(-1, self.width)[rows - first].reshape(-1)
        return taken[start - low * self.width : stop - low * self.width]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        _, rows = self._rows(start, stop)
        first, last = int(rows.min()), int(rows.max()) + 1
        return self.stored.slices(first * self.width, last * self.width)

    def _rows(self, start: int, stop: int) -> tuple[int, Array]:
        low, period = start // self.width, len(self.order)
        rows = np.arange(low, -(-stop // self.width))
        return low, rows - rows % period + self.order[rows % period]


@dataclass(frozen=True, eq=False)
class Shifted:
    """The elements of a tensor less a number that its writer added."""

    stored: Tensor
    by: float

    def read(self, start: int, stop: int) -> Array:
        values = self.stored.read(start, stop)
        less: Array = values - values.dtype.type(self.by)
        return less.astype(values.dtype, copy=False)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.stored.slices(start, stop)


@dataclass(frozen=True, eq=False)
class Part:
    """The elements of a tensor from the `first` on."""

    stored: Tensor
    first: int

    def read(self, start: int, stop: int) -> Array:
        return self.stored.read(self.first + start, self.first + stop)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.stored.slices(self.first + start, self.first + stop)
