"""Kill the commands that write, at random moments, and see what they left.

    python -m experiments.fuzz.kills [--rounds 200] [--seed 0] [--json figures.json]

Each round starts one of `mother recover -o`, `report`, `index add`, `index remove` and `index
recover -o`, kills it by SIGKILL after a random part of the time that it takes, or once it has begun
to write, and looks: an output is absent, the one of before, or whole; the index passes `verify`. At
the end each command runs once more, after which nothing lies beside what was asked for.
benchmarks/kill.py does the same within single commits of an index.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from experiments.fuzz.attacks import save
from mother.index import Index

START = [sys.executable, "-c", "from mother.cli import main; main()"]
MODELS = 6


def commands(home: Path) -> dict[str, tuple[Sequence[str], Path | None]]:
    """Words of each command, and the file that it writes."""
    models, index = str(home / "models"), str(home / "index")
    graph, page, other = home / "out/graph.json", home / "out/page.html", home / "out/index.json"
    return {
        "recover -o": (("recover", models, "-o", str(graph)), graph),
        "report": (("report", str(home / "graph.json"), "-o", str(page)), page),
        "index add": (("index", "add", index, models), None),
        "index remove": (("index", "remove", index, "good1", "good2"), None),
        "index recover -o": (("index", "recover", index, "-o", str(other)), other),
    }


def run(
    words: Sequence[str], after: float | None = None, writing: Path | None = None
) -> tuple[bool, float]:
    """Run a command, and kill it after some seconds, or as soon as it writes in a folder; whether
    it was killed, and how long it took."""
    begin = time.monotonic()
    quiet = subprocess.DEVNULL
    child = subprocess.Popen([*START, *words], stdout=quiet, stderr=quiet)
    before = set(writing.iterdir()) if writing else set()
    while child.poll() is None:
        late = after is not None and time.monotonic() - begin > after
        if late or (writing and {p for p in writing.iterdir() if p.name[0] == "."} - before):
            os.kill(child.pid, signal.SIGKILL)
            break
        time.sleep(2e-4 if writing else 0.005)
    return child.wait() == -signal.SIGKILL, time.monotonic() - begin


def faults(home: Path, output: Path | None, whole: dict[str, bytes]) -> list[str]:
    """What is wrong with what a killed command left."""
    if output is None:
        with Index(home / "index") as index:
            return index.verify()
    if not output.exists():
        return []
    data = output.read_bytes()
    if output.name == "index.json":  # of as many models as the index held then
        try:
            json.loads(data)
        except ValueError:
            return ["index.json is cut"]
        return []
    return [] if data == whole[output.name] else [f"{output.name} is not the whole one"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3600, help="after which no round starts")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lots = random.Random(options.seed)
    killed, found, left = Counter[str](), list[str](), 0
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        for folder in ("models", "out"):
            (home / folder).mkdir()
        for seed in range(MODELS):
            save(home / f"models/good{seed}.safetensors", seed)
        run(["index", "create", str(home / "index")])
        run(["recover", str(home / "models"), "-o", str(home / "graph.json")])
        every = commands(home)
        takes = {name: run(words)[1] for name, (words, _) in every.items()}
        whole = {path.name: path.read_bytes() for path in (home / "out").iterdir()}
        begin, rounds = time.monotonic(), 0
        while rounds < options.rounds and time.monotonic() - begin < options.seconds:
            rounds += 1
            name = lots.choice(sorted(every))
            words, output = every[name]
            if output is not None and lots.random() < 0.5:
                was, _ = run(words, writing=home / "out")
            else:  # the start of Python takes a third, and writes nothing
                was, _ = run(words, takes[name] * lots.uniform(0.3, 1.1))
            killed[name] += was
            left = max(left, sum(1 for path in (home / "out").iterdir() if path.name[0] == "."))
            found += [f"{name}: {fault}" for fault in faults(home, output, whole)]
        for words, _ in every.values():
            run(words)
        still = sorted(path.name for path in (home / "out").iterdir())
    told = {
        "rounds": rounds,
        "killed": dict(sorted(killed.items())),
        "faults": found,
        "unfinished files at most": left,
        "left at the end": [name for name in still if name[0] == "."],
    }
    print(json.dumps(told, indent=1))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(bool(found or told["left at the end"]))


if __name__ == "__main__":
    main()
