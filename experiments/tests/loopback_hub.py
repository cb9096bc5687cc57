"""A Hugging Face Hub of the files in a folder, on this machine: `models/ID/...`,
`datasets/ID/...`."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        if path.startswith("api/"):
            self._send(*self._about(path.removeprefix("api/")), with_body=with_body)
            return
        kind = "datasets" if path.startswith("datasets/") else "models"
        repository, _, rest = path.removeprefix("datasets/").partition("/resolve/")
        file = self.folder / kind / repository / rest.partition("/")[2]
        known = (self.folder / kind / repository).is_dir()
        if known and rest and file.is_file():
            self._send(200, file.read_bytes(), {}, with_body=with_body)
        else:
            error = "EntryNotFound" if known else "RepoNotFound"
            self._send(404, b"{}", {"X-Error-Code": error}, with_body=with_body)

    def _about(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """The listing of a repository: models/ID, models/ID/revision/main."""
        repository = "/".join(path.split("/")[:3])
        root = self.folder / repository
        if not root.is_dir():
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        files = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        listing = {
            "id": repository.partition("/")[2],
            "sha": COMMIT,
            "siblings": [{"rfilename": name} for name in files],
        }
        return 200, json.dumps(listing).encode(), {"Content-Type": "application/json"}

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, with_body: bool) -> None:
        self.send_response(status)
        tag = hashlib.sha256(body).hexdigest()
        given = {"Content-Length": str(len(body)), "ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
        for name, value in (given | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the folder; yields what HF_ENDPOINT is to be set to."""
    handler = type("Handler", (_Handler,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
