"""Clusterings against scipy, brute force, and their definitions."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from mother.measures.clustering import (
    adjusted_rand_index,
    connected_components,
    hierarchical_clusters,
)

METHODS = ["single", "complete", "average", "weighted", "centroid", "median", "ward"]
LABELS = st.integers(0, 25).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2)
)


@st.composite
def distances(draw, low=1, high=9, elements=st.integers(0, 4)):  # noqa: B008
    n = draw(st.integers(low, high))
    pairs = n * (n - 1) // 2
    values = draw(st.lists(elements, min_size=pairs, max_size=pairs))
    return squareform(np.array(values, dtype=float)) if n > 1 else np.zeros((1, 1))


def same_partition(a, b):
    return np.array_equal(np.equal.outer(a, a), np.equal.outer(b, b))


def in_order_of_appearance(labels):
    return list(dict.fromkeys(labels.tolist())) == list(range(len(set(labels.tolist()))))


@given(distance=distances(), method=st.sampled_from(METHODS))
@settings(deadline=None)
def test_k_clusters_come_out_even_if_all_is_tied(distance, method):
    for k in range(1, len(distance) + 1):
        labels = hierarchical_clusters(distance, k=k, method=method)
        assert labels.dtype == np.intp
        assert labels.max() == k - 1
        assert in_order_of_appearance(labels)


@pytest.mark.parametrize("method", METHODS)
def test_like_scipy_where_nothing_is_tied(method):
    points = np.random.default_rng(0).normal(size=(40, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    merges = hierarchy.linkage(squareform(distance, checks=False), method)
    for k in (1, 2, 5, 17, 40):
        cut = hierarchy.cut_tree(merges, k).ravel()
        if method not in ("centroid", "median"):  # cut_tree is wrong where heights go down again
            assert same_partition(hierarchical_clusters(distance, k=k, method=method), cut)
    for threshold in (0.0, 0.7, 1.5, 9.0):
        labels = hierarchical_clusters(distance, threshold=threshold, method=method)
        assert same_partition(labels, hierarchy.fcluster(merges, threshold, criterion="distance"))
        assert in_order_of_appearance(labels)


@given(distance=distances(), threshold=st.integers(-1, 5))
@settings(deadline=None)
def test_single_linkage_joins_what_a_chain_of_short_steps_joins(distance, threshold):
    labels = hierarchical_clusters(distance, threshold=threshold)
    near = (distance <= threshold) & ~np.eye(len(distance), dtype=bool)
    np.testing.assert_array_equal(labels, connected_components(near))


def test_three_far_groups_are_told_apart():
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], [5, 1, 8])
    points = 100 * truth + rng.random(len(truth))
    distance = abs(np.subtract.outer(points, points))
    np.testing.assert_array_equal(hierarchical_clusters(distance, k=3), truth)
    np.testing.assert_array_equal(hierarchical_clusters(distance, threshold=10), truth)


def test_one_model_is_one_cluster_and_none_are_none():
    assert hierarchical_clusters([[np.inf]], k=1).tolist() == [0]
    assert hierarchical_clusters([[0.0]], threshold=1.0).tolist() == [0]
    assert hierarchical_clusters(np.zeros((0, 0)), threshold=1.0).tolist() == []


def test_the_diagonal_is_ignored_and_the_input_left_alone():
    distance = np.array([[np.inf, 1.0], [1.0, np.nan]])  # the paper's D holds inf there
    assert hierarchical_clusters(distance, k=1).tolist() == [0, 0]
    assert distance[0, 0] == np.inf


@pytest.mark.parametrize(
    ("distance", "options", "fault"),
    [
        (np.zeros((2, 3)), {"k": 1}, "square"),
        ([[0, 1], [2, 0]], {"k": 1}, "symmetric"),
        ([[0, np.nan], [np.nan, 0]], {"k": 1}, "finite"),
        ([[0, 1], [1, 0]], {}, "either k or threshold"),
        ([[0, 1], [1, 0]], {"k": 1, "threshold": 1.0}, "either k or threshold"),
        ([[0, 1], [1, 0]], {"k": 0}, r"1\.\.2, got 0"),
        ([[0, 1], [1, 0]], {"k": 3}, r"1\.\.2, got 3"),
        ([[0, 1], [1, 0]], {"k": 1, "method": "best"}, "'best'"),
    ],
)
def test_input_that_is_refused(distance, options, fault):
    with pytest.raises(ValueError, match=fault):
        hierarchical_clusters(distance, **options)


@given(n=st.integers(0, 12), data=st.data())
@settings(deadline=None)
def test_components_like_networkx(n, data):
    cells = data.draw(st.lists(st.integers(0, 7), min_size=n * n, max_size=n * n))
    adjacency = np.array(cells, dtype=int).reshape(n, n) == 0
    labels = connected_components(adjacency)
    assert labels.dtype == np.intp
    graph = nx.from_numpy_array(adjacency.astype(int))
    graph.add_edges_from(np.argwhere(adjacency).tolist())
    expected = sorted(sorted(nodes) for nodes in nx.connected_components(graph))
    assert [np.flatnonzero(labels == c).tolist() for c in range(len(expected))] == expected


def test_an_adjacency_is_square():
    with pytest.raises(ValueError, match="square"):
        connected_components([[True, False]])


def rand_by_counting(a, b):
    """Hubert and Arabie's index from every pair, one by one; None where it is 0 / 0."""
    pairs = [(a[i] == a[j], b[i] == b[j]) for i, j in combinations(range(len(a)), 2)]
    in_a, in_b = sum(x for x, _ in pairs), sum(y for _, y in pairs)
    both = sum(x and y for x, y in pairs)
    chance = in_a * in_b / len(pairs) if pairs else 0
    most = (in_a + in_b) / 2
    return None if most == chance else (both - chance) / (most - chance)


@given(LABELS)
@settings(deadline=None)
def test_rand_index_like_counting_pairs(labels):
    a, b = labels
    expected = rand_by_counting(a, b)
    index = adjusted_rand_index(a, b)
    assert index == (1.0 if expected is None else pytest.approx(expected))
    assert adjusted_rand_index(b, a) == index
    assert adjusted_rand_index([f"name {label}" for label in a], b) == index


@given(LABELS)
@settings(deadline=None)
def test_rand_index_is_one_for_the_same_partition_only(labels):
    a, b = labels
    assert (adjusted_rand_index(a, b) == 1.0) == same_partition(a, b)


def test_rand_index_is_zero_on_average_for_chance():
    rng = np.random.default_rng(2)
    indices = [adjusted_rand_index(*rng.integers(0, 4, (2, 60))) for _ in range(300)]
    assert abs(np.mean(indices)) < 0.01


def test_rand_index_of_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="one length"):
        adjusted_rand_index([0, 1], [0])
