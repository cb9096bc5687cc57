"""A Hugging Face Hub of the files in a folder, on this machine: `models/ID/...`,
`datasets/ID/...`.

    python experiments/tests/loopback_hub.py FOLDER PORT
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Record:
    """What was served, and how it shall go wrong.

    served, requests: bytes and answers by "ID/file". asked: of every request, path and headers.
    faults: by the end of a path, one of _STATUS; "cut" (the connection ends in the middle of what
    was announced), "short" (half of the range, announced as such), "whole" (the range is not
    heeded), "shifted" (another range), "longer" (the file has another size), "packed" (compressed),
    "changed" (another ETag) or "moved" (another commit); of a list, "inflating" (4 MiB of nothing,
    compressed), "elsewhere" and "endless" (what its next page is). A list is used
    up, one a request; "" goes well. also: more entries of a repository's list of files. elsewhere:
    files are redirected to another name of this machine, which is where "expired" applies.
    """

    served: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    faults: dict[str, str | list[str]] = field(default_factory=dict)
    also: list[dict[str, object]] = field(default_factory=list)
    elsewhere: bool = False
    #: where it is served
    home: str = ""

    def fault(self, path: str) -> str:
        kind = next((kind for end, kind in self.faults.items() if path.endswith(end)), "")
        if isinstance(kind, list):
            return kind.pop(0) if kind else ""
        return kind


_STATUS = {
    "gone": (404, {"X-Error-Code": "RepoNotFound"}),
    "gated": (403, {"X-Error-Code": "GatedRepo"}),
    "missing": (404, {"X-Error-Code": "EntryNotFound"}),
    "refused": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "forbidden": (403, {}),
    "expired": (403, {}),
    "broken": (418, {}),
    "busy": (503, {}),
    "busy for now": (503, {"Retry-After": "0"}),
    "throttled": (429, {"Retry-After": "0"}),
    "throttled for long": (429, {"Retry-After": "86400"}),
}


def _lfs(file: Path) -> dict[str, object] | None:
    size = file.stat().st_size
    if size > 1 << 24:
        return None
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return {"sha256": digest, "size": size, "pointerSize": 134}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # or a body that follows its headers waits 40 ms for the client to acknowledge them
    disable_nagle_algorithm = True
    folder: Path
    record: Record
    #: whether each repository has a commit of its own, as on the real Hub
    own = False
    #: that of the repository that was asked for
    commit = ""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        split = urlsplit(self.path)
        path = unquote(split.path).strip("/")
        self.record.asked.append((path, {k.lower(): v for k, v in self.headers.items()}))
        fault = self.record.fault(path)
        if fault == "expired" and not path.startswith("elsewhere/"):
            fault = ""
        if fault in _STATUS:
            status, headers = _STATUS[fault]
            self._send(status, b"{}", headers, with_body=with_body)
            return
        if fault == "inflating":
            body = gzip.compress(b" " * (4 << 20) + b"[]")
            self._send(200, body, {"Content-Encoding": "gzip"}, with_body=with_body)
            return
        if path == "api/models" and fault in ("elsewhere", "endless"):
            at = "http://elsewhere.example" if fault == "elsewhere" else self.record.home
            link = {"Link": f'<{at}/api/models?author=org>; rel="next"'}
            self._send(200, b'[{"id": "org/model"}]', link, with_body=with_body)
            return
        if path == "api/models":
            self._send(*self._owned(parse_qs(split.query)["author"][0]), with_body=with_body)
            return
        if path.startswith("api/"):
            self._send(*self._about(path.removeprefix("api/")), with_body=with_body)
            return
        if self.record.elsewhere and path.startswith("elsewhere/"):
            path = path.removeprefix("elsewhere/")
        elif self.record.elsewhere:
            at = f"http://localhost:{self.server.server_port}/elsewhere{self.path}"
            self._send(302, b"", {"Location": at}, with_body=with_body)
            return
        kind = "datasets" if path.startswith("datasets/") else "models"
        repository, _, rest = path.removeprefix("datasets/").partition("/resolve/")
        file = self.folder / kind / repository / rest.partition("/")[2]
        self.commit = self._commit(repository)
        known = (self.folder / kind / repository).is_dir()
        if known and rest and file.is_file():
            self._send_file(f"{repository}/{rest.partition('/')[2]}", file, fault, with_body)
        else:
            error = "EntryNotFound" if known else "RepoNotFound"
            self._send(404, b"{}", {"X-Error-Code": error}, with_body=with_body)

    def _commit(self, repository: str) -> str:
        return hashlib.sha1(repository.encode()).hexdigest() if self.own else COMMIT

    def _owned(self, owner: str) -> tuple[int, bytes, dict[str, str]]:
        folder = self.folder / "models" / owner
        models = [{"id": f"{owner}/{p.name}"} for p in sorted(folder.glob("*")) if p.is_dir()]
        return 200, json.dumps(models).encode(), {"Content-Type": "application/json"}

    def _about(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Of a repository: models/ID, models/ID/revision/main; of a folder in it:
        models/ID/tree/main/FOLDER."""
        repository = "/".join(path.split("/")[:3])
        root = self.folder / repository
        if not root.is_dir():
            return 404, b"{}", {"X-Error-Code": "RepoNotFound"}
        given = {"Content-Type": "application/json"}
        self.commit = self._commit(repository.partition("/")[2])
        if path.partition("/revision/")[2] not in ("", "main", "v1", self.commit):
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        if "/tree/" in path:
            inside = root / path.partition("/tree/")[2].partition("/")[2]
            if not inside.is_dir():
                return 404, b"{}", {"X-Error-Code": "EntryNotFound"}
            entries = [
                {
                    "type": "directory" if p.is_dir() else "file",
                    "path": str(p.relative_to(root)),
                    "oid": self.commit,
                    "size": 0 if p.is_dir() else p.stat().st_size,
                }
                for p in sorted(inside.iterdir())
            ]
            return 200, json.dumps(entries).encode(), given
        files = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        listing = {
            "id": repository.partition("/")[2],
            "sha": self.commit,
            "siblings": [
                {
                    "rfilename": n,
                    "size": (root / n).stat().st_size,
                    "lfs": _lfs(root / n),
                }
                for n in files
            ]
            + self.record.also,
        }
        return 200, json.dumps(listing).encode(), given

    def _send_file(self, name: str, file: Path, fault: str, with_body: bool) -> None:
        given = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        whole = file.stat().st_size
        tag = hashlib.sha256(f"{name} of {whole} bytes".encode()).hexdigest()
        status, headers = 200, {"ETag": f'"{tag}"'}
        if fault == "changed":
            headers["ETag"] = '"of other bytes"'
        if fault == "moved":
            headers["X-Repo-Commit"] = self.commit[::-1]
        if fault == "packed":
            headers["Content-Encoding"] = "gzip"
        with file.open("rb") as opened:
            if given and fault != "whole":
                start, stop = int(given[1]), int(given[2]) + 1
                start += fault == "shifted"
                stop, whole = min(stop, whole), whole + (fault == "longer")
                status = 206
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{whole}"
                opened.seek(start)
                body = opened.read(stop - start)
            else:
                body = opened.read()
        if fault == "short":
            body = body[: len(body) // 2]
        if with_body:
            self.record.served[name] += len(body)
            self.record.requests[name] += 1
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
        given = {
            "Content-Length": str(len(body)),
            "ETag": f'"{tag}"',
            "X-Repo-Commit": self.commit or COMMIT,
        }
        for name, value in (given | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection = cut

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may hang up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def client_of(endpoint: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make the Hub's client in this process ask there, and keep what it keeps in the folder."""
    constants = "huggingface_hub.constants."
    patch.setattr(constants + "ENDPOINT", endpoint)
    resolved = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", resolved)
    patch.setattr(constants + "HF_HUB_CACHE", str(folder / "cache"))
    patch.setattr(constants + "HF_TOKEN_PATH", str(folder / "token"))
    patch.setattr(constants + "HF_HUB_OFFLINE", False)
    patch.setattr(constants + "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.delenv("HF_TOKEN", raising=False)


@contextmanager
def serve(
    folder: Path, record: Record | None = None, port: int = 0, *, own: bool = False
) -> Iterator[str]:
    """Serve the folder; yields what HF_ENDPOINT is to be set to. port: any that is free if 0. own:
    each repository has a commit of its own, not all of them `COMMIT`."""
    about = {"folder": folder, "record": record or Record(), "own": own}
    handler = type("Handler", (_Handler,), about)
    server = _Server(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    handler.record.home = f"http://127.0.0.1:{server.server_port}"
    try:
        yield handler.record.home
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    with serve(Path(sys.argv[1]), port=int(sys.argv[2]), own=True) as address:
        print(f"{sys.argv[1]} is a Hub at {address} until Ctrl-C", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
