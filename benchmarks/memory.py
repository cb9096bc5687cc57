"""The most memory that a pair of 7B-shaped models takes, and write a section of docs/benchmarks.md.

    python -m benchmarks.memory [--folder DIR]

A pair in Q4_K (8 GB of disk, all of it written) and one in bfloat16 (two sparse files of 13.5 GB,
of which what is read first holds weights); one pair at a time, a process each case."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.case import peak_gib
from benchmarks.section import machine, put
from benchmarks.sparse import BLOCK, family, floats, q4_k, quantized
from mother.checkpoints import open_checkpoint
from mother.comparison import compare
from mother.index import Index
from mother.recovery import recover

PIECE = BLOCK.itemsize << 16  # bytes of Q4_K that are made once and written again and again
#: models, each with the steps from the root down to it
LINES = {"root": [0], "kid": [0, 1]}


def _sketched(folder: Path, models: list[Path]) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name, Index.create(Path(name) / "i") as index:
        index.add(models)


CASES: dict[str, Callable[[Path, list[Path]], object]] = {
    "recover": lambda folder, models: recover(models),
    "recover --exact": lambda folder, models: recover(models, exact=True),
    "compare": lambda folder, models: compare(*models),
    "compare --exact": lambda folder, models: compare(*models, exact=True),
    "index add": _sketched,
}


def packed(folder: Path) -> list[Path]:
    """Two models in Q4_K, written whole: each matrix is one piece of weights, turned by some blocks
    of its own, again and again."""
    paths = [folder / f"{name}.gguf" for name in LINES]
    for path, line in zip(paths, LINES.values(), strict=True):
        quantized(path)
        piece = q4_k(PIECE, [[0, own] for own in line]).tobytes()
        with path.open("r+b") as out:
            for k, tensor in enumerate(open_checkpoint(path).tensors.values()):
                (part,) = tensor.slices(0, tensor.size)
                out.seek(part.start)
                many = part.stop - part.start
                if len(tensor.shape) == 1:
                    out.write(floats(many, [[0, own] for own in line]).tobytes())
                    continue
                turned = piece[k * BLOCK.itemsize :] + piece[: k * BLOCK.itemsize]
                for at in range(0, many, len(piece)):
                    out.write(turned[: many - at])
    return paths


def brain(folder: Path) -> list[Path]:
    """Two models in bfloat16 as sparse files."""
    family(folder, "bf16", 2)
    return [folder / "root", folder / "m1"]


PAIRS: dict[str, Callable[[Path], list[Path]]] = {"Q4_K": packed, "bfloat16": brain}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the models are generated")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        what, models = options.case[0], [Path(p) for p in json.loads(options.case[1])]
        start, spent = time.perf_counter(), time.process_time()
        CASES[what](options.folder, models)
        clock, used = time.perf_counter() - start, time.process_time() - spent
        print(json.dumps([clock, used, peak_gib()]))
        return
    rows = []
    for kind, make in PAIRS.items():
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            models = make(Path(name))
            files = [p for m in models for p in ([m] if m.is_file() else m.glob("*.safetensors"))]
            size = sum(p.stat().st_size for p in files) / len(models) / 1e9
            given = json.dumps([str(p) for p in models])
            for what in CASES:
                command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory"]
                done = subprocess.run(
                    [*command, "--folder", name, "--case", what, given],
                    check=True,
                    stdout=subprocess.PIPE,
                )
                clock, used, peak = json.loads(done.stdout)
                row = f"| {kind}, 2 of {size:.1f} GB | {what} | {clock:.1f} | {used:.1f} | "
                row += f"{peak:.2f} GiB |"
                print(row, flush=True)
                rows.append(row)
    head = [
        f"`python -m benchmarks.memory` on {machine()}, load {os.getloadavg()[1]:.0f} by other"
        " work: two models of LLaMA-7B's names and shapes. In bfloat16 they are sparse files, which"
        " hold weights only where `recover` reads first; in Q4_K all is written. Memory is with the"
        " pages of files that are mapped meanwhile.",
        "",
        "| models | case | seconds | of the processor | peak memory |",
        "|---|---|---|---|---|",
    ]
    put("Memory of large models", "\n".join([*head, *rows]))


if __name__ == "__main__":
    main()
