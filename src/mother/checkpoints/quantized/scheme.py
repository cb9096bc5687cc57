"""What a quantizer leaves of a layer: some tensors beside one another, told by their endings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from mother.checkpoints.decoded import PIECE, Decoded, Runs
from mother.checkpoints.tensor import Array, DType, Slice, Tensor

F32 = np.dtype(np.float32)
BF16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Module:
    """The parts of one layer by ending, and what the config says of quantization. model: what it
    says of the model; bias: that of the layer, if it has one."""

    name: str
    parts: Mapping[str, Tensor]
    config: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict)
    bias: Tensor | None = None

    def __getitem__(self, ending: str) -> Tensor:
        return self.parts[ending]

    def get(self, ending: str) -> Tensor | None:
        return self.parts.get(ending)

    def matrix(self, ending: str) -> tuple[int, int]:
        """Rows and columns of a part. Raises ValueError where it is no matrix."""
        shape = self.parts[ending].shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"{ending} of shape {list(shape)} is no matrix")
        return shape[0], shape[1]

    def expect(self, ending: str, *shape: int) -> Tensor:
        """A part that must be of a shape. Raises ValueError."""
        tensor = self.parts[ending]
        if tensor.shape != shape:
            raise ValueError(f"{ending} is of shape {list(tensor.shape)}, not {list(shape)}")
        return tensor

    def number(self, *names: str, default: int = 0) -> int:
        """A whole number that the config states under the first of these names that it has."""
        for name in names:
            told = self.config.get(name)
            if isinstance(told, int) and not isinstance(told, bool):
                return told
        return default


class Weight(NamedTuple):
    """A layer as it was before: how its elements are read, and the scheme by which it was stored.

    ending: of its name, after the module's. piece: elements that are decoded at a time.
    """

    source: Runs
    dtype: DType
    shape: tuple[int, ...]
    scheme: str
    ending: str = ".weight"
    piece: int = PIECE

    def tensor(self, module: str) -> Tensor:
        source = Decoded(self.source, self.dtype, self.piece)
        return Tensor(module + self.ending, self.dtype, self.shape, source, scheme=self.scheme)


@dataclass(frozen=True)
class Scheme:
    """How layers that one quantizer stored are told and read.

    methods: what configs call it. marks: endings that every such layer has. parts: other endings
    that belong to one. read: of a layer; raises ValueError, one line, where its parts don't fit.
    fits: whether a layer with those marks is of this scheme, where no config says so.
    """

    methods: frozenset[str]
    marks: tuple[str, ...]
    parts: tuple[str, ...]
    read: Callable[[Module], Weight]
    fits: Callable[[Module], bool] = field(default=lambda module: True)


@dataclass(frozen=True, eq=False)
class ByRows:
    """A matrix whose rows are decoded from rows of its parts.

    parts: each with how many rows of the matrix share one row of it, and read as rows. whole: parts
    that are read whole. decode: of those, (n, ...) each, the rows, (n, width).
    """

    width: int
    parts: tuple[tuple[Tensor, int], ...]
    decode_rows: Callable[..., Array]
    whole: tuple[Tensor, ...] = ()

    def decode(self, low: int, high: int) -> Array:
        rows = [_rows(tensor, share, low, high) for tensor, share in self.parts]
        return self.decode_rows(*rows, *(t.read() for t in self.whole)).reshape(-1)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        for tensor, share in self.parts:
            width = tensor.size // tensor.shape[0]
            yield from tensor.slices(low // share * width, -(-high // share) * width)
        for tensor in self.whole:
            yield from tensor.slices()


def _rows(tensor: Tensor, share: int, low: int, high: int) -> Array:
    width = tensor.size // tensor.shape[0]
    first = low // share
    rows = tensor.read(first * width, -(-high // share) * width).reshape(-1, width)
    return rows if share == 1 else rows[np.arange(low, high) // share - first]


def columns(tensor: Tensor, low: int, high: int) -> Array:
    """Columns [low, high) of a matrix. What lies on the Hub is read row by row."""
    height, width = tensor.shape
    if any(piece.file.remote for piece in tensor.slices(0, 1)):
        rows = [tensor.read(k * width + low, k * width + high) for k in range(height)]
        return np.stack(rows)
    return tensor.read().reshape(height, width)[:, low:high]


def column_slices(tensor: Tensor, low: int, high: int) -> Iterator[Slice]:
    """The bytes of files that those columns lie in."""
    height, width = tensor.shape
    for row in range(height):
        yield from tensor.slices(row * width + low, row * width + high)


def rounded(values: Array, dtype: DType) -> Array:
    """float32 values in a dtype, to the nearest."""
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(dtype, copy=False)


def words(codes: Array, bits: int) -> Array:
    """Codes of so many bits that follow one another in words of 32, lowest bits first.

    (n, words) -> (n, words * 32 // bits), uint8

    >>> words(np.array([[0x76543210]], np.uint32), 4)
    array([[0, 1, 2, 3, 4, 5, 6, 7]], dtype=uint8)
    """
    many = codes.shape[-1] * 32 // bits
    if bits in (4, 8, 2) and codes.flags.c_contiguous:
        octets = codes.view(np.uint8).reshape(len(codes), -1)
        if bits == 8:
            return octets
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        return (octets[..., None] >> shifts & np.uint8((1 << bits) - 1)).reshape(len(codes), -1)
    at = np.arange(many) * bits
    word, shift = at // 32, (at % 32).astype(np.uint32)
    unsigned = codes.view(np.uint32)
    found = unsigned[..., word] >> shift
    # those that go on in the next word; never past the last one
    over = at % 32 + bits > 32
    found[..., over] |= unsigned[..., word[over] + 1] << (32 - shift[over])
    return (found & np.uint32((1 << bits) - 1)).astype(np.uint8)
