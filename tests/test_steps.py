"""Models that hold a part of another one's step, and nothing else: leaves between two models."""

import numpy as np
import pytest

import mother

LAYERS, SIDE = 6, 48


def family(seed=0):
    """A base, two children, a grandchild and a stranger."""
    rng = np.random.default_rng(seed)

    def drawn(size):
        return size * rng.standard_normal((LAYERS, SIDE, SIDE))

    base = drawn(1)
    a = base + drawn(0.15)
    return {"base": base, "a": a, "b": base + drawn(0.15), "c": a + drawn(0.15), "z": drawn(1)}


def named(models):
    return {
        id_: {f"h.{k}.w": w[k].astype(np.float32) for k in range(LAYERS)}
        for id_, w in models.items()
    }


def edges(models):
    graph = mother.recover(named(models), bootstrap=0)
    return {(e.parent, e.child) for e in graph.edges}, graph


def largest(share):
    return lambda step: np.where(np.abs(step) >= np.quantile(np.abs(step), 1 - share), step, 0)


def low_rank(step):
    u, s, v = np.linalg.svd(step, full_matrices=False)
    return (u[..., :8] * s[:, None, :8]) @ v[:, :8]


PARTS = {
    "its largest hundredth": largest(0.01),
    "its largest tenth": largest(0.1),
    "its largest half": largest(0.5),
    "its largest singular values": low_rank,
    "some of its rows": lambda step: step * (np.arange(SIDE) % 3 == 0)[:, None],
    "all but its largest": lambda step: step - largest(0.05)(step),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize(("start", "end"), [("base", "a"), ("a", "c"), ("base", "c")])
def test_a_part_of_a_step_is_a_leaf_of_both(part, start, end):
    models = family()
    x = models[start] + part(models[end] - models[start])
    alone, _ = edges(models)
    found, graph = edges(models | {"x": x})
    assert {e for e in found if "x" not in e} == alone
    assert {e for e in found if "x" in e} == {(start, "x"), (end, "x")}
    recipe = graph.node("x").recipe
    assert recipe.method in ("part of a step", "by single weights")
    assert sum(recipe.shares) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_trainings_hold_no_parts(seed):
    """Nor such as go on in the direction of the one before."""
    models = family(seed)
    rng = np.random.default_rng(seed + 9)
    step = models["c"] - models["a"]
    models["d"] = models["c"] + 0.8 * step + 0.03 * rng.standard_normal(step.shape)
    models["e"] = models["a"] + 0.3 * step + 0.08 * rng.standard_normal(step.shape)
    _, graph = edges(models)
    assert not any(n.recipe for n in graph.nodes)
