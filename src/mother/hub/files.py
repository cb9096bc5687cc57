"""One file that lies elsewhere, read by ranges of bytes into a sparse file."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from mother.errors import InputError
from mother.hub.patience import Manners, patiently
from mother.hub.ranges import Range, merged, missing, pieces
from mother.hub.traffic import TRAFFIC
from mother.names import printable

#: bytes that come along with the first ones: the header of most files, and all of a small one
HEAD = 1 << 18
#: bytes that one request asks for at least, and at most
LEAST, MOST = 1 << 16, 1 << 24
#: reads that follow one another ask for twice as much each time, up to this
AHEAD = 1 << 23
#: bytes between two ranges that are cheaper to read than a second request
GAP = 1 << 16
#: ranges of a file of up to MOST bytes; if there are more, all of it comes in one request
FEW = 4


class Source(Protocol):
    """What answers for the bytes of one file of a known size. whole: it has no ranges, and its
    file is read in one piece."""

    manners: Manners
    whole: bool

    def answer(self, start: int, stop: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes [start, stop), in parts as they come. Raises what `manners` knows of, and
        ChangedError where they are not those of the file that was listed."""


class ChangedError(Exception):
    """An answer that is about other bytes than those that were asked for, and in what way."""


class RangedFile:
    """A file of `size` bytes that `source` has, of which those that came lie in the sparse file at
    `path`. sha256: of the content as its list tells it, "" where it does not; tag: changes with it.
    """

    def __init__(
        self, path: Path, shown: str, source: Source, size: int, sha256: str = "", tag: str = ""
    ) -> None:
        self.path, self.shown, self.source = path, shown, source
        self.size, self.sha256, self._tag = size, sha256, tag
        self._held: list[Range] = []
        self._next, self._ahead = 0, HEAD
        self._lock = threading.Lock()

    def fault(self, text: str) -> InputError:
        """The error that refuses this file."""
        return InputError(printable(self.shown), printable(text))

    @property
    def moment(self) -> int:
        """What stands for the time, in nanoseconds, when it was last written."""
        return int.from_bytes(hashlib.sha256(self._tag.encode()).digest()[:7], "big")

    def have(self, start: int, stop: int) -> None:
        """Fetch what of [start, stop) has not come yet, and some more: a cold read gets LEAST
        bytes, one that goes on where the last ended twice as many as that. Raises InputError."""
        with self._lock:
            gap = next(missing(self._held, start, stop), None)
            if gap is None:
                return
            if gap[0] != self._next:
                self._ahead = LEAST
            self._next = min(max(stop, gap[0] + self._ahead), self.size)
            self._ahead = min(2 * max(self._ahead, LEAST), AHEAD)
            self._fetch([(gap[0], self._next)], None)

    def fetch(self, ranges: Iterable[Range], progress: Callable[[int], None] | None = None) -> None:
        """Fetch those ranges in few requests: what lies between near ones, or a small file whole.

        progress: called with the bytes of each step. Raises InputError.
        """
        with self._lock:
            self._fetch(ranges, progress)

    def lacks(self, ranges: Iterable[Range]) -> int:
        """How many bytes `fetch` would read."""
        with self._lock:
            return sum(stop - start for start, stop in self._wanted(ranges))

    def _wanted(self, ranges: Iterable[Range]) -> list[Range]:
        cold = [gap for start, stop in merged(ranges) for gap in missing(self._held, start, stop)]
        near = merged(cold, GAP)
        few = len(near) <= FEW or self.size > MOST
        if near and near[-1][1] <= self.size and (self.source.whole or not few):
            near = [(0, self.size)]
        return [gap for start, stop in near for gap in missing(self._held, start, stop)]

    def _fetch(self, ranges: Iterable[Range], progress: Callable[[int], None] | None) -> None:
        wanted = self._wanted(ranges)
        if not wanted:
            return
        if wanted[0][0] < 0 or wanted[-1][1] > self.size:
            raise self.fault(f"byte {wanted[-1][1]} is needed, it has {self.size}")
        most = self.size if self.source.whole else MOST
        with self.path.open("r+b", buffering=0) as file:
            for whole in wanted:
                for start, stop in pieces(*whole, most):
                    self._get(file.fileno(), start, stop, progress)

    def _get(
        self, descriptor: int, start: int, stop: int, progress: Callable[[int], None] | None
    ) -> None:
        at = start

        def attempt() -> None:
            nonlocal at
            if self.source.whole:
                at = start
            try:
                with self.source.answer(at, stop) as parts:
                    for part in parts:
                        if at + len(part) > stop:
                            raise ChangedError(f"{who} sends more than was asked for")
                        self._write(descriptor, part, at)
                        at += len(part)
                        TRAFFIC.came(len(part))
                        if progress is not None:
                            progress(len(part))
            except ChangedError as error:
                raise self.fault(str(error)) from None
            if at < stop:
                raise ConnectionError(f"the answer ended {stop - at} bytes early")

        who = self.source.manners.who
        try:
            patiently(self.shown, attempt, self.source.manners)
        finally:
            if at == stop or not self.source.whole:
                self._held = merged([*self._held, (start, at)])

    def _write(self, descriptor: int, part: bytes, at: int) -> None:
        view = memoryview(part)
        try:
            while view:
                done = os.pwrite(descriptor, view, at)
                view, at = view[done:], at + done
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "is full" if full else f"can't be written: {error.strerror}"
            who = self.source.manners.who
            raise self.fault(
                f"the folder for what comes from {who} {why}; set TMPDIR to a larger one"
            ) from None
