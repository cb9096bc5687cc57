"""How many requests this process has made for models that lie elsewhere, and what came."""

from __future__ import annotations

import threading


class Traffic:
    """Counts of requests, attempts that failed among them, and of the bytes of files that came.

    >>> traffic = Traffic()
    >>> traffic.asked(); traffic.came(1500)
    >>> str(traffic)
    '1.5 kB came in 1 request'
    """

    def __init__(self) -> None:
        self.requests = self.bytes = 0
        self._lock = threading.Lock()

    def asked(self) -> None:
        """One more request."""
        with self._lock:
            self.requests += 1

    def came(self, count: int) -> None:
        """So many more bytes."""
        with self._lock:
            self.bytes += count

    def restart(self) -> None:
        """Count from nothing again."""
        with self._lock:
            self.requests = self.bytes = 0

    def __str__(self) -> str:
        from rich.filesize import decimal

        plural = "" if self.requests == 1 else "s"
        return f"{decimal(self.bytes)} came in {self.requests:,} request{plural}"


TRAFFIC = Traffic()
