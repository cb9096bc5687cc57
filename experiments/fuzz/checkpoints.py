"""Any bytes as a checkpoint: read or refused in one line, soon, in bounded memory.

    pip install atheris
    python -m experiments.fuzz.checkpoints [READER ...] [--until 21:35]

Goes through `READERS` until each had INPUTS inputs or SECONDS of processor time, guided by the
edges of code that an input covers: first a minute of each, then a turn of the one that is soonest
done. Each turn is a process of its own, adds its figures to `readers.csv` and docs/formats.md, and
goes on from the inputs that the one before it left in the folder --corpus. What is raised but a
refusal in one line, takes more than SLOW seconds of processor time or more than MEMORY bytes is a
fault: it is told, and the input is kept in --faults.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import datetime
from importlib import import_module
from pathlib import Path

from experiments.fuzz.figures import INPUTS, PAGE, SECONDS, Figures, read, with_fuzzed, write
from experiments.fuzz.readers import READERS, tried

FIRST, TURN = 60.0, 300.0  # seconds of processor time
SLOW = 1.0
MEMORY = 1 << 30
HANG = 60  # seconds after which libFuzzer gives an input up


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("readers", nargs="*", choices=[[], *READERS])
    words.add_argument("--until", help="time of day, HH:MM")
    words.add_argument("--corpus", type=Path, default=Path(tempfile.gettempdir()) / "corpus")
    words.add_argument("--faults", type=Path, default=Path(tempfile.gettempdir()) / "faults")
    words.add_argument("--turn", nargs=3, help=argparse.SUPPRESS)
    told = words.parse_args()
    told.faults.mkdir(parents=True, exist_ok=True)
    if told.turn:
        seconds, inputs, out = told.turn
        _turn(told.readers[0], told, float(seconds), int(inputs), Path(out))
        return
    end = datetime.strptime(told.until, "%H:%M").time() if told.until else None
    while end is None or datetime.now().time() < end:
        known = read()
        left = [n for n in told.readers or READERS if not (n in known and known[n].done)]
        if not left:
            return
        name = min(left, key=lambda n: known[n].left if n in known else 0.0)
        found = _figures(name, known.get(name), told.corpus / name, told.faults)
        write({**known, name: found})
        PAGE.write_text(with_fuzzed(PAGE.read_text()))
        print(name, found, flush=True)


def _figures(name: str, before: Figures | None, corpus: Path, faults: Path) -> Figures:
    """Of a reader after one more turn, in a process of its own."""
    if not corpus.is_dir():
        corpus.mkdir(parents=True)
        for k, seed in enumerate(READERS[name].seeds()):
            (corpus / f"seed{k}").write_bytes(seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        words = [sys.executable, "-m", __spec__.name, name, "--corpus", str(corpus)]
        seconds = FIRST if before is None else min(TURN, SECONDS - 60 * before.minutes)
        inputs = INPUTS - (before.inputs if before else 0)
        words += ["--faults", str(faults), "--turn", str(seconds), str(inputs), str(out)]
        done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
        if not out.exists():  # it was ended: by a hang, or by what no exception tells
            print(done.stderr[-3000:], flush=True)
            found = Figures(seconds / 60, 0, 0, 0, 0.0, 1)
        else:
            edges = [int(n) for n in re.findall(r"cov: (\d+)", done.stderr)]
            found = Figures(edges=max(edges, default=0), **json.loads(out.read_text()))
    return before.plus(found) if before else found


def _turn(name: str, told: argparse.Namespace, seconds: float, most: int, out: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=["mother.checkpoints"]):
        import_module("mother.checkpoints")
    reader, shm = READERS[name], Path("/dev/shm")
    held = tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None)
    folder, seen = Path(held.name), set[str]()
    reader.beside(folder)
    for seed in reader.seeds():
        tried(reader.lay(seed, folder))
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    gc.collect()
    gc.freeze()  # what was imported is not looked through again and again
    start, inputs, slowest = time.process_time(), 0, 0.0

    def kept(data: bytes, fault: str, text: str) -> None:
        if fault not in seen:
            seen.add(fault)
            (told.faults / f"{name}-{len(seen)}").write_bytes(data)
            print(f"{name}: {fault}\n{text}", flush=True)

    def one(data: bytes) -> None:
        nonlocal inputs, slowest
        before = time.process_time()
        try:
            tried(reader.lay(data, folder))
        except Exception as fault:
            where = traceback.extract_tb(fault.__traceback__)[-1]
            named = f"{type(fault).__name__} at {Path(where.filename).name}:{where.lineno}"
            kept(data, named, traceback.format_exc())
        after = time.process_time()
        inputs, slowest = inputs + 1, max(slowest, after - before)
        if after - before > SLOW:
            kept(data, "slow", f"{after - before:.1f} s")
        if after - start > seconds or inputs >= most:
            peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - now
            figures = {"minutes": (after - start) / 60, "inputs": inputs, "megabytes": peak >> 20}
            figures |= {"slowest": slowest, "faults": len(seen)}
            out.write_text(json.dumps(figures))
            held.cleanup()
            sys.stderr.flush()
            os._exit(0)

    longest = max(len(seed) for seed in reader.seeds())
    options = [f"-timeout={HANG}", f"-max_len={2 * longest}", "-rss_limit_mb=0"]
    options += [f"-artifact_prefix={told.faults}/{name}-hang-"]
    atheris.Setup([sys.argv[0], str(told.corpus), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
