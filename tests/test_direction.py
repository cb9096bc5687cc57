"""The likelihood of polarity, against plain loops over scipy's Student t, and on known steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from mother.evidence import direction
from mother.evidence.direction import POLARITIES, TRAINING, Pairs, log_likelihoods, telling
from mother.measures import Measures

ONE, OTHER = np.array([0]), np.array([1])


def weigh(m: Measures, i: np.ndarray, j: np.ndarray) -> Pairs:
    return direction.weigh(i, j, m.pairs(i, j))


def measures(models: list[list[np.ndarray]]) -> Measures:
    """Of models given as lists of matrices."""
    layers = list(zip(*models, strict=True))
    flat = [np.stack([w.ravel() for w in layer]) for layer in layers]
    return Measures(
        tuple(f"l{k}" for k in range(len(layers))),
        tuple(layer[0].shape for layer in layers),
        np.array([x.shape[1] for x in flat]),
        np.stack([x @ x.T for x in flat]),
    )


def start(rng: np.random.Generator, layers: int = 8, side: int = 40) -> list[np.ndarray]:
    return [rng.normal(size=(side, side)) for _ in range(layers)]


def step(
    rng: np.random.Generator, model: list[np.ndarray], size: float, keep: float = 1.0
) -> list[np.ndarray]:
    """keep * model, plus noise of its own size in each layer."""
    return [keep * w + size * rng.uniform(0.5, 1.5) * rng.normal(size=w.shape) for w in model]


def by_hand(m: Measures, p: int, c: int, r: float) -> float:
    """log f(r) in loops: one a at a time, one scale."""
    start_, end, both = m.gram[:, p, p], m.gram[:, c, c], m.gram[:, p, c]
    gap = start_ + end - 2 * both
    own = (both + r * gap) / start_
    order = np.argsort(own, kind="stable")
    mass = np.cumsum(np.sqrt(m.sizes)[order]) / np.sqrt(m.sizes).sum()
    shrinks = [1.0] + [float(own[order][np.argmax(mass >= q)]) for q in direction.QUANTILES]
    chance = [math.hypot(direction.COSINE, size**-0.5) for size in m.sizes]
    parts = []
    for k, a in enumerate(shrinks):
        moved = [
            math.sqrt(e - 2 * a * b + a * a * s) / math.sqrt(s)
            for s, e, b in zip(start_, end, both, strict=True)
        ]
        prior = math.log(1 - direction.TRAINING.decayed)
        if k:
            share = direction.GROWTH if a >= 1 else 1 - direction.GROWTH
            spread = math.log(direction.DECAY_MOST / direction.DECAY_LEAST)
            prior = math.log(direction.TRAINING.decayed * share / spread)
            prior -= math.log(max(abs(1 - a), direction.DECAY_LEAST))
            sharp = sum(1 / (x * v) ** 2 for x, v in zip(chance, moved, strict=True))
            prior += 0.5 * math.log(2 * math.pi / sharp) - math.log(len(direction.QUANTILES))
        for scale in direction.TRAINING.scales:
            stray = [
                (b - a * s) / (v * s) + r * v for s, b, v in zip(start_, both, moved, strict=True)
            ]
            each = student.logpdf(stray, direction.FREEDOM, scale=scale * np.array(chance))
            each -= student.logpdf(0.0, direction.FREEDOM)  # the constant of t itself
            parts.append(prior - math.log(len(direction.TRAINING.scales)) + sum(each))
    most = max(parts)
    return most + math.log(sum(math.exp(x - most) for x in parts))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_likelihoods_are_those_of_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = start(rng, layers=5, side=12)
    m = measures([p, step(rng, p, float(rng.uniform(0.01, 1)), float(rng.uniform(0.8, 1.1)))])
    of = m.pairs(np.array([0, 1]), np.array([1, 0]))
    log_f, _ = log_likelihoods(of, TRAINING, by_layer=False)
    wanted = [[by_hand(m, p, c, r) for p, c in ((0, 1), (1, 0))] for r in POLARITIES]
    np.testing.assert_allclose(log_f, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("keep", [1.0, 0.97, 0.7])
@pytest.mark.parametrize("size", [0.05, 0.3, 1.0])
def test_a_child_is_told_from_its_parent_also_where_it_decayed(keep: float, size: float) -> None:
    rng = np.random.default_rng(0)
    p = start(rng, side=60)
    pairs = weigh(measures([p, step(rng, p, size, keep)]), ONE, OTHER)
    assert pairs.log_odds[0] > 2
    assert pairs.forward[0, 0] > pairs.forward[1:, 0].max()


def test_siblings_lack_half_of_each_other() -> None:
    rng = np.random.default_rng(1)
    p = start(rng, side=60)
    a, b = step(rng, p, 0.5), step(rng, p, 0.5)
    pairs = weigh(measures([a, b]), ONE, OTHER)
    assert abs(pairs.log_odds[0]) < 8
    for one in (pairs.forward, pairs.back):
        assert one[:, 0].argmax() == 1


def test_a_faint_step_is_not_told() -> None:
    rng = np.random.default_rng(2)
    p = start(rng, side=30)
    assert abs(weigh(measures([p, step(rng, p, 1e-4)]), ONE, OTHER).log_odds[0]) < 1


def test_the_reverse_pair_has_the_reverse_odds() -> None:
    rng = np.random.default_rng(3)
    p = start(rng)
    m = measures([p, step(rng, p, 0.2)])
    there, back = weigh(m, ONE, OTHER), weigh(m, OTHER, ONE)
    assert there.log_odds[0] == -back.log_odds[0]
    np.testing.assert_array_equal(there.forward, back.back)


def test_a_frozen_layer_tells_nothing() -> None:
    rng = np.random.default_rng(4)
    p = start(rng, layers=4)
    c = step(rng, p, 0.2)
    frozen = rng.normal(size=(40, 40))
    bare, with_frozen = measures([p, c]), measures([[*p, frozen], [*c, frozen.copy()]])
    assert weigh(bare, ONE, OTHER).log_odds == pytest.approx(
        weigh(with_frozen, ONE, OTHER).log_odds, abs=1e-9
    )
    assert weigh(with_frozen, ONE, OTHER).log_odds_by_layer[-1, 0] == 0


def test_vectors_tell_only_where_there_is_nothing_else() -> None:
    m = Measures(("w", "b"), ((8, 8), (8,)), np.array([64, 8]), np.ones((2, 2, 2)))
    assert telling(m).tolist() == [True, False]
    assert telling(m.over(np.array([False, True]))).tolist() == [True]
