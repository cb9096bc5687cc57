"""How many requests this process has made for models that lie elsewhere, and what came."""

from __future__ import annotations

import threading


class Traffic:
    """Counts of requests, attempts that failed among them, of these alone, and of the bytes of
    files that came.

    >>> traffic = Traffic()
    >>> traffic.asked(); traffic.came(1500)
    >>> str(traffic)
    '1.5 kB came in 1 request'
    """

    def __init__(self) -> None:
        self.requests = self.bytes = self.again = 0
        self._lock = threading.Lock()

    def asked(self) -> None:
        """One more request."""
        with self._lock:
            self.requests += 1

    def failed(self) -> None:
        """One of them came to nothing and is made again."""
        with self._lock:
            self.again += 1

    def came(self, count: int) -> None:
        """So many more bytes."""
        with self._lock:
            self.bytes += count

    def more(self, requests: int, bytes: int) -> None:
        """What another process has counted."""
        with self._lock:
            self.requests += requests
            self.bytes += bytes

    def taken(self) -> tuple[int, int]:
        """Requests and bytes so far, and count from nothing again."""
        with self._lock:
            found = self.requests, self.bytes
            self.requests = self.bytes = self.again = 0
        return found

    def __str__(self) -> str:
        from rich.filesize import decimal

        plural = "" if self.requests == 1 else "s"
        return f"{decimal(self.bytes)} came in {self.requests:,} request{plural}"


TRAFFIC = Traffic()
