"""Paths of three: costs against plain sums, and trees that are known."""

from __future__ import annotations

import itertools
import math

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.measures.clustering import minimum_spanning_trees
from mother.trees.regraft import TURN, Candidates, regraft, rivals, turn_of
from mother.trees.rooting import orient
from mother.trees.turns import turning


def among(apart: np.ndarray) -> Candidates:
    """All others may be each one's parent."""
    n = len(apart)
    pairs = np.triu_indices(n, 1)
    possible = np.ones(len(pairs[0]), dtype=bool)
    return Candidates.among(n, pairs, apart[pairs], possible, lambda *_: math.nan)


def turns(parents: np.ndarray, apart: np.ndarray) -> np.ndarray:
    out = np.full(len(parents), np.nan)
    for c, p in enumerate(parents.tolist()):
        g = parents[p]
        if p >= 0 and g >= 0:
            out[c] = turn_of(*(np.array([apart[pair]]) for pair in ((g, c), (p, c), (g, p))))[0]
    return out


def squared(points: np.ndarray) -> np.ndarray:
    return np.square(points[:, None] - points[None]).sum(axis=2)


def cost(parents: list[int], x: np.ndarray) -> float:
    """Of a whole tree, from the points themselves."""
    total = 0.0
    for c, p in enumerate(parents):
        if p < 0:
            continue
        step = x[c] - x[p]
        length = float(step @ step)
        g = parents[p]
        if g < 0:
            total += length
            continue
        before = x[p] - x[g]
        scale = math.sqrt(length * float(before @ before))
        total += length * (1 + TURN * max(0.0, -float(step @ before) / scale)) if scale else length
    return total


def test_models_at_no_distance_cost_nothing() -> None:
    """From samples, two at no distance from each other may yet be at others from a third."""
    apart = np.array([[0.0, 4.0, 3.0], [4.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    found = regraft(np.array([-1, 0, 1]), among(apart))
    assert found.tolist() == [-1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_moves_only_make_the_tree_cheaper(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    tree = np.array([-1] + [int(rng.integers(k)) for k in range(1, n)], dtype=np.intp)
    found = regraft(tree, among(squared(x)), centre=False)
    assert found[0] == -1
    edges = [(int(p), c) for c, p in enumerate(found) if p >= 0]
    assert networkx.is_arborescence(networkx.DiGraph(edges))
    assert cost(found.tolist(), x) <= cost(tree.tolist(), x) * (1 + 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_single_move_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 6
    x = rng.normal(size=(n, 4))
    tree = np.array([-1, 0, 1, 2, 3, 4], dtype=np.intp)
    found = regraft(tree, among(squared(x)), centre=False).tolist()
    best = cost(found, x)
    for c, p in itertools.product(range(1, n), range(n)):
        moved = list(found)
        moved[c] = p
        graph = networkx.DiGraph([(q, k) for k, q in enumerate(moved) if q >= 0])
        if c != p and networkx.is_directed_acyclic_graph(graph):
            assert cost(moved, x) >= best * (1 - 1e-6)


def test_siblings_that_resemble_each_other_hang_from_their_parent() -> None:
    """Both go the same way for a while: nearer to each other than to the parent."""
    rng = np.random.default_rng(0)
    root, alike = rng.normal(size=400) * 5, rng.normal(size=400)
    a, b = (root + alike + 0.75 * rng.normal(size=400) for _ in range(2))
    far = root + rng.normal(size=400) * 1.2
    x = np.stack([root, a, b, far])
    D = squared(x)
    assert D[1, 2] < D[0, 1]
    (chain,) = minimum_spanning_trees([D])
    assert chain.tolist() != [-1, 0, 0, 0]
    found = regraft(chain, among(D))
    assert found.tolist() == [-1, 0, 0, 0]


def test_a_child_far_from_a_cluster_hangs_from_its_middle() -> None:
    rng = np.random.default_rng(1)
    middle = rng.normal(size=500) * 3
    near = [middle + 0.01 * rng.normal(size=500) for _ in range(6)]
    far = near[2] + 2.0 * rng.normal(size=500) + 0.02 * (near[3] - middle)
    x = np.stack([middle, *near, far])
    tree = np.array([-1, 0, 0, 0, 0, 0, 0, 4], dtype=np.intp)
    found = regraft(tree, among(squared(x)))
    assert found.tolist() == [-1, 0, 0, 0, 0, 0, 0, 0]


def test_turns_are_cosines() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 5))
    found = turns(np.array([-1, 0, 1, 2]), squared(x))
    assert np.isnan(found[:2]).all()
    for c in (2, 3):
        step, before = x[c] - x[c - 1], x[c - 1] - x[c - 2]
        wanted = step @ before / np.linalg.norm(step) / np.linalg.norm(before)
        assert found[c] == pytest.approx(wanted)


def test_the_runner_up_is_the_cheapest_other_parent() -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([np.zeros((1, 6)), rng.normal(size=(4, 6))])
    tree = [-1, 0, 0, 1, 1]
    rival, factor = rivals(np.array(tree), among(squared(x)))
    assert rival[0] == -1
    for c in (2, 3, 4):  # leaves: nothing hangs below that would change
        others = {p: [*tree[:c], p, *tree[c + 1 :]] for p in range(5) if p not in (c, tree[c])}
        best = min(others, key=lambda p: cost(others[p], x))
        assert rival[c] == best
        around = cost(others[best], x) - cost(tree, x)
        step = squared(x)[tree[c], c]
        own = step * (1 + TURN * max(0.0, -turns(np.array(tree), squared(x))[c])) if c > 2 else step
        assert factor[c] == pytest.approx(1 + around / own)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 4))
def test_spanning_trees_are_as_light_as_networkx_has_them(seed: int, n: int, many: int) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 6, size=(many, n, n)).astype(float)
    costs += costs.transpose(0, 2, 1)
    for one, parents in zip(costs, minimum_spanning_trees(costs), strict=True):
        graph = networkx.Graph()
        graph.add_weighted_edges_from(
            (i, j, one[i, j]) for i, j in itertools.combinations(range(n), 2)
        )
        wanted = networkx.minimum_spanning_tree(graph).size(weight="weight")
        assert sum(one[p, c] for c, p in enumerate(parents) if p >= 0) == wanted
        tree = networkx.Graph([(int(p), c) for c, p in enumerate(parents) if p >= 0])
        assert networkx.is_tree(tree)


class Points:
    """Models as points: all that is asked of a family."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def squared(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return np.square(self.x[i] - self.x[j]).sum(axis=1)


def test_a_run_that_goes_straight_on_starts_at_one_of_its_ends() -> None:
    line = Points(np.arange(6.0)[:, None] * np.ones(50))
    parents = np.array([-1, 0, 1, 2, 3, 4])
    odds = turning(line, parents)  # type: ignore[arg-type]
    direction = orient(parents, odds)[1]
    assert direction[1:] == pytest.approx(0.5, abs=0.02)
    assert orient(parents, np.zeros(6))[1][5] > 0.8  # were all as likely, it would be told


def test_ways_that_turn_back_say_nothing() -> None:
    """Children that were trained alike, or a step that was undone."""
    rng = np.random.default_rng(1)
    x = np.concatenate([np.zeros((1, 1000)), rng.normal(size=1000) + rng.normal(size=(4, 1000))])
    odds = turning(Points(x), np.array([-1, 0, 0, 0, 0]))  # type: ignore[arg-type]
    assert odds == pytest.approx(np.zeros(5), abs=0.01)


@pytest.mark.parametrize("hub", [0, 1])
def test_of_two_that_are_alike_the_one_that_has_more_neighbours_is_the_parent(hub: int) -> None:
    """Of four far models each holds a little of the small step between the two, by chance: three
    are nearer to one of the two, the fourth to the other."""
    x = np.zeros((6, 6))
    x[1, 0] = 1.0
    share = {0: (0.3, 0.3, 0.3, 1.2), 1: (1.2, 1.2, 1.2, 0.3)}[hub]
    for k, own in enumerate(share, 2):
        x[k, 0], x[k, k] = own, 10.0
    nearest = squared(x)[2:, :2].argmin(axis=1)
    assert nearest.tolist() == [hub] * 3 + [1 - hub]
    found = regraft(np.array([-1, 0, *nearest]), among(squared(x)))
    assert found.tolist() == [-1, 0] + [hub] * 4
