"""Units that were taken out of a model, and trained on without."""

from __future__ import annotations

import numpy as np
import pytest
from kit import save

import mother


def net(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"a": (40, 20), "b": (40, 40), "c": (40, 40), "d": (6, 40)}
    return {f"{n}.weight": rng.normal(0, 0.3, s).astype(np.float32) for n, s in shapes.items()}


@pytest.mark.parametrize("names", [("made", "used"), ("used", "made")])
def test_what_lost_units_and_was_trained_on_is_the_child(tmp_path, names):
    """By its norm it might as well be a sibling, or the parent of what has all units."""
    rng = np.random.default_rng(3)
    whole = net(rng)
    moved = {n: (w + rng.normal(0, 0.1, w.shape)).astype(np.float32) for n, w in whole.items()}
    gone = rng.permutation(40)[:5]
    moved["b.weight"][gone] = 0
    moved["c.weight"][:, gone] = 0
    for name, weights in zip(names, (whole, moved), strict=True):
        save(tmp_path / f"{name}.safetensors", weights)
    graph = mother.recover(tmp_path, bootstrap=0, explain=True)
    assert [(e.parent, e.child) for e in graph.edges] == [names]
    assert graph.hidden == ()
    assert any("taken out of the child alone" in said.says for said in graph.edges[0].evidence)


def test_rows_that_no_data_reached_yet_are_no_units_that_were_taken_out(tmp_path):
    """Rows that begin as zeros are zeros in the parent, and nothing reads them as units."""
    rng = np.random.default_rng(3)
    early = net(rng)
    late = {n: (w + rng.normal(0, 0.1, w.shape)).astype(np.float32) for n, w in early.items()}
    early["b.weight"][rng.permutation(40)[:9]] = 0
    save(tmp_path / "early.safetensors", early)
    save(tmp_path / "late.safetensors", late)
    (edge,) = mother.recover(tmp_path, bootstrap=0, explain=True).edges
    assert "zeroed" not in {said.kind for said in edge.evidence}
