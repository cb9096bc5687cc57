"""Requests of many clients at once to `mother serve`: how many, how late, what was refused.

    python -m benchmarks.load [--clients 64] [--seconds 600] [--models 10000]

An index's graph of so many models is served; each client asks, without a pause, for a search, the
roots, what hangs below a model, a model, an edge, and now and then for a comparison, which reads
weights: one at a time, the others are told to come again (503 with Retry-After)."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from mother.graph import Edge, ModelGraph, Node, Tree

LINE = re.compile(r"http://127\.0\.0\.1:(\d+)")


def graph_of(many: int, folder: Path) -> ModelGraph:
    """A forest of trees of 100, each model below one of those before it; two have weights."""
    lots = random.Random(0)
    nodes = [Node(f"m{k:05}", f"m{k:05}", "npz", "a", 1000) for k in range(many)]
    draw = np.random.default_rng(0).normal(size=(8, 64, 64)).astype("f4")
    for k in range(2):
        path = folder / f"w{k}.npz"
        np.savez(path, **{f"l{i}": w * (1 + k / 100) for i, w in enumerate(draw)})
        nodes[k] = Node(f"w{k}", str(path), "npz", "a", draw.size)
    ids = [node.id for node in nodes]
    edges, trees = [], []
    for first in range(0, many, 100):
        members = ids[first : first + 100]
        edges += [
            Edge(members[lots.randrange(k)], members[k], "fine-tune", distance=0.1)
            for k in range(1, len(members))
        ]
        trees.append(Tree(members[0], tuple(sorted(members))))
    return ModelGraph("gram", tuple(sorted(nodes, key=lambda n: n.id)), tuple(edges), tuple(trees))


async def ask(port: int, method: str, target: str, body: bytes = b"") -> int:
    """One request on a connection of its own; the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def client(port: int, seed: int, end: float, many: int, told: dict[str, list[float]]) -> None:
    lots = random.Random(seed)
    pair = json.dumps({"a": "w0", "b": "w1"}).encode()
    while time.monotonic() < end:
        key = lots.randrange(many)
        kind, method, target, body = lots.choice(
            [
                ("search", "GET", f"/api/search?q={key % 1000}&limit=20", b""),
                ("roots", "GET", "/api/trees?limit=100", b""),
                ("below", "GET", f"/api/trees?of={key}", b""),
                ("node", "GET", f"/api/node/{key}", b""),
                ("page", "GET", "/", b""),
            ]
        )
        if lots.random() < 0.02:
            kind, method, target, body = "compare", "POST", "/api/compare", pair
        begin = time.monotonic()
        status = await ask(port, method, target, body)
        told[f"{kind} {status}"].append(time.monotonic() - begin)


def memory(pid: int) -> int:
    """Resident MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) >> 10  # type: ignore[index]


async def load(port: int, pid: int, clients: int, seconds: float, many: int) -> dict[str, object]:
    told: dict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + seconds
    before = memory(pid)
    tasks = [client(port, seed, end, many, told) for seed in range(clients)]
    await asyncio.gather(*tasks)
    return {
        "clients": clients,
        "seconds": seconds,
        "models": many,
        "MiB": [before, memory(pid)],
        "answers": {
            kind: {
                "many": len(times),
                "median ms": round(1000 * float(np.median(times))),
                "p99 ms": round(1000 * float(np.quantile(times, 0.99))),
            }
            for kind, times in sorted(told.items())
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--models", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        (home / "graph.json").write_text(graph_of(options.models, home).to_json())
        start = [sys.executable, "-u", "-m", "mother", "serve", str(home / "graph.json")]
        server = subprocess.Popen(
            [*start, "--port", "0", "--allow", made], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=dict(os.environ),
        )  # fmt: skip
        try:
            port = 0
            while not port and server.stdout is not None and (line := server.stdout.readline()):
                found = LINE.search(line)
                port = int(found[1]) if found else 0
            told = load(port, server.pid, options.clients, options.seconds, options.models)
            print(json.dumps(asyncio.run(told), indent=1))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
