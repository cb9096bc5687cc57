"""One timed run in a process of its own: python -m benchmarks.case NAME FOLDER THREADS.

Prints seconds, peak resident memory and what came out as JSON. Imports are not timed, reading
headers is."""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import mother
from mother.graph.evaluation import evaluate, read_truth

PIECE = 1 << 22  # bytes summed at a time


def sum_bytes(folder: Path, threads: int) -> dict[str, float]:
    """The floor: map every file once and sum it as float32."""

    def one(path: Path) -> float:
        words = np.memmap(path, dtype=np.float32, mode="r", shape=path.stat().st_size // 4)
        return sum(float(words[k : k + PIECE].sum()) for k in range(0, len(words), PIECE))

    with np.errstate(all="ignore"), ThreadPoolExecutor(threads) as pool:
        return {"sum": sum(pool.map(one, sorted(folder.glob("*.safetensors"))))}


def _recover(folder: Path, threads: int, **options: object) -> dict[str, float]:
    graph = mother.recover(folder, threads=threads, **options)
    truth = evaluate(graph, read_truth(folder / "truth.json"))
    return {"accuracy": truth.accuracy or 0.0, "undirected": truth.undirected or 0.0}


def default(folder: Path, threads: int) -> dict[str, float]:
    """`mother recover FOLDER`."""
    return _recover(folder, threads)


def paper_ft(folder: Path, threads: int) -> dict[str, float]:
    """The paper's method with its full fine-tuning distance."""
    return _recover(folder, threads, method="mother", distance="ft", trees=1)


def paper_lora(folder: Path, threads: int) -> dict[str, float]:
    """The paper's method with its LoRA distance, on the value layers as in the paper."""
    return _recover(
        folder, threads, method="mother", distance="lora", trees=1, layers=r"value\.weight$"
    )


def svd_pairs(folder: Path, threads: int) -> dict[str, float]:
    """Loading two checkpoints and taking the rank of their difference by SVD, for a few pairs."""
    pairs = list(itertools.combinations(sorted(folder.glob("*.safetensors")), 2))[:3]
    ranks = []
    for a, b in pairs:
        u, v = load_file(a), load_file(b)
        values = [name for name in u if name.endswith("value.weight")]
        ranks.append(max(int(np.linalg.matrix_rank(u[n] - v[n])) for n in values))
    return {"pairs": len(pairs), "rank": float(max(ranks))}


CASES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    f.__name__: f for f in (sum_bytes, default, paper_ft, paper_lora, svd_pairs)
}


def peak_gib() -> float:
    """Most memory this process held. The kernel's ru_maxrss would be inherited from whoever started
    it, this is counted from the program's own start."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) / 2**20
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run the case named on the command line."""
    name, folder, threads = sys.argv[1:]
    start = time.perf_counter()
    result = CASES[name](Path(folder), int(threads))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_gib": peak_gib(), **result}))


if __name__ == "__main__":
    main()
