"""Turns on paths of three, and who else may be a parent, against plain calculations."""

from __future__ import annotations

import itertools

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.measures.clustering import minimum_spanning_trees
from mother.trees.rivals import Candidates, rivals
from mother.trees.rooting import orient
from mother.trees.turns import turn_of, turning


def turns(parents: np.ndarray, apart: np.ndarray) -> np.ndarray:
    out = np.full(len(parents), np.nan)
    for c, p in enumerate(parents.tolist()):
        g = parents[p]
        if p >= 0 and g >= 0:
            out[c] = turn_of(*(np.array([apart[pair]]) for pair in ((g, c), (p, c), (g, p))))[0]
    return out


def squared(points: np.ndarray) -> np.ndarray:
    return np.square(points[:, None] - points[None]).sum(axis=2)


def test_turns_are_cosines() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 5))
    found = turns(np.array([-1, 0, 1, 2]), squared(x))
    assert np.isnan(found[:2]).all()
    for c in (2, 3):
        step, before = x[c] - x[c - 1], x[c - 1] - x[c - 2]
        wanted = step @ before / np.linalg.norm(step) / np.linalg.norm(before)
        assert found[c] == pytest.approx(wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_the_runner_up_is_the_nearest_that_does_not_descend(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    far = squared(rng.normal(size=(n, 3)))
    parents = np.array([-1, *(int(rng.integers(0, k)) for k in range(1, n))])
    pairs = np.triu_indices(n, 1)
    among = Candidates.among(n, pairs, far[pairs], np.ones(len(pairs[0]), dtype=bool))
    own = np.array([far[p, c] for c, p in enumerate(parents)])
    graph = networkx.DiGraph([(int(p), c) for c, p in enumerate(parents) if p >= 0])
    rival, factor = rivals(parents, own, among)
    assert rival[0] == -1
    for c in range(1, n):
        free = set(range(n)) - {c, int(parents[c])} - networkx.descendants(graph, c)
        best = min(free, key=lambda q: far[q, c], default=-1)
        assert rival[c] == best
        assert best < 0 or factor[c] == pytest.approx(far[best, c] / own[c])


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
