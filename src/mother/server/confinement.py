"""Which files a request may have read: those in folders that were named at the start."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mother.checkpoints.stores.lm_studio import downloads
from mother.errors import InputError, MotherError
from mother.hub import credential_files, ground, is_address, prepared

OUTSIDE = "outside the folders allowed at the start"
_LONGEST = 4096


class OutsideError(MotherError):
    """A path that leads out of the folders allowed."""


class AbsentError(MotherError):
    """Nothing stands at a path inside the folders allowed."""


def confined(path: str, folders: Sequence[Path]) -> Path:
    """The real path, all links followed, of something inside one of the folders, which are real
    paths, or addresses; an address as it is. OutsideError says the same of what is elsewhere and of
    what is nowhere.

    >>> confined("/srv/models/../../etc/passwd", [Path("/srv/models")])
    Traceback (most recent call last):
    mother.server.confinement.OutsideError: outside the folders allowed at the start
    """
    if is_address(path):
        return _elsewhere(path, folders)
    if not path or len(path) > _LONGEST or "\0" in path or ".." in Path(path).parts:
        raise OutsideError(OUTSIDE)
    try:
        real = Path(os.path.realpath(path))
        if not _inside(real, folders):
            raise OutsideError(OUTSIDE)
        if not real.exists():
            raise AbsentError("no such file or folder")
    except (OSError, ValueError):
        raise OutsideError(OUTSIDE) from None
    return real


def readable(paths: Mapping[str, str], folders: Sequence[Path], but: Path) -> dict[str, str]:
    """Real paths by id of the models that may be read, but for one."""
    found: dict[str, str] = {}
    for id, path in paths.items():
        try:
            real = confined(path, folders)
        except (OutsideError, AbsentError):
            continue
        if real != but:
            found[id] = str(real)
    return found


def _elsewhere(path: str, folders: Sequence[Path]) -> Path:
    try:
        inside = any(
            ground(path).is_relative_to(ground(folder)) for folder in folders if is_address(folder)
        )
    except InputError:
        inside = False
    if not inside or len(path) > _LONGEST:
        raise OutsideError(OUTSIDE)
    return Path(path)


def confine(folders: Sequence[Path]) -> list[str]:
    """From now on this process opens nothing but what is in the folders, and Python's own modules:
    a checkpoint may name other files, or hold links to them. Where addresses are among them, also
    what is mirrored from there, the cache of the Hub's library, and the files of passwords. Returns
    a list that fills with what was asked for in vain. There is no way back."""
    downloads(Path("~").expanduser())  # looked for once, before nothing else is opened
    if any(is_address(folder) for folder in folders):
        kept = (Path(os.path.realpath(file)) for file in credential_files())
        folders = [*folders, *prepared(), *kept]
    libraries = [Path(os.path.realpath(p)) for p in sys.path if p]
    refused: list[str] = []

    def watch(event: str, details: tuple[object, ...]) -> None:
        if event not in ("open", "os.listdir", "os.scandir") or not details:
            return
        path = details[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor: it was opened before
        real = Path(os.fsdecode(os.path.realpath(path)))
        if not (_inside(real, folders) or _inside(real, libraries)):
            refused.append(str(real))
            raise PermissionError(errno.EACCES, OUTSIDE)

    sys.addaudithook(watch)
    return refused


def _inside(real: Path, folders: Sequence[Path]) -> bool:
    return any(real.is_relative_to(folder) for folder in folders)
