"""The cache of Hugging Face's libraries: models--OWNER--NAME/snapshots/COMMIT, in which files are
links to the repository's blobs, and refs/REVISION, which holds the commit that a name means.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mother.checkpoints.stores.place import Place, Store

_MODELS = "models--"
#: what a cache keeps beside models; what lies in them is searched where it is named
_OTHERS = ("datasets--", "spaces--", "kernels--")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: letters of a commit that an id shows
SHOWN = 7
#: names of revisions that are looked at
MAX_REFS = 100


def is_snapshot(folder: Path) -> bool:
    """Whether a folder is a repository at one commit, by its path.

    >>> is_snapshot(Path("/hub/models--org--name/snapshots/0123abc"))
    True
    """
    repository = folder.parent.parent.name
    named = repository.startswith(_MODELS) and repository != _MODELS
    return folder.parent.name == "snapshots" and named


def place(path: Path) -> Place | None:
    """The repository as its id is, with the revision where that is not main."""
    snapshot = _snapshot(path)
    if snapshot is None:
        return None
    repository, commit = snapshot.parent.parent, snapshot.name
    name = _name(repository)
    revision = _revision(repository, commit)
    label = f"{name}@{revision}" if revision else name
    inside = path.relative_to(snapshot).parts
    return Place(label, inside, repository.parent, f"{name}@{commit}")


def fetches(path: Path) -> str:
    """What ends a download that did not come to its end."""
    snapshot = _snapshot(path)
    if snapshot is None:
        return ""
    repository = snapshot.parent.parent
    revision = _revision(repository, snapshot.name, whole=True)
    words = ["hf", "download", _name(repository), *(("--revision", revision) if revision else ())]
    return shlex.join(words)


def _snapshot(path: Path) -> Path | None:
    """That of a repository in which a path lies."""
    return next((p for p in (path, *path.parents) if is_snapshot(p)), None)


def _name(repository: Path) -> str:
    return "/".join(repository.name.removeprefix(_MODELS).split("--"))


def searched(folder: Path, names: list[str]) -> list[str]:
    """Of a cache the models alone, of a repository its snapshots, the one that main is first."""
    if any(name.startswith((_MODELS, *_OTHERS)) for name in names):
        return [name for name in names if not name.startswith(_OTHERS)]
    if folder.name.startswith(_MODELS) and "snapshots" in names:
        return ["snapshots"]
    if folder.name == "snapshots" and folder.parent.name.startswith(_MODELS):
        main = _commit(folder.parent / "refs" / "main")
        return sorted(names, key=lambda name: (name != main, name))
    return names


def _revision(repository: Path, commit: str, *, whole: bool = False) -> str:
    """What a commit is called: "" where it is main, else the first name that means it, or the
    start of the commit, or all of it."""
    refs = repository / "refs"
    if _commit(refs / "main") == commit:
        return ""
    named = (ref for ref in islice(_files(refs), MAX_REFS) if _commit(ref) == commit)
    first = next(named, None)
    if first is not None:
        return first.relative_to(refs).as_posix()
    return commit[:SHOWN] if _COMMIT.fullmatch(commit) and not whole else commit


def _files(folder: Path) -> Iterator[Path]:
    for where, below, names in os.walk(folder):
        below.sort()
        yield from (Path(where, name) for name in sorted(names))


def _commit(ref: Path) -> str:
    """The commit in a file of refs, "" where there is none."""
    try:
        if not ref.is_file():  # a pipe would never end
            return ""
        with ref.open("rb") as file:
            return file.read(200).decode("ascii", "replace").strip()
    except OSError:
        return ""


STORE = Store(place, searched, fetches=fetches)
