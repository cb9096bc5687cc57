"""What an index of many models in a bucket costs, and whether it survives a bad line.

moto's server is S3, gcp-storage-emulator Google's store, Azurite Azure's; between them and mother
stands a proxy that cuts some answers off in the middle and holds some back, of S3 for longer than
mother waits.

    OMP_NUM_THREADS=1 python -m experiments.stores.bucket s3|gs|PATH/azurite-blob [MODELS [WIDTH]]
"""

from __future__ import annotations

import re
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from moto.server import ThreadedMotoServer
from safetensors.numpy import save

import mother.hub.s3
from experiments.stores.clouds import azure, file_system, google
from mother.hub import TRAFFIC
from mother.index import Index

LAYERS = 24  # of a width of 512 6.3 million weights, 25 MB
CUT, HELD = 23, 97  # every so many-th answer with bytes of a model is cut off, or held back
#: the start of an answer with bytes of a file
PART = re.compile(rb"HTTP/1\.[01] 206")
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
                if PART.match(data):
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


def models(count: int, width: int) -> Iterator[tuple[str, bytes]]:
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
            step = draw.standard_normal((width, width), np.float32)
            own[name] = parent[name] + np.float32(0.1) * step if parent else step
        family.append(own)
        yield f"models/family {k // 10}/modèle {k % 10}.safetensors", save(own)


@contextmanager
def amazon() -> Iterator[int]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


def main(store: str, count: int, width: int) -> None:
    scheme = store if store in ("s3", "gs") else "az"
    started = {"s3": amazon, "gs": google, "az": partial(azure, store)}[scheme]
    with started() as port:
        total, fs = 0, file_system(scheme, port)
        if scheme == "s3":
            fs.mkdir("lab")
            mother.hub.s3.TIMEOUT = WAIT
        for key, data in models(count, width):
            fs.pipe_file(f"lab/{key}", data)
            total += len(data)
        print(f"{count} models of {total / count / 1e6:.1f} MB, {total / 1e9:.2f} GB in all")
        forests, line = [], Line()
        for what in ("a good line", "a bad line"):
            with TemporaryDirectory() as folder, proxied(port, line) as bad:
                file_system(scheme, port if what == "a good line" else bad)
                TRAFFIC.taken()
                start = time.monotonic()
                with Index.create(Path(folder) / "index") as index:
                    added = index.add([f"{scheme}://lab/models"])
                    told = index.graph().to_json()
                print(
                    f"{what}: {len(added.new)} added, {len(added.problems)} refused; {TRAFFIC}, "
                    f"{TRAFFIC.bytes / total:.1%} of the bytes, "
                    f"{TRAFFIC.requests / count:.1f} requests a model; {line.answers} answers, "
                    f"{line.cut} of them cut off, {line.held} held back; "
                    f"{time.monotonic() - start:.0f} s"
                )
                print(*added.problems[:3], sep="\n", end="")
                forests.append(re.sub(r'"(created|path)": "[^"]*"', "", told))
        print("the same forest by both:", forests[0] == forests[1])


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[2:]]
    main(sys.argv[1], *(given + [200, 512][len(given) :]))
