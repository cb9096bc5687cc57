"""Kill a writer of an index at random moments, and count what was lost.

    python -m benchmarks.kill [--rounds 1000] [--seed 0]

In each round a process adds and removes models, says so after each commit, and is killed with
SIGKILL after a random time. Then the index must hold what was said, but for the one step that was
on its way, and `verify` must find nothing."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.index import Index
from mother.index.newcomer import Newcomer, newcomer, reduced

MODELS = 10
SHAPES = {f"block.{k}.weight": (24, 24) for k in range(4)}
BUDGET = 4096
STEPS = 8  # lines that a writer may say before it is killed, and as long as one takes on top


@dataclass(frozen=True)
class Result:
    """rounds: that were run. killed: in the middle of a step. commits: that were said. lost: rounds
    after which something was missing or too much. damaged: after which `verify` found something."""

    rounds: int
    killed: int
    commits: int
    lost: int
    damaged: int


def newcomers() -> dict[str, Newcomer]:
    """Models of two families, by id."""
    rng = np.random.default_rng(0)
    out, held = {}, []
    for k in range(MODELS):
        if k < 2:
            weights = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
        else:
            base = held[rng.integers(len(held))]
            weights = {name: w + 0.05 * rng.normal(size=w.shape) for name, w in base.items()}
        held.append(weights)
        tensors = {name: constant(name, w.astype(np.float32)) for name, w in weights.items()}
        checkpoint = Checkpoint(f"m{k}", Path(f"m{k}"), "safetensors", tensors)
        out[f"m{k}"] = newcomer(checkpoint, reduced(checkpoint, BUDGET))
    return out


def work(folder: Path, models: dict[str, Newcomer], seed: int, said: int) -> None:
    """Add and remove until killed; a line before and after each step goes to `said`."""
    lots = random.Random(seed)
    with Index(folder) as index:
        there = {model.id for model in index.models()}
        while True:
            id = lots.choice(sorted(models))
            step = "-" if id in there else "+"
            os.write(said, f"?{step}{id}\n".encode())
            if id in there:
                index.remove([id])
            else:
                index.insert([models[id]])
            there ^= {id}
            os.write(said, f"!{step}{id}\n".encode())


def one_round(folder: Path, models: dict[str, Newcomer], before: set[str], seed: int) -> list[str]:
    """Start the writer, kill it, and return what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            work(folder, models, seed, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        lots, began = random.Random(seed), time.monotonic()
        said = [lines.readline() for _ in range(lots.randint(1, STEPS))]
        time.sleep(lots.uniform(0, (time.monotonic() - began) / len(said)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return [line.decode().strip() for line in (*said, *lines) if line.endswith(b"\n")]


def run(folder: Path, rounds: int, seed: int) -> Result:
    """So many rounds on one index."""
    models = newcomers()
    Index.create(folder, budget=BUDGET).close()
    there: set[str] = set()
    result = Result(0, 0, 0, 0, 0)
    for k in range(rounds):
        said = one_round(folder, models, there, seed + k)
        commits = [line[1:] for line in said if line.startswith("!")]
        for step in commits:
            there = there | {step[1:]} if step[0] == "+" else there - {step[1:]}
        on_its_way = {said[-1][2:]} if said and said[-1].startswith("?") else set()
        with Index(folder) as index:
            found = {model.id for model in index.models()}
            faults = index.verify()
        result = replace(
            result,
            rounds=result.rounds + 1,
            killed=result.killed + bool(on_its_way),
            commits=result.commits + len(commits),
            lost=result.lost + (not (found ^ there) <= on_its_way),
            damaged=result.damaged + bool(faults),
        )
        there = found
    return result


def main() -> None:
    """Run, print the counts; exit 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder) / "index", options.rounds, options.seed)
    print(
        f"{found.rounds} kills, {found.killed} of them within a step; {found.commits} commits; "
        f"{found.lost} rounds with a loss, {found.damaged} with damage"
    )
    sys.exit(bool(found.lost or found.damaged))


if __name__ == "__main__":
    main()
