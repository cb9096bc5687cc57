"""Carry out a split's plan: what is done stays done, what is ready runs side by side."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from experiments.architectures import PARTIAL
from experiments.execution import Record, execute
from experiments.plan import Run, digest, trees
from experiments.scales import SCALES, Scale
from experiments.splits import plan, uses_roots

#: records by id
Made = dict[str, Record]
#: called with the number of checkpoints there are and the number there will be
Progress = Callable[[int, int], None]


class OtherBuild(Exception):  # noqa: N818  (reads as what was found)
    """The folder holds another build than the one asked for."""


#: called with the scale, the split's name and the seed
Planner = Callable[[Scale, str, int], list[Run]]


@dataclass(frozen=True)
class Build:
    """A split at a scale with a seed, the folder it is built in and the one its roots are in. The
    roots are one set for all seeds, as the paper's are. `planner` says what it consists of."""

    split: str
    scale: str
    seed: int
    folder: Path
    roots: Path
    planner: Planner = plan

    def run(self, workers: Workers, progress: Progress = lambda done, total: None) -> None:
        """Train what is missing, the roots first, then write truth.json."""
        runs = self.planner(SCALES[self.scale], self.split, self.seed)
        if uses_roots(runs):
            roots = replace(self, split="roots", seed=0, folder=self.roots, planner=plan)
            roots.run(workers, progress)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.folder):
            self._complete(runs, workers, progress)
            write_json(self.folder / "truth.json", self._stamp(runs) | truth(runs))

    def _complete(self, runs: list[Run], workers: Workers, progress: Progress) -> None:
        records = self._records_of(runs)
        total = sum(len(run.ids) for run in runs)
        progress(len(records), total)
        left = [run for run in runs if not all(id in records for id in run.ids)]
        for made in self._made(left, workers):
            records |= made
            self._write_records(runs, records)
            progress(len(records), total)

    def _made(self, left: list[Run], workers: Workers) -> Iterator[Made]:
        """Records of each run as it ends. A run starts once its parent is there."""
        missing = {id for run in left for id in run.ids}
        going: dict[Future[Made], Run] = {}
        while left or going:
            ready = [run for run in left if run.parent not in missing]
            for run in ready[: workers.count - len(going)]:
                where = self.scale, self.split, self.seed, self.folder, self.roots
                going[workers.submit(execute, run, *where)] = run
                left.remove(run)
            ended, _ = wait(going, return_when=FIRST_COMPLETED)
            for future in ended:
                missing -= set(going.pop(future).ids)
                yield future.result()

    def _write_records(self, runs: list[Run], records: Made) -> None:
        ordered = {id: records[id] for run in runs for id in run.ids if id in records}
        write_json(self.folder / "records.json", self._stamp(runs) | {"models": ordered})

    def _stamp(self, runs: list[Run]) -> dict[str, Any]:
        named = {"split": self.split, "scale": self.scale, "seed": self.seed}
        return named | {"plan": digest(runs)}

    def _records_of(self, runs: list[Run]) -> Made:
        """What an earlier, stopped build of the same plan has got done."""
        path = self.folder / "records.json"
        if not path.exists():
            return {}
        content = json.loads(path.read_text())
        models: Made = content.pop("models")
        if content != self._stamp(runs):
            raise OtherBuild(f"{self.folder} holds another build: delete it, or give another --out")
        return {id: record for id, record in models.items() if self._path(id).exists()}

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.safetensors"


def truth(runs: list[Run]) -> dict[str, Any]:
    """The edges, and what else is known of each model. Those of one initialization hang from a
    hidden ancestor."""
    hidden: dict[str, list[str]] = {}
    for run in runs:
        if run.initialization:
            hidden.setdefault(run.initialization, []).extend(run.ids)
    nodes = [id for run in runs for id in run.ids]
    edges = [list(edge) for run in runs for edge in run.edges]
    return {
        "nodes": nodes,
        "edges": edges,
        "trees": trees(nodes, edges, hidden.values()),
        "stages": {id: run.stage for run in runs for id in run.ids},
        "relations": {child: run.relation for run in runs for _, child in run.edges},
        "hidden_ancestors": list(hidden.values()),
    }


def write_json(path: Path, content: object) -> None:
    """Write in one step: a reader, or a later build, never sees half a file."""
    partial = path.with_name(PARTIAL + path.name)
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for another build in the folder to end; then clear what a killed one has left."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob(f"{PARTIAL}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
        yield


class Workers:
    """Processes of one thread each, so that results don't depend on how many there are; none but
    this one where the count is 1."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = torch.get_num_threads()
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _prepare) if count > 1 else None

    def __enter__(self) -> Workers:
        if self._pool is None:
            torch.set_num_threads(1)
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            torch.set_num_threads(self._threads)
            return
        if fault:  # what they are at would go on for minutes
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, function: Callable[..., Made], *arguments: Any) -> Future[Made]:
        if self._pool is not None:
            return self._pool.submit(function, *arguments)
        future: Future[Made] = Future()
        future.set_result(function(*arguments))
        return future


def _prepare() -> None:
    """Make a worker use one thread, and end where the process that started it is killed."""
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
