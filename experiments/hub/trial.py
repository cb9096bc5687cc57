"""One hub drawn, recovered and judged."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.hub.phylogeny import Hub, draw
from experiments.hub.work import Memory, Stored, computed, families, processes, recover
from mother.measures.clustering import adjusted_rand_index
from mother.trees.forest import Forest

Indices = NDArray[np.intp]


def trial(n: int, seed: int, folder: Path, many: int, *, mixed: bool) -> dict[str, object]:
    """A row of the page's table. many: processes."""
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    hub = draw(n, seed, folder, mixed=mixed)
    drawn = time.perf_counter() - start
    s = hub.samples
    stored = Stored(folder / "sketches.npy", s.names, s.shapes, s.columns)
    count = len(hub.parents)
    with Memory() as memory, processes(stored, many) as pool:
        before = computed(pool, many)
        start = time.perf_counter()
        found = families(pool, hub.architecture)
        grouped = time.perf_counter() - start
        forest = recover(pool, count, found)
        whole = time.perf_counter() - start
        busy = computed(pool, many) - before
    row: dict[str, object] = {"models": n, "seed": seed, "mixed": mixed, "present": count}
    row |= judged(hub, forest, found)
    row |= {
        "draw_s": drawn,
        "families_s": grouped,
        "recover_s": whole,
        "recover_cpu_s": busy,
        "peak_gb": memory.peak / 1e9,
    }
    return row


def judged(hub: Hub, forest: Forest, found: list[Indices]) -> dict[str, object]:
    """Edges right of true ones, with and without direction; families right."""
    true = np.flatnonzero(hub.parents >= 0)
    above = hub.parents[true]
    right = forest.parents[true] == above
    either = right | (forest.parents[above] == true)
    labels = np.empty(len(hub.parents), dtype=np.intp)
    for k, members in enumerate(found):
        labels[members] = k
    drawn = forest.parents >= 0
    return {
        "edges": len(true),
        "right": float(right.mean()),
        "undirected": float(either.mean()),
        "found": int(drawn.sum()),
        "families": len(np.unique(hub.family)),
        "families_found": len(found),
        "families_ari": adjusted_rand_index(labels, hub.family),
        "hidden_found": len(forest.hidden),
    }
