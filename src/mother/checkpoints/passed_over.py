"""Files that look like weights, by their ending or their first bytes, and that no reader took.

Nothing is concluded from them, so they are named: a model that is not looked at must not pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mother.checkpoints.archives import archived
from mother.checkpoints.folders import (
    MAX_DEPTH,
    folder_format,
    is_folder,
    is_training_state,
    leads_out,
    listing,
    shard_set,
)
from mother.checkpoints.foreign import START, by_name, by_start
from mother.checkpoints.formats import ENDINGS, FORMATS, HEAD, ending, parts_of
from mother.checkpoints.looking import LOOKED, MAX_NAMES
from mother.checkpoints.mxnet_files import MAGIC as MXNET
from mother.checkpoints.nothing import NOTHING_FOUND
from mother.checkpoints.pickled_arrays import holds_arrays
from mother.checkpoints.pointers import pointed
from mother.checkpoints.safetensors import looks_like_safetensors
from mother.checkpoints.stable_baselines_files import POLICY
from mother.checkpoints.storage import File, identity
from mother.checkpoints.tensor import Checkpoint, Problem, printable
from mother.checkpoints.torch_files import has_torch_members, looks_like_legacy_torch
from mother.checkpoints.twins import with_twins
from mother.checkpoints.zip_archive import looks_like_zip, read_members
from mother.errors import InputError

FIRST = 3  # names in a summary
SMALLEST = 256  # bytes of a file whose ending tells nothing, below which it is no model
#: files of a Zarr store, which are hidden
_ZARR = frozenset({".zarray", ".zgroup", "zarr.json"})
_LEFT = "not read"
_UNFINISHED = "a download that did not finish"
_LINK = "a link out of the folder, which is not searched; name where it leads"


def is_weights(path: Path) -> bool:
    """Whether a file of an ending that tells nothing holds weights that can be read, by its first
    bytes: what torch.save or safetensors wrote under another name, or an agent in a .zip."""
    if path.suffix.lower() in (".whl", ".jar", ".docx", ".xlsx", ".pptx", ".epub"):
        return False
    try:
        file = File(path)
        if file.size < SMALLEST or file.remote:
            return False
        start = file.read(0, HEAD)
        if looks_like_zip(start):
            members = read_members(file)
            agent = path.suffix.lower() == ".zip"  # others of that ending are left alone
            return POLICY in members if agent else has_torch_members(members)
        length = int.from_bytes(start[:8], "little")
        header = looks_like_safetensors(start) and 2 <= length <= file.size - 8
        told = looks_like_legacy_torch(start) or start.startswith((b"GGUF", b"\x89HDF", MXNET))
        return header or told or holds_arrays(file, start)
    except (InputError, OSError):
        return False


def passed_over(
    paths: Iterable[str | os.PathLike[str]],
    checkpoints: Sequence[Checkpoint],
    problems: Sequence[Problem] = (),
) -> list[Problem]:
    """Files and folders at the paths and below them that look like weights and are neither in the
    checkpoints that were opened from there nor refused already, sorted, each with what it is.

    By-products of a training run, such as the state of its optimizer, are none.
    """
    taken = {identity(file.path) for c in checkpoints for file in c.files}
    taken |= {identity(c.path) for c in checkpoints if not c.files}
    told = {identity(path) for p in problems for path in (p.path, *_shards(p.path))}
    models = {identity(c.path) for c in checkpoints} | told
    found: dict[str, Problem] = {}
    seen = 0
    for path in map(Path, paths):
        if os.path.isfile(path):  # noqa: PTH113  (False where forbidden)
            walked: Iterable[tuple[Path, list[str]]] = [(path.parent, [path.name])]
        elif os.path.isdir(path):  # noqa: PTH112
            walked = _walk(path)
        else:
            continue
        for folder, names in walked:
            seen += len(names)
            LOOKED.names += len(names)
            if seen > MAX_NAMES:  # which the search of before has said
                break
            for link in _links_out(folder, os.path.realpath(path)):
                if identity(link) not in models:
                    found.setdefault(os.path.realpath(link), Problem(link, _LINK))
            if _ZARR & set(names):
                if all(identity(folder / name) in taken for name in names):
                    continue  # of a checkpoint that was read
                found.setdefault(os.path.realpath(folder), Problem(folder, "Zarr; save it as .npz"))
                continue
            refused = os.path.realpath(folder) in told  # for what is known by its ending
            for name in names:
                real = identity(folder / name)
                if refused and ending(name):
                    told.add(real)  # which a blob may be that was looked at before
                    continue
                # of a blob and the links to it a link is what people know
                new = real not in found or (folder / name).is_symlink()
                if real not in taken and real not in told and new:
                    what = _what(folder / name)
                    if what is not None:
                        found[real] = Problem(folder / name, what)
    told |= {identity(p) for c in checkpoints for p in _parts(c)}
    left = (p for real, p in found.items() if real not in told)
    return sorted(with_twins(left, checkpoints), key=lambda p: str(p.path))


def beside(problem: Problem, checkpoints: Sequence[Checkpoint]) -> bool:
    """Whether a file that was passed over lies in the folder of a checkpoint that was read, or is
    called like a file of one but for the ending: then it is likely the same model once more."""
    real = os.path.realpath(problem.path)
    stem = os.path.realpath(problem.path.with_suffix(""))
    for c in checkpoints:
        home = os.path.realpath(c.path)
        if real.startswith(home + os.sep):
            return True
        if os.path.realpath(c.path.with_suffix("")) == stem:
            return True
    return False


def named(problems: Sequence[Problem], left: Sequence[Problem]) -> list[Problem]:
    """The problems, in place of a folder in which nothing was found the files that lie there and
    were passed over."""
    empty = {p for p in problems if p.fault.startswith(NOTHING_FOUND)}
    within = {p: [x for x in left if x.path.is_relative_to(p.path)] for p in empty}
    return [x for p in problems for x in (within.get(p) or [p])]


def summary(left: Sequence[Problem]) -> str:
    """How many there are, and the first names.

    >>> summary([Problem(Path("a/m.th"), "not read")])
    '1 file looks like weights and was not read: m.th (not read)'
    """
    many, first = len(left), left[:FIRST]
    names = ", ".join(f"{printable(p.path.name, 100)} ({p.fault})" for p in first)
    more = f" and {many - len(first)} more" if many > len(first) else ""
    what = "1 file looks like weights and was"
    if many > 1:
        what = f"{many} files look like weights and were"
    return f"{what} not read: {names}{more}"


def _walk(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders with the names of their files, hidden ones left out but those of a Zarr store."""
    for folder, below, names in os.walk(top):
        if len(Path(folder).relative_to(top).parts) >= MAX_DEPTH or _ZARR & set(names):
            below.clear()
        below[:] = sorted(b for b in below if not b.startswith("."))
        yield Path(folder), [n for n in sorted(names) if not n.startswith(".") or n in _ZARR]


def _links_out(folder: Path, root: str) -> list[Path]:
    """Links to folders elsewhere that lie in a folder; those up the tree lead round."""
    try:
        with os.scandir(folder) as entries:
            links = [Path(e.path) for e in entries if e.is_symlink() and not e.name.startswith(".")]
    except OSError:
        return []
    out = [link for link in sorted(links) if is_folder(link) and leads_out(link, root)]
    return [link for link in out if not Path(root).is_relative_to(os.path.realpath(link))]


def _what(path: Path) -> str | None:
    """What a file is that looks like weights; None for others."""
    name = path.name
    if is_training_state(name) or not os.path.isfile(path):  # noqa: PTH113  (False where forbidden)
        return None
    if (told := pointed(path)) is not None:
        return told
    if (told := by_name(name, ENDINGS)) is not None:
        return told
    if ending(name):
        return _of_known(path)
    if is_weights(path):
        return _UNFINISHED if name.endswith((".incomplete", "-partial")) else _LEFT
    return _magic(path) or archived(path)


def _of_known(path: Path) -> str | None:
    """Of a file with the ending of a format that is read: whether it is of it."""
    try:
        file = File(path)
        start = file.read(0, min(HEAD, file.size))
        if any(each.matches(file, start) for each in FORMATS):
            return _LEFT
    except InputError:
        return _LEFT
    generic = path.suffix.lower() in (".xml", ".param", ".tar", ".index", ".bin")
    return _magic(path) or (None if generic else _LEFT)


def _magic(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return by_start(file.read(START))
    except OSError:
        return None


def _parts(checkpoint: Checkpoint) -> Iterator[Path]:
    """Files that a checkpoint is stored in beside those that are named in it."""
    if is_folder(checkpoint.path):
        with suppress(InputError):
            whole = folder_format(listing(checkpoint.path))
            yield from (checkpoint.path / name for name in (whole.beside if whole else ()))
    for file in checkpoint.files:
        folder = file.path.parent
        try:
            names = {path.name for path in folder.iterdir()}
        except OSError:
            continue
        yield from (folder / name for name in parts_of(file.path.name, names))
        yield from _shards(file.path)


def _shards(path: Path) -> Iterator[Path]:
    """The set that a file is a shard of by its name."""
    shards = shard_set(path.name)
    yield from (path.parent / name for name in (shards[1] if shards else ()))
