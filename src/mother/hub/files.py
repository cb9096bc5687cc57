"""One file of a repository, read by ranges of bytes into a sparse file."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mother.errors import InputError
from mother.hub.http import patiently, ranged
from mother.hub.ranges import Range, merged, missing, pieces
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
#: bytes that are written at a time
_CHUNK = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
#: answers of a place that the Hub sent us to, when its address has expired
_EXPIRED = {400, 401, 403, 404, 410}


class RangedFile:
    """A file of `size` bytes at `url`, of which those that came lie in the sparse file at `path`.

    The commit and the ETag are those of the first answer for good: a later one with others is
    refused. sha256: of the content as the Hub tells it, "" where it does not.
    """

    def __init__(
        self, path: Path, shown: str, url: str, size: int, commit: str, sha256: str
    ) -> None:
        self.path, self.shown, self.url = path, shown, url
        self.size, self.commit, self.sha256 = size, commit, sha256
        self._held: list[Range] = []
        self._tags: dict[str, str] = {}
        self._elsewhere: str | None = None
        self._next, self._ahead = 0, HEAD
        self._lock = threading.Lock()

    def fault(self, text: str) -> InputError:
        """The error that refuses this file."""
        return InputError(printable(self.shown), printable(text))

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
        if len(near) > FEW and self.size <= MOST and near[-1][1] <= self.size:
            near = [(0, self.size)]
        return [gap for start, stop in near for gap in missing(self._held, start, stop)]

    def _fetch(self, ranges: Iterable[Range], progress: Callable[[int], None] | None) -> None:
        wanted = self._wanted(ranges)
        if not wanted:
            return
        if wanted[0][0] < 0 or wanted[-1][1] > self.size:
            raise self.fault(f"byte {wanted[-1][1]} is needed, it has {self.size}")
        with self.path.open("r+b", buffering=0) as file:
            for whole in wanted:
                for start, stop in pieces(*whole, MOST):
                    self._get(file.fileno(), start, stop, progress)

    def _get(
        self, descriptor: int, start: int, stop: int, progress: Callable[[int], None] | None
    ) -> None:
        at = start

        def attempt() -> None:
            nonlocal at
            with self._answer(at, stop) as response:
                for chunk in response.iter_raw(_CHUNK):
                    if at + len(chunk) > stop:
                        raise self.fault("the Hub sends more than was asked for")
                    self._write(descriptor, chunk, at)
                    at += len(chunk)
                    if progress is not None:
                        progress(len(chunk))
            if at < stop:
                raise ConnectionError(f"the answer ended {stop - at} bytes early")

        try:
            patiently(self.shown, attempt)
        finally:
            self._held = merged([*self._held, (start, at)])

    def _write(self, descriptor: int, chunk: bytes, at: int) -> None:
        view = memoryview(chunk)
        try:
            while view:
                done = os.pwrite(descriptor, view, at)
                view, at = view[done:], at + done
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            why = "is full" if full else f"can't be written: {error.strerror}"
            raise self.fault(
                f"the folder for what comes from the Hub {why}; set TMPDIR to a larger one"
            ) from None

    @contextmanager
    def _answer(self, start: int, stop: int) -> Iterator[Any]:
        """From where the Hub sent us last, as long as that holds good: half as many requests."""
        from huggingface_hub.errors import HfHubHTTPError

        elsewhere = self._elsewhere
        try:
            with ranged(elsewhere or self.url, start, stop, known=elsewhere is None) as response:
                self._check(response, start, stop)
                if urlsplit(str(response.url)).netloc != urlsplit(self.url).netloc:
                    self._elsewhere = str(response.url)
                yield response
        except HfHubHTTPError as error:
            if elsewhere is None or error.response.status_code not in _EXPIRED:
                raise
            self._elsewhere = None
            raise ConnectionError("where the Hub sent us holds good no longer") from None

    def _check(self, response: Any, start: int, stop: int) -> None:
        """Refuse an answer that is not the bytes [start, stop) of the file that was listed."""
        if response.status_code == 200 and (start, stop) != (0, self.size):
            raise self.fault("the server ignores byte ranges; --download fetches the whole file")
        told = response.headers.get("Content-Range", "")
        if response.status_code == 200:
            length = response.headers.get("Content-Length", str(self.size))
            told = f"bytes {start}-{stop - 1}/{length}"
        given = _CONTENT_RANGE.fullmatch(told)
        if response.status_code not in (200, 206) or given is None:
            raise self.fault(f"the server answers a byte range by {response.status_code} {told}")
        first, last, size = (int(number) for number in given.groups())
        if size != self.size:
            raise self.fault(f"has {self.size} bytes by the Hub's list and {size} when it is read")
        if (first, last) != (start, stop - 1):
            raise self.fault(f"bytes {start}-{stop - 1} were asked for, {first}-{last} are sent")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self.fault("the server sends it compressed, which was not asked for")
        self._pin(response)

    def _pin(self, response: Any) -> None:
        answers = [*response.history, response]
        for answer in answers:
            commit = answer.headers.get("X-Repo-Commit", self.commit)
            if commit != self.commit:
                raise self.fault(f"comes from commit {commit[:40]}, not from the one asked for")
        tags = {
            "Hub": next((t for a in answers if (t := a.headers.get("X-Linked-ETag"))), None),
            urlsplit(str(response.url)).netloc: response.headers.get("ETag"),
        }
        for who, tag in tags.items():
            if tag and self._tags.setdefault(who, tag) != tag:
                raise self.fault("has changed on the Hub while it was read; start again")
