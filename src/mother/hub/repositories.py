"""Repositories of models on a Hugging Face Hub: hf://owner/name[@revision][/path], hf://owner."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mother.errors import InputError
from mother.hub.addresses import Address, is_hidden, is_inside, parse
from mother.hub.answers import Answers
from mother.hub.files import HEAD, RangedFile
from mother.hub.http import HUB, listed, patiently, ranged
from mother.hub.mirrors import Entry, Mirror, Opened, mirror, name_folder, spool
from mother.names import printable

#: files of a repository, and models of an owner, beyond which they are refused
MAX_FILES, MAX_MODELS = 20_000, 100_000
#: repositories whose lists of files are asked for at once
_ASKED = 8
_COMMIT = re.compile(r"[0-9a-f]{40}")


def ground(address: str) -> str:
    """The address of the repository, or the owner, that an address lies in.

    >>> ground("hf://org/name@v1/unet"), ground("hf://org")
    ('hf://org/name', 'hf://org')
    """
    return str(replace(parse(address), revision="", path=""))


def opened(address: str, download: bool) -> Iterator[Opened | InputError]:
    """The repository at an address, or all that its owner has and why others can't be opened.

    Raises InputError where it can't be opened, or the owner's can't be listed. download: files
    are fetched whole when they are opened, into the library's cache.
    """
    at = parse(address)
    if at.name:
        found = _opened(at, download)
        yield Opened(found, found.root / at.path)
        return

    def one(name: str) -> Opened | InputError:
        try:
            found = _opened(replace(at, name=name), download)
        except InputError as error:
            return error
        return Opened(found, found.root, many=True)

    with ThreadPoolExecutor(_ASKED) as threads:
        yield from threads.map(one, _models_of(at))


def _downloaded(at: Address, root: Path, path: Path, file: RangedFile) -> None:
    """Have the file in the library's cache, for this run and later ones."""
    name = path.relative_to(root).as_posix()
    cached = patiently(file.shown, lambda: _cached_file(file, at, name))
    if at.revision not in cached.parts:
        raise file.fault("comes from another commit, not from the one asked for")
    if cached.stat().st_size != file.size:
        raise file.fault(f"has {file.size} bytes by the Hub's list, and others when it is read")
    path.unlink()
    path.symlink_to(os.path.realpath(cached))


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


def prepared() -> tuple[Path, Path]:
    """The folders that reading from the Hub opens files in, once this was called: all else that
    its library opens has been opened, and the token is in the environment."""
    from huggingface_hub import constants, get_session, get_token

    if token := get_token():
        os.environ["HF_TOKEN"] = token
    get_session()
    return spool(), Path(os.path.realpath(constants.HF_HUB_CACHE))


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


def _opened(address: Address, download: bool) -> Mirror:
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
    found = _mirror(at, info.siblings or [])
    # as whoever opens it now asks for
    found.download = partial(_downloaded, at, found.root) if download else None
    return found


def _from_cache(address: Address) -> Mirror:
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
    at = str(replace(address, revision=root.name, path=""))
    name_folder(root, at)
    return Mirror(at, root)


def _mirror(at: Address, listed: list[Any]) -> Mirror:
    """Of the files on the Hub's list; those that the library's cache has whole are links to it."""
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    def reader(path: Path, name: str, entry: Entry) -> RangedFile:
        url = hf_hub_url(at.repository, name, revision=at.revision)
        source = Answers(url, entry.size, ranged, HUB, at.revision)
        return RangedFile(path, f"{at}/{name}", source, entry.size, entry.sha256)

    if len(listed) > MAX_FILES:
        raise InputError(str(at), f"has {len(listed)} files; {MAX_FILES} are the most")
    entries: dict[str, Entry] = {}
    links: dict[str, Path] = {}
    for each in listed:
        name, size = each.rfilename, each.size
        if not isinstance(name, str) or not is_inside(name):
            raise InputError(
                str(at), f"names a file outside its folder: {printable(str(name))[:200]}"
            )
        if is_hidden(name):
            continue
        if type(size) is not int or not 0 <= size < 2**62:
            raise InputError(str(at), f"the Hub does not tell the size of {printable(name)[:200]}")
        if name in entries or name in links:
            raise InputError(str(at), "names two files alike, or a file and a folder")
        sha256 = getattr(each.lfs, "sha256", None) if each.lfs is not None else None
        entries[name] = Entry(size, sha256=sha256 if isinstance(sha256, str) else "")
        if size > HEAD:
            cached = try_to_load_from_cache(at.repository, name, revision=at.revision)
            if isinstance(cached, str) and Path(cached).stat().st_size == size:
                links[name] = Path(os.path.realpath(cached))
                del entries[name]
    place = (at.revision, at.owner, at.name)
    return mirror(str(at), place, entries, reader, links=links)
