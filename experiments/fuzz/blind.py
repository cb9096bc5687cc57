"""Good inputs changed at random, without looking at what they cover: four to ten times as many in
a second as with it.

    python -m experiments.fuzz.blind [READER ...] [--inputs 6000] [--seed 2]

Changes INPUTS seeds of each reader (`READERS`), and adds what came of it to `blind.csv` and
docs/formats.md. What is raised but a refusal in one line is told, and its input kept in --faults.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
import traceback
from pathlib import Path

from experiments.fuzz.figures import BLIND, PAGE, with_fuzzed
from experiments.fuzz.readers import READERS, Reader, tried

FIELDS = ("reader", "seed", "inputs", "slowest", "faults")
EDGES = (0, 1, 127, 128, 255)


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("readers", nargs="*", choices=[[], *READERS])
    words.add_argument("--inputs", type=int, default=6000)
    words.add_argument("--seed", type=int, default=2)
    words.add_argument("--faults", type=Path, default=Path(tempfile.gettempdir()) / "faults")
    told = words.parse_args()
    told.faults.mkdir(parents=True, exist_ok=True)
    for name in told.readers or READERS:
        rng = random.Random(f"{told.seed}{name}")
        slowest, faults = _tried(name, READERS[name], rng, told.inputs, told.faults)
        row = (name, told.seed, told.inputs, f"{slowest:.3f}", faults)
        new = not BLIND.exists()
        with BLIND.open("a", newline="") as out:
            rows = csv.writer(out, lineterminator="\n")
            rows.writerows([FIELDS, row] if new else [row])
        PAGE.write_text(with_fuzzed(PAGE.read_text()))
        print(*row, flush=True)


def _tried(
    name: str, reader: Reader, rng: random.Random, inputs: int, kept: Path
) -> tuple[float, int]:
    """The processor time of the slowest input, and how many kinds of faults there were."""
    seeds, slowest, seen = reader.seeds(), 0.0, set[str]()
    with tempfile.TemporaryDirectory() as held:
        reader.beside(Path(held))
        for _ in range(inputs):
            data = changed(rng, rng.choice(seeds), seeds)
            start = time.process_time()
            try:
                tried(reader.lay(data, Path(held)))
            except Exception as fault:
                where = traceback.extract_tb(fault.__traceback__)[-1]
                kind = f"{type(fault).__name__} at {Path(where.filename).name}:{where.lineno}"
                if kind not in seen:
                    seen.add(kind)
                    (kept / f"{name}-blind-{len(seen)}").write_bytes(data)
                    print(f"{name}: {kind}: {str(fault)[:200]}", flush=True)
            slowest = max(slowest, time.process_time() - start)
    return slowest, len(seen)


def changed(rng: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    """A seed with up to six changes: bytes, bits, integers at their limits, spans that are left
    out, doubled, moved, or taken from another seed; one in twenty is cut off."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if data:
            _change(rng, data, others)
    if rng.random() < 0.05:
        del data[rng.randrange(len(data) + 1) :]
    return bytes(data)


def _change(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    kind, at = rng.randrange(9), rng.randrange(len(data))
    if kind < 3:
        data[at] = rng.choice((*EDGES, rng.randrange(256)))
    elif kind == 3:
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 4:
        del data[at : min(len(data), at + rng.randrange(1, 16))]
    elif kind == 5:
        data[at:at] = data[at : min(len(data), at + rng.randrange(1, 32))]
    elif kind == 6:
        wide = rng.choice((2, 4, 8))
        top = 1 << 8 * wide
        number = rng.choice((0, 1, top - 1, top // 2, rng.randrange(1 << 16), top // 2 - 1))
        data[at : at + wide] = number.to_bytes(wide, "little")
    elif kind == 7:
        other = rng.choice(others)
        start = rng.randrange(len(other))
        new, gone = rng.randrange(1, 64), rng.randrange(1, 64)
        data[at : at + gone] = other[start : start + new]
    else:
        to, many = rng.randrange(len(data)), rng.randrange(1, 40)
        part = bytes(data[at : at + many])
        data[to : to + len(part)] = part


if __name__ == "__main__":
    main()
