"""Bytes of regular files, mapped into memory by the slice."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import re
import stat
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np

from mother.checkpoints.tensor import Array, Slice, printable
from mother.checkpoints.work import Work
from mother.errors import InputError
from mother.hub import mirrored, shown

#: every map holds a descriptor until its last view is gone, and a process has few (often 1024)
MAX_MAPS = 256
#: files beyond these are opened afresh for each read
MAX_HELD = 64
#: bytes up to which copying is cheaper than the page faults of a map
COPIED = 1 << 16
#: MADV_POPULATE_READ of Linux, which Python has no name for
POPULATE_READ = 22
#: bytes of a map that are read ahead; of larger ones the pages come when they are touched
POPULATED = 1 << 26
#: files that are fetched from the Hub at once
FETCHED = 8
#: bytes that a hash takes at a time
HASHED = 1 << 22
CHANGED = "has changed since it was opened"
NOWHERE, MISSING = "a link that leads nowhere", "is missing"
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_handles: weakref.WeakSet[_Handle] = weakref.WeakSet()


def reason(error: OSError) -> str:
    """What the operating system says, in lower case: "permission denied"."""
    return (error.strerror or type(error).__name__).lower()


def refusal(path: Path, fault: str) -> InputError:
    """The error that refuses a path, fit to be printed on one line."""
    return InputError(printable(shown(path), most=4000), printable(fault, most=1000))


def identity(path: Path) -> str:
    """What tells a file from all others: where links lead, or of one of several hard links the
    number that they have in common."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return os.path.realpath(path) if "\0" not in str(path) else str(path)
    if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
        return f"{status.st_dev}:{status.st_ino}"
    return os.path.realpath(path)


def elsewhere(path: Path) -> str:
    """Where a path may lie that is nowhere on disk: what is called like a repository, on the Hub.

    >>> elsewhere(Path("gpt2")), elsewhere(Path("https://hub.example/org/model/tree/main"))
    ('; on the Hub it is hf://OWNER/gpt2', '; on the Hub it is hf://org/model')
    >>> elsewhere(Path("models/a.safetensors")), elsewhere(Path("/models/a"))
    ('', '')
    """
    web = re.match(r"https?:/{1,2}[^/]+/([\w.-]+/[\w.-]+)", str(path))
    if web:
        return f"; on the Hub it is hf://{web[1]}"
    named = re.fullmatch(r"(?:([A-Za-z0-9][\w.-]*)/)?([A-Za-z0-9][\w.-]*)", str(path))
    ending = path.suffix.lower().lstrip(".")
    if named is None or (ending.isalpha() and len(ending) > 1):
        return ""
    return f"; on the Hub it is hf://{named[1] or 'OWNER'}/{named[2]}"


def open_regular(path: Path, named: Path | None = None) -> int:
    """A read-only descriptor of a regular file; pipes and devices are never opened. named: as the
    user called it, which says where else it may lie."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise refusal(path, "not a regular file")
        # O_NONBLOCK in case a pipe takes the file's place after the check
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, flags)
    except FileNotFoundError:
        gone = NOWHERE if path.is_symlink() else "no such file or folder"
        raise refusal(path, f"{gone}{elsewhere(named or path)}") from None
    except OSError as error:
        raise refusal(path, f"can't be opened: {reason(error)}") from None
    except ValueError:
        raise refusal(path, "not a valid path") from None


class _Handle:
    """A descriptor that is closed once nobody refers to it, whichever thread that is."""

    def __init__(self, path: Path, named: Path) -> None:
        self.descriptor = open_regular(path, named)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class Taken:
    """How many bytes of a file were asked for, by all threads together."""

    def __init__(self) -> None:
        self.bytes, self._lock = 0, threading.Lock()

    def add(self, many: int) -> None:
        """Count some more."""
        with self._lock:
            self.bytes += many


class File:
    """A regular file, and how long and how old it was when first opened.

    The first MAX_HELD files keep their descriptor, since opening costs several times as much as a
    small read; the others hold none between reads, so that thousands can be open at once. What
    lies on the Hub comes when it is read, or before by `prefetch`.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._absolute = self.path.absolute()
        # the repository, too, or its folder would be gone
        self._repository, self._ranged = mirrored(self._absolute)
        self._handle: _Handle | None = None
        handle = self._opened()  # by name, or it is closed before it is looked at
        self._stamp = _stamp(handle.descriptor)
        self.size = self._stamp[0]
        #: where it starts in the file of this path, of which it may be a part
        self._origin = 0
        #: what reading its table of contents may still cost
        self.work = Work(self.size)
        #: what was read of it, and of its sections
        self.taken = Taken()

    def section(self, start: int, stop: int) -> File:
        """Bytes [start, stop) as a file of their own, as archives hold files. Raises InputError."""
        if not 0 <= start <= stop <= self.size:
            raise self.fault(f"truncated: byte {stop} is needed, it has {self.size}")
        part = File(self.path)
        part._origin, part.size, part.work = self._origin + start, stop - start, self.work
        part.taken = self.taken
        return part

    @property
    def stamp(self) -> tuple[int, int]:
        """Its size, and when it was last written, in nanoseconds: another where it has changed."""
        return self._stamp if self._ranged is None else (self.size, self._ranged.moment)

    def fault(self, text: str) -> InputError:
        """The error that refuses this file."""
        return refusal(self.path, text)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep one descriptor for the many small reads of opening (one thread only)."""
        before, self._handle = self._handle, self._opened()
        try:
            yield
        finally:
            self._handle = before

    def _opened(self) -> _Handle:
        handle = self._handle
        if handle is None:
            handle = _Handle(self._absolute, self.path)
            if len(_handles) < MAX_HELD:
                _handles.add(handle)
                self._handle = handle
        return handle

    @contextmanager
    def _descriptor(self) -> Iterator[int]:
        handle = self._opened()
        try:
            # a map of a file that has shrunk kills the process when it is touched
            if self._ranged is None and _stamp(handle.descriptor) != self._stamp:
                raise self.fault(CHANGED)
            yield handle.descriptor
        except OSError as error:
            raise self.fault(f"can't be read: {reason(error)}") from None

    def read(self, offset: int, count: int) -> bytes:
        """Exactly `count` bytes from `offset` on; InputError where the file is too short."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.fault(f"truncated: byte {offset + count} is needed, it has {self.size}")
        self._have(offset, offset + count)
        if count <= COPIED:
            data = self._small(self._origin + offset, count)
            if len(data) == count:
                self.taken.add(count)
                return data
        return bytes(self._copy(offset, count))

    def _have(self, start: int, stop: int) -> None:
        if self._ranged is not None:
            self._ranged.have(self._origin + start, self._origin + stop)

    def _placed(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(self._origin + start, self._origin + stop) for start, stop in ranges]

    @property
    def remote(self) -> bool:
        """Whether it lies on the Hub, so that it comes by `fetch` or when it is read."""
        return self._ranged is not None

    def lacks(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Of a file on the Hub, how many bytes of the ranges have not come yet."""
        return self._ranged.lacks(self._placed(ranges)) if self._ranged is not None else 0

    def fetch(
        self,
        ranges: Sequence[tuple[int, int]],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Of a file on the Hub, get the ranges [start, stop) in few requests, for reads that
        follow. progress: called with the bytes of each step. Raises InputError."""
        if self._ranged is not None:
            self._ranged.fetch(self._placed(ranges), progress)

    def _copy(self, offset: int, count: int) -> Array:
        out = np.empty(count, np.uint8)
        done = 0
        self.taken.add(count)
        with self._descriptor() as descriptor:
            while done < count:
                at = self._origin + offset + done
                got = os.preadv(descriptor, [out.data[done : done + (1 << 28)]], at)
                if not got:
                    raise self.fault("has been truncated while it was read")
                done += got
        return out

    def _small(self, place: int, count: int) -> bytes:
        """Bytes from a place on in one read, fewer where the file ends. Without a context, which
        would take as long as the read."""
        handle = self._opened()
        try:
            changed = self._ranged is None and _stamp(handle.descriptor) != self._stamp
            data = b"" if changed else os.pread(handle.descriptor, count, place)
        except OSError as error:
            raise self.fault(f"can't be read: {reason(error)}") from None
        if changed:
            raise self.fault(CHANGED)
        return data

    def sha256(self, progress: Callable[[int], None] | None = None) -> str:
        """SHA-256 of the whole file in hex. progress: called with the bytes of each step."""
        digest = hashlib.sha256()
        self.fetch([(0, self.size)])
        self.taken.add(self.size)
        with self._descriptor() as descriptor, open(descriptor, "rb", 0, closefd=False) as stream:
            for start in range(0, self.size, HASHED):
                digest.update(stream.read(min(HASHED, self.size - start)))
                if progress is not None:
                    progress(min(HASHED, self.size - start))
            if self._ranged is None and _stamp(descriptor) != self._stamp:
                raise self.fault("has changed while it was read")
        told = self._ranged.sha256 if self._ranged is not None else ""
        if told not in ("", digest.hexdigest()):
            who = self._ranged.source.manners.who if self._ranged is not None else ""
            raise self.fault(f"{who} sends other bytes than its list has the SHA-256 of")
        return digest.hexdigest()

    def map(self, offset: int, count: int) -> mmap.mmap:
        """A map of `count` bytes; `offset` is a multiple of the page size. Of a file in an archive,
        which may begin anywhere in a page, it is a copy."""
        self._have(offset, offset + count)
        self.taken.add(count)
        if not self._origin:
            return self._map(offset, count)
        copied = mmap.mmap(-1, count)
        copied.write(self.read(offset, count))
        copied.seek(0)
        return copied

    def _map(self, offset: int, count: int) -> mmap.mmap:
        with self._descriptor() as descriptor:
            try:
                mapped = mmap.mmap(descriptor, count, access=mmap.ACCESS_READ, offset=offset)
            except ValueError:
                raise self.fault("has been truncated while it was read") from None
        _maps.add(mapped)
        return mapped

    def _populated(self, mapped: mmap.mmap) -> mmap.mmap:
        """The map with its pages there: one that can't be read when it is touched, as on a failing
        disk, kills the process. Linux 5.14 and later; elsewhere nothing is known before, nor of
        more than a pass reads at a time."""
        try:
            if len(mapped) <= POPULATED:
                mapped.madvise(POPULATE_READ)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise self.fault("can't be read: truncated meanwhile, or the disk fails") from None
        return mapped

    def array(self, start: int, stop: int) -> Array:
        """Bytes [start, stop) as uint8: a copy where small, else a view of mapped pages."""
        self._have(start, stop)
        place = self._origin + start
        page = place - place % mmap.ALLOCATIONGRANULARITY
        if stop - start <= COPIED:
            data = self._small(place, stop - start)
            if len(data) == stop - start:
                self.taken.add(len(data))
                return np.frombuffer(data, np.uint8)
        if stop - start <= COPIED or len(_maps) >= MAX_MAPS:
            return self._copy(start, stop - start)
        self.taken.add(stop - start)
        mapped = self._populated(self._map(page, place + stop - start - page))
        return np.frombuffer(mapped, np.uint8, stop - start, place - page)


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def prefetch(slices: Iterable[Slice], progress: Callable[[int], None] | None = None) -> None:
    """Get bytes that will be read from where they lie, if that is the Hub, in few requests.

    Slices of one file that lie near each other, in any order, come in one request. progress:
    called with the bytes of each step, from several threads. Raises InputError.
    """
    cold = _cold(slices)
    if not cold:
        return
    threads = ThreadPoolExecutor(min(len(cold), FETCHED))
    try:
        for done in [threads.submit(file.fetch, want, progress) for file, want in cold.items()]:
            done.result()
    finally:
        threads.shutdown(cancel_futures=True)


def lacking(slices: Iterable[Slice]) -> int:
    """How many bytes `prefetch` would get."""
    return sum(file.lacks(ranges) for file, ranges in _cold(slices).items())


def _cold(slices: Iterable[Slice]) -> dict[File, list[tuple[int, int]]]:
    ranges: dict[File, list[tuple[int, int]]] = defaultdict(list)
    for file, start, stop in slices:
        if file.remote:
            ranges[file].append((start, stop))
    return {file: wanted for file, wanted in ranges.items() if file.lacks(wanted)}
