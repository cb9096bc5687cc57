"""How training moves weights, measured on families whose heritage is known: what a simulated hub
draws its steps from.

One line for each true edge p -> c. Figures are over the matrices that all models of an architecture
have from each other, pooled by weights, each relative to its norm.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from experiments.figures.splits import read
from mother.evidence.direction import UNCHANGED, telling
from mother.evidence.kinship import inherited
from mother.layouts import align
from mother.measures import Measures, measure
from mother.methods.gram import families

#: of the repository: measured once, and read by the simulation
STEPS = Path(__file__).with_name("steps.csv")
FIGURES = ("step", "frozen", "spread", "shrink", "turn", "alike")


def measured_steps(folders: Iterable[Path], threads: int = 1) -> list[dict[str, object]]:
    """A row an edge of built splits.

    step: |c - p| / |p|. frozen: share of the weights that lie in matrices left as they are. spread:
    standard deviation of log(|c - p| / |p|) over the others. shrink: 1 - a, the median over
    matrices of what is gone of p in c, 1 - <c, p> / <p, p>. turn: cos(c - p, p - g), g the parent
    of p. alike: mean cosine of c - p with the steps of its siblings. NaN where there is none.
    """
    rows: list[dict[str, object]] = []
    for folder in folders:
        built = read(folder)
        above = {child: parent for parent, child in built.truth.edges}
        for group in align(list(built.checkpoints.values())):
            ids = [c.id for c in group.checkpoints]
            if len(ids) < 2:
                continue
            whole = measure(group, threads=threads)
            for members in families(whole):
                m = whole.among(members)
                names = [ids[k] for k in members]
                place = {name: k for k, name in enumerate(names)}
                m = m.over(inherited(m) & telling(m))
                if len(names) < 2 or not (m.squared_distance > 0).any():
                    continue
                up = [place.get(above.get(name, ""), -1) for name in names]
                for c, p in enumerate(up):
                    if p < 0:
                        continue
                    row = {"scale": folder.parent.name, "split": folder.name}
                    rows.append({**row, **_figures(m, up, p, c)})
    return rows


def _figures(m: Measures, up: list[int], p: int, c: int) -> dict[str, float]:
    norm, squared = m.gram[:, p, p], m.squared_distance[:, p, c]
    share = m.sizes / m.sizes.sum()
    moved = squared > UNCHANGED * norm
    length = np.sqrt(squared[moved] / norm[moved])
    siblings = [k for k, parent in enumerate(up) if parent == p and k != c]
    g = up[p]
    return {
        "step": float(np.sqrt(share @ (squared / norm))),
        "frozen": float(share[~moved].sum()),
        "spread": float(np.std(np.log(length))) if moved.any() else np.nan,
        "shrink": float(np.median((m.loss[:, p, c] / norm)[moved])) if moved.any() else np.nan,
        "turn": _cosine(m, share / norm, (c, p), (p, g)) if g >= 0 else np.nan,
        "alike": float(np.mean([_cosine(m, share / norm, (c, p), (k, p)) for k in siblings]))
        if siblings
        else np.nan,
    }


def _cosine(m: Measures, weight: np.ndarray, a: tuple[int, int], b: tuple[int, int]) -> float:
    """Of w[a0] - w[a1] with w[b0] - w[b1]."""
    G = np.tensordot(weight, m.gram, 1)
    product = G[a[0], b[0]] - G[a[0], b[1]] - G[a[1], b[0]] + G[a[1], b[1]]
    D = np.tensordot(weight, m.squared_distance, 1)
    return float(product / np.sqrt(D[a] * D[b])) if D[a] * D[b] > 0 else np.nan


def write_steps(rows: list[dict[str, object]], path: Path = STEPS) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["scale", "split", *FIGURES], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


def read_steps(path: Path = STEPS) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
