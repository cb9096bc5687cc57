"""Kinship, weighted medians, and the layers by which a tree is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import mother
from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.evidence import kinship as relatedness
from mother.layouts import align
from mother.measures import Measures, measure
from mother.sketches.sketch import sketch
from mother.trees.forest import Forest, Hidden, no_edges

SHAPES = {
    "embed.weight": (64, 3, 4, 4),
    "layer.0.weight": (96, 64),
    "layer.0.bias": (96,),
    "layer.1.weight": (64, 96),
    "norm.weight": (96,),
    "head.weight": (10, 64),
}


def fresh(rng):
    out = {n: rng.normal(0, 0.05, s).astype(np.float32) for n, s in SHAPES.items()}
    out["norm.weight"] = np.ones(96, np.float32)
    return out


def tuned(weights, rng, size=0.01):
    return {n: w + rng.normal(0, size, w.shape).astype(np.float32) for n, w in weights.items()}


def measured(*models):
    checkpoints = [
        Checkpoint(f"{i:03}", Path("x"), "npz", {n: constant(n, w) for n, w in m.items()})
        for i, m in enumerate(models)
    ]
    (group,) = align(checkpoints)
    return measure(group)


def brute_median(values, weight):
    """Smallest value at which half of the weight is reached."""
    have = sorted((v, w) for v, w in zip(values, weight, strict=True) if not np.isnan(v))
    total = sum(w for _, w in have)
    done = 0
    for v, w in have:
        done += w
        if 2 * done >= total:
            return v
    return 0.0


@given(
    st.integers(1, 9).flatmap(
        lambda n: st.tuples(
            st.lists(st.one_of(st.integers(-5, 5), st.just(np.nan)), min_size=n, max_size=n),
            st.lists(st.integers(1, 9), min_size=n, max_size=n),
        )
    )
)
@settings(deadline=None, max_examples=300)
def test_weighted_median_against_brute_force(given_):
    values, weight = given_
    columns = np.array([values, values[::-1], [2 * v for v in values]], dtype=float).T
    found = relatedness.weighted_median(columns, np.array(weight, dtype=float))
    assert found.shape == (3,)
    assert found.tolist() == [brute_median(c, weight) for c in columns.T]


@pytest.mark.parametrize("many", range(2, 40, 2))
def test_of_two_halves_the_median_is_the_lower_one(many):
    """Whichever way sums of their weights are rounded."""
    values = np.arange(many, dtype=float)[:, None]
    for size in range(1, 200):
        found = relatedness.weighted_median(values, np.full(many, np.sqrt(size)))
        assert found == [many / 2 - 1]


def test_weighted_median_of_matrices():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(12, 4, 5)), rng.integers(1, 9, 12).astype(float)
    values[rng.random(values.shape) < 0.3] = np.nan
    found = relatedness.weighted_median(values, weight)
    for i in range(4):
        for j in range(5):
            assert found[i, j] == brute_median(values[:, i, j], weight)


@pytest.mark.filterwarnings("error")
def test_a_norm_that_rounding_left_below_nothing_is_none():
    gram = np.array([[[1.0, 0.0], [0.0, -1e-9]]])
    m = Measures(("w",), ((4, 4),), np.array([16]), gram)
    assert np.isnan(relatedness.cosines(m)[0, 0, 1])


def test_cosines_against_numpy():
    rng = np.random.default_rng(1)
    models = [tuned(fresh(rng), rng) for _ in range(3)]
    del models[2]["head.weight"]
    m = measured(*models)
    found = relatedness.cosines(m)
    for index, name in enumerate(m.names):
        for i in range(3):
            for j in range(3):
                if name not in models[i] or name not in models[j]:
                    assert np.isnan(found[index, i, j])
                    continue
                a, b = (models[k][name].astype(np.float64).ravel() for k in (i, j))
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                assert found[index, i, j] == pytest.approx(cosine, abs=1e-6)


def with_means(models):
    """Measured with moments; every weight of a matrix has one mean, the larger the later."""
    moved = [
        {n: w + 0.1 * (k + 1) if w.ndim > 1 else w for n, w in m.items()}
        for k, m in enumerate(models)
    ]
    held = [
        Checkpoint(f"{i:03}", Path("x"), "npz", {n: constant(n, w) for n, w in m.items()})
        for i, m in enumerate(moved)
    ]
    return align(held)[0], measure(align(held)[0], moments=True)


def test_agreement_is_pearsons_correlation():
    rng = np.random.default_rng(1)
    models = [tuned(fresh(rng), rng) for _ in range(3)]
    group, m = with_means(models)
    found = relatedness.agreement(m)
    for index, layer in enumerate(group.layers):
        weights = np.stack([t.read() for t in layer.tensors])
        if len(layer.shape) > 1:
            np.testing.assert_allclose(found[index], np.corrcoef(weights), atol=1e-5)


def test_weights_that_are_all_equal_agree_in_nothing():
    models = [{"w": np.full((200, 300), 0.7, np.float32)} for _ in range(2)]
    held = [
        Checkpoint(str(k), Path("x"), "npz", {n: constant(n, w) for n, w in m.items()})
        for k, m in enumerate(models)
    ]
    m = measure(align(held)[0], moments=True)
    assert np.isnan(relatedness.agreement(m)).all()


def test_pruned_weights_agree_in_what_is_left():
    rng = np.random.default_rng(1)
    one, other = rng.normal(3, 1, (2, 400, 100))
    keep = rng.random(one.shape) < 0.3
    models = {"a": {"w": one}, "pruned": {"w": np.where(keep, one, 0)}, "stranger": {"w": other}}
    assert {frozenset(t.members) for t in mother.recover(models).trees} == {
        frozenset({"a", "pruned"}),
        frozenset({"stranger"}),
    }


def test_a_common_mean_is_no_kinship():
    rng = np.random.default_rng(0)
    roots = [fresh(rng) for _ in range(2)]
    group, m = with_means([tuned(root, rng) for root in roots for _ in range(2)])
    kin = relatedness.kinship(m) > 1
    np.testing.assert_array_equal(kin, np.kron(np.eye(2, dtype=bool), np.ones((2, 2), dtype=bool)))
    first, _ = relatedness.kinship_of_first(group)
    np.testing.assert_array_equal(first > 1, kin[0])
    assert (relatedness.kinship(replace(m, moments=np.zeros((0, 0, 6)))) > 1).all()


def test_threshold_is_five_deviations_of_chance():
    sizes = np.array([1024, 2500, 10_000])
    np.testing.assert_allclose(relatedness.threshold(sizes), [5 / 32, 0.1, 0.1], rtol=0.02)
    # of few weights: the share of the sphere above a cosine, by its exact law
    few = np.array([16, 64, 256])
    above = stats.beta.sf(relatedness.threshold(few) ** 2, 0.5, (few - 1) / 2) / 2
    assert (above < 4 * stats.norm.sf(5)).all()
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 20_000, 100))
    chance = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.abs(chance).max() < relatedness.threshold(np.array([100]))[0]


@pytest.mark.parametrize("seed", range(5))
def test_strangers_below_one_and_relatives_above(seed):
    rng = np.random.default_rng(seed)
    models = []
    for _ in range(3):
        root = fresh(rng)
        child = tuned(root, rng)
        models += [root, child, tuned(child, rng, 0.03), tuned(root, rng, 0.02)]
    found = relatedness.kinship(measured(*models))
    family = np.arange(12) // 4
    kin = family[:, None] == family
    assert (found[kin] > 3).all()
    assert (found[~kin] < 0.5).all()


def test_replaced_heads_and_equal_norms_do_not_matter():
    rng = np.random.default_rng(3)
    root = fresh(rng)
    tuned_ones = [tuned(root, rng) for _ in range(3)]
    for k, one in enumerate(tuned_ones):
        one["head.weight"] = rng.normal(0, 0.05, (10 + k, 64)).astype(np.float32)
    strangers = [fresh(rng) for _ in range(2)]  # their norms are all of ones, as the family's
    replaced = dict(root) | {"head.weight": rng.normal(0, 0.05, (10, 64)).astype(np.float32)}
    found = relatedness.kinship(measured(root, *tuned_ones, replaced, *strangers))
    assert (found[:5, :5] > 3).all()
    assert (found[:5, 5:] < 1).all()
    assert found[5, 6] < 1


def test_vectors_count_where_there_is_nothing_else():
    rng = np.random.default_rng(4)
    root = {"a": rng.normal(size=5000).astype(np.float32), "b": rng.normal(size=400).astype("f4")}
    stranger = {n: rng.normal(size=w.shape).astype(np.float32) for n, w in root.items()}
    found = relatedness.kinship(measured(root, tuned(root, rng), stranger))
    assert found[0, 1] > 1 > max(found[0, 2], found[1, 2])


def test_models_of_zeros_are_no_relatives():
    zero = {n: np.zeros(s, np.float32) for n, s in SHAPES.items()}
    rng = np.random.default_rng(5)
    found = relatedness.kinship(measured(zero, fresh(rng), fresh(rng)))
    assert np.isfinite(found).all()
    assert (found[0, 1:] <= 1).all()


def test_no_layers():
    m = measured(*[fresh(np.random.default_rng(k)) for k in range(2)])
    none = m.over(np.zeros(len(m.names), dtype=bool))
    assert relatedness.kinship(none).tolist() == [[0, 0], [0, 0]]


def test_inherited_layers():
    rng = np.random.default_rng(6)
    root = fresh(rng)
    models = [root, *(tuned(root, rng) for _ in range(4))]
    for one in models:
        one["frozen.weight"] = np.full((20, 20), 0.5, np.float32)
        one["head.weight"] = rng.normal(0, 0.05, (10, 64)).astype(np.float32)
    for one in models[:3]:
        one["pooler.weight"] = np.ones((8, 8), np.float32) + rng.random((8, 8)).astype("f4")
    m = measured(*models)
    found = dict(zip(m.names, relatedness.inherited(m).tolist(), strict=True))
    assert found == {
        "embed.weight": True,
        "layer.0.weight": True,
        "layer.0.bias": True,
        "layer.1.weight": True,
        "norm.weight": True,
        "frozen.weight": True,
        "head.weight": False,  # replaced
        "pooler.weight": False,  # not in all
    }


@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_labels_of_a_forest_against_networkx(n, seed):
    import networkx as nx

    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    parents = np.full(n, -1, dtype=np.intp)
    for k in range(1, n):
        if rng.random() < 0.6:
            parents[order[k]] = order[rng.integers(k)]
    roots = [int(i) for i in np.flatnonzero(parents < 0)]
    hidden = []
    if len(roots) > 2 and rng.random() < 0.7:
        above = -1 if rng.random() < 0.5 else roots[2]
        hidden.append(Hidden((roots[0], roots[1]), above, 0.5))
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from((i, int(p)) for i, p in enumerate(parents) if p >= 0)
    for h in hidden:
        graph.add_edges_from((h.children[0], c) for c in h.children)
        if h.parent >= 0:
            graph.add_edge(h.children[0], h.parent)
    expected = np.zeros(n, dtype=int)
    trees = sorted(nx.connected_components(graph), key=min)
    for label, members in enumerate(trees):
        expected[list(members)] = label
    assert Forest(parents, tuple(hidden)).labels().tolist() == expected.tolist()


def test_no_edges_and_renumbering():
    forest = no_edges(3)
    assert forest.parents.tolist() == [-1, -1, -1]
    assert forest.labels().tolist() == [0, 1, 2]
    assert np.isnan(forest.distance).all()
    index = np.array([4, 7, 9])
    assert Hidden((0, 2), 1, 0.5).renumbered(index) == Hidden((4, 9), 7, 0.5)
    assert Hidden((0, 2), -1, 0.5).renumbered(index) == Hidden((4, 9), -1, 0.5)


def test_a_layer_of_zeros_is_no_one_s_relative():
    m = measured(fresh(np.random.default_rng(0)), fresh(np.random.default_rng(1)))
    zeros = m.gram.copy()
    zeros[0] = [[0.0, 1e-20], [1e-20, 1.0]]  # what rounding leaves beside a bias never trained
    cosine = relatedness.cosines(replace(m, gram=zeros))[0]
    assert np.isnan(cosine[0, 1])
    assert cosine[1, 1] == 1
    assert relatedness.inherited(replace(m, gram=zeros))[0] == np.False_


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_error_of_a_median_is_what_draws_show(seed, many):
    rng = np.random.default_rng(seed)
    noise, weight = rng.uniform(0.5, 2, (many, 1)), rng.uniform(0.5, 2, many)
    values = rng.normal(size=(many, 1))
    drawn = values + noise * rng.normal(size=(many, 4000))
    found = relatedness.weighted_median(drawn, weight).std()
    said = relatedness.error_of_median(
        values, noise, weight, relatedness.weighted_median(values, weight)
    )[0]
    assert 0.6 < said / found < 1.7


@pytest.mark.parametrize("alike", [0.0, 0.12, 0.6])
def test_kinship_strays_over_windows_by_its_error(alike):
    """Rows and columns weigh alike here, where a window tells as much as weights drawn one by one:
    what is said is CLUSTERED times as much."""
    rng = np.random.default_rng(3)
    shapes = {f"layer.{k}.weight": (96, 128) for k in range(6)}
    one = {n: rng.normal(size=s) for n, s in shapes.items()}
    two = {n: alike * w + np.sqrt(1 - alike**2) * rng.normal(size=w.shape) for n, w in one.items()}
    models = [
        Checkpoint(id, Path(id), "npz", {n: constant(n, w) for n, w in m.items()})
        for id, m in (("a", one), ("b", two))
    ]
    found, said = [], []
    for seed in range(60):
        m = measure(align([sketch(c, 16 << 10, seed=seed) for c in models])[0])
        cosine = relatedness.cosines(m)[:, :1, 1]
        found.append(relatedness.weighted_median(cosine, np.sqrt(m.seen))[0])
        noise = (1 - cosine**2) * np.sqrt(1 / m.seen - 1 / m.sizes)[:, None]
        said.append(
            relatedness.error_of_median(
                cosine, noise, np.sqrt(m.seen), relatedness.weighted_median(cosine, np.sqrt(m.seen))
            )[0]
        )
    assert 1.2 < np.mean(said) / np.std(found) < 3.2


@given(st.integers(0, 2**32 - 1))
def test_kinship_of_pairs_is_that_of_what_was_looked_at_of_them(seed):
    rng = np.random.default_rng(seed)
    models = [fresh(rng) for _ in range(3)]
    m = measured(*models)
    seen = rng.integers(20, m.sizes.min() + 1, len(m.sizes))
    alone = replace(m, sampled=seen)
    by_pair = np.broadcast_to(m.sizes[:, None, None], m.gram.shape).copy()
    by_pair[:, :2, :2] = seen[:, None, None]
    mixed = relatedness.kinship(replace(m, sampled=by_pair))
    np.testing.assert_allclose(mixed[:2, :2], relatedness.kinship(alone)[:2, :2])
    np.testing.assert_allclose(mixed[2], relatedness.kinship(m)[2])
