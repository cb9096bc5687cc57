"""The recovery of a hub by processes, each of which opens the sketches for itself."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mother.evidence import leaders
from mother.methods import gram
from mother.sketches.samples import Samples
from mother.trees.forest import Forest, no_edges

Indices = NDArray[np.intp]
MODELS_AT_ONCE = 500  # of small families that a process is given
EVERY = 0.5  # seconds between two looks at memory
_opened: list[Samples] = []


@dataclass(frozen=True)
class Stored:
    """Samples in a file of the .npy format."""

    path: Path
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    columns: Indices

    def open(self) -> Samples:
        rows = np.load(self.path, mmap_mode="r")
        return Samples(self.names, self.shapes, self.columns, rows)


@contextmanager
def processes(stored: Stored, many: int) -> Iterator[ProcessPoolExecutor]:
    """Workers on one core each: several threads of BLAS in several processes get in each other's
    way."""
    before = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")}
    os.environ |= dict.fromkeys(before, "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(many, context, _open, (stored,)) as pool:
        list(pool.map(_ready, range(4 * many)))
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        yield pool


def _open(stored: Stored) -> None:
    _opened.append(stored.open())


def _ready(k: int) -> tuple[int, float]:
    """Which process this is, and the seconds that it computed so far."""
    time.sleep(0.05)
    return os.getpid(), time.process_time()


def computed(pool: ProcessPoolExecutor, many: int) -> float:
    """Seconds that this process and all workers computed so far, whoever else they waited for."""
    return sum(dict(pool.map(_ready, range(4 * many))).values()) + time.process_time()


def families(pool: ProcessPoolExecutor, architecture: Indices) -> list[Indices]:
    """All models in families, by architecture."""
    order = np.argsort(architecture, kind="stable")
    kinds = np.split(order, np.flatnonzero(np.diff(architecture[order])) + 1)
    kinds.sort(key=lambda members: -len(members))
    found: list[Indices] = []
    for part in pool.map(_families, _batches(kinds)):
        found += part
    return found


def _families(kinds: list[Indices]) -> list[Indices]:
    out = []
    for members in kinds:
        out += [members[f] for f in leaders.families(_opened[0].among(members))]
    return out


def recover(pool: ProcessPoolExecutor, n: int, found: list[Indices]) -> Forest:
    """The forest of n models in families."""
    several = sorted((f for f in found if len(f) > 1), key=lambda members: -len(members))
    batches = list(_batches(several))
    forest = no_edges(n)
    hidden = []
    for batch, parts in zip(batches, pool.map(_trees, batches), strict=True):
        for members, part in zip(batch, parts, strict=True):
            forest.place(part, members)
            hidden += [h.renumbered(members) for h in part.hidden]
    return replace(forest, hidden=tuple(hidden))


def _trees(batch: list[Indices]) -> list[Forest]:
    return [gram.recover_family(_opened[0], members) for members in batch]


def _batches(groups: Iterable[Indices]) -> Iterator[list[Indices]]:
    batch: list[Indices] = []
    for group in groups:
        batch.append(group)
        if sum(map(len, batch)) >= MODELS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass
class Memory:
    """The most memory that this process and its children held at once, in bytes, mapped files
    apart: what is read of these, the system can take back."""

    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Memory:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exit: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            held = sum(_anonymous(child) for child in [os.getpid(), *_children(os.getpid())])
            self.peak = max(self.peak, held)


def _children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in found]


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(x.split()[1]) * 1024 for x in lines if x.startswith(("RssAnon", "RssShmem")))
