"""Which of the inputs a claimed name means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mother.checkpoints.claims import Claim, repository
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


@dataclass(frozen=True)
class Names:
    """The models, of id -> path, by all that they may be called.

    >>> names = Names({"base": Path("m/base"), "b": Path("org/Base.safetensors")})
    >>> names.match("org/Base")
    Match(ids=('b',), how='owner and name')
    >>> names.match("elsewhere/base")
    Match(ids=('base',), how='last part of the name')
    """

    models: Mapping[str, Path]

    def match(self, name: str) -> Match | None:
        """The models that a claimed name means: the first way that finds any.

        1. the id as it is; 2. owner and name against the last two parts of the path, or a cache's
        models--owner--name; 3. the last part of the name against the file's or folder's; 4. and
        5. the same without regard to case, spaces, "_" and "-".
        """
        wanted = repository(name)
        whole, short = _whole(wanted), _short(wanted)
        sought = (name, whole, short, _loose(whole), _loose(short))
        for (how, called), key in zip(self._ways.items(), sought, strict=True):
            if key in called:
                return Match(tuple(called[key]), how)
        return None

    def means(self, id: str, claim: Claim) -> tuple[tuple[str, ...], str] | None:
        """The other models that a claim of model `id` may mean, and how they were found; none
        where it names the model itself. None for what is no claim at all: a path on another
        machine, or its own name where programs put it."""
        found = self.match(claim.value)
        if found is None:
            return None if is_local(claim.value) else ((), "")
        if id in found.ids and claim.key != "base_model":
            return None
        return tuple(other for other in found.ids if other != id), found.how

    @cached_property
    def _ways(self) -> dict[str, dict[str, list[str]]]:
        ids: dict[str, list[str]] = {}
        owned: dict[str, list[str]] = {}
        own: dict[str, list[str]] = {}
        for id_, path in self.models.items():
            ids[id_] = [id_]
            owned.setdefault(_owned(path), []).append(id_)
            for short in {_short(id_), _own(path)}:
                own.setdefault(short, []).append(id_)
        return {
            "id": ids,
            "owner and name": owned,
            "last part of the name": own,
            "owner and name, without regard to case": _loosely(owned),
            "last part of the name, without regard to case": _loosely(own),
        }


def _loosely(called: Mapping[str, list[str]]) -> dict[str, list[str]]:
    loose: dict[str, list[str]] = {}
    for name, ids in called.items():
        loose[_loose(name)] = sorted({*loose.get(_loose(name), []), *ids})
    return loose


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


def _owned(path: Path) -> str:
    """The path as owner/name."""
    whole = path.absolute()
    folder = _repository_folder(whole)
    if folder.name.startswith("models--"):
        return "/".join(folder.name.split("--")[1:])
    return f"{whole.parent.name}/{_bare(whole.name)}"


def _loose(name: str) -> str:
    return re.sub(r"[ _-]+", "-", name.casefold())
