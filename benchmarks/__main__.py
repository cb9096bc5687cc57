"""Time the whole flow against baselines run beside it, and write docs/benchmarks.md.

    python -m benchmarks [--folder DIR] [--models 21] [--depth 12] [--repeats 5]

Every figure is a ratio of medians of runs that took turns in one session, page cache warm."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import networkx
import numpy as np

from benchmarks.generate import DEPTH, family
from benchmarks.section import PAGE
from mother.trees.arborescence import minimum_arborescence

Figures = dict[str, float]
#: how sections of the page begin that other commands write
SECTIONS = ("Large", "Growth of", "Memory of", "Reading")


def run(case: str, folder: Path, threads: int) -> Figures:
    """One run in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.case", case, folder, str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def in_turns(folder: Path, cases: list[tuple[str, int]], repeats: int) -> dict[str, Figures]:
    """Medians of `repeats` rounds of all cases, after one round that warms the page cache."""
    rounds = [{f"{c} {t}": run(c, folder, t) for c, t in cases} for _ in range(repeats + 1)][1:]
    return {
        key: {name: statistics.median(r[key][name] for r in rounds) for name in rounds[0][key]}
        for key in rounds[0]
    }


def arborescence_growth() -> tuple[list[tuple[int, float]], float, float]:
    """networkx at small n, its growth carried to n = 1000, and ours there."""
    rng = np.random.default_rng(0)
    measured = []
    for n in (50, 100, 150, 200):
        graph = networkx.DiGraph()
        cost = rng.random((n, n))
        graph.add_weighted_edges_from(
            (i, j, cost[i, j]) for i in range(n) for j in range(n) if i != j
        )
        start = time.perf_counter()
        networkx.minimum_spanning_arborescence(graph)
        measured.append((n, time.perf_counter() - start))
    power, scale = np.polyfit(*np.log([(n, s) for n, s in measured[1:]]).T, 1)
    cost = rng.random((1000, 1000))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        minimum_arborescence(cost)
        times.append(time.perf_counter() - start)
    return measured, float(np.exp(scale) * 1000**power), statistics.median(times)


def cpu() -> str:
    """The processor's name, and the widest vectors it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {x.split(":")[0].strip(): x.split(":")[1].strip() for x in lines if ":" in x}
    flags = told.get("flags", "").split()
    vectors = [name for name in ("avx512f", "avx2") if name in flags][:1]
    return ", ".join([told.get("model name", platform.machine()), *vectors]).replace("512f", "512")


def report(folder: Path, models: int, depth: int, repeats: int) -> str:
    """Run everything and write the page."""
    cores = len(os.sched_getaffinity(0))
    lines = [
        "# Benchmarks",
        "",
        f"`python -m benchmarks --models {models} --depth {depth} --repeats {repeats}` on "
        f"{datetime.date.today()}: {cores} cores ({cpu()}), Python "
        f"{platform.python_version()}, numpy {np.__version__}. Generated checkpoints with "
        f"ViT-B/16's names and shapes, root + 4 + 16. Page cache warm; medians of {repeats} "
        "rounds in which the cases took turns; a process each, without its imports.",
        "",
    ]
    family(folder / "ft", "ft", models, depth)
    size = sum(p.stat().st_size for p in (folder / "ft").glob("*.safetensors"))
    cases = [("sum_bytes", 1), ("sum_bytes", cores), ("default", 1), ("default", cores)]
    ft = in_turns(folder / "ft", [*cases, ("paper_ft", cores)], repeats)
    floor, floors = ft["sum_bytes 1"]["seconds"], ft[f"sum_bytes {cores}"]["seconds"]
    lines += [
        f"## Full fine-tuning: {models} checkpoints of {size / models / 1e6:.0f} MB",
        "",
        "| case | threads | seconds | against mapping and summing the bytes on 1 thread | on "
        f"{cores} threads | peak memory | edges right |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, figures in ft.items():
        case, threads = key.split()
        right = f"{figures['accuracy']:.2f}" if "accuracy" in figures else ""
        lines.append(
            f"| {case} | {threads} | {figures['seconds']:.2f} | {figures['seconds'] / floor:.2f} | "
            f"{figures['seconds'] / floors:.2f} | {figures['peak_gib']:.2f} GiB | {right} |"
        )
    lines += ["", "## Growth", "", "| checkpoints | weights each | seconds, default | sum_bytes |"]
    lines += ["|---|---|---|---|"]
    for n in (models // 4, models // 2, models):
        part = folder / f"growth-{n}"
        part.mkdir()
        for path in sorted((folder / "ft").glob("*.safetensors"))[::-1][:n]:
            (part / path.name).symlink_to(path)
        (part / "truth.json").write_text('{"edges": []}')
        lines.append(_growth(part, n, cores))
    shutil.rmtree(folder / "ft")
    for d in (depth // 4, depth // 2):
        family(folder / f"depth-{d}", "ft", models, d)
        lines.append(_growth(folder / f"depth-{d}", models, cores))
        shutil.rmtree(folder / f"depth-{d}")
    family(folder / "lora", "lora", models, depth)
    lora = in_turns(folder / "lora", [("paper_lora", cores), ("svd_pairs", cores)], repeats)
    ours, svd = lora[f"paper_lora {cores}"], lora[f"svd_pairs {cores}"]
    pairs = models * (models - 1) / 2
    whole = svd["seconds"] / svd["pairs"] * pairs
    lines += [
        "",
        "## LoRA (rank 16): the paper's distance on the value layers",
        "",
        f"Loading two checkpoints and SVD of {depth} differences takes "
        f"{svd['seconds'] / svd['pairs']:.2f} s a pair ({svd['pairs']:.0f} pairs timed), "
        f"{whole:.0f} s for all {pairs:.0f}. `mother recover --method mother --distance lora` on "
        f"the same, all of it: {ours['seconds']:.2f} s, {whole / ours['seconds']:.0f} times faster "
        f"(edges right without direction: {ours['undirected']:.2f}).",
        "",
        "## Minimum arborescence, complete random graphs",
        "",
    ]
    measured, there, here = arborescence_growth()
    lines += ["| n | networkx, seconds |", "|---|---|"]
    lines += [f"| {n} | {s:.2f} |" for n, s in measured]
    lines += [
        f"| 1000, by its growth from 100 on | {there:.0f} |",
        "",
        f"Ours at n = 1000: {here:.3f} s, {there / here:.0f} times faster.",
        "",
    ]
    return "\n".join(lines)


def _growth(folder: Path, models: int, cores: int) -> str:
    figures = in_turns(folder, [("default", cores), ("sum_bytes", cores)], 3)
    weights = next(folder.glob("*.safetensors")).stat().st_size / 4e6
    return (
        f"| {models} | {weights:.0f} M | {figures[f'default {cores}']['seconds']:.2f} | "
        f"{figures[f'sum_bytes {cores}']['seconds']:.2f} |"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where checkpoints are generated")
    parser.add_argument("--models", type=int, default=21)
    parser.add_argument("--depth", type=int, default=DEPTH, help="blocks of the ViT")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        page = report(Path(name), options.models, options.depth, options.repeats)
    print(page)
    others = [x for x in PAGE.read_text().split("\n## ") if x.startswith(SECTIONS)]
    PAGE.write_text("\n## ".join([page.rstrip() + "\n", *others]))


if __name__ == "__main__":
    main()
