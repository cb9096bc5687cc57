"""Repositories as folders, and which of those that are open a path lies in."""

from __future__ import annotations

import atexit
import errno
import os
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mother.errors import InputError
from mother.hub.addresses import Address, is_address, is_inside
from mother.hub.files import HEAD, RangedFile
from mother.hub.http import listed, patiently
from mother.names import printable

#: files of a repository, and models of an owner, beyond which they are refused
MAX_FILES, MAX_MODELS = 20_000, 100_000
#: repositories whose lists of files are asked for at once
_ASKED = 8
_COMMIT = re.compile(r"[0-9a-f]{40}")
_lock = threading.Lock()
_spool: Path | None = None
_open: weakref.WeakValueDictionary[Path, Repository] = weakref.WeakValueDictionary()
#: folders of the library's cache that were opened, by what they are called
_cached: dict[Path, str] = {}


@dataclass(eq=False)
class Repository:
    """A repository at one commit. root: the folder that it is mirrored in, or lies in within the
    library's cache; files: those read by ranges, by their paths in there; download: whether a file
    is fetched whole when it is opened."""

    address: Address
    root: Path
    files: dict[Path, RangedFile]
    download: bool = False

    def file(self, path: Path) -> RangedFile | None:
        """How the file at a path is read; None where the disk has all of it. InputError."""
        file = self.files.get(path)
        if file is None or not self.download or file.size <= HEAD:
            return file
        self._download(path, file)
        return None

    def _download(self, path: Path, file: RangedFile) -> None:
        """Have the file in the library's cache, for this run and later ones."""
        name, at = path.relative_to(self.root).as_posix(), self.address
        cached = patiently(file.shown, lambda: _cached_file(file, at, name))
        if at.revision not in cached.parts:
            raise file.fault("comes from another commit, not from the one asked for")
        if cached.stat().st_size != file.size:
            raise file.fault(f"has {file.size} bytes by the Hub's list, and others when it is read")
        path.unlink()
        path.symlink_to(os.path.realpath(cached))
        del self.files[path]


def _cached_file(file: RangedFile, at: Address, name: str) -> Path:
    """Where the library's cache has the file. Raises what the client does, and where it takes what
    passes for an end, what passes."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(at.repository, name, revision=at.revision))
    except LocalEntryNotFoundError as error:  # whatever was answered when it looked for the file
        raise error.__cause__ or error from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise file.fault("the Hub's cache is full; set HF_HOME to a larger disk") from None
        if type(error) is OSError and error.errno is None:  # fewer bytes came than were announced
            raise ConnectionError(str(error)) from None
        raise


def spool() -> Path:
    """The folder of this process that repositories are mirrored in, below TMPDIR."""
    global _spool
    if _spool is None:
        _spool = Path(os.path.realpath(tempfile.mkdtemp(prefix="mother-hub-")))
        atexit.register(_remove, _spool, os.getpid())
    return _spool


def prepared() -> tuple[Path, Path]:
    """The folders that reading from the Hub opens files in, once this was called: all else that
    its library opens has been opened, and the token is in the environment."""
    from huggingface_hub import constants, get_session, get_token

    if token := get_token():
        os.environ["HF_TOKEN"] = token
    get_session()
    return spool(), Path(os.path.realpath(constants.HF_HUB_CACHE))


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child shares the folder, and does not own it
        shutil.rmtree(folder, ignore_errors=True)


def mirrored(path: Path) -> tuple[Repository | None, RangedFile | None]:
    """The repository that an absolute path lies in, whose folder is gone when nothing refers to
    it; and the file there, None where all of it is on the disk."""
    if _spool is None or not path.is_relative_to(_spool):
        return None, None
    root = _spool.joinpath(*path.relative_to(_spool).parts[:3])
    repository = _open.get(root)
    if repository is None:
        raise InputError(shown(path), "no longer open")
    return repository, repository.file(path)


def shown(path: str | os.PathLike[str]) -> str:
    """What a path is called: its address where it lies in a repository, else the path itself.

    >>> shown("models/a.safetensors"), shown(Path("hf://org/name"))
    ('models/a.safetensors', 'hf://org/name')
    """
    text = os.fspath(path)
    if is_address(text):
        return f"hf://{text.removeprefix('hf:').lstrip('/')}"
    path = Path(path)
    if _spool is not None and path.is_relative_to(_spool):
        commit, owner, name, *inside = path.relative_to(_spool).parts
        return str(Address(owner, name, commit, "/".join(inside)))
    for root, address in _cached.items():
        if path.is_relative_to(root):
            return "/".join((address, *path.relative_to(root).parts))
    return text


def open_repositories(
    address: Address, *, download: bool = False
) -> Iterator[Repository | InputError]:
    """The repository at an address, or all that its owner has and why others can't be opened.

    Raises InputError where it can't be opened, or the owner's can't be listed. download: files
    are fetched whole when they are opened, into the library's cache.
    """
    if address.name:
        yield _opened(address, download)
        return

    def opened(name: str) -> Repository | InputError:
        try:
            return _opened(replace(address, name=name), download)
        except InputError as error:
            return error

    with ThreadPoolExecutor(_ASKED) as threads:
        yield from threads.map(opened, _models_of(address))


def _models_of(address: Address) -> list[str]:
    """The names of all models of an owner, sorted."""

    def named() -> set[str]:
        names = set()
        for page in listed("models", {"author": address.owner}):
            names |= {str(model["id"]) for model in page}
            if len(names) > MAX_MODELS:
                raise InputError(str(address), f"has more than {MAX_MODELS} models; name some")
        return names

    owned = [name.partition("/") for name in patiently(str(address), named)]
    found = sorted(name for owner, _, name in owned if owner == address.owner)
    if not found:
        raise InputError(
            str(address), "has no models that can be seen; one model is hf://owner/name"
        )
    return found


def _opened(address: Address, download: bool) -> Repository:
    """At the commit that its revision is now. One request tells all names and sizes."""
    from huggingface_hub import ModelInfo, constants

    if constants.is_offline_mode():
        return _from_cache(address)
    revision = f"/revision/{quote(address.revision, safe='')}" if address.revision else ""
    path = f"models/{address.repository}{revision}"
    info = patiently(
        str(replace(address, path="")),
        lambda: ModelInfo(**next(listed(path, {"blobs": True}))),  # type: ignore[no-untyped-call]
    )
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise InputError(str(address), "the Hub does not tell its commit")
    at = replace(address, revision=info.sha, path="")
    if address.revision and _COMMIT.fullmatch(address.revision) and address.revision != info.sha:
        raise InputError(str(address), f"the Hub gives commit {info.sha} in its place")
    with _lock:
        root = spool() / info.sha / at.owner / at.name
        known = _open.get(root)
        repository = known if known is not None else _mirror(at, root, info.siblings or [])
        repository.download = download  # as whoever opens it now asks for
    return repository


def _from_cache(address: Address) -> Repository:
    from huggingface_hub import snapshot_download

    def cached() -> str:
        return str(
            snapshot_download(
                address.repository, revision=address.revision or None, local_files_only=True
            )
        )

    try:
        root = Path(cached()).absolute()
    except (OSError, ValueError):
        raise InputError(
            str(address), "not in the cache, and HF_HUB_OFFLINE is set; unset it to read the Hub"
        ) from None
    at = replace(address, revision=root.name, path="")
    _cached[root] = str(at)
    return Repository(at, root, {})


def _mirror(at: Address, root: Path, listed: list[Any]) -> Repository:
    if len(listed) > MAX_FILES:
        raise InputError(str(at), f"has {len(listed)} files; {MAX_FILES} are the most")
    files: dict[Path, RangedFile] = {}
    repository = Repository(at, root, files)
    try:
        root.mkdir(parents=True)
        weakref.finalize(repository, _remove, root, os.getpid())
        for entry in listed:
            _add(repository, entry)
    except (FileExistsError, NotADirectoryError):
        raise InputError(str(at), "names two files alike, or a file and a folder") from None
    except OSError as error:
        raise InputError(
            str(at), f"can't be mirrored in {spool()}: {error.strerror}; set TMPDIR to another"
        ) from None
    _open[root] = repository
    return repository


def _add(repository: Repository, entry: Any) -> None:
    """One file of the Hub's list: sparse, or a link to where the library's cache has it whole."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    at, name, size = repository.address, entry.rfilename, entry.size
    if not isinstance(name, str) or not is_inside(name):
        raise InputError(str(at), f"names a file outside its folder: {printable(str(name))[:200]}")
    if any(part.startswith(".") for part in name.split("/")):
        return
    if type(size) is not int or not 0 <= size < 2**62:
        raise InputError(str(at), f"the Hub does not tell the size of {printable(name)[:200]}")
    path = repository.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if size > HEAD:
        cached = try_to_load_from_cache(at.repository, name, revision=at.revision)
        if isinstance(cached, str) and Path(cached).stat().st_size == size:
            path.symlink_to(os.path.realpath(cached))
            return
    with path.open("xb") as file:
        file.truncate(size)
    url = hf_hub_url(at.repository, name, revision=at.revision)
    sha256 = getattr(entry.lfs, "sha256", None) if entry.lfs is not None else None
    repository.files[path] = RangedFile(
        path, f"{at}/{name}", url, size, at.revision, sha256 if isinstance(sha256, str) else ""
    )
