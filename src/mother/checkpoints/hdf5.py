"""HDF5 files: groups and datasets, found by their object headers; attributes are not looked at.

Read are the structures that h5py writes by default and its newer ones as far as links and layouts
are simple: symbol tables and compact links; compact, contiguous and chunked data, deflated or
shuffled. libhdf5 is not used: it is meant for files that are trusted.
Format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from mother.checkpoints.hdf5_data import CHECKSUM, DEFLATE, SHUFFLE, Chunk, Corner, Run
from mother.checkpoints.hdf5_messages import NOWHERE, Messages, keep
from mother.checkpoints.laid_out import Bytes, Span, lay_out
from mother.checkpoints.tensor import DType, Source, Tensor, clean
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

    def header(self, address: int) -> Messages:
        """The messages of an object's header."""
        held = Messages()
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
        self, blocks: list[tuple[int, int]], held: Messages, width: int, ordered: bool
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
                    keep(held, kind, body)

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
        if address == NOWHERE:
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

    def dataset(self, name: str, held: Messages) -> None:
        if held.dtype is None or held.shape is None:
            self.notes.append(f"skipped {name!r}: {held.kind or 'no array of numbers'}")
            return
        dtype, shape = held.dtype, held.shape
        unknown = set(held.filters) - {DEFLATE, SHUFFLE, CHECKSUM}
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

    def laid_out(self, name: str, dtype: DType, shape: tuple[int, ...], held: Messages) -> Tensor:
        layout = held.layout
        version, kind = layout[0], layout[1]
        if version not in (3, 4):
            raise _UnreadError(f"a data layout of version {version}")
        if kind == 0:
            (size,) = struct.unpack_from("<H", layout, 2)
            return lay_out(name, Bytes(layout[4 : 4 + size]), dtype, shape)
        if kind == 1:
            address, size = struct.unpack_from("<QQ", layout, 2)
            if address == NOWHERE:
                raise _UnreadError("it was never written")
            self.take(address + size, 0)
            return lay_out(name, Run(self.span, self.base + address, size), dtype, shape)
        if version == 4:
            raise _UnreadError("chunks by an index of HDF5 1.10")
        return self.chunked(name, dtype, shape, held)

    def chunked(self, name: str, dtype: DType, shape: tuple[int, ...], held: Messages) -> Tensor:
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
            whole = Chunk(self.span, self.base + address, size, dtype, sides, tuple(filters))
            left = zip(offsets, sides, shape, strict=True)
            own = tuple(min(side, total - offset) for offset, side, total in left)
            chunk: Source = whole
            if any(n <= 0 for n in own):
                raise ValueError("has a chunk outside of it")
            if own != sides:
                chunk = Corner(whole, sides, own)
            tiles.append(Tile(offsets, Tensor("", dtype.newbyteorder("="), own, chunk)))
        return tiled(name, dtype.newbyteorder("="), shape, tiles)


class _UnreadError(Exception):
    """A dataset that is stored in a way that is not read."""
