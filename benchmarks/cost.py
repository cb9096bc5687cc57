"""How the cost of `mother recover` grows with what it is given, and write a section of
docs/benchmarks.md.

    python -m benchmarks.cost [--folder DIR]

Seconds of the processor, for other work on the machine lengthens the clock's; a process each,
without its imports."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.section import machine, put

Weights = dict[str, np.ndarray]
WIDTH = 64
RUNS = 1
#: what grows, by which numbers, and how a folder is filled
Case = tuple[str, tuple[int, ...], Callable[[Path, int], None]]


def model(rng: np.random.Generator, layers: int, width: int = WIDTH) -> Weights:
    """Random weights of so many blocks of a matrix and a vector."""
    return {
        f"h.{k}.{name}": rng.standard_normal(shape, dtype=np.float32)
        for k in range(layers)
        for name, shape in (("w", (width, width)), ("norm", (width,)))
    }


def child(rng: np.random.Generator, parent: Weights) -> Weights:
    """One trained from it."""
    return {n: w + 0.1 * rng.standard_normal(w.shape, dtype=np.float32) for n, w in parent.items()}


def family(folder: Path, many: int, layers: int = 12, width: int = WIDTH, name: str = "m") -> None:
    """A tree of models of which each has two children."""
    rng = np.random.default_rng(width)
    held: list[Weights] = []
    for k in range(many):
        held.append(child(rng, held[(k - 1) // 2]) if held else model(rng, layers, width))
        save_file(held[-1], folder / f"{name}{k}.safetensors")


def architectures(folder: Path, many: int) -> None:
    """So many families of two, each of its own width."""
    for k in range(many):
        family(folder, 2, 12, WIDTH + 2 * k, f"w{k}-")


def copies(folder: Path, many: int) -> None:
    """A family of four, and copies of its last."""
    family(folder, 4)
    content = (folder / "m3.safetensors").read_bytes()
    for k in range(many):
        (folder / f"copy{k}.safetensors").write_bytes(content)


def unreadable(folder: Path, many: int) -> None:
    """A family of four, and files that are cut off."""
    family(folder, 4)
    content = (folder / "m3.safetensors").read_bytes()[:-99]
    for k in range(many):
        (folder / f"torn{k}.safetensors").write_bytes(content)


def quantized(folder: Path, many: int) -> None:
    """A family of four, and as many models on a grid of their own."""
    family(folder, 4)
    rng = np.random.default_rng(0)
    base = model(rng, 12)
    for k in range(many):
        made = {n: (np.rint(w * 31) / 31).astype(np.float32) for n, w in child(rng, base).items()}
        save_file(made, folder / f"grid{k}.safetensors")


CASES: list[Case] = [
    ("models of one family", (16, 32, 64, 128), family),
    ("strangers", (16, 32, 64, 128), lambda f, n: strangers(f, n)),
    ("layers of 16 models", (25, 50, 100, 200), lambda f, n: family(f, 16, n, 16)),
    ("architectures, two models each", (8, 16, 32, 64), architectures),
    ("copies of one of four", (16, 32, 64, 128), copies),
    ("models on grids beside four", (8, 16, 32), quantized),
    ("unreadable files beside four", (16, 32, 64, 128), unreadable),
]


def strangers(folder: Path, many: int) -> None:
    """Models of one architecture that have nothing in common."""
    for k in range(many):
        save_file(model(np.random.default_rng(k), 12), folder / f"s{k}.safetensors")


def seconds(folder: Path) -> float:
    """Of the processor, by one recovery."""
    code = (
        "import mother, sys, time, mother.recovery; mother.recover; t = time.process_time();"
        "mother.recover(sys.argv[1], threads=1); print(time.process_time() - t)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
    return min(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(RUNS)
    )


def rows(parent: Path | None) -> Iterator[str]:
    """The table, a line at a time."""
    yield "| what grows | how many: seconds | power, last doubling | power, all |"
    yield "|---|---|---|---|"
    for what, numbers, fill in CASES:
        found = []
        for many in numbers:
            with tempfile.TemporaryDirectory(dir=parent) as name:
                fill(Path(name), many)
                found.append(seconds(Path(name)))
        told = ", ".join(f"{n}: {s:.2f}" for n, s in zip(numbers, found, strict=True))
        last = math.log2(found[-1] / found[-2])
        every = math.log2(found[-1] / found[0]) / math.log2(numbers[-1] / numbers[0])
        row = f"| {what} | {told} | {last:.2f} | {every:.2f} |"
        print(row, flush=True)
        yield row


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.cost", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where models are generated")
    options = parser.parse_args()
    table = "\n".join(rows(options.folder))
    said = (
        f"`python -m benchmarks.cost` on {machine()}. Seconds of the processor by `mother recover`,"
        " one run; 12 blocks of 64 x 64 weights and a vector, but of layers of 16 x"
        " 16. A power of 1 is cost in proportion, 2 quadratic."
    )
    put("Growth of cost", f"{said}\n\n{table}\n")


if __name__ == "__main__":
    main()
