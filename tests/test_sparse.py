"""Families from samples on candidate pairs, against the dense method and plain oracles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csgraph
from scipy.spatial.distance import cdist

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.evidence.kinds import Evidence, Kind
from mother.evidence.kinship import kinship
from mother.evidence.leaders import families
from mother.evidence.registry import KINDS
from mother.layouts import align
from mother.measures import measure
from mother.measures.clustering import components
from mother.methods import gram
from mother.sketches.samples import Samples, samples_of
from mother.sketches.sketch import sketch
from mother.trees import neighbours
from mother.trees.forest import Forest
from mother.trees.neighbours import candidate_pairs, nearest, spanning_tree

LAYERS, SEEN = 6, 400
SEEDS = st.integers(0, 2**32 - 1)


def tree(rng: np.random.Generator, n: int, step: float = 0.2) -> tuple[Samples, np.ndarray]:
    """A family that grew by attachment, and its parents."""
    parents = np.array([-1, *(int(rng.integers(v)) for v in range(1, n))])
    rows = np.empty((n, LAYERS * SEEN), dtype=np.float32)
    rows[0] = rng.standard_normal(LAYERS * SEEN)
    for v in range(1, n):
        size = step * rng.uniform(0.5, 1.5)
        rows[v] = rows[parents[v]] + size * rng.standard_normal(LAYERS * SEEN)
    return samples(rows), parents


def samples(rows: np.ndarray) -> Samples:
    names = tuple(f"l{k}" for k in range(LAYERS))
    return Samples(names, ((100, 80),) * LAYERS, np.arange(LAYERS + 1) * SEEN, rows)


def large(s: Samples, **options: int) -> Forest:
    return gram.recover(s, **options)


def edges(parents: np.ndarray) -> set[frozenset[int]]:
    return {frozenset((c, int(p))) for c, p in enumerate(parents) if p >= 0}


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_products_are_those_of_plain_matrices(seed: int) -> None:
    s, _ = tree(np.random.default_rng(seed), 5)
    m = s.measures()
    i, j = np.triu_indices(5)
    ii, jj, ij = s.products(i, j)
    np.testing.assert_allclose(ij, m.gram[:, i, j], rtol=1e-12)
    np.testing.assert_allclose(ii, m.gram[:, i, i], rtol=1e-12)
    np.testing.assert_allclose(jj, m.gram[:, j, j], rtol=1e-12)
    np.testing.assert_allclose(s.squared_norms(), np.diagonal(m.gram, axis1=1, axis2=2))
    w = s.rows[:, :SEEN].astype(np.float64)  # 8000 weights, 400 of them seen
    np.testing.assert_allclose(m.gram[0], w @ w.T * 20)


def test_samples_of_sketches_say_what_the_pass_over_them_does() -> None:
    rng = np.random.default_rng(2)
    shapes = {"a.weight": (60, 50), "b.weight": (40, 40), "c.bias": (30,)}

    def model(id: str) -> Checkpoint:
        tensors = {name: constant(name, rng.normal(size=size)) for name, size in shapes.items()}
        return Checkpoint(id, Path(id), "npz", tensors)

    (group,) = align([sketch(model(id), 4096) for id in "xyz"])
    whole, s = measure(group), samples_of(group)
    found = s.measures()
    np.testing.assert_allclose(found.gram, whole.gram, rtol=1e-4, atol=1e-3)
    assert found.seen.tolist() == whole.seen.tolist()
    assert (s.over(np.array([True, False, True])).seen == whole.seen[[0, 2]]).all()
    np.testing.assert_allclose(s.two(2, 0).gram[:, 0, 1], found.gram[:, 2, 0])
    s.rows[1, s.columns[1]] = np.nan
    assert s.finite().tolist() == [True, False, True]


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 90), st.integers(1, 12), st.sampled_from([1, 7, 1024]))
def test_nearest_are_the_nearest(seed: int, n: int, k: int, block: int) -> None:
    points = np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32)
    found = nearest(points, np.arange(n), k, block=block)
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    for row, own in zip(found, apart, strict=True):
        kept = row[row >= 0]
        assert len(set(kept.tolist())) == len(kept) == min(k, n - 1)
        rest = np.delete(own, kept)
        assert own[kept].max(initial=0) <= rest.min(initial=np.inf) * (1 + 1e-5)


def test_nearest_elsewhere() -> None:
    points = np.arange(6, dtype=np.float32)[:, None]
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert nearest(points, np.arange(6), 1, labels).ravel().tolist() == [3, 3, 3, 2, 2, 2]
    assert nearest(points, np.array([0]), 2, np.zeros(6, int)).tolist() == [[-1, -1]]


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(2, 40))
def test_spanning_tree_is_the_cheapest(seed: int, n: int) -> None:
    cost = np.random.default_rng(seed).random(n * (n - 1) // 2)
    i, j = np.triu_indices(n, 1)
    towards = spanning_tree(n, i, j, cost)
    dense = np.zeros((n, n))
    dense[i, j] = cost
    oracle = csgraph.minimum_spanning_tree(dense)
    pairs = np.stack(oracle.nonzero(), axis=1).tolist()
    assert edges(towards) == {frozenset(pair) for pair in pairs}


@settings(max_examples=10, deadline=None)
@given(SEEDS, st.integers(2, 60))
def test_candidates_join_all(seed: int, n: int) -> None:
    """Clusters far apart, each with more members than candidates are looked for."""
    rng = np.random.default_rng(seed)
    middles = 100 * rng.standard_normal((3, 8))
    points = (middles[rng.integers(3, size=n)] + rng.standard_normal((n, 8))).astype(np.float32)
    i, j, squared = candidate_pairs(points, 4)
    assert (i < j).all()
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i)
    np.testing.assert_allclose(squared, cdist(points, points)[i, j] ** 2, rtol=1e-3)
    adjacent = np.zeros((n, n), dtype=bool)
    adjacent[i, j] = True
    assert len(components(adjacent)) == 1


@pytest.mark.parametrize(("n", "seed"), [(2, 0), (9, 1), (40, 2), (120, 3)])
def test_agrees_with_the_dense_method(n: int, seed: int) -> None:
    s, parents = tree(np.random.default_rng(seed), n)
    dense = gram.recover(s.measures(), trees=1)
    found = large(s)
    assert edges(found.parents) == edges(dense.parents)
    assert (found.parents == dense.parents).mean() > 0.95
    same = (found.parents == dense.parents) & (found.parents >= 0)
    for figure in ("distance", "polarity", "odds", "turn"):
        ours, theirs = getattr(found, figure)[same], getattr(dense, figure)[same]
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert len(edges(found.parents) & edges(parents)) >= 0.95 * (n - 1)


def test_a_hub_with_more_children_than_candidates() -> None:
    rng = np.random.default_rng(5)
    n = 200
    parents = np.array([-1, *[0] * 120, *[1] * (n - 121)])
    rows = np.empty((n, LAYERS * SEEN), dtype=np.float32)
    rows[0] = rng.standard_normal(LAYERS * SEEN)
    for v in range(1, n):
        rows[v] = rows[parents[v]] + 0.15 * rng.standard_normal(LAYERS * SEEN)
    assert large(samples(rows)).parents.tolist() == parents.tolist()


def test_families_together_are_as_each_alone() -> None:
    """Of different sizes and with different layers frozen."""
    rng = np.random.default_rng(8)
    parts = [tree(rng, n)[0].rows for n in (1, 2, 3, 9, 40, 2)]
    parts[2][:, :SEEN] = parts[2][0, :SEEN]
    parts[5][1] = parts[5][0]
    s = samples(np.concatenate(parts))
    ends = np.cumsum([0, *map(len, parts)])
    groups = [np.arange(at, at + len(x)) for at, x in zip(ends, parts, strict=False)]
    found = gram.recover(s)
    for members in groups:
        alone = gram.recover(s.among(members))
        there = found.parents[members]
        assert np.where(there >= 0, there - members[0], -1).tolist() == alone.parents.tolist()
        for figure in ("distance", "direction", "odds", "polarity"):
            np.testing.assert_array_equal(getattr(found, figure)[members], getattr(alone, figure))


def test_neither_threads_nor_blocks_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    s, _ = tree(np.random.default_rng(7), 150)
    one = large(s)
    for name, value in (("ROWS_OF_BLOCK", 13), ("PANEL", 64)):
        monkeypatch.setattr(neighbours, name, value)
    monkeypatch.setattr(nearest, "__defaults__", (None, 1, 13))
    other = large(s, threads=3)
    for figure in ("parents", "distance", "direction", "rival"):
        np.testing.assert_array_equal(getattr(one, figure), getattr(other, figure))


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_leaders_find_the_components_of_kinship(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # the weights of half of them have a mean that is none of kinship
    parts = [tree(rng, int(n))[0].rows + k % 2 for k, n in enumerate(rng.integers(1, 12, 6))]
    rows = rng.permutation(np.concatenate(parts))
    s = samples(rows)
    found = [group.tolist() for group in families(s)]
    assert found == components(kinship(s.measures()) > 1)


@pytest.mark.parametrize(("n", "step"), [(12, 0.2), (40, 0.2), (40, 0.05)])
def test_support_is_that_of_the_dense_method(n: int, step: float) -> None:
    """Layers of which some say one thing and some another: steps are in but a few of them."""
    rng = np.random.default_rng(4)
    s, _ = tree(rng, n, step)
    s.rows[n // 2 :, : 2 * SEEN] += 0.2 * rng.standard_normal((n - n // 2, 2 * SEEN))
    dense = gram.recover(s.measures(), replicates=200, seed=5, trees=1)
    found = large(s, replicates=200, seed=5)
    plain = large(s)
    assert found.parents.tolist() == plain.parents.tolist()
    assert np.isnan(plain.support).all()
    same = (found.parents == dense.parents) & (found.parents >= 0)
    assert same.sum() > 0.8 * (n - 1)
    gap = np.abs(found.support[same] - dense.support[same])
    assert gap.mean() < 0.08
    assert ((found.support[same] > 0) & (found.support[same] <= 1)).all()


def test_a_family_stays_one_though_all_edges_lead_over_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is near to a model may be joined to the rest by one pair alone."""

    class All(Evidence):
        def objections(
            self, parents: np.ndarray, _: object, *, doubting: bool = False
        ) -> np.ndarray:
            return np.asarray(parents >= 0)

    kind = Kind("all", "", lambda _: All())
    monkeypatch.setitem(KINDS, "all", kind)
    s, _ = tree(np.random.default_rng(0), 30)
    for source in (s, s.measures()):
        assert (gram.recover(source, replicates=3).parents >= 0).sum() == 29
