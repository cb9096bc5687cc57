"""What an index of many models in S3 costs, and whether it survives a bad line.

moto's server is S3; between it and mother stands a proxy that cuts some answers off in the middle
and holds some back for longer than mother waits.

    OMP_NUM_THREADS=1 python -m experiments.stores.bucket [MODELS [KEYS]]
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import fsspec
import numpy as np
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from safetensors.numpy import save

import mother.hub.s3
from mother.checkpoints import discover
from mother.hub import TRAFFIC
from mother.index import Index

LAYERS, WIDTH = 24, 512  # 6.3 million weights, 25 MB
CUT, HELD = 23, 97  # every so many-th answer with bytes of a model is cut off, or held back
WAIT = 3.0  # seconds that mother waits here, in place of 30


@dataclass
class Line:
    """What went through: answers, those cut off and those held back."""

    answers: int = 0
    cut: int = 0
    held: int = 0


def carry(client: socket.socket, port: int, line: Line, lock: threading.Lock) -> None:
    """Both ways until one hangs up."""
    server = socket.create_connection(("127.0.0.1", port))
    with client, server:
        while True:
            for ready in select.select([client, server], [], [])[0]:
                data = ready.recv(1 << 16)
                if not data:
                    return
                if ready is client:
                    server.sendall(data)
                    continue
                if data.startswith(b"HTTP/1.1 206"):
                    with lock:
                        line.answers += 1
                        number = line.answers
                    if number % CUT == 0:
                        line.cut += 1
                        client.sendall(data[: len(data) // 2])
                        return
                    if number % HELD == 0:
                        line.held += 1
                        time.sleep(3 * WAIT)
                        return
                client.sendall(data)


@contextmanager
def proxied(port: int, line: Line) -> Iterator[int]:
    """The port of the proxy."""
    lock, listening = threading.Lock(), socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=carry, args=(client, port, line, lock), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()


def models(count: int) -> Iterator[tuple[str, bytes]]:
    """Families of ten: a base and its fine-tunes, each of an earlier one."""
    draw = np.random.default_rng(0)
    family: list[dict[str, np.ndarray]] = []
    for k in range(count):
        if k % 10 == 0:
            family = []
        parent = family[draw.integers(len(family))] if family else {}
        own = {}
        for layer in range(LAYERS):
            name = f"layers.{layer}.weight"
            step = draw.standard_normal((WIDTH, WIDTH), np.float32)
            own[name] = parent[name] + np.float32(0.1) * step if parent else step
        family.append(own)
        yield f"models/family {k // 10}/modèle {k % 10}.safetensors", save(own)


def main(count: int, keys: int) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    port, line = server.get_host_and_port()[1], Line()
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    s3.create_bucket(Bucket="lab")
    total = 0
    for key, data in models(count):
        s3.put_object(Bucket="lab", Key=key, Body=data)
        total += len(data)
    print(f"{count} models of {total / count / 1e6:.1f} MB, {total / 1e9:.2f} GB in all")
    mother.hub.s3.TIMEOUT = WAIT
    forests = []
    for what in ("a good line", "a bad line"):
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        with TemporaryDirectory() as folder, proxied(port, line) as bad:
            at = port if what == "a good line" else bad
            os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{at}"
            TRAFFIC.taken()
            start = time.monotonic()
            with Index.create(Path(folder) / "index") as index:
                added = index.add(["s3://lab/models"])
                told = index.graph().to_json()
            print(
                f"{what}: {len(added.new)} added, {len(added.problems)} refused; {TRAFFIC}, "
                f"{TRAFFIC.bytes / total:.1%} of the bytes, "
                f"{TRAFFIC.requests / count:.1f} requests a model; "
                f"{line.cut} answers cut off, {line.held} held back; "
                f"{time.monotonic() - start:.0f} s"
            )
            print(*added.problems, sep="\n", end="")
            forests.append(re.sub(r'"(created|path)": "[^"]*"', "", told))
    print("the same forest by both:", forests[0] == forests[1])

    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    mother.hub.s3.TIMEOUT = 60.0  # moto sorts all keys for every page
    store = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # by its own calls, which are faster
    for k in range(keys):
        store.put_object("lab", f"logs/{k % 100}/{k}.txt", b"")
    s3.put_object(Bucket="lab", Key="logs/99/model.safetensors", Body=data)
    TRAFFIC.taken()
    start = time.monotonic()
    found, problems = discover(["s3://lab/logs"])
    print(*problems, sep="\n", end="")
    print(
        f"{keys} keys: {[c.shown for c in found]}, {len(problems)} refused; {TRAFFIC}; "
        f"{time.monotonic() - start:.0f} s"
    )
    server.stop()


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [200, 100_000][len(given) :]))
