"""Answers of HTTP servers to requests for ranges of bytes, checked before they are believed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

from mother.hub.files import ChangedError
from mother.hub.patience import Manners

#: bytes that are taken from the network at a time
CHUNK = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
#: answers of a place that a server sent us to, when its address has expired
_EXPIRED = {400, 401, 403, 404, 410}

#: the answer, not yet read, to a request for bytes [start, stop) of an address; known: whether it
#: goes to whom the user named, who may see credentials, and not to where that one has sent us
Ranged = Callable[..., AbstractContextManager[Any]]


class Answers:
    """What a server at `url` answers for a file of `size` bytes.

    The commit and the ETag are those of the first answer for good: a later one with others is
    refused; tags: ETags known before, by host. ranged: makes the requests. whole: the file is asked
    for in one piece.
    """

    def __init__(
        self,
        url: str,
        size: int,
        ranged: Ranged,
        manners: Manners,
        commit: str = "",
        *,
        tags: Mapping[str, str] | None = None,
        whole: bool = False,
    ) -> None:
        self.url, self.size, self.commit = url, size, commit
        self.manners, self.whole = manners, whole
        self._ranged = ranged
        self._tags = dict(tags or {})
        self._elsewhere: str | None = None

    @contextmanager
    def answer(self, start: int, stop: int) -> Iterator[Iterator[bytes]]:
        """From where the server sent us last, as long as that holds good: half as many requests."""
        elsewhere = self._elsewhere
        place = elsewhere or self.url
        try:
            with self._ranged(place, start, stop, known=elsewhere is None) as response:
                self._check(response, start, stop)
                if urlsplit(str(response.url)).netloc != urlsplit(self.url).netloc:
                    self._elsewhere = str(response.url)
                yield response.iter_raw(CHUNK)
        except self.manners.caught() as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if elsewhere is None or status not in _EXPIRED:
                raise
            self._elsewhere = None
            raise ConnectionError(
                f"where {self.manners.who} sent us holds good no longer"
            ) from None

    def _check(self, response: Any, start: int, stop: int) -> None:
        """Refuse an answer that is not the bytes [start, stop) of the file that was listed."""
        who = self.manners.who
        if response.status_code == 200 and (start, stop) != (0, self.size):
            raise ChangedError("the server ignores byte ranges; --download fetches the whole file")
        told = response.headers.get("Content-Range", "")
        if response.status_code == 200:
            length = response.headers.get("Content-Length", str(self.size))
            told = f"bytes {start}-{stop - 1}/{length}"
        given = _CONTENT_RANGE.fullmatch(told)
        if response.status_code not in (200, 206) or given is None:
            raise ChangedError(f"the server answers a byte range by {response.status_code} {told}")
        first, last, size = (int(number) for number in given.groups())
        if size != self.size:
            raise ChangedError(f"has {self.size} bytes by {who}'s list and {size} when it is read")
        if (first, last) != (start, stop - 1):
            raise ChangedError(f"bytes {start}-{stop - 1} were asked for, {first}-{last} are sent")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise ChangedError("the server sends it compressed, which was not asked for")
        self._pin(response)

    def _pin(self, response: Any) -> None:
        answers = [*response.history, response]
        for answer in answers:
            commit = answer.headers.get("X-Repo-Commit", self.commit)
            if self.commit and commit != self.commit:
                raise ChangedError(f"comes from commit {commit[:40]}, not from the one asked for")
        tags = {
            "Hub": next((t for a in answers if (t := a.headers.get("X-Linked-ETag"))), None),
            urlsplit(str(response.url)).netloc: response.headers.get("ETag"),
        }
        for who, tag in tags.items():
            if tag and self._tags.setdefault(who, tag) != tag:
                where = self.manners.who.removeprefix("the ")
                raise ChangedError(f"has changed on the {where} while it was read; start again")
