"""Zip archives, read by their central directory; members are mapped or inflated by the slice.

Python's zipfile hands out streams; we need to know where each member's bytes lie, and to refuse
overlapping members and bombs before anything is allocated.
Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from mother.checkpoints.laid_out import Span, Window
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Slice, clean
from mother.checkpoints.work import justified

MAX_DIRECTORY = 64 << 20
MAX_INFLATED = 64 << 30
#: deflate can't do better than this
DEFLATE_RATIO = 1032

_STORED, _DEFLATED = 0, 8
_CHUNK = 1 << 16
#: bytes from a local header on that are read along with it: those of an .npy header, too
_NEAR = 512


@dataclass(frozen=True)
class Member:
    """One file in an archive: where its bytes start, how many there are, how many they become."""

    name: str
    offset: int
    packed: int
    size: int
    deflated: bool
    checksum: int


@dataclass(frozen=True)
class _Entry:
    raw: bytes
    name: str
    flags: int
    method: int
    packed: int
    size: int
    header: int
    checksum: int


def looks_like_zip(start: bytes) -> bool:
    """Whether a file's first bytes are those of a zip archive."""
    return start[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def read_members(file: File) -> dict[str, Member]:
    """The members of an archive by name, in the order of the directory. Raises InputError.

    Reads the directory and each member's local header, no content. Of an archive on the Hub, only
    those headers that the layout leaves open.
    """
    start, size = _directory(file)
    _spend(file, size)
    entries = _entries(file, file.read(start, size))
    known = _as_torch_lays_out(entries, start) if file.remote else {}
    file.fetch(
        [(e.header, min(e.header + _NEAR, file.size)) for e in entries if e.header not in known]
    )
    members: dict[str, Member] = {}
    ends: list[tuple[int, int, str]] = []
    for entry in entries:
        if entry.name.endswith("/"):
            continue
        if entry.name in members:
            raise file.fault(f"archive holds {entry.name!r} twice")
        member = _locate(file, entry, known.get(entry.header))
        members[entry.name] = member
        ends.append((entry.header, member.offset + member.packed, entry.name))
    ends.sort()
    for (_, end, name), (begin, _, _) in pairwise([*ends, (start, 0, "")]):
        if end > begin:
            raise file.fault(f"archive member {name!r} runs into what follows it")
    _refuse_bombs(file, list(members.values()))
    return members


def _directory(file: File) -> tuple[int, int]:
    """First byte and size of the central directory."""
    tail_at = max(0, file.size - 65557)
    _spend(file, file.size - tail_at)
    tail = file.read(tail_at, file.size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise file.fault("zip archive without its directory; the file is truncated; fetch it again")
    size, start = struct.unpack_from("<II", tail, at + 12)
    end = tail_at + at
    if 0xFFFFFFFF in (size, start) or tail[at + 10 : at + 12] == b"\xff\xff":
        if at < 20 or tail[at - 20 : at - 16] != b"PK\x06\x07":
            raise file.fault("zip archive with a damaged zip64 directory")
        (end,) = struct.unpack_from("<Q", tail, at - 12)
        record = file.read(end, 56)
        if record[:4] != b"PK\x06\x06":
            raise file.fault("zip archive with a damaged zip64 directory")
        size, start = struct.unpack_from("<QQ", record, 40)
    if size > MAX_DIRECTORY or start + size > end:
        raise file.fault("zip archive whose directory lies outside the file")
    return start, size


def _entries(file: File, directory: bytes) -> list[_Entry]:
    entries, at = [], 0
    while at + 46 <= len(directory):
        if directory[at : at + 4] != b"PK\x01\x02":
            break
        flags, method = struct.unpack_from("<HH", directory, at + 8)
        checksum, packed, size = struct.unpack_from("<III", directory, at + 16)
        n_name, n_extra, n_comment = struct.unpack_from("<HHH", directory, at + 28)
        (header,) = struct.unpack_from("<I", directory, at + 42)
        at += 46
        raw = directory[at : at + n_name]
        extra = directory[at + n_name : at + n_name + n_extra]
        at += n_name + n_extra + n_comment
        if at > len(directory):
            break
        size, packed, header = _zip64(extra, size, packed, header)
        entries.append(_Entry(raw, _name(raw), flags, method, packed, size, header, checksum))
    if at != len(directory):
        raise file.fault("zip archive with a damaged directory")
    return entries


def _name(raw: bytes) -> str:
    return clean(raw.decode("utf-8", "surrogateescape"))


def _zip64(extra: bytes, *values: int) -> tuple[int, ...]:
    """Values of 32 bits, those that overflowed replaced by the 64-bit ones of the extra field."""
    wide: list[int] = []
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1:
            body = extra[at + 4 : at + 4 + length]
            wide = [int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body) - 7, 8)]
        at += 4 + length
    queue = iter(wide)
    return tuple(next(queue, value) if value == 0xFFFFFFFF else value for value in values)


def _as_torch_lays_out(entries: list[_Entry], end: int) -> dict[int, int]:
    """Where the bytes of members start, by where their local headers do, if two ways to tell agree:
    counted back from the next header over the descriptor behind the bytes, and as torch pads local
    headers, to a multiple of 64 bytes (caffe2/serialize/inline_container.cc)."""
    found: dict[int, int] = {}
    order = sorted(entries, key=lambda entry: entry.header)
    stops = [*(entry.header for entry in order[1:]), end]
    for entry, stop in zip(order, stops, strict=True):
        least = entry.header + 30 + len(entry.raw) + 4
        for descriptor in (16, 24) if entry.flags & 8 else (0,):
            offset = stop - descriptor - entry.packed
            if offset % 64 == 0 and least <= offset < least + 32 + 64:
                found[entry.header] = offset
    return found


def _locate(file: File, entry: _Entry, offset: int | None) -> Member:
    """Check an entry. offset: of its bytes; if None, its local header says, and is checked, too."""
    if offset is None:
        local = file.read(entry.header, 30 + len(entry.raw))
        n_name, n_extra = struct.unpack_from("<HH", local, 26)
        if local[:4] != b"PK\x03\x04" or n_name != len(entry.raw) or local[30:] != entry.raw:
            raise file.fault(f"archive member {entry.name!r} differs from its directory entry")
        offset = entry.header + 30 + n_name + n_extra
    if entry.flags & 1:
        raise file.fault(f"archive member {entry.name!r} is encrypted")
    if entry.method not in (_STORED, _DEFLATED):
        raise file.fault(f"archive member {entry.name!r} is compressed by other than deflate")
    deflated = entry.method == _DEFLATED
    most = entry.packed * DEFLATE_RATIO if deflated else entry.packed
    if entry.size > most or (not deflated and entry.size != entry.packed):
        raise file.fault(
            f"archive member {entry.name!r} claims {entry.size} bytes out of {entry.packed}"
        )
    if offset + entry.packed > file.size:
        raise file.fault(f"archive member {entry.name!r} ends beyond the file; it is truncated")
    return Member(entry.name, offset, entry.packed, entry.size, deflated, entry.checksum)


def _refuse_bombs(file: File, members: list[Member]) -> None:
    total = sum(member.size for member in members if member.deflated)
    if total > min(MAX_INFLATED, justified(file.size)):
        raise file.fault(f"would inflate from {file.size} to {total} bytes; taken for a zip bomb")


def span(file: File, member: Member) -> Span:
    """The member's bytes: mapped where they are stored, inflated on demand where deflated."""
    if member.deflated:
        return Deflated(file, member)
    return Window(file, member.offset, member.size)


def content(file: File, member: Member, most: int) -> bytes:
    """All bytes of a small member; InputError where it has more than `most`."""
    if member.size > most:
        raise file.fault(f"archive member {member.name!r} has {member.size} bytes, {most} at most")
    _spend(file, member.size)
    return bytes(span(file, member).array(0, member.size))


def _spend(file: File, units: int) -> None:
    try:
        file.work.spend(units)
    except ValueError as error:
        raise file.fault(str(error)) from None


class _Inflation:
    """A decompressor on its way through a member."""

    def __init__(self, file: File, member: Member) -> None:
        self._file, self._member = file, member
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._fed = 0
        self._checksum = 0
        self.position = 0

    def copy(self) -> _Inflation:
        """Another one at the same place."""
        other = copy(self)
        other._inflate = self._inflate.copy()
        return other

    def take(self, count: int) -> bytes:
        """The next bytes, `count` at most and one at least."""
        while True:
            data = self._inflate.unconsumed_tail
            if not data and not self._inflate.eof:
                data = self._feed()
            out = self._inflate.decompress(data, count)
            if out:
                self.position += len(out)
                self._check(out)
                return out
            if self._inflate.eof or (not data and self._fed >= self._member.packed):
                raise self._file.fault(f"archive member {self._member.name!r} ends too early")

    def _check(self, out: bytes) -> None:
        self._checksum = zlib.crc32(out, self._checksum)
        if self.position == self._member.size and self._checksum != self._member.checksum:
            raise self._file.fault(f"archive member {self._member.name!r} is damaged")

    def _feed(self) -> bytes:
        count = min(_CHUNK, self._member.packed - self._fed)
        data = self._file.read(self._member.offset + self._fed, count)
        self._fed += count
        return data


class Deflated:
    """Bytes of a deflated member, inflated from the start up to the slice that is asked for.

    A decompressor that stopped between two slices is kept for the next one, which makes a pass
    by slices linear. Of a member that is read backwards, more are left on the way, `PLACES` in the
    largest, so that a slice inflates a part of the member in place of all that lies before. At most
    `KEPT` of either (some 50 kB each) are kept in all. The read that reaches the end compares the
    checksum.
    """

    KEPT = 256
    PLACES = 256
    _kept: ClassVar[OrderedDict[Deflated, _Inflation]] = OrderedDict()
    _left: ClassVar[OrderedDict[tuple[Deflated, int], _Inflation]] = OrderedDict()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, file: File, member: Member) -> None:
        self.file = file
        self.member = member
        self._apart = max(1 << 18, -(-member.size // self.PLACES))
        self._reached = 0
        self._backwards = False

    @property
    def nbytes(self) -> int:
        return self.member.size

    def array(self, start: int, stop: int) -> Array:
        inflation = self._resume(start)
        try:
            while inflation.position < start:
                self._take(inflation, start)
            out = np.empty(stop - start, np.uint8)
            while inflation.position < stop:
                at = inflation.position - start
                data = self._take(inflation, stop)
                out[at : at + len(data)] = np.frombuffer(data, np.uint8)
        except zlib.error:
            raise self.file.fault(f"archive member {self.member.name!r} is damaged") from None
        self._reached = max(self._reached, stop)
        if stop < self.nbytes:
            self._keep(inflation)
        return out

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        # where in the packed bytes they lie is not known before
        first = self.member.offset
        yield Slice(self.file, first, first + self.member.packed)

    def _take(self, inflation: _Inflation, stop: int) -> bytes:
        """Some bytes before `stop`. Where the next place begins, the decompressor is left."""
        place, within = divmod(inflation.position, self._apart)
        if self._backwards and place and not within:
            with self._lock:
                self._left[self, place] = inflation.copy()
                while len(self._left) > self.KEPT:
                    self._left.popitem(last=False)
        return inflation.take(min(_CHUNK, self._apart - within, stop - inflation.position))

    def _resume(self, start: int) -> _Inflation:
        """The decompressor that is nearest before `start`."""
        with self._lock:
            kept = self._kept.pop(self, None)
            self._backwards |= start < self._reached
            if kept is None or kept.position > start:
                kept = _Inflation(self.file, self.member)
            for place in range(start // self._apart, kept.position // self._apart, -1):
                if (self, place) in self._left:
                    self._left.move_to_end((self, place))
                    return self._left[self, place].copy()
        return kept

    def _keep(self, inflation: _Inflation) -> None:
        with self._lock:
            self._kept[self] = inflation
            while len(self._kept) > self.KEPT:
                self._kept.popitem(last=False)
