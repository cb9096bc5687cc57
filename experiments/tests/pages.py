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
from experiments.figures import ablation, calibration, robustness, sketch
from experiments.figures.families import Data, Family, read
from experiments.figures.splits import there
from safetensors.numpy import load_file

from mother.sketches.windows import BUDGET

Rows = list[dict[str, str]]
REPLICATES = 4
#: what pages that recover each split many times are about: each architecture, both ways to
#: fine-tune, and models that bf16 leaves as they are
SOME = ("ft", "ft-light", "lora-v", "cnn", "text")


@contextmanager
def few() -> Iterator[pytest.MonkeyPatch]:
    """Pages are of fewer replicates, compressions, sketches and variants, some of fewer splits,
    and time nothing twice. Each compression and each variant has a test of its own."""
    some = {name: robustness.COMPRESSIONS[name] for name in ("bf16", "pruned")}
    variants = (ablation.ALL, "without whitening", "vectors as well")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "REPLICATES", REPLICATES)
        patch.setattr(robustness, "COMPRESSIONS", some)
        patch.setattr(sketch, "BUDGETS", (4096, BUDGET))
        for page in robustness, sketch:
            patch.setattr(page, "there", _some)
        patch.setattr(ablation, "TIMES", 1)
        patch.setattr(ablation, "VARIANTS", {name: ablation.VARIANTS[name] for name in variants})
        yield patch


def _some(data: Data) -> list[tuple[str, int]]:
    return [(split, seed) for split, seed in there(data) if split in SOME]


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
