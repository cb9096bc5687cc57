"""What large models cost that are read by windows first, and write a section of docs/benchmarks.md.

    python -m benchmarks.in_part NAME=FOLDER…

Each FOLDER holds checkpoints and truth.json: of `benchmarks.generate.family`, or sparse ones of
`benchmarks.sparse.family`, which are not read whole."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.case import peak_gib, sum_bytes
from benchmarks.section import machine, put

CASES = "sum_bytes", "exact", "windows"


def case(name: str, folder: Path) -> dict[str, float]:
    """One run in this process."""
    import mother
    from mother.graph.evaluation import evaluate, read_truth
    from mother.recovery import recover

    start, spent = time.perf_counter(), time.process_time()
    found: dict[str, float] = {}
    if name == "sum_bytes":
        sum_bytes(folder, 1)
    else:
        graph: mother.ModelGraph = recover(folder, exact=name == "exact")
        right = evaluate(graph, read_truth(folder / "truth.json")).accuracy
        found = {"right": right or 0.0, "share": graph.read[0] if graph.read else 1.0}
    found |= {"seconds": time.perf_counter() - start, "spent": time.process_time() - spent}
    return found | {"peak": peak_gib()}


def cold(folder: Path) -> None:
    """Let go of what memory holds of the files."""
    for path in (p for p in folder.rglob("*") if p.is_file()):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def rows(name: str, folder: Path) -> Iterator[str]:
    """The table's lines on a folder, cold and then warm."""
    files = [p.stat() for p in folder.rglob("*") if p.is_file()]
    sparse = sum(s.st_blocks for s in files) * 512 < 0.5 * sum(s.st_size for s in files)
    for what in CASES[2:] if sparse else CASES:
        for state in ("cold", "warm"):
            if state == "cold":
                cold(folder)
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.in_part", "--case", what]
            done = subprocess.run(
                [*command, f"{name}={folder}"], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout)
            right = f"{found['right']:.2f}" if "right" in found else ""
            share = f"{100 * found['share']:.3g} %" if "share" in found else ""
            row = (
                f"| {name} | {what}, {state} | {found['seconds']:.2f} | {found['spent']:.2f} | "
                f"{found['peak']:.2f} GiB | {share} | {right} |"
            )
            print(row, flush=True)
            yield row


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.in_part", description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folders = {name: Path(path) for name, path in (x.split("=", 1) for x in options.folders)}
    if options.case:
        print(json.dumps(case(options.case, next(iter(folders.values())))))
        return
    lines = [row for name, folder in folders.items() for row in rows(name, folder)]
    head = [
        f"`python -m benchmarks.in_part` on {machine()}, load {os.getloadavg()[1]:.0f} by other"
        " work: seconds of the clock are too many by that, those of the processor hardly."
        " sum_bytes maps and sums every byte on one thread.",
        "",
        "| models | case | seconds | of the processor | peak memory | read | edges right |",
        "|---|---|---|---|---|---|---|",
    ]
    put("Large models in part", "\n".join([*head, *lines]))


if __name__ == "__main__":
    main()
