"""What is done to weights by hand, and how it is judged."""

import json

import numpy as np
import pytest
from experiments.lab.byhand import (
    KINDS,
    LARGEST,
    LAST,
    SPARSE,
    STEPS,
    changed,
    judged,
    matrices,
    page,
)
from safetensors.numpy import save_file


def model(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"a": (12, 20), "b": (20, 16), "c": (10, 12), "bias": (12,)}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_matrices_and_nothing_else(kind):
    values, child = model(), model(1)
    out = changed(kind, values, child, np.random.default_rng(0))
    moved = [n for n, w in values.items() if not np.array_equal(out[n], w)]
    assert moved
    assert set(moved) <= set(matrices(values)) == {"a", "b", "c"}
    assert all(out[n].dtype == np.float32 and np.isfinite(out[n]).all() for n in out)
    assert len(moved) <= (1 if kind in LARGEST or kind in LAST else 3)
    if kind in STEPS or kind in SPARSE:
        assert changed(kind, values, None, np.random.default_rng(0)) is None


def test_a_family_is_judged(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    base = {f"h.{k}": rng.standard_normal((40, 40)).astype(np.float32) for k in range(4)}
    for name in ("base", "one", "two", "three"):
        step = 0.1 * (name != "base")
        body = {
            n: (w + step * rng.standard_normal(w.shape)).astype(np.float32) for n, w in base.items()
        }
        save_file(body, tmp_path / f"{name}.safetensors")
    edges = [["base", name] for name in ("one", "two", "three")]
    (tmp_path / "truth.json").write_text(json.dumps({"edges": edges}))
    monkeypatch.setattr("experiments.lab.byhand.KINDS", ("smallest half zero", "noise of 50 %"))
    told = list(judged(tmp_path))
    assert [t.kind for t in told] == ["smallest half zero", "noise of 50 %"] * 2
    assert all(t.right and not t.others for t in told)
    assert "| all | 4 | 4 |" in page(told)
