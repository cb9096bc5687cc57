"""What models hold of steps: trees drawn with a truth, steps of any length, a drift in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.evidence import shares
from mother.evidence.family import Family
from mother.measures import Measures

LAYERS, SIDE = 16, 48


def drawn(parents: list[int], seed: int, drift: float, steps: tuple[float, float]) -> Measures:
    """Models of a tree; lengths of steps are log-uniform, as shares of the root's norm, and all
    share a direction, so that their cosines are drift^2 / (1 + drift^2)."""
    rng = np.random.default_rng(seed)
    weights = SIDE**2
    common = rng.normal(size=(LAYERS, weights))
    w = np.zeros((LAYERS, len(parents), weights))
    for k, parent in enumerate(parents):
        own = rng.normal(size=(LAYERS, weights))
        if parent < 0:
            w[:, k] = own
        else:
            w[:, k] = w[:, parent] + 10 ** rng.uniform(*steps) * (own + drift * common)
    names = tuple(f"{k}" for k in range(LAYERS))
    sizes = np.full(LAYERS, weights)
    return Measures(names, ((SIDE, SIDE),) * LAYERS, sizes, w @ w.transpose(0, 2, 1))


def family(m: Measures) -> Family:
    found = Family.of(m)
    assert found is not None
    return found


def held(m: Measures, parents: np.ndarray, by_rows: np.ndarray) -> np.ndarray:
    return shares.held(family(m), parents, lambda i, j: by_rows[i, j])


@given(st.integers(0, 1000), st.integers(3, 14))
@settings(max_examples=40, deadline=None)
def test_a_true_tree_stays_and_a_wrong_one_is_mended(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    parents = np.array([-1, *(int(rng.integers(0, k)) for k in range(1, n))])
    m = drawn(parents.tolist(), seed, 0.0, (-1.5, -1.0))
    nobody, every = np.zeros((n, n), dtype=bool), np.ones((n, n), dtype=bool)
    assert (held(m, parents, every) == parents).all()
    wrong = parents.copy()
    c = int(rng.integers(1, n))
    below = [k for k in range(n) if parents[k] == parents[c] and k != c]
    above = parents[parents[c]] if parents[c] >= 0 else -1
    elsewhere = [*below, *([above] if above >= 0 else [])]
    if elsewhere:
        wrong[c] = elsewhere[int(rng.integers(len(elsewhere)))]
        found = held(m, wrong, every)  # or left, where layers don't tell all or none
        assert (found == parents).all() or (found == wrong).all()
        assert (held(m, wrong, nobody) == wrong).all()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0, 1.2])
def test_rows_are_overruled_by_all_or_none_of_a_step(share: float) -> None:
    """The third model holds that share of the step from the first to the second in each layer."""
    rng = np.random.default_rng(0)
    start, step, own = rng.normal(size=(3, 5, 2000))
    weights = np.stack([start, start + 0.1 * step, start + 0.1 * share * step + 0.1 * own])
    products = np.einsum("ilp,jlp->lij", weights, weights)
    m = Measures(tuple("abcde"), ((40, 50),) * 5, np.full(5, 2000), products)
    by_rows = np.zeros((3, 3), dtype=bool)
    by_rows[1, 2] = by_rows[2, 1] = True
    beside, below = np.array([-1, 0, 0]), np.array([-1, 0, 1])
    assert held(m, beside, by_rows)[2] == (1 if share == 1.0 else 0)
    by_rows = by_rows[[1, 0, 2]][:, [1, 0, 2]]  # not of the first and the third
    assert held(m, below, by_rows)[2] == (0 if share == 0.0 else 1)


def test_what_pruned_models_hold_is_not_known() -> None:
    """Their distances are over other weights each; nobody moves to, from or by them."""
    m = drawn([-1, 0, 1, 0, 3], 4, 0.0, (-1.0, -1.0))
    star, every = np.array([-1, 0, 0, 0, 0]), np.ones((5, 5), dtype=bool)
    assert held(m, star, every).tolist() == [-1, 0, 1, 0, 3]
    overlap = np.ones_like(m.gram)
    overlap[:, 1] = overlap[:, :, 1] = 0.5
    pruned = replace(m, shared=np.array(m.norms), overlap=overlap)
    assert held(pruned, star, every).tolist() == [-1, 0, 0, 0, 3]


def test_models_that_went_nowhere_show_no_drift() -> None:
    """Beside a step of which a model holds a half, three equal to its start: by any share."""
    share, ratio = np.array([0.5, 1e3, -1e3, 7.0]), np.array([1.0, 0.0, 0.0, 1e-200])
    told, error = shares._drift_off(share, np.ones(4), ratio, np.full(4, 3), 1)
    np.testing.assert_array_equal(told, share)
    np.testing.assert_array_equal(error, np.ones(4))
