"""Large models by windows of their layers first: what is found is what all weights show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from kit import edges, run
from safetensors.numpy import save_file

import mother
from mother.checkpoints import discover
from mother.comparison import compare
from mother.layouts import align
from mother.methods import adaptive, refinement
from mother.sketches.levels import Doubt

WIDTH, BLOCKS = 256, 6
LINES = [("o", "a"), ("o", "b"), ("o", "c"), ("a", "aa"), ("a", "ab"), ("b", "ba"), ("b", "bb")]


@pytest.fixture
def large(monkeypatch):
    """Models of 1.6 MB pass for large ones."""
    monkeypatch.setattr(adaptive, "LARGE", 1 << 20)


def root(rng):
    model = {}
    for k in range(BLOCKS):
        model[f"h.{k}.w"] = rng.standard_normal((WIDTH, WIDTH)) / 16
        model[f"h.{k}.norm"] = 1 + rng.standard_normal(WIDTH) / 100
    return model


def tuned(model, rng, size=0.1):
    return {n: w + size * w.std() * rng.standard_normal(w.shape) for n, w in model.items()}


def low_rank(model, rng, rank):
    up, down = (rng.standard_normal((WIDTH, rank)) / 16 for _ in "ab")
    return {n: w + 0.1 * up @ down.T if n.endswith("w") else w for n, w in model.items()}


def family(rng):
    models = {"o": root(rng)}
    for parent, child in LINES:
        models[child] = tuned(models[parent], rng)
    return models


def written(folder, models):
    for name, weights in models.items():
        stored = {n: np.ascontiguousarray(w, np.float32) for n, w in weights.items()}
        save_file(stored, folder / f"{name}.safetensors")
    return folder


def both(folder):
    """The graph from windows first, and from all weights, without what says so."""
    exact = mother.recover(folder, exact=True, bootstrap=4)
    return mother.recover(folder, bootstrap=4), exact


def test_small_models_are_read_as_ever(tmp_path):
    written(tmp_path, family(np.random.default_rng(0)))
    graph, exact = (json.loads(g.to_json()) for g in both(tmp_path))
    assert exact["options"].pop("exact")
    assert graph == exact
    assert not any("read" in node for node in graph["nodes"])


def test_a_family_of_large_ones_is_told_from_a_part_of_it(tmp_path, large):
    written(tmp_path, family(np.random.default_rng(0)))
    graph, exact = both(tmp_path)
    assert edges(graph) == edges(exact) == set(LINES)
    share, size = graph.read
    assert size == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert 0.01 < share < 0.5
    assert exact.read is None
    assert mother.ModelGraph.from_json(graph.to_json()) == graph
    shown = run("recover", tmp_path, "--bootstrap", 0)
    assert f"read {int(100 * share)} % of" in shown.out  # no more than was read
    assert "read" not in run("recover", tmp_path, "--bootstrap", 0, "--exact").out


def test_copies_are_called_so_where_all_weights_are_equal(tmp_path, large):
    rng = np.random.default_rng(1)
    one = root(rng)
    models = {"one": one, "same": one, "b": tuned(one, rng), "c": tuned(one, rng)}
    written(tmp_path, models)
    (group,) = align(discover([tmp_path])[0])
    names = [layer.name for layer in group.layers]
    rows, _ = adaptive._windows(group)[names.index("h.3.w")].places((WIDTH, WIDTH))
    unseen = next(r for r in range(WIDTH) if r not in rows)
    models["but-one"] = {n: w.copy() for n, w in models["b"].items()}
    models["but-one"]["h.3.w"][unseen, 7] += 0.01
    written(tmp_path, models)
    found = mother.recover(tmp_path, bootstrap=0).edges
    assert ("one", "same", "duplicate") in {(e.parent, e.child, e.relation) for e in found}
    (between,) = (e for e in found if {e.parent, e.child} == {"b", "but-one"})
    assert between.relation != "duplicate"


def without(model, rng):
    u = rng.standard_normal(WIDTH)
    u /= np.linalg.norm(u)
    return {n: w - np.outer(u, u @ w) if n.endswith("w") else w for n, w in model.items()}


def test_what_windows_suggest_is_confirmed_on_all_weights(tmp_path, large):
    rng = np.random.default_rng(2)
    models = {"o": root(rng)}
    models |= {name: tuned(models["o"], rng) for name in "abc"}
    grid = {n: np.abs(w).max() / 100 for n, w in models["a"].items()}
    models["coarse"] = {
        n: np.rint(w / grid[n]) * grid[n] if n.endswith("w") else w for n, w in models["a"].items()
    }
    models["pruned"] = {
        n: np.where(np.abs(w) < np.median(np.abs(w)), 0, w) if n.endswith("w") else w
        for n, w in models["b"].items()
    }
    models["cut"] = without(models["c"], rng)
    models["lora"] = low_rank(models["o"], rng, 32)  # a window shows no rank that high
    written(tmp_path, models)
    graph, exact = both(tmp_path)
    kinds = {e.child: (e.parent, e.relation, e.rank) for e in exact.edges}
    assert {e.child: (e.parent, e.relation, e.rank) for e in graph.edges} == kinds
    assert kinds["coarse"][:2] == ("a", "quantized")
    assert kinds["pruned"][:2] == ("b", "pruned")
    assert kinds["cut"][:2] == ("c", "edited")
    assert kinds["lora"] == ("o", "lora", 32)


def test_where_windows_leave_most_in_doubt_all_is_read(tmp_path, large, monkeypatch):
    doubts = [Doubt((1,), frozenset(range(1 + len(LINES))))]
    monkeypatch.setattr(refinement, "in_doubt", lambda forest, others: doubts)
    written(tmp_path, family(np.random.default_rng(3)))
    graph, exact = (json.loads(g.to_json()) for g in both(tmp_path))
    assert exact["options"].pop("exact")
    assert graph == exact


def test_two_are_compared_by_windows(tmp_path, large):
    rng = np.random.default_rng(4)
    one = root(rng)
    written(tmp_path, {"one": one, "two": tuned(one, rng), "other": root(rng)})
    one, two, other = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "other"))
    found, exact = compare(one, two), compare(one, two, exact=True)
    assert (found.relation, found.parent) == (exact.relation, exact.parent)
    assert found.read is not None
    assert exact.read is None
    assert "--exact reads all" in run("compare", one, two).out
    assert compare(one, other).parent is None


def test_two_that_are_equal_are_read_whole(tmp_path, large):
    one = root(np.random.default_rng(5))
    written(tmp_path, {"one": one, "two": one})
    found = compare(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    assert (found.relation, found.read) == ("duplicate", (1.0, 1.0))


def test_check_says_what_was_read(tmp_path, large):
    written(tmp_path, family(np.random.default_rng(6)))
    assert "windows of large models first" in run("check", tmp_path).out
    assert json.loads(run("check", tmp_path, "--json").out)["read"]["share"] < 1
    assert "read" not in json.loads(run("check", tmp_path, "--json", "--exact").out)
