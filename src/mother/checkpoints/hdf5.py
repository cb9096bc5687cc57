"""HDF5 files: groups and datasets, found by their object headers; attributes are not looked at.

Read are the structures that h5py writes by default and its newer ones as far as links and layouts
are simple: symbol tables and compact links; compact, contiguous and chunked data, deflated or
shuffled. libhdf5 is not used: it is meant for files that are trusted.
Format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Bytes, Span, lay_out
from mother.checkpoints.tensor import Array, DType, Slice, Source, Tensor, clean
from mother.checkpoints.views import Tile, tiled
from mother.checkpoints.work import STEP, TENSOR, Work

MAGIC = b"\x89HDF\r\n\x1a\n"
#: objects, messages and chunks that are looked at in one file
MAX_STEPS = 2_000_000
MAX_DEPTH = 64
MAX_HEADER = 16 << 20
#: bytes of one chunk, which is decompressed as a whole
MAX_CHUNK = 256 << 20
#: elements that are read at a time
SLICE = 1 << 20
_NOWHERE = (1 << 64) - 1
_DEFLATE, _SHUFFLE, _CHECKSUM = 1, 2, 3


def read_datasets(
    span: Span, work: Work | None = None
) -> tuple[dict[str, Tensor], list[str], dict[str, int]]:
    """The datasets of numbers by path, "layers/dense/kernel", notes on what was left out, and the
    sizes of those of numbers that could not be read.

    Reads no dataset's values. work: of the file, which pays for the objects and chunks. Raises
    ValueError, one line, where the file is damaged.
    """
    reader = _Reader(span, Work(span.nbytes) if work is None else work)
    try:
        reader.visit(reader.root(), "", 0)
    except (struct.error, IndexError):
        raise ValueError("is damaged or truncated") from None
    return reader.tensors, reader.notes, reader.unread


@dataclass
class _Messages:
    """What of an object's header is kept."""

    shape: tuple[int, ...] | None = None
    dtype: DType | None = None
    kind: str = ""
    layout: bytes = b""
    filters: list[int] = field(default_factory=list)
    links: list[tuple[str, int]] = field(default_factory=list)
    tables: list[tuple[int, int]] = field(default_factory=list)
    dense: bool = False


class _Reader:
    def __init__(self, span: Span, work: Work) -> None:
        self.span = span
        self.work = work
        self.tensors: dict[str, Tensor] = {}
        self.notes: list[str] = []
        self.unread: dict[str, int] = {}
        self.seen: set[int] = set()
        self.base = 0
        self.steps = 0

    def root(self) -> int:
        """The address of the root group's header, by the superblock."""
        head = self.take(0, min(96, self.span.nbytes))
        if head[:8] != MAGIC:
            raise ValueError("is no HDF5 file")
        version = head[8]
        if version in (0, 1):
            widths, at = head[13:15], 24 + 4 * version
            self.base = struct.unpack_from("<Q", head, at)[0]
            (root,) = struct.unpack_from("<Q", head, at + 32 + 8)
        elif version in (2, 3):
            widths = head[9:11]
            self.base = struct.unpack_from("<Q", head, 12)[0]
            (root,) = struct.unpack_from("<Q", head, 36)
        else:
            raise ValueError(f"has a superblock of the unknown version {version}")
        if widths != b"\x08\x08":
            raise ValueError("has addresses of other than 8 bytes, which are not read")
        return int(root)

    def take(self, at: int, count: int) -> bytes:
        """Bytes at an address; ValueError where they do not lie in the file."""
        at += self.base
        if at < 0 or count < 0 or at + count > self.span.nbytes:
            raise ValueError("is damaged or truncated: an address lies beyond its end")
        self.work.spend(count)
        return self.span.array(at, at + count).tobytes()

    def step(self) -> None:
        self.work.spend(STEP)
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ValueError(f"has more than {MAX_STEPS} parts")

    def visit(self, address: int, name: str, depth: int) -> None:
        """Keep the dataset at an address, or go down the group there."""
        if address in self.seen:
            return
        if depth > MAX_DEPTH or len(name) > 4000:
            raise ValueError(f"has groups deeper than {MAX_DEPTH}")
        self.seen.add(address)
        held = self.header(address)
        if held.layout:
            self.dataset(name or "array", held)
            return
        if held.dense:
            self.notes.append(f"skipped the group {name!r}: dense links are not read")
        links = [link for table in held.tables for link in self.table(*table)]
        for label, target in [*held.links, *links]:
            self.visit(target, f"{name}/{label}" if name else label, depth + 1)

    def header(self, address: int) -> _Messages:
        """The messages of an object's header."""
        held = _Messages()
        self.step()
        start = self.take(address, 16)
        if start[:4] == b"OHDR":
            flags = start[5]
            at = 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
            width = 1 << (flags & 3)
            size = int.from_bytes(self.take(address + at, width), "little")
            blocks = [(address + at + width, size)]
            self.messages(blocks, held, 4, bool(flags & 4))
        elif start[0] == 1:
            (size,) = struct.unpack_from("<I", start, 8)
            self.messages([(address + 16, size)], held, 8, False)
        else:
            raise ValueError("is damaged: an object without a header")
        return held

    def messages(
        self, blocks: list[tuple[int, int]], held: _Messages, width: int, ordered: bool
    ) -> None:
        """Walk blocks of messages, and those that continue them. width: of a message's own header,
        8 in version 1 and 4 in version 2."""
        for address, size in blocks:  # grows as it goes
            if size > MAX_HEADER or len(blocks) > 10_000:
                raise ValueError(f"has an object header of more than {MAX_HEADER} bytes")
            block = self.take(address, size)
            at = 0
            while at + width <= len(block):
                self.step()
                if width == 8:
                    kind, length, flags = struct.unpack_from("<HHB", block, at)
                else:
                    kind, length, flags = struct.unpack_from("<BHB", block, at)
                at += width + (2 if ordered else 0)
                body = block[at : at + length]
                at += length
                if kind == 16 and len(body) >= 16:
                    start, count = struct.unpack_from("<QQ", body)
                    # a continuation of version 2 starts by a signature and ends by a checksum
                    trim = 0 if width == 8 else 4
                    blocks.append((start + trim, max(count - 2 * trim, 0)))
                elif not flags & 2:
                    _keep(held, kind, body)

    def table(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """The links of a group that keeps them in a tree of nodes, with their names in a heap."""
        head = self.take(heap, 32)
        if head[:4] != b"HEAP":
            raise ValueError("is damaged: a group without its names")
        size, _, names = struct.unpack_from("<QQQ", head, 8)
        if size > MAX_HEADER:
            raise ValueError(f"has a group with more than {MAX_HEADER} bytes of names")
        texts = self.take(names, size)
        for node in self.leaves(tree, 0, 0, 0):
            block = self.take(node[1], 8)
            if block[:4] != b"SNOD":
                raise ValueError("is damaged: a group without its links")
            (count,) = struct.unpack_from("<H", block, 6)
            entries = self.take(node[1] + 8, 40 * count)
            for k in range(count):
                self.step()
                at, target = struct.unpack_from("<QQ", entries, 40 * k)
                end = texts.find(b"\0", at)
                if at >= size or end < 0:
                    raise ValueError("is damaged: a link without a name")
                if struct.unpack_from("<I", entries, 40 * k + 16)[0] != 2:  # 2: a symbolic link
                    yield clean(texts[at:end].decode("utf-8", "surrogateescape")), target

    def leaves(self, address: int, kind: int, rank: int, depth: int) -> Iterator[tuple[bytes, int]]:
        """Keys and children of the leaves of a tree (version 1) of groups (0) or chunks (1)."""
        if address == _NOWHERE:
            return
        head = self.take(address, 24)
        if head[:4] != b"TREE" or head[4] != kind or depth > 16:
            raise ValueError("is damaged: a tree without its nodes")
        level, (used,) = head[5], struct.unpack_from("<H", head, 6)
        key = 8 if kind == 0 else 8 + 8 * (rank + 1)
        body = self.take(address + 24, used * (key + 8) + key)
        for k in range(used):
            self.step()
            at = k * (key + 8)
            (child,) = struct.unpack_from("<Q", body, at + key)
            if level:
                yield from self.leaves(child, kind, rank, depth + 1)
            else:
                yield body[at : at + key], child

    def dataset(self, name: str, held: _Messages) -> None:
        if held.dtype is None or held.shape is None:
            self.notes.append(f"skipped {name!r}: {held.kind or 'no array of numbers'}")
            return
        dtype, shape = held.dtype, held.shape
        unknown = set(held.filters) - {_DEFLATE, _SHUFFLE, _CHECKSUM}
        if unknown:
            self.notes.append(f"skipped {name!r}: compressed by the filter {min(unknown)}")
            self.unread[name] = math.prod(shape)
            return
        try:
            self.tensors[name] = self.laid_out(name, dtype, shape, held)
        except _UnreadError as error:
            self.notes.append(f"skipped {name!r}: {error}")
            self.unread[name] = math.prod(shape)
        except ValueError as error:
            raise ValueError(f"has a dataset {name[:200]!r} that {error}") from None

    def laid_out(self, name: str, dtype: DType, shape: tuple[int, ...], held: _Messages) -> Tensor:
        layout = held.layout
        version, kind = layout[0], layout[1]
        if version not in (3, 4):
            raise _UnreadError(f"a data layout of version {version}")
        if kind == 0:
            (size,) = struct.unpack_from("<H", layout, 2)
            return lay_out(name, Bytes(layout[4 : 4 + size]), dtype, shape)
        if kind == 1:
            address, size = struct.unpack_from("<QQ", layout, 2)
            if address == _NOWHERE:
                raise _UnreadError("it was never written")
            self.take(address + size, 0)
            return lay_out(name, _Run(self.span, self.base + address, size), dtype, shape)
        if version == 4:
            raise _UnreadError("chunks by an index of HDF5 1.10")
        return self.chunked(name, dtype, shape, held)

    def chunked(self, name: str, dtype: DType, shape: tuple[int, ...], held: _Messages) -> Tensor:
        rank = held.layout[2] - 1
        (tree,) = struct.unpack_from("<Q", held.layout, 3)
        sides = struct.unpack_from(f"<{rank}I", held.layout, 11)
        if rank != len(shape) or 0 in sides:
            raise ValueError("has chunks of another number of dimensions")
        volume = math.prod(sides) * dtype.itemsize
        if volume > MAX_CHUNK:
            raise ValueError(f"has chunks of {volume} bytes; {MAX_CHUNK} are the most")
        # a chunk is decompressed once for each slice that touches it
        inner = math.prod(shape) // max(shape[0], 1) if shape else 1
        often = -(-sides[0] // max(SLICE // max(inner, 1), 1)) if held.filters else 1
        tiles = []
        for key, address in self.leaves(tree, 1, rank, 0):
            self.work.spend(TENSOR + often * math.prod(sides))
            size, mask = struct.unpack_from("<II", key)
            offsets = struct.unpack_from(f"<{rank}Q", key, 8)
            self.take(address + size, 0)
            filters = [f for k, f in enumerate(held.filters) if not mask >> k & 1]
            whole = _Chunk(self.span, self.base + address, size, dtype, sides, tuple(filters))
            left = zip(offsets, sides, shape, strict=True)
            own = tuple(min(side, total - offset) for offset, side, total in left)
            chunk: Source = whole
            if any(n <= 0 for n in own):
                raise ValueError("has a chunk outside of it")
            if own != sides:
                chunk = _Corner(whole, sides, own)
            tiles.append(Tile(offsets, Tensor("", dtype.newbyteorder("="), own, chunk)))
        return tiled(name, dtype.newbyteorder("="), shape, tiles)


class _UnreadError(Exception):
    """A dataset that is stored in a way that is not read."""


def _keep(held: _Messages, kind: int, body: bytes) -> None:
    """Take from a message what tells of links, or of a dataset's shape, type and place."""
    if kind == 1:
        held.shape = _dataspace(body)
    elif kind == 3:
        held.dtype, held.kind = _datatype(body)
    elif kind == 8:
        held.layout = body
    elif kind == 11:
        held.filters = _filters(body)
    elif kind == 6:
        link = _link(body)
        held.links += [link] if link else []
    elif kind == 17 and len(body) >= 16:
        held.tables.append(struct.unpack_from("<QQ", body))
    elif kind == 2 and len(body) >= 18:
        (heap,) = struct.unpack_from("<Q", body, 2 + (8 if body[1] & 1 else 0))
        held.dense = held.dense or heap != _NOWHERE


def _dataspace(body: bytes) -> tuple[int, ...] | None:
    version, rank = body[0], body[1]
    if version not in (1, 2) or rank > MAX_DIMENSIONS:
        return None
    if version == 2 and body[3] == 2:  # no data at all
        return None
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


def _datatype(body: bytes) -> tuple[DType | None, str]:
    """The dtype of a datatype message, or what it is instead."""
    kind, bits = body[0] & 15, body[1] | body[2] << 8 | body[3] << 16
    (size,) = struct.unpack_from("<I", body, 4)
    order = ">" if bits & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"), ""
    if kind == 1 and size in (2, 4, 8):
        exponent = body[13]
        if size == 2 and exponent == 8:
            return (np.dtype(ml_dtypes.bfloat16), "") if order == "<" else (None, "big-endian bf16")
        if exponent == {2: 5, 4: 8, 8: 11}[size]:
            return np.dtype(f"{order}f{size}"), ""
    if kind == 8:
        return np.dtype("u1") if size == 1 else None, "an enumeration"
    return None, {3: "text", 6: "records", 9: "lists"}.get(kind, "no numbers that are read")


def _filters(body: bytes) -> list[int]:
    version, count = body[0], body[1]
    found, at = [], 8 if version == 1 else 2
    for _ in range(count):
        (kind,) = struct.unpack_from("<H", body, at)
        at += 2
        name = 0
        if version == 1 or kind >= 256:
            (name,) = struct.unpack_from("<H", body, at)
            at += 2
        _, values = struct.unpack_from("<HH", body, at)
        at += 4 + (-(-name // 8) * 8 if version == 1 else name) + 4 * values
        at += 4 if version == 1 and values % 2 else 0
        found.append(kind)
    return found


def _link(body: bytes) -> tuple[str, int] | None:
    """Name and target of a hard link; None of others."""
    flags, at = body[1], 2
    if flags & 8:
        if body[2] != 0:
            return None
        at += 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(body[at : at + width], "little")
    at += width
    name = clean(body[at : at + length].decode("utf-8", "surrogateescape"))
    return name, struct.unpack_from("<Q", body, at + length)[0]


@dataclass(frozen=True, eq=False)
class _Run:
    """Bytes of a span, from one on."""

    span: Span
    offset: int
    nbytes: int

    def array(self, start: int, stop: int) -> Array:
        return self.span.array(self.offset + start, self.offset + stop)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.span.slices(self.offset + start, self.offset + stop)


@dataclass(frozen=True, eq=False)
class _Chunk:
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
            if kind == _CHECKSUM:
                data = data[:-4]
            elif kind == _DEFLATE:
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
class _Corner:
    """What of a chunk at the edge lies inside the dataset."""

    chunk: _Chunk
    sides: tuple[int, ...]
    own: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        inside = tuple(map(slice, self.own))
        return self.chunk.whole().reshape(self.sides)[inside].reshape(-1)[start:stop]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.chunk.slices(start, stop)
