"""Which of the inputs a claimed name means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mother.checkpoints.claims import repository
from mother.checkpoints.formats import ending

_LOCAL = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Match:
    """The inputs that a name may mean; `how` says which part of the name they were found by."""

    ids: tuple[str, ...]
    how: str


def is_local(name: str) -> bool:
    """Whether a name is a path on the machine of whoever wrote it: no name to others.

    >>> is_local("/home/me/run-3"), is_local("./out"), is_local("org/model")
    (True, True, False)
    """
    return _LOCAL.match(name) is not None


def match(name: str, models: Mapping[str, Path]) -> Match | None:
    """The models, of id -> path, that a claimed name means: the first way that finds any.

    1. the id as it is; 2. owner and name against the last two parts of the path, or a cache's
    models--owner--name; 3. the last part of the name against the file's or folder's; 4. and 5.
    the same without regard to case, spaces, "_" and "-".

    >>> match("org/Base", {"base": Path("m/base"), "b": Path("org/Base.safetensors")})
    Match(ids=('b',), how='owner and name')
    >>> match("elsewhere/base", {"base": Path("m/base")})
    Match(ids=('base',), how='last part of the name')
    """
    wanted = repository(name)
    whole, short = _whole(wanted), _short(wanted)
    ways: list[tuple[str, Callable[[str, Path], bool]]] = [
        ("id", lambda id_, _: id_ == name),
        ("owner and name", lambda _, path: whole in _owned(path)),
        ("last part of the name", lambda id_, path: short in (_short(id_), _own(path))),
        (
            "owner and name, without regard to case",
            lambda _, path: _loose(whole) in map(_loose, _owned(path)),
        ),
        (
            "last part of the name, without regard to case",
            lambda id_, path: _loose(short) in (_loose(_short(id_)), _loose(_own(path))),
        ),
    ]
    for how, fits in ways:
        ids = tuple(id_ for id_, path in models.items() if fits(id_, path))
        if ids:
            return Match(ids, how)
    return None


def _bare(name: str) -> str:
    return name.removesuffix(ending(name))


def _short(name: str) -> str:
    return _bare(re.split(r"[/\\]", name.rstrip("/\\"))[-1])


def _whole(name: str) -> str:
    """owner/name, or nothing that a path could be equal to."""
    parts = name.split("/")
    return "/".join((parts[0], _bare(parts[1]))) if len(parts) == 2 and all(parts) else "\0"


def _repository_folder(path: Path) -> Path:
    """The folder that is called as the model: of a cache of Hugging Face's, models--owner--name."""
    for folder in (path, path.parent):
        if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
            return folder.parents[1]
    return path


def _own(path: Path) -> str:
    folder = _repository_folder(path.absolute())
    return _bare(folder.name.split("--")[-1] if folder.name.startswith("models--") else folder.name)


def _owned(path: Path) -> tuple[str, ...]:
    """The path as owner/name."""
    whole = path.absolute()
    folder = _repository_folder(whole)
    if folder.name.startswith("models--"):
        return ("/".join(folder.name.split("--")[1:]),)
    return (f"{whole.parent.name}/{_bare(whole.name)}",)


def _loose(name: str) -> str:
    return re.sub(r"[ _-]+", "-", name.casefold())
