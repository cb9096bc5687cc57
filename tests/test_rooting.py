"""Roots, against what each one makes of all edges."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.trees.rooting import HUB, orient


def random_tree(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.array([-1] + [int(rng.integers(k)) for k in range(1, n)], dtype=np.intp)


def own(parents: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """Of each model's own edge."""
    return np.where(parents >= 0, odds[parents, np.arange(len(parents))], 0.0)


def edges_of(parents: np.ndarray) -> set[frozenset[int]]:
    return {frozenset((int(p), c)) for c, p in enumerate(parents) if p >= 0}


def side(u: int, v: int, edges: set[frozenset[int]], n: int) -> set[int]:
    """The nodes on u's side of the edge u - v."""
    found = {u}
    for _ in range(n):
        for edge in edges - {frozenset((u, v))}:
            if edge & found:
                found |= edge
    return found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_beliefs_are_those_of_all_roots(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, n)
    edges = edges_of(tree)
    odds = rng.normal(scale=2, size=(n, n))
    odds -= odds.T
    belief = np.zeros(n)
    for root in range(n):
        away = 0.0
        for edge in edges:
            u, v = sorted(edge)
            away += odds[u, v] / 2 if root in side(u, v, edges, n) else odds[v, u] / 2
        neighbours = sum(root in edge for edge in edges)
        belief[root] = away + (HUB * math.log(neighbours / 2) if neighbours > 1 else 0)
    belief = np.exp(belief - belief.max())
    belief /= belief.sum()
    parents, direction = orient(tree, own(tree, odds))
    assert edges_of(parents) == edges
    assert parents[int(belief.argmax())] == -1
    for c, p in enumerate(parents.tolist()):
        if p >= 0:
            assert math.isclose(
                direction[c], belief[list(side(p, c, edges, n))].sum(), rel_tol=1e-9
            )


def test_the_start_that_is_given_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    tree = random_tree(rng, 30)
    odds = rng.normal(size=(30, 30))
    odds -= odds.T
    parents, direction = orient(tree, own(tree, odds))
    again, same = orient(parents, own(parents, odds))
    np.testing.assert_array_equal(parents, again)
    np.testing.assert_allclose(direction, same)


def test_strong_evidence_outweighs_the_hub() -> None:
    star = np.array([-1, 0, 0, 0, 0], dtype=np.intp)
    odds = np.zeros((5, 5))
    odds[1, 0], odds[0, 1] = 9.0, -9.0
    parents, direction = orient(star, own(star, odds))
    assert parents.tolist() == [1, -1, 0, 0, 0]
    assert direction[0] > 0.99


def test_no_end_and_no_middle_of_a_chain_is_the_likelier_root() -> None:
    _, direction = orient(np.array([1, 2, 3, 4, -1]), np.zeros(5))
    assert sorted(direction[np.isfinite(direction)].round(9)) in (
        [0.2, 0.4, 0.6, 0.8],
        [0.6, 0.6, 0.8, 0.8],
    )


def test_a_long_chain_is_no_matter_of_recursion() -> None:
    n = 5000
    chain = np.arange(-1, n - 1)
    parents, _ = orient(chain, np.zeros(n))
    assert (parents < 0).sum() == 1
