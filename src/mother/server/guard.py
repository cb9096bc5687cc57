"""What stands between the network and the application: who asks, from where, and how much.

A server on loopback is reached by every page that its user's browser has open. A page elsewhere
can't forge Host and Origin: requests that were meant for another name (DNS rebinding) or come from
another origin are refused here, before anything is looked at."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1 << 16
STREAMED = "/api/drop"  # takes a checkpoint, which is never held in memory
LONGEST_TARGET = 1 << 13
PATIENCE = 10.0  # seconds for a body to come
_SAFE = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def names_of(address: str, port: int) -> frozenset[str]:
    """What a Host header may say: the address bound, or any name of loopback if it is loopback.

    >>> sorted(names_of("127.0.0.1", 8000))
    ['127.0.0.1:8000', '[::1]:8000', 'localhost:8000']
    >>> sorted(names_of("192.0.2.1", 80))
    ['192.0.2.1', '192.0.2.1:80']
    """
    bound = ipaddress.ip_address(address)
    hosts = {f"[{bound}]" if bound.version == 6 else str(bound)}
    if bound.is_loopback:
        hosts |= {"localhost", "127.0.0.1", "[::1]"}
    names = {f"{host}:{port}" for host in hosts}
    return frozenset(names | hosts if port == 80 else names)


class Answer(Response):
    """JSON in ASCII: a name may hold half a surrogate pair, which UTF-8 can't carry."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Problem(Answer):
    """An error as RFC 9457 has it: one clear line in `detail`."""

    media_type = "application/problem+json"

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        content = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
        super().__init__(content, status, headers)


class Guard:
    """The application behind it sees only requests from here, with their whole body read, but for
    STREAMED, which reads and bounds it itself."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.origins = frozenset(f"http://{host}" for host in self.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As every ASGI application is called."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        problem = self._refusal(scope)
        if scope["path"] == STREAMED and not problem:
            await self.app(scope, receive, sealed)
            return
        body = b"" if problem else await _body(receive)
        if problem or isinstance(body, Problem):
            answer = problem or body
            assert isinstance(answer, Problem)
            answer.headers["Connection"] = "close"  # the rest of its body is not read
            await answer(scope, receive, sealed)
        elif body is not None:
            await self.app(scope, _again(body, receive), sealed)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if len(scope["raw_path"] or b"") + len(scope["query_string"]) > LONGEST_TARGET:
            return Problem(400, f"an address of more than {LONGEST_TARGET} bytes")
        hosts = [host.lower() for host in headers.getlist("host")]
        if len(hosts) != 1 or hosts[0] not in self.hosts:
            return Problem(403, "the Host header names another server")
        if not self.origins.issuperset(headers.getlist("origin")):
            return Problem(403, "the Origin header names another site")
        # a link on another site may lead to the page, which holds no data
        guarded = scope["method"] not in _SAFE or scope["path"].startswith("/api")
        if guarded and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return Problem(403, "asked by a page of another site")
        return None


async def _body(receive: Receive) -> bytes | Problem | None:
    """All of it; None if whoever asked went away."""
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    return Problem(413, f"a body of more than {LARGEST_BODY} bytes")
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return Problem(408, f"the body did not come within {PATIENCE:.0f} seconds")


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
