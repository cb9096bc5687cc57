"""Files on a web server that answers ranges of bytes: https://host/path/model.safetensors, or a
folder, https://host/path/, of which the server shows a list with links.

Of a list of shards, model.safetensors.index.json, the shards that lie beside it come along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from mother.errors import InputError
from mother.hub.addresses import is_inside
from mother.hub.answers import Answers
from mother.hub.files import MOST, RangedFile
from mother.hub.mirrors import Entry, Opened, digest, mirror, name_file
from mother.hub.patience import patiently
from mother.hub.schemes import public, refused
from mother.hub.web import SERVER, body_of, ranged
from mother.hub.web_folders import files_below

#: shards of a list
MAX_SHARDS = 1000
#: files that are asked about at once
_ASKED = 8
#: what stays as it is in the path of an address that may be spelled out already
_KEPT = "/%:@+,=~!$&'()*;"


def opened(address: str, download: bool) -> Iterator[Opened | InputError]:
    """The file at an address, and its shards; or all below a folder. Raises InputError."""
    split = urlsplit(address)
    _refuse_page(address, split)
    folder, _, name = split.path.rpartition("/")
    name = unquote(name)
    if not split.hostname or not split.path or (name and not is_inside(name)):
        raise refused(address, "names no file; give the address of one, https://host/…/model.npz")
    url = urlunsplit(split._replace(fragment="", path=quote(split.path, safe=_KEPT)))
    faults: list[InputError] = []
    try:
        found = {name: probed(address, url, download)} if name else {}
    except PageError as page:  # of a folder, perhaps, whose address we tell without its last slash
        found, folder, url = {}, split.path, f"{url}/"
        try:
            below = files_below(address, url)
        except InputError:
            raise page from None
    else:
        below = [] if name else files_below(address, url)
    if found:
        urls = {name: url}
        if name.endswith(".index.json") and found[name].size <= MOST:
            for shard in _shards(address, url, found[name].size):
                urls[shard] = _beside(url, shard)
                found[shard] = probed(address, urls[shard], download)
    else:
        urls = {each: _beside(url, each) for each in below}
        found, faults = _probed(urls, download)
        if not found:
            raise faults[0] if faults else refused(address, "a page to look at, and no models")
    called = _readable(public(urlunsplit(split._replace(path=folder, query="", fragment=""))))

    def reader(path: Path, name: str, entry: Entry) -> RangedFile:
        known = found[name]
        source = Answers(urls[name], entry.size, ranged, SERVER, tags=known.tags, whole=known.whole)
        return RangedFile(path, _readable(public(urls[name])), source, entry.size, tag=entry.tag)

    entries = {each: Entry(known.size, known.tag) for each, known in found.items()}
    place = (digest(url, download, sorted(entries.items())), split.hostname, _leaf(folder))
    folded = mirror(called, place, entries, reader)
    folded.refused = tuple(faults)
    for each in found:
        name_file(folded.root / each, _readable(public(urls[each])))
    yield Opened(folded, folded.root / name if list(found) == [name] else folded.root)


def _beside(url: str, name: str) -> str:
    """The address of a file by its name beside, or below, another, signed as that is."""
    query = urlsplit(url).query
    return urljoin(url, quote(name, safe=_KEPT.replace("%", ""))) + (f"?{query}" if query else "")


def _probed(urls: Mapping[str, str], download: bool) -> tuple[dict[str, Probed], list[InputError]]:
    """What is known of files, and why others can't be read; empty ones are left out."""

    def one(name: str) -> Probed | InputError:
        try:
            return probed(urls[name], urls[name], download)
        except InputError as error:
            return error

    with ThreadPoolExecutor(_ASKED) as threads:
        answers = dict(zip(urls, threads.map(one, urls), strict=True))
    good = {name: found for name, found in answers.items() if isinstance(found, Probed)}
    return good, [found for found in answers.values() if isinstance(found, InputError)]


def _readable(url: str) -> str:
    """With letters in place of what stands for them, where that opens the same again."""
    text = unquote(url)
    return text if quote(text, safe=f"{_KEPT}?") == url else url


def _leaf(folder: str) -> str:
    leaf = unquote(folder.rpartition("/")[2])
    return leaf if is_inside(leaf) else "files"


def _refuse_page(address: str, split: Any) -> None:
    """A page of the Hub, as it is copied from a browser, is no model's file."""
    from huggingface_hub import constants

    hosts = {"huggingface.co", "hf.co", urlsplit(constants.ENDPOINT).hostname}
    parts = split.path.strip("/").split("/")
    if split.hostname in hosts and "resolve" not in parts:
        known = len(parts) > 1 and parts[0] not in ("datasets", "spaces")
        at = "/".join(parts[:2]) if known else "OWNER/NAME"
        raise refused(address, f"a page of the Hub; the models there are hf://{at}")


class PageError(InputError):
    """A page to look at in place of a file."""


class Probed(NamedTuple):
    """What is known of a file before it is read. tags: its ETag, by the host that told it. whole:
    the server has no ranges."""

    size: int
    tags: dict[str, str]
    whole: bool

    @property
    def tag(self) -> str:
        """What changes with the file."""
        return next(iter(self.tags.values()), "")


def probed(
    address: str, url: str, download: bool, headers: Mapping[str, str] | None = None
) -> Probed:
    """Size and ETag of the file at `url`, by a request for one byte: an address that is signed for
    reading answers no HEAD. download: a server without ranges will do. Raises InputError."""

    def probe() -> Probed:
        with ranged(url, 0, 1, known=True, headers=headers) as response:
            told = response.headers.get("Content-Range", "").rpartition("/")[2]
            whole = response.status_code == 200
            if whole:
                if response.headers.get("Content-Type", "").startswith("text/html"):
                    raise PageError(public(address), "a page to look at, not a model's file")
                if not download:
                    raise refused(
                        address,
                        "the server ignores byte ranges; --download fetches the whole file",
                    )
                told = response.headers.get("Content-Length", "")
            if not (told.isascii() and told.isdecimal() and len(told) < 19):
                raise refused(address, "the server does not tell its size")
            tag = response.headers.get("ETag")
            tags = {urlsplit(str(response.url)).netloc: tag} if tag else {}
            return Probed(int(told), tags, whole)

    return patiently(public(address), probe, SERVER)


def _shards(address: str, url: str, size: int) -> list[str]:
    """The names of the shards that a list tells of. Raises InputError."""

    def read() -> bytes:
        with ranged(url, 0, size, known=True) as response:
            return body_of(response, size)

    try:
        names = set(json.loads(patiently(public(address), read, SERVER))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []  # whoever reads it says what is wrong with it
    if len(names) > MAX_SHARDS:
        raise refused(address, f"names {len(names)} shards; {MAX_SHARDS} are the most")
    if not all(isinstance(name, str) and is_inside(name) for name in names):
        raise refused(address, "names a shard outside its folder")
    return sorted(names)
