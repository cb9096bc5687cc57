"""One model among 100,000 other keys, by each store's own library: a server on this machine that
lists as S3, Google and Azure do, and what that takes.

    pip install '.[s3,gs,az]'
    OMP_NUM_THREADS=1 python -m experiments.stores.lists [KEYS]
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import numpy as np
from safetensors.numpy import save

from experiments.stores.clouds import environment

MODEL = "models/ein Kind, ü/model.safetensors"
BODY = save({"w": np.random.default_rng(0).standard_normal((64, 64), np.float32)})
#: what stores call the keys that a page may have
MOST = ("max-keys", "maxresults")
DAY = "Mon, 02 Nov 2026 00:00:00 GMT"


def names(start: int, stop: int, keys: int) -> Iterator[tuple[str, int]]:
    """Keys [start, stop) of models/ and their sizes; the last of all is the model's."""
    for k in range(start, min(stop, keys + 1)):
        yield (MODEL, len(BODY)) if k == keys else (f"models/logs/{k % 7}/{k}.txt", 3)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    keys: int

    def do_GET(self) -> None:
        path, asked = unquote(urlsplit(self.path).path), dict(parse_qsl(urlsplit(self.path).query))
        if path.endswith(MODEL) and "json" not in asked.get("alt", ""):
            self._model(google="alt" not in asked and path.startswith("/storage/"))
        elif "list-type" in asked or asked.get("comp") == "list" or path.endswith("/b/lab/o"):
            self._list(path, asked)
        else:
            self._send(404, b'{"error": {"code": 404, "message": "no such"}}', {})

    do_HEAD = do_GET  # noqa: N815

    def _model(self, google: bool) -> None:
        if google:
            told = {"name": MODEL, "bucket": "lab", "size": str(len(BODY)), "etag": "e"}
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
            return
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        start, stop = map(int, re.findall(r"\d+", asked or f"0-{len(BODY) - 1}"))
        data = BODY[start : stop + 1]
        told = {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{len(BODY)}"}
        self._send(206 if asked else 200, data, told if asked else {})

    def _list(self, path: str, asked: dict[str, str]) -> None:
        token = asked.get("continuation-token") or asked.get("pageToken") or asked.get("marker")
        most = next(
            (asked[n] for n in ("max-keys", "maxResults", "maxresults") if n in asked), 1000
        )
        start = int(token or 0)
        stop = start + int(most)
        listed = list(names(start, stop, self.keys))
        after = str(stop) if stop <= self.keys else ""
        if path.endswith("/b/lab/o"):
            items = [
                {"name": n, "bucket": "lab", "size": str(size), "etag": "e"} for n, size in listed
            ]
            more = {"nextPageToken": after} if after else {}
            body = json.dumps({"kind": "storage#objects", "items": items} | more)
            self._send(200, body.encode(), {"Content-Type": "application/json"})
            return
        if "list-type" in asked:
            each = "<Contents><Key>{}</Key><Size>{}</Size><ETag>&quot;e&quot;</ETag></Contents>"
            whole = (
                f"<ListBucketResult><IsTruncated>{str(bool(after)).lower()}</IsTruncated>"
                f"<NextContinuationToken>{after}</NextContinuationToken>{{}}</ListBucketResult>"
            )
        else:
            each = (
                "<Blob><Name>{}</Name><Properties><Content-Length>{}</Content-Length>"
                "<Etag>e</Etag><BlobType>BlockBlob</BlobType></Properties></Blob>"
            )
            whole = (
                f"<EnumerationResults><Blobs>{{}}</Blobs><NextMarker>{after}</NextMarker>"
                "</EnumerationResults>"
            )
        body = whole.format("".join(each.format(escape(n), size) for n, size in listed))
        self._send(200, body.encode(), {"Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        usual = {"ETag": '"e"', "Last-Modified": DAY, "x-ms-blob-type": "BlockBlob"}
        for name, value in (usual | headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


def looked(scheme: str) -> None:
    """What one process finds, and what that takes."""
    from mother.checkpoints import discover
    from mother.hub import TRAFFIC

    start = time.monotonic()
    found, problems = discover([f"{scheme}://lab/models"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{scheme}: {[c.shown for c in found]}, {problems} refused; {TRAFFIC};"
          f" {time.monotonic() - start:.0f} s, {time.process_time():.0f} s of a processor,"
          f" {peak:.0f} MB at most")  # fmt: skip


def main(keys: int) -> None:
    handler = type("Keys", (Handler,), {"keys": keys})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ |= environment(server.server_port)
        for scheme in ("s3", "gs", "az"):
            program = f"from experiments.stores.lists import looked; looked({scheme!r})"
            subprocess.run([sys.executable, "-c", program], check=False)
        server.shutdown()


if __name__ == "__main__":
    main(*([int(word) for word in sys.argv[1:]] or [100_000]))
