"""A web server of files in memory on this machine, that counts and misbehaves."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Web:
    """files: by path. faults: by path, one a request, "" goes well: a status; "cut" (the connection
    ends in the middle), "whole" (ranges are not heeded), "page" (a page to look at), "changed"
    (another ETag), "longer" (another size) or "to ADDRESS". asked: of each request, path with query
    and headers. allow: the header Authorization that is wanted, if any."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    allow: str = ""
    at: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    web: Web

    def do_GET(self) -> None:
        web, path = self.web, unquote(urlsplit(self.path).path)
        web.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        faults = web.faults.get(path, [])
        fault = faults.pop(0) if faults else ""
        if fault.startswith("to "):
            self._send(302, b"", {"Location": fault.removeprefix("to ")})
        elif fault.isdecimal():
            self._send(int(fault), b"", {"Retry-After": "0"})
        elif web.allow and self.headers.get("Authorization") != web.allow:
            self._send(401, b"", {})
        elif path not in web.files:
            self._send(404, b"", {})
        else:
            self._send_file(web.files[path], fault)

    def _send_file(self, data: bytes, fault: str) -> None:
        headers = {"ETag": '"other"' if fault == "changed" else f'"{len(data)}"'}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or fault in ("whole", "page"):
            kind = "text/html" if fault == "page" else "application/octet-stream"
            self._send(200, data, {**headers, "Content-Type": kind})
            return
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(data))
        size = len(data) + (fault == "longer")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._send(206, data[start:stop], headers, cut=fault == "cut")

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        body = body[: len(body) // 2] if cut else body
        self.web.sent += len(body)
        self.wfile.write(body)
        self.close_connection = cut

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may hang up."""


@contextmanager
def serve(handler: type[BaseHTTPRequestHandler] = Handler) -> Iterator[Web]:
    """The server, at `web.at`; another handler finds its own `web` there, too."""
    web = Web()
    bound = type("Handler", (handler,), {"web": web})
    with _Server(("127.0.0.1", 0), bound) as server:
        web.at = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
