"""Tensors made of others: with axes in another order, a part along the first axis, many joined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Contiguous, Strided, c_strides
from mother.checkpoints.tensor import Array, DType, Slice, Tensor
from mother.checkpoints.zip_archive import Deflated

#: elements of the base that a turned tensor reads at a time
_CHUNK = 1 << 20


def permuted(tensor: Tensor, axes: Sequence[int], name: str | None = None) -> Tensor:
    """The tensor with its axes in another order, as `numpy.transpose` has it.

    A slice of it lies all over the stored one, which is read in pieces for each slice.

    >>> from mother.checkpoints.tensor import constant
    >>> t = permuted(constant("w", np.arange(6, dtype=np.float32).reshape(2, 3)), (1, 0))
    >>> t.shape, t.read()
    ((3, 2), array([0., 3., 1., 4., 2., 5.], dtype=float32))
    """
    name = tensor.name if name is None else name
    axes = tuple(axes)
    shape = tuple(tensor.shape[axis] for axis in axes)
    sample = None if tensor.sample is None else permuted(tensor.sample, axes, name)
    source = tensor.source
    if isinstance(source, Contiguous):
        steps = c_strides(tensor.shape)
        strides = tuple(steps[axis] for axis in axes)
        strided = Strided(source.span, source.offset, source.dtype, shape, strides)
        return Tensor(name, tensor.dtype, shape, strided, sample, tensor.scheme)
    return Tensor(name, tensor.dtype, shape, _Permuted(tensor, axes), sample, tensor.scheme)


def rows(tensor: Tensor, start: int, stop: int, name: str | None = None) -> Tensor:
    """Rows [start, stop) along the first axis.

    >>> from mother.checkpoints.tensor import constant
    >>> rows(constant("qkv", np.arange(6, dtype=np.float32).reshape(3, 2)), 1, 2).read()
    array([2., 3.], dtype=float32)
    """
    inner = math.prod(tensor.shape[1:])
    part = _Part(tensor, start * inner)
    name = tensor.name if name is None else name
    shape = stop - start, *tensor.shape[1:]
    return Tensor(name, tensor.dtype, shape, part, scheme=tensor.scheme)


def reshaped(tensor: Tensor, shape: Sequence[int], name: str | None = None) -> Tensor:
    """The same elements in another shape of as many.

    >>> from mother.checkpoints.tensor import constant
    >>> reshaped(constant("w", np.zeros((2, 3))), (6, 1)).shape
    (6, 1)
    """
    name = tensor.name if name is None else name
    return Tensor(name, tensor.dtype, tuple(shape), tensor.source, scheme=tensor.scheme)


def to_be_read(tensor: Tensor) -> int:
    """Elements that are touched when all of a tensor is read by slices: its own; of one that lies
    in another order in bytes that are inflated, all that it lies in for each slice.

    >>> from mother.checkpoints.tensor import constant
    >>> to_be_read(constant("w", np.zeros((2, 3))))
    6
    """
    source = tensor.source
    if isinstance(source, Strided) and isinstance(source.span, Deflated):
        slices = -(-tensor.size // _CHUNK)
        return max(tensor.size, slices * source.span.nbytes // source.dtype.itemsize)
    return tensor.size


@dataclass(frozen=True)
class Tile:
    """A tensor that is part of a larger one, and where its first element lies in that."""

    offsets: tuple[int, ...]
    tensor: Tensor


def tiled(name: str, dtype: DType, shape: tuple[int, ...], tiles: Sequence[Tile]) -> Tensor:
    """One tensor of many that lie side by side; elements that none holds are 0.

    Raises ValueError, one line without the name, where a tile does not lie inside it, is of
    another dtype, or all of them hold fewer or more elements than it has.

    >>> from mother.checkpoints.tensor import constant
    >>> one, two = (constant("", np.full((2, 1), x, np.float32)) for x in (1, 2))
    >>> tiled("w", np.dtype(np.float32), (2, 2), [Tile((0, 0), one), Tile((0, 1), two)]).read()
    array([1., 2., 1., 2.], dtype=float32)
    """
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"has {len(shape)} dimensions; {MAX_DIMENSIONS} are the most")
    for tile in tiles:
        own = tile.tensor.shape
        if len(own) != len(shape) or len(tile.offsets) != len(shape):
            raise ValueError(f"of shape {shape} has a part of {len(own)} dimensions")
        if any(not 0 <= o <= o + n <= m for o, n, m in zip(tile.offsets, own, shape, strict=True)):
            raise ValueError(f"of shape {shape} has a part of shape {own} at {tile.offsets}")
        if tile.tensor.dtype != dtype:
            raise ValueError(f"of {dtype} has a part of {tile.tensor.dtype}")
    held = sum(tile.tensor.size for tile in tiles)
    if held != math.prod(shape):
        raise ValueError(f"of shape {shape} has {held} elements in its {len(tiles)} parts")
    tiles = [tile for tile in tiles if tile.tensor.size] or tiles[:1]
    if len(tiles) == 1:
        return Tensor(name, dtype, shape, tiles[0].tensor.source, scheme=tiles[0].tensor.scheme)
    schemes = {tile.tensor.scheme for tile in tiles}
    scheme = schemes.pop() if len(schemes) == 1 else ""
    return Tensor(name, dtype, shape, _Tiled(dtype, shape, tuple(tiles)), scheme=scheme)


@dataclass(frozen=True, eq=False)
class _Part:
    """Elements of a tensor from one on."""

    tensor: Tensor
    offset: int

    def read(self, start: int, stop: int) -> Array:
        return self.tensor.read(self.offset + start, self.offset + stop)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.tensor.slices(self.offset + start, self.offset + stop)


@dataclass(frozen=True, eq=False)
class _Permuted:
    """A tensor with its axes in another order, whatever it is read from."""

    tensor: Tensor
    axes: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        out = np.empty(stop - start, self.tensor.dtype)
        places = self._places(start, stop)
        order = np.argsort(places, kind="stable")
        places = places[order]
        for begin in range(int(places[0]), int(places[-1]) + 1, _CHUNK):
            low, high = np.searchsorted(places, (begin, begin + _CHUNK))
            if low < high:
                first, last = int(places[low]), int(places[high - 1])
                out[order[low:high]] = self.tensor.read(first, last + 1)[places[low:high] - first]
        return out

    def _places(self, start: int, stop: int) -> Array:
        """Where the elements lie in the base."""
        steps = c_strides(self.tensor.shape)
        rest, places = np.arange(start, stop), np.zeros(stop - start, np.int64)
        for axis in reversed(self.axes):
            rest, index = np.divmod(rest, self.tensor.shape[axis])
            places += index * steps[axis]
        return places

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.tensor.slices()


@dataclass(frozen=True, eq=False)
class _Tiled:
    """Many tensors side by side; read along the outermost axis that has more than one place."""

    dtype: DType
    shape: tuple[int, ...]
    tiles: tuple[Tile, ...]

    def _axis(self) -> int:
        return next((axis for axis, n in enumerate(self.shape) if n > 1), 0)

    def _touched(self, start: int, stop: int) -> tuple[int, int, list[tuple[Tile, int, int]]]:
        """First and last row of [start, stop), and the tiles with their own rows in between."""
        axis = self._axis()
        inner = math.prod(self.shape[axis + 1 :])
        low, high = start // inner, -(-stop // inner)
        found = []
        for tile in self.tiles:
            first, count = tile.offsets[axis], tile.tensor.shape[axis]
            begin, end = max(low, first), min(high, first + count)
            if begin < end:
                found.append((tile, begin - first, end - first))
        return low, high, found

    def read(self, start: int, stop: int) -> Array:
        axis = self._axis()
        inner = math.prod(self.shape[axis + 1 :])
        low, high, touched = self._touched(start, stop)
        out = np.zeros((high - low, *self.shape[axis + 1 :]), self.dtype)
        for tile, begin, end in touched:
            own = tile.tensor.shape[axis:]
            within = math.prod(own[1:])
            part = tile.tensor.read(begin * within, end * within).reshape(end - begin, *own[1:])
            at = tile.offsets[axis] + begin - low
            beside = tuple(
                slice(o, o + n) for o, n in zip(tile.offsets[axis + 1 :], own[1:], strict=True)
            )
            out[(slice(at, at + end - begin), *beside)] = part
        return out.reshape(-1)[start - low * inner : stop - low * inner]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        axis = self._axis()
        for tile, begin, end in self._touched(start, stop)[2]:
            within = math.prod(tile.tensor.shape[axis + 1 :])
            yield from tile.tensor.slices(begin * within, end * within)
