"""What is called hf://owner/name@revision/path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote

from mother.errors import InputError
from mother.names import printable

#: one slash, or none at all, where the address has been a Path
_SCHEME = re.compile(r"hf:(?:/+|$)")
_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)
#: revisions that hold slashes
_SPECIAL = re.compile(r"refs/(?:pr|convert)/[^/]+")
#: what the Hub has beside models
_KINDS = ("datasets", "spaces", "buckets", "kernels")
MAX_REVISION = 255


@dataclass(frozen=True)
class Address:
    """A place on the Hub. name: "" for all models of the owner; revision: "" for the default one;
    path: within the repository, "" for all of it."""

    owner: str
    name: str = ""
    revision: str = ""
    path: str = ""

    @property
    def repository(self) -> str:
        """As the Hub calls it: owner/name."""
        return f"{self.owner}/{self.name}"

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        inside = f"/{self.path}" if self.path else ""
        name = f"/{self.name}" if self.name else ""
        return f"hf://{self.owner}{name}{at}{inside}"


def is_hub_address(path: str | os.PathLike[str]) -> bool:
    """Whether what is given in place of a path is an address on the Hub.

    >>> is_hub_address("hf://org/name"), is_hub_address("org/name")
    (True, False)
    """
    return _SCHEME.match(os.fspath(path)) is not None


def parse(text: str | os.PathLike[str]) -> Address:
    """The parts of an address. Raises InputError.

    >>> parse("hf://org/name@refs/pr/3/unet/model.safetensors")
    Address(owner='org', name='name', revision='refs/pr/3', path='unet/model.safetensors')
    >>> parse("hf://org")
    Address(owner='org', name='', revision='', path='')
    """
    text = os.fspath(text)
    rest = text[len(match[0]) :] if (match := _SCHEME.match(text)) else text
    said = "hf://" + printable(rest)[:1000]
    owner, _, rest = rest.rstrip("/").partition("/")
    if owner in _KINDS:
        raise InputError(said, f"{owner} hold no models; give hf://owner/name")
    head, at, tail = rest.partition("@")
    if "/" in head or not at:  # an @ further on is part of a file's name
        name, _, path = rest.partition("/")
        revision = ""
    else:
        name = head
        special = _SPECIAL.match(tail)
        revision = special[0] if special else tail.partition("/")[0]
        path = tail[len(revision) :].lstrip("/")
        revision = unquote(revision)
        if not revision or len(revision) > MAX_REVISION or not revision.isprintable():
            raise InputError(said, "has no revision after the @")
    for part in (owner, name) if rest else (owner,):
        if not _NAME.fullmatch(part) or ".." in part or "--" in part:
            raise InputError(said, "no address on the Hub; give hf://owner/name[@revision]")
    if path and not is_inside(path):
        raise InputError(said, "leads out of the repository")
    return Address(owner, name, revision, path)


#: files of PyTorch's distributed checkpoints and of Orbax
NEEDED = (".metadata", ".zarray")


def is_inside(path: str) -> bool:
    """Whether a path within a repository can be one within a folder.

    >>> is_inside("unet/model.safetensors"), is_inside("../secret"), is_inside("/etc/passwd")
    (True, False, False)
    """
    parts = path.split("/")
    return len(path) <= 1000 and not any(
        part in ("", ".", "..") or len(os.fsencode(part)) > 255 or set(part) & set("\\\0:")
        for part in parts
    )


def is_hidden(path: str) -> bool:
    """Whether a path within a place elsewhere is left out, for its name, or that of a folder on it,
    starts with a dot; but for files that a format calls so.

    >>> is_hidden(".git/config"), is_hidden("run/.metadata"), is_hidden(".cache/.metadata")
    (True, False, True)
    """
    *folders, name = path.split("/")
    hidden = [part for part in folders if part.startswith(".") and part not in (".", "..")]
    return bool(hidden) or (name.startswith(".") and name not in (".", "..", *NEEDED))
