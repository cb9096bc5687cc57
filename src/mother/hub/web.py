"""The session with web servers: what is asked for, where we follow, how their faults are told.

Credentials: a name and a password in the address, or in ~/.netrc; a signed address is one itself.
"""

from __future__ import annotations

import atexit
import ipaddress
import netrc
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from mother.hub.credentials import netrc_file
from mother.hub.patience import PASSING, TIMEOUT, Manners, retry_after
from mother.hub.schemes import public, scrubbed
from mother.hub.traffic import TRAFFIC

#: bytes of an answer that refuses which are looked at
MAX_SAID = 4096
#: times that a server may send us elsewhere for one answer
MAX_REDIRECTS = 5
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
    if not isinstance(error, kinds) or isinstance(error, UnsupportedProtocol):
        return False
    return not any(map(_is_settled, _causes(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_settled(error: BaseException) -> bool:
    """Whether a host does not exist, or speaks no TLS that we trust: asking again won't help."""
    unknown = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
    return unknown or isinstance(error, ssl.SSLError)


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
        found = netrc.netrc(netrc_file()).authenticators(split.hostname or "")
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
