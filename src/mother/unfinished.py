"""Files that are being written: under a name of their own, beside the one that they become.

A process that is killed leaves such a file. The next one that writes the same file removes it:
whoever writes holds a lock on it, and the system lets go of the locks of the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MARK = ".unfinished-"
#: what SQLite leaves beside a database
_BESIDE = ("", "-journal", "-wal", "-shm")


@contextlib.contextmanager
def unfinished(target: Path) -> Iterator[tuple[int, Path]]:
    """A new empty file beside `target`, its descriptor and its path, that is gone afterwards unless
    it was renamed. Those that killed processes left for the same target are removed. Raises
    OSError.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with unfinished(Path(folder, "graph.json")) as (descriptor, path):
    ...         _ = os.write(descriptor, b"{}")
    ...         _ = path.replace(Path(folder, "graph.json"))
    ...     os.listdir(folder)
    ['graph.json']
    """
    prefix = f".{target.name[:100]}{_MARK}"
    _remove_left(target.parent, prefix)
    descriptor, path = _locked(target.parent, prefix)
    try:
        yield descriptor, path
    finally:
        _remove(path)
        os.close(descriptor)


def _locked(folder: Path, prefix: str) -> tuple[int, Path]:
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process took it for one that was left
            os.close(descriptor)
            continue
        except OSError:
            pass  # a file system without locks: there, nothing is removed either
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)


def _remove_left(folder: Path, prefix: str) -> None:
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(prefix)]
    for path in left:
        with contextlib.suppress(OSError):
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(descriptor)


def _remove(path: Path) -> None:
    for end in _BESIDE:
        with contextlib.suppress(OSError):
            path.with_name(path.name + end).unlink(missing_ok=True)
