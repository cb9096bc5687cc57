"""One file on a web server that answers ranges of bytes: https://host/path/model.safetensors.

Of a list of shards, model.safetensors.index.json, the shards that lie beside it come along.
Credentials: a name and a password in the address, or in ~/.netrc; a signed address is one itself.
"""

from __future__ import annotations

import atexit
import ipaddress
import json
import netrc
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from mother.errors import InputError
from mother.hub.addresses import is_inside
from mother.hub.answers import Answers
from mother.hub.files import MOST, RangedFile
from mother.hub.mirrors import Entry, Opened, digest, mirror, name_file
from mother.hub.patience import PASSING, TIMEOUT, Manners, patiently, retry_after
from mother.hub.schemes import public, refused, scrubbed
from mother.hub.traffic import TRAFFIC

#: bytes of an answer that refuses which are looked at
MAX_SAID = 4096
#: times that a server may send us elsewhere for one answer
MAX_REDIRECTS = 5
#: shards of a list
MAX_SHARDS = 1000
#: what stays as it is in the path of an address that may be spelled out already
_KEPT = "/%:@+,=~!$&'()*;"
_REDIRECTS = {301, 302, 303, 307, 308}


class StatusError(Exception):
    """An answer that is no success."""

    def __init__(self, response: Any) -> None:
        super().__init__(f"{response.status_code} {response.reason_phrase}".strip())
        self.response = response
        #: the start of what it says
        self.said = next(response.iter_raw(MAX_SAID), b"")


def _caught() -> tuple[type[Exception], ...]:
    from httpx2 import HTTPError, InvalidURL

    return (HTTPError, InvalidURL, StatusError, OSError, ValueError)


def _passes(error: Exception) -> bool:
    from httpx2 import TransportError, UnsupportedProtocol

    if isinstance(error, StatusError):
        return error.response.status_code in PASSING
    kinds = TransportError | ConnectionError | TimeoutError
    return isinstance(error, kinds) and not isinstance(error, UnsupportedProtocol)


def _asked(error: Exception) -> float | None:
    if not isinstance(error, StatusError):
        return None
    return retry_after(error.response.headers.get("Retry-After", ""))


def _fault(error: Exception) -> str:
    if not isinstance(error, StatusError):
        why = scrubbed(str(error)) or type(error).__name__
        return f"can't be read: {why}; check the address and the network"
    answer = f"the server answers {error}"
    status = error.response.status_code
    if status in (401, 403):
        return f"{answer}: credentials are missing, not accepted or expired"
    if status in PASSING:
        asked = _asked(error)
        return f"{answer}; try again {'later' if asked is None else f'in {asked:.0f} seconds'}"
    if status == 416:
        return "it is empty"
    return answer


SERVER = Manners("the server", _caught, _passes, _asked, _fault)
_client: Any = None


def client() -> Any:
    """The one session of this process, which keeps connections, and follows no server elsewhere."""
    import httpx2

    global _client
    if _client is None:
        _client = httpx2.Client(follow_redirects=False, timeout=TIMEOUT)
        atexit.register(_client.close)
    return _client


@contextmanager
def asked(
    url: str,
    headers: Mapping[str, str],
    *,
    known: bool = True,
    method: str = "GET",
    body: Any = None,
) -> Iterator[Any]:
    """The answer to a request, not yet read. known: whether the address is the user's, so that
    headers that hold credentials may go there; they go to no other host that it leads to.

    Raises StatusError where it is no success, ValueError where it leads where nobody is followed.
    """
    history: list[Any] = []
    origin = _origin(url)
    for _ in range(MAX_REDIRECTS + 1):
        own = {"User-Agent": "mother", "Accept-Encoding": "identity"} | dict(headers)
        auth = None
        if known and _origin(url) == origin:
            auth = _credentials(url) if "Authorization" not in own else None
        else:
            own.pop("Authorization", None)
        with client().stream(method, url, headers=own, auth=auth, json=body) as response:
            if response.status_code not in _REDIRECTS:
                if response.is_error:
                    raise StatusError(response)
                response.history = history
                yield response
                return
            history.append(response)
            url = followed(url, response.headers.get("Location", ""))
        TRAFFIC.asked()
    raise ValueError(f"the server sends us elsewhere more than {MAX_REDIRECTS} times")


def body_of(response: Any, most: int) -> bytes:
    """All that an answer holds. ValueError where that is more than `most` bytes."""
    body = bytearray()
    for part in response.iter_raw(1 << 16):
        body += part
        if len(body) > most:
            raise ValueError(f"the server sends more than {most} bytes")
    return bytes(body)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    split = urlsplit(url)
    return split.scheme, split.hostname, split.port


def _credentials(url: str) -> tuple[str, str] | None:
    """Those in the address, which are then sent as such; else those that ~/.netrc has."""
    split = urlsplit(url)
    if split.username is not None:
        return unquote(split.username), unquote(split.password or "")
    try:
        found = netrc.netrc().authenticators(split.hostname or "")
    except (OSError, netrc.NetrcParseError):
        return None
    return (found[0], found[2] or "") if found else None


def followed(url: str, location: str) -> str:
    """Where a server sends us, if we go there: not from https to http, nor from the internet into a
    network that is not open to it. Raises ValueError."""
    there = urljoin(url, location)
    here, split = urlsplit(url), urlsplit(there)
    if split.scheme not in ("http", "https") or (here.scheme, split.scheme) == ("https", "http"):
        raise ValueError(f"the server sends us to {public(there)}, which is not https")
    if _is_inner(split.hostname or "") and not _is_inner(here.hostname or ""):
        raise ValueError("the server sends us into a private network")
    return there


def _is_inner(host: str) -> bool:
    """Whether any address of a host is one that the internet does not reach."""
    found = {each[4][0] for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return any(not ipaddress.ip_address(str(each).split("%")[0]).is_global for each in found)


@contextmanager
def ranged(
    url: str, start: int, stop: int, *, known: bool, headers: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """The answer to a request for bytes [start, stop), not yet read. Raises as `asked`."""
    wanted = {"Range": f"bytes={start}-{stop - 1}", **(headers or {})}
    with asked(url, wanted, known=known) as response:
        yield response


def opened(address: str, download: bool) -> Iterator[Opened | InputError]:
    """The file at an address, and its shards. Raises InputError."""
    split = urlsplit(address)
    _refuse_page(address, split)
    folder, _, name = split.path.rpartition("/")
    name = unquote(name)
    if not split.hostname or not is_inside(name):
        raise refused(address, "names no file; give the address of one, https://host/…/model.npz")
    url = urlunsplit(split._replace(fragment="", path=quote(split.path, safe=_KEPT)))
    found = {name: probed(address, url, download)}
    urls = {name: url}
    if name.endswith(".index.json") and found[name].size <= MOST:
        for shard in _shards(address, url, found[name].size):
            urls[shard] = urljoin(url, quote(shard)) + (f"?{split.query}" if split.query else "")
            found[shard] = probed(address, urls[shard], download)
    called = _readable(public(urlunsplit(split._replace(path=folder, query="", fragment=""))))

    def reader(path: Path, name: str, entry: Entry) -> RangedFile:
        known = found[name]
        source = Answers(urls[name], entry.size, ranged, SERVER, tags=known.tags, whole=known.whole)
        return RangedFile(path, _readable(public(urls[name])), source, entry.size, tag=entry.tag)

    entries = {each: Entry(known.size, known.tag) for each, known in found.items()}
    place = (digest(address, download, sorted(entries.items())), split.hostname, _leaf(folder))
    folded = mirror(called, place, entries, reader)
    for each, where in urls.items():
        name_file(folded.root / each, _readable(public(where)))
    yield Opened(folded, folded.root if len(urls) > 1 else folded.root / name)


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
                    raise refused(address, "a page to look at, not a model's file")
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
