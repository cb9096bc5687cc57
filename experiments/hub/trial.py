"""One hub drawn, recovered, judged, and asked where newcomers hang."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.hub.phylogeny import LAYERS, SEEN, Hub, Steps, draw
from experiments.hub.work import Memory, Stored, computed, families, processes, recover
from mother.methods.placing import Known
from mother.measures.clustering import adjusted_rand_index
from mother.trees.forest import Forest

Indices = NDArray[np.intp]
NEWCOMERS = 500


@dataclass(frozen=True)
class Newcomer:
    row: NDArray[np.float32]
    architecture: int
    parent: int


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
    with Memory() as memory:
        row |= placed(hub, forest, found, seed)
    return row | {"place_gb": memory.peak / 1e9}


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


def placed(hub: Hub, forest: Forest, found: list[Indices], seed: int) -> dict[str, object]:
    """Where newcomers are placed, and how long one takes: all that can be known beforehand is held,
    their sketches are in memory."""
    start = time.perf_counter()
    by_kind = _known(hub, forest, found)
    held = time.perf_counter() - start
    seconds, right, kin = [], [], []
    for new in newcomers(hub, seed):
        start = time.perf_counter()
        parent = by_kind[new.architecture].place(new.row).parent
        seconds.append(time.perf_counter() - start)
        right.append(parent == new.parent)
        kin.append(parent >= 0 and hub.family[parent] == hub.family[new.parent])
    return {
        "hold_s": held,
        "place_median_ms": 1000 * float(np.median(seconds)),
        "place_p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        "placed_right": float(np.mean(right)),
        "placed_in_family": float(np.mean(kin)),
    }


def _known(hub: Hub, forest: Forest, found: list[Indices]) -> dict[int, Known]:
    by_kind: dict[int, list[Indices]] = {}
    for members in found:
        by_kind.setdefault(int(hub.architecture[members[0]]), []).append(members)
    return {kind: Known(hub.samples, forest.parents, groups) for kind, groups in by_kind.items()}


def newcomers(hub: Hub, seed: int) -> list[Newcomer]:
    """Children of models that are there, a step as measured away from them."""
    rng = np.random.default_rng([seed, 1, len(hub.parents)])
    steps = Steps.read()
    usual = steps.rows[: steps.first[-1]]
    out = []
    for _ in range(NEWCOMERS):
        v = int(rng.integers(len(hub.parents)))
        parent = int(hub.parents[v]) if hub.parents[v] >= 0 and rng.random() < 0.75 else v
        start = hub.samples.rows[parent].reshape(LAYERS, SEEN)
        step, _, spread, *_ = np.nan_to_num(usual[rng.integers(len(usual))])
        length = np.exp(spread * rng.standard_normal(LAYERS))
        length *= step / np.sqrt(np.square(length).mean()) * np.sqrt(np.square(start).mean(axis=1))
        row = start + length[:, None] * rng.standard_normal((LAYERS, SEEN))
        kind = int(hub.architecture[parent])
        out.append(Newcomer(row.astype(np.float32).ravel(), kind, parent))
    return out
