"""What `mother infer` takes for a hub of many models and ten attributes, half of them hidden."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from experiments.attributes.worlds import World, simulated
from experiments.figures.pages import Row

NAME = "attributes-scale"
HIDDEN = 0.5
FILES = ("graph.json", "stated.csv", "inferred.csv")


def timed(models: int, seed: int, folder: Path) -> Row:
    """A row: seconds of processor and by the clock, and the most memory that the command, a process
    of its own, takes from graph.json and a table to inferred.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    graph, table, out = (folder / name for name in FILES)
    if not table.exists():
        world = simulated(models, seed)
        graph.write_text(world.graph.to_json(), encoding="utf-8")
        _table(world, seed, table)
    with table.open(newline="", encoding="utf-8") as file:
        attributes = len(next(csv.reader(file))) - 1
    command = [sys.executable, "-m", "mother", "infer", str(graph)]
    start = time.perf_counter()
    run = subprocess.Popen([*command, "--attributes", str(table), "-o", str(out)])
    _, status, used = os.wait4(run.pid, 0)
    if status:
        raise SystemExit(f"mother infer ended with {os.waitstatus_to_exitcode(status)}")
    return {
        "models": models,
        "attributes": attributes,
        "seed": seed,
        "processor": used.ru_utime + used.ru_stime,
        "clock": time.perf_counter() - start,
        "gigabytes": used.ru_maxrss * 1024 / 1e9,
        "written": out.stat().st_size / 1e9,
    }


def _table(world: World, seed: int, path: Path) -> None:
    rng = np.random.default_rng((seed, 3))
    shown = rng.random((len(world.graph.nodes), len(world.truth))) >= HIDDEN
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *world.truth])
        rows = zip(world.graph.nodes, shown.tolist(), *world.truth.values(), strict=True)
        for node, show, *values in rows:
            pairs = zip(values, show, strict=True)
            writer.writerow([node.id, *(_cell(v) if s else "" for v, s in pairs)])


def _cell(value: object) -> object:
    """A set of nothing states nothing in a table."""
    return ";".join(value) if isinstance(value, tuple) else value
