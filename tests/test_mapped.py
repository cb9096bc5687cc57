"""Copies whose weights are a function of their original's, and twins that nothing orders."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mother
from mother.copies.mapped import turns
from mother.copies.shaped import SIZE_BINS, explained

SHAPE = (5, 48, 40)


def family(seed=1):
    rng = np.random.default_rng(seed)
    steps = 0.1 * rng.standard_normal((4, *SHAPE))
    o = rng.standard_normal(SHAPE)
    return {"o": o, "a": o + steps[0], "b": o + steps[1], "c": o + steps[0] + steps[2]}


def recovered(models):
    return mother.recover(
        {m: {f"h.{k}.w": x.astype(np.float32) for k, x in enumerate(w)} for m, w in models.items()},
        bootstrap=0,
    )


def rounded(w):
    """Mantissas of 10 bits in matrices that are stored wide."""
    return w.astype(np.float16).astype(np.float32)


ONE_WAY = {
    "clipped": ("edited", lambda w: np.clip(w, -2, 2)),
    "shrunk towards zero": ("edited", lambda w: np.sign(w) * np.maximum(np.abs(w) - 0.2, 0)),
    "a tenth pruned": (
        "pruned",
        lambda w: np.where(np.abs(w) < np.quantile(np.abs(w), 0.08), 0, w),
    ),
    "rows centred": ("edited", lambda w: w - w.mean(axis=-1, keepdims=True)),
    "shared values": ("quantized", lambda w: np.sinh(np.round(np.arcsinh(8 * w) * 4) / 4) / 8),
}
EITHER_WAY = {
    "a power": lambda w: np.sign(w) * np.abs(w) ** 1.05,
    "squashed": lambda w: np.tanh(w / 4) * 4,
    "shifted": lambda w: w + 0.05,
    "longer": lambda w: 1.05 * w,
}


@pytest.mark.parametrize("kind", [*ONE_WAY, *EITHER_WAY])
@pytest.mark.parametrize("of", ["o", "c"])
def test_a_function_of_the_weights_is_a_leaf_and_changes_nothing(kind, of):
    relation, change = ONE_WAY.get(kind) or ("edited", EITHER_WAY[kind])
    models = family()
    graph = recovered(models | {"x": change(models[of])})
    (edge,) = (e for e in graph.edges if "x" in (e.parent, e.child))
    assert (edge.parent, edge.child, edge.relation) == (of, "x", relation)
    assert edge.undirected == (kind in EITHER_WAY)
    others = {(e.parent, e.child) for e in graph.edges} - {(of, "x")}
    assert others == {("o", "a"), ("o", "b"), ("a", "c")}


def test_the_name_does_not_tell_which_was_scaled():
    models = family()
    graph = recovered(models | {"_": 0.9 * models["o"]})
    assert {(e.parent, e.child) for e in graph.edges} == {
        ("o", "a"), ("o", "b"), ("a", "c"), ("o", "_"),
    }  # fmt: skip


def test_of_two_twins_either_may_have_come_first():
    """A step so short that what hangs from one may hang from the other."""
    models = family()
    rng = np.random.default_rng(5)
    graph = recovered(models | {"x": models["c"] + 1e-5 * rng.standard_normal(SHAPE)})
    (edge,) = (e for e in graph.edges if {e.parent, e.child} == {"c", "x"})
    assert edge.undirected
    graph = recovered(models | {"x": models["c"] + 0.05 * rng.standard_normal(SHAPE)})
    (edge,) = (e for e in graph.edges if {e.parent, e.child} == {"c", "x"})
    assert (edge.parent, edge.undirected) == ("c", False)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1.0))
def test_turns_are_counted_as_by_hand(seed, size):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((6, 9))
    b = a + size * rng.standard_normal(a.shape)
    here, _ = turns(a, b)
    ways = []
    for rows, moved in (([a.ravel()], [b.ravel()]), (a, b), (a.T, b.T)):
        pairs = [
            sorted(zip(x.tolist(), y.tolist(), strict=True))
            for x, y in zip(rows, moved, strict=True)
        ]
        ways.append(sum(q[1] < p[1] for row in pairs for p, q in pairwise(row)))
    assert here in ways


def noisy(change):
    """A function of the weights, and noise that turns neighbours."""
    return lambda w: change(w) + 0.01 * np.random.default_rng(9).standard_normal(w.shape)


@pytest.mark.parametrize("kind", ["clipped", "shrunk towards zero", "squashed"])
@pytest.mark.parametrize("of", ["o", "c"])
def test_a_function_and_something_more_is_an_open_leaf(kind, of):
    _, change = ONE_WAY.get(kind) or ("edited", EITHER_WAY[kind])
    models = family()
    graph = recovered(models | {"x": noisy(change)(models[of])})
    (edge,) = (e for e in graph.edges if "x" in (e.parent, e.child))
    assert (edge.parent, edge.child, edge.relation) == (of, "x", "edited")
    assert edge.undirected
    assert {(e.parent, e.child) for e in graph.edges} - {(of, "x")} == {
        ("o", "a"), ("o", "b"), ("a", "c"),
    }  # fmt: skip


def test_what_training_with_decay_leaves_is_no_function_of_the_weights():
    models = family()
    noise = np.random.default_rng(3).standard_normal(SHAPE)
    graph = recovered(models | {"x": 0.9 * models["o"] + 0.1 * noise})
    assert "edited" not in {e.relation for e in graph.edges}


@given(st.integers(0, 50), st.integers(200, 700))
@settings(max_examples=25, deadline=None)
def test_what_a_function_explains_is_that_of_means_in_bins(seed, many):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((1, many))
    step = np.sin(3 * w) + rng.standard_normal((1, many))
    rest = step - np.polyval(np.polyfit(w[0], step[0], 1), w)
    ordered = rest[0, np.argsort(w[0])]
    cuts = [k * many // SIZE_BINS for k in range(SIZE_BINS + 1)]
    means = np.concatenate([np.full(b - a, ordered[a:b].mean()) for a, b in pairwise(cuts)])
    total = step.var() * many
    expected = ((means**2).sum() - (SIZE_BINS - 1) / many * (rest**2).sum()) / total
    np.testing.assert_allclose(explained(w, step), expected)


def test_of_a_wide_matrix_a_single_row_is_looked_at_and_tells():
    rng = np.random.default_rng(0)
    o = rng.standard_normal((2, 8, 4100))
    a, b = o + 0.1 * rng.standard_normal(o.shape), o + 0.1 * rng.standard_normal(o.shape)
    graph = recovered({"o": o, "a": a, "b": b, "x": np.clip(a, -2, 2)})
    assert [(e.parent, e.relation) for e in graph.edges if e.child == "x"] == [("a", "edited")]
    assert turns(o[0, :1], a[0, :1])[0] > 100


def test_a_small_layer_has_a_scale_of_its_own():
    models = {
        name: {"body": w[0], "head": w[1][:2]} for name, w in family().items()
    }  # two rows tell no rank, and are no matrix
    x = {"body": models["o"]["body"], "head": 0.5 * models["o"]["head"]}
    stored = {
        m: {n: w.astype(np.float32) for n, w in own.items()}
        for m, own in (models | {"x": x}).items()
    }
    graph = mother.recover(stored, bootstrap=0)
    (edge,) = (e for e in graph.edges if {"x", "o"} == {e.parent, e.child})
    assert (edge.relation, edge.undirected, edge.scheme) == (
        "converted",
        True,
        "scaled by 0.5 to 1",
    )


def test_two_that_were_rounded_from_one_do_not_tell_which_was_first():
    """Each holds digits that the other lost: three matrices rounded by one step in one, and all by
    a finer step for each row in the other."""
    o = family()["o"]
    steps = np.abs(o).max(axis=-1, keepdims=True) / 127
    fine, coarse = np.round(o / steps) * steps, np.round(o / 0.05) * 0.05
    coarse[:2] = o[:2]
    graph = recovered({"fine": fine, "coarse": coarse})
    (edge,) = graph.edges
    assert (edge.relation, edge.undirected) == ("edited", True)
