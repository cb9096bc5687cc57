"""A Hugging Face Hub of the files in a folder, on this machine: `models/ID/...`,
`datasets/ID/...`."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Record:
    """What was served, and how it shall go wrong.

    served: bytes by "ID/file". faults: by the end of a path, "gone", "gated", "busy" (503), "cut"
    (the connection ends in the middle of what was announced), "short" (half of the range, announced
    as such) or "whole" (the range is not heeded).
    """

    served: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    def fault(self, path: str) -> str:
        return next((kind for end, kind in self.faults.items() if path.endswith(end)), "")


_STATUS = {
    "gone": (404, {"X-Error-Code": "RepoNotFound"}),
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "busy": (503, {}),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    record: Record

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        fault = self.record.fault(path)
        if fault in _STATUS:
            status, headers = _STATUS[fault]
            self._send(status, b"{}", headers, with_body=with_body)
            return
        if path.startswith("api/"):
            self._send(*self._about(path.removeprefix("api/")), with_body=with_body)
            return
        kind = "datasets" if path.startswith("datasets/") else "models"
        repository, _, rest = path.removeprefix("datasets/").partition("/resolve/")
        file = self.folder / kind / repository / rest.partition("/")[2]
        known = (self.folder / kind / repository).is_dir()
        if known and rest and file.is_file():
            self._send_file(f"{repository}/{rest.partition('/')[2]}", file, fault, with_body)
        else:
            error = "EntryNotFound" if known else "RepoNotFound"
            self._send(404, b"{}", {"X-Error-Code": error}, with_body=with_body)

    def _about(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Of a repository: models/ID, models/ID/revision/main; of a folder in it:
        models/ID/tree/main/FOLDER."""
        repository = "/".join(path.split("/")[:3])
        root = self.folder / repository
        if not root.is_dir():
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        given = {"Content-Type": "application/json"}
        if "/tree/" in path:
            inside = root / path.partition("/tree/")[2].partition("/")[2]
            if not inside.is_dir():
                return 404, b"{}", {"X-Error-Code": "EntryNotFound"}
            entries = [
                {
                    "type": "directory" if p.is_dir() else "file",
                    "path": str(p.relative_to(root)),
                    "oid": COMMIT,
                    "size": 0 if p.is_dir() else p.stat().st_size,
                }
                for p in sorted(inside.iterdir())
            ]
            return 200, json.dumps(entries).encode(), given
        files = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        listing = {
            "id": repository.partition("/")[2],
            "sha": COMMIT,
            "siblings": [{"rfilename": n, "size": (root / n).stat().st_size} for n in files],
        }
        return 200, json.dumps(listing).encode(), given

    def _send_file(self, name: str, file: Path, fault: str, with_body: bool) -> None:
        given = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        status, headers = 200, {}
        with file.open("rb") as opened:
            if given and fault != "whole":
                start, stop, whole = int(given[1]), int(given[2]) + 1, file.stat().st_size
                status, headers = 206, {"Content-Range": f"bytes {start}-{stop - 1}/{whole}"}
                opened.seek(start)
                body = opened.read(stop - start)
            else:
                body = opened.read()
        if fault == "short":
            body = body[: len(body) // 2]
        if with_body:
            self.record.served[name] += len(body)
        self._send(status, body, headers, with_body=with_body, cut=fault == "cut")

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        with_body: bool,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        tag = hashlib.sha256(body).hexdigest()
        given = {"Content-Length": str(len(body)), "ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}
        for name, value in (given | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


@contextmanager
def serve(folder: Path, record: Record | None = None) -> Iterator[str]:
    """Serve the folder; yields what HF_ENDPOINT is to be set to."""
    handler = type("Handler", (_Handler,), {"folder": folder, "record": record or Record()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
