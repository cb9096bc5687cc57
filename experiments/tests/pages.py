"""The pages that `python -m experiments all` writes, and the models they are about."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from experiments.figures import ablation, calibration, robustness
from experiments.figures.families import Family, read
from safetensors.numpy import load_file

Rows = list[dict[str, str]]
REPLICATES = 10


@contextmanager
def few() -> Iterator[pytest.MonkeyPatch]:
    """Pages are of fewer replicates and compressions, and time nothing twice."""
    some = {name: robustness.COMPRESSIONS[name] for name in ("bf16", "pruned")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "REPLICATES", REPLICATES)
        patch.setattr(robustness, "COMPRESSIONS", some)
        patch.setattr(ablation, "TIMES", 1)
        yield patch


def rows(file: Path, **wanted: str) -> Rows:
    """The rows of a page's table that hold what is wanted."""
    with file.open(newline="") as table:
        found = csv.DictReader(table)
        return [row for row in found if all(row[key] == value for key, value in wanted.items())]


@dataclass(frozen=True)
class Written:
    """What `all` has written, and the models it is about."""

    out: Path
    data: Path

    def rows(self, name: str, **wanted: str) -> Rows:
        return rows(self.out / f"{name}.csv", **wanted)

    def family(self, split: str) -> Family:
        return read(self.data / f"{split}-0")

    def tree(self, split: str) -> nx.DiGraph:
        """The true forest, from the builder's own record."""
        truth = json.loads((self.data / f"{split}-0" / "truth.json").read_text())
        forest = nx.DiGraph()
        forest.add_nodes_from(truth["nodes"])
        forest.add_edges_from(truth["edges"])
        return forest

    def weights(self, split: str, id: str) -> dict[str, np.ndarray]:
        stored = load_file(self.data / f"{split}-0" / f"{id}.safetensors")
        return {name: w.astype(np.float64) for name, w in stored.items()}
