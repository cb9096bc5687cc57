"""Where the elements of a dataset in an HDF5 file lie: in one run of bytes, or in chunks.

Chunks are deflated or shuffled, or both, and each is decompressed whole for each read.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.laid_out import Span
from mother.checkpoints.tensor import Array, DType, Slice

#: filters by the numbers that the format gives them
DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3


@dataclass(frozen=True, eq=False)
class Run:
    """Bytes of a span, from one on."""

    span: Span
    offset: int
    nbytes: int

    def array(self, start: int, stop: int) -> Array:
        return self.span.array(self.offset + start, self.offset + stop)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.span.slices(self.offset + start, self.offset + stop)


@dataclass(frozen=True, eq=False)
class Chunk:
    """The elements of one chunk, which is decompressed whole for each read."""

    span: Span
    offset: int
    packed: int
    dtype: DType
    sides: tuple[int, ...]
    filters: tuple[int, ...]

    def whole(self) -> Array:
        """All of its elements, 1-D."""
        data = self.span.array(self.offset, self.offset + self.packed).tobytes()
        item = self.dtype.itemsize
        size = math.prod(self.sides) * item
        for kind in reversed(self.filters):
            if kind == CHECKSUM:
                data = data[:-4]
            elif kind == DEFLATE:
                try:
                    data = zlib.decompressobj().decompress(data, size + 4)
                except zlib.error:
                    raise ValueError("has a damaged chunk") from None
            elif len(data) == size:
                data = np.frombuffer(data, np.uint8).reshape(item, -1).T.tobytes()
        if len(data) != size:
            raise ValueError(f"has a chunk of {len(data)} bytes in place of {size}")
        return np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="))

    def read(self, start: int, stop: int) -> Array:
        return self.whole()[start:stop]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.span.slices(self.offset, self.offset + self.packed)


@dataclass(frozen=True, eq=False)
class Corner:
    """What of a chunk at the edge lies inside the dataset."""

    chunk: Chunk
    sides: tuple[int, ...]
    own: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        inside = tuple(map(slice, self.own))
        return self.chunk.whole().reshape(self.sides)[inside].reshape(-1)[start:stop]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.chunk.slices(start, stop)
