"""Models that no training of their relatives left: leaves with an open edge."""

import numpy as np
import pytest

import mother

SHAPE = (6, 60, 50)


def family(seed=1):
    rng = np.random.default_rng(seed)

    def step(size=0.1):
        return (size * rng.standard_normal(SHAPE)).astype(np.float32)

    o = rng.standard_normal(SHAPE).astype(np.float32)
    a, b = o + step(), o + step()
    return {"o": o, "a": a, "b": b, "c": a + step(), "d": b + step()}, step


def named(models):
    return {
        name: {f"h.{k}.weight": layer for k, layer in enumerate(w)} for name, w in models.items()
    }


def edges(graph):
    return {(e.parent, e.child) for e in graph.edges if "x" not in (e.parent, e.child)}


def pruned(w):
    return np.where(np.abs(w) < np.median(np.abs(w)), 0, w).astype(np.float32)


def by_signs(w, step):
    return (w + np.abs(step).mean() * np.sign(step)).astype(np.float32)


MADE = {
    "a merge that is missing, pruned": lambda f, step: pruned(0.6 * f["a"] + 0.4 * f["b"]),
    "trained, pruned": lambda f, step: pruned(f["a"] + step()),
    "trained, of the step its signs": lambda f, step: by_signs(f["a"], step()),
    "a block anew": lambda f, step: np.concatenate([f["a"][:4], step(1.0)[:2]]),
}


@pytest.mark.parametrize("kind", MADE)
def test_what_is_no_training_is_a_leaf_and_changes_nothing(kind):
    f, step = family()
    alone = edges(mother.recover(named(f), bootstrap=0))
    assert alone == {("o", "a"), ("o", "b"), ("a", "c"), ("b", "d")}
    graph = mother.recover(named(f | {"x": MADE[kind](f, step)}), bootstrap=0)
    assert edges(graph) == alone
    (edge,) = (e for e in graph.edges if "x" in (e.parent, e.child))
    assert (edge.parent, edge.child) == ("a", "x")
    assert edge.undirected or kind == "a block anew"


def test_a_leaf_hangs_from_the_parent_of_siblings_that_are_nearer():
    """Children that are trained alike are nearer to each other than to their parent."""
    rng = np.random.default_rng(2)
    o, alike, *own = (rng.standard_normal(SHAPE).astype(np.float32) for _ in range(6))
    a, b, x, far = (o + 0.1 * (0.77 * alike + 0.64 * each) for each in own)
    x = np.round(x * 30) / 30  # a few hundred values
    assert np.linalg.norm(x - a) < np.linalg.norm(x - o)
    graph = mother.recover(named({"o": o, "a": a, "b": b, "far": far, "x": x}), bootstrap=0)
    assert {(e.parent, e.child, e.scheme != "") for e in graph.edges} == {
        ("o", "a", False),
        ("o", "b", False),
        ("o", "far", False),
        ("o", "x", True),
    }


def test_children_of_a_pruned_model_hang_from_it():
    """Zeros that two have in the same places are from one of them."""
    f, step = family()
    x = pruned(f["a"] + step())
    children = {f"k{k}": np.where(x == 0, 0, x + step()).astype(np.float32) for k in (1, 2)}
    graph = mother.recover(named(f | {"x": x} | children), bootstrap=0)
    assert {("a", "x"), ("x", "k1"), ("x", "k2")} <= {(e.parent, e.child) for e in graph.edges}


def test_batch_norms_recalibrated_are_a_leaf():
    """No matrix differs: which of the two was first stays open."""
    f, _ = family()
    rng = np.random.default_rng(5)
    models = named(f)
    for name in models:
        models[name]["norm.running_mean"] = 9 * rng.standard_normal(50).astype(np.float32)
    models["x"] = models["a"] | {"norm.running_mean": models["b"]["norm.running_mean"] + 1}
    graph = mother.recover(models, bootstrap=0)
    (edge,) = (e for e in graph.edges if "x" in (e.parent, e.child))
    assert (edge.parent, edge.child, edge.undirected) == ("a", "x", True)
