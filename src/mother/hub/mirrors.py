"""Places elsewhere as folders of sparse files, and which of those that are open a path lies in."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

from mother.errors import InputError
from mother.hub.files import HEAD, RangedFile
from mother.hub.schemes import is_address, public

_lock = threading.Lock()
_spool: Path | None = None
#: by the folder that they are mirrored in, and by what that would be if no other was there
_open: weakref.WeakValueDictionary[Path, Mirror] = weakref.WeakValueDictionary()
_at: weakref.WeakValueDictionary[Path, Mirror] = weakref.WeakValueDictionary()
#: what every folder that was a mirror is called; and single files in them that are called otherwise
_called: dict[Path, str] = {}
#: the same of folders that lie elsewhere on this disk, as in the cache of the Hub's library
_cached: dict[Path, str] = {}


class Entry(NamedTuple):
    """A file as it was listed. tag: changes with its content, where the list tells such; sha256: of
    the content, "" where the list does not tell it."""

    size: int
    tag: str = ""
    sha256: str = ""


#: the reader of a file that was listed, of which `path` is the sparse one
Reader = Callable[[Path, str, Entry], RangedFile]


@dataclass(eq=False)
class Mirror:
    """A place elsewhere, of which nothing but what is asked for is read.

    called: its address. root: the folder that it is mirrored in, which goes when the mirror does.
    listed: its files by their paths in there, read as `reader` does. download: fetches a file whole
    and puts it in the place of the sparse one, where that is wanted. refused: what of the list can
    not be mirrored.
    """

    called: str
    root: Path
    listed: dict[str, Entry] = field(default_factory=dict)
    reader: Reader | None = None
    download: Callable[[Path, RangedFile], None] | None = None
    refused: tuple[InputError, ...] = ()
    _files: dict[str, RangedFile] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def file(self, path: Path) -> RangedFile | None:
        """How the file at a path is read; None where the disk has all of it. InputError."""
        name = path.relative_to(self.root).as_posix()
        entry = self.listed.get(name)
        if entry is None or self.reader is None:
            return None
        with self._lock:
            if name not in self._files:
                self._files[name] = self.reader(path, name, entry)
            file = self._files[name]
        if self.download is None or file.size <= HEAD:
            return file
        self.download(path, file)
        del self.listed[name]
        return None


class Opened(NamedTuple):
    """What an address leads to: a path in a mirror. many: the address is that of many models, of
    which this is one, and need not be one. name: what the one model that is found there is called,
    whatever its files are."""

    mirror: Mirror
    path: Path
    many: bool = False
    name: str = ""


def mirror(
    called: str,
    place: tuple[str, str, str],
    entries: Mapping[str, Entry],
    reader: Reader,
    *,
    links: Mapping[str, Path] | None = None,
) -> Mirror:
    """The mirror of what is called so, one that is still open if it can be.

    place: three names below the spool, of which the last two are what its models are called by, and
    which must be others where the entries are. links: files of it that the disk has elsewhere.
    Raises InputError where the names can't be those of files in one folder.
    """
    with _lock:
        wanted = spool().joinpath(*place)
        known = _at.get(wanted)
        if known is None:
            root = _free(place) if wanted.exists() else wanted
            known = _at[wanted] = _made(called, root, entries, reader, links or {})
        return known


def _free(place: tuple[str, str, str]) -> Path:
    """A folder beside that of a mirror which is gone: whichever thread collects it has still to
    remove it."""
    first, *rest = place
    roots = (spool().joinpath(f"{first}-{k}", *rest) for k in count())
    return next(root for root in roots if not root.exists())


def _made(
    called: str,
    root: Path,
    entries: Mapping[str, Entry],
    reader: Reader,
    links: Mapping[str, Path],
) -> Mirror:
    made = Mirror(called, root, dict(entries), reader)
    try:
        root.mkdir(parents=True)
        weakref.finalize(made, _remove, root, os.getpid())
        for name, target in links.items():
            _below(root, name).symlink_to(target)
        for name, entry in entries.items():
            path = _below(root, name)
            with path.open("xb") as file:
                file.truncate(entry.size)
    except (FileExistsError, NotADirectoryError):
        raise InputError(called, "names two files alike, or a file and a folder") from None
    except OSError as error:
        raise InputError(
            called, f"can't be mirrored in {spool()}: {error.strerror}; set TMPDIR to another"
        ) from None
    _open[root] = made
    _called[root] = called
    return made


def _below(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: object) -> str:
    """A name for the first of a mirror's three folders that is another where the parts are."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def spool() -> Path:
    """The folder of this process that places are mirrored in, below TMPDIR."""
    global _spool
    if _spool is None:
        _spool = Path(os.path.realpath(tempfile.mkdtemp(prefix="mother-hub-")))
        atexit.register(_remove, _spool, os.getpid())
    return _spool


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child shares the folder, and does not own it
        shutil.rmtree(folder, ignore_errors=True)


def mirrored(path: Path) -> tuple[Mirror | None, RangedFile | None]:
    """The mirror that an absolute path lies in, whose folder is gone when nothing refers to it; and
    the file there, None where all of it is on the disk."""
    if _spool is None or not path.is_relative_to(_spool):
        return None, None
    found = _open.get(_root(path))
    if found is None:
        raise InputError(shown(path), "no longer open")
    return found, found.file(path)


def _root(path: Path) -> Path:
    assert _spool is not None
    return _spool.joinpath(*path.relative_to(_spool).parts[:3])


def name_file(path: Path, called: str) -> None:
    """Call one file of a mirror otherwise than by its place in there."""
    _called[path] = called


def name_folder(folder: Path, called: str) -> None:
    """Call a folder on this disk by the address that it was found by."""
    _cached[folder] = called


def shown(path: str | os.PathLike[str]) -> str:
    """What a path is called: its address where it lies in a mirror, else the path itself. Never
    with what an address may hold that is secret.

    >>> shown("models/a.safetensors"), shown(Path("hf://org/name"))
    ('models/a.safetensors', 'hf://org/name')
    >>> shown("https://user:word@host/a.npz?X-Amz-Signature=5ec2e7")
    'https://host/a.npz'
    """
    text = os.fspath(path)
    if is_address(text):
        return public(text)
    path = Path(path)
    if _spool is not None and path.is_relative_to(_spool):
        root = _root(path)
        inside = path.relative_to(root).parts
        return _called.get(path) or "/".join((_called.get(root, "hf:"), *inside))
    for folder, address in _cached.items():
        if path.is_relative_to(folder):
            return "/".join((address, *path.relative_to(folder).parts))
    return text
