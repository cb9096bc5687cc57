"""Directional scores against scipy.stats on the weights themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.layouts import align
from mother.measures import measure, reference, stream
from mother.methods import scores

SHAPES = {"conv": (16, 3, 3, 3), "fc": (40, 60), "norm": (50,)}


def model(id, **weights):
    return Checkpoint(id, Path(id), "npz", {n: constant(n, w) for n, w in weights.items()})


def measured(*weights):
    (group,) = align([model(str(i), **w) for i, w in enumerate(weights)])
    return measure(group, moments=True, entropy=True)


def drawn(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {n: (0.01 + 0.1 * rng.gamma(2 + seed, size=s)).astype(dtype) for n, s in SHAPES.items()}


@pytest.fixture(params=[None, 700], ids=["one block", "several blocks"])
def blocks(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(stream, "block_length", lambda n, memory, threads: request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16], ids=lambda t: t.__name__)
def test_against_scipy(blocks, dtype):
    weights = [drawn(seed, dtype) for seed in range(3)]
    m = measured(*weights)
    wide = [[w.astype(np.float64).ravel() for w in each.values()] for each in weights]
    expected = {
        "kurtosis": [sum(stats.kurtosis(x, fisher=False) for x in each) for each in wide],
        "skewness": [sum(stats.skew(x) for x in each) for each in wide],
        "variance": [sum(x.var() for x in each) for each in wide],
        "mean": [sum(x.mean() for x in each) for each in wide],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(scores.SCORES[name](m), values, rtol=2e-5, err_msg=name)


def test_entropy_against_scipy(blocks):
    weights = [drawn(seed) for seed in range(3)]
    m = measured(*weights)
    assert m.histogram.shape == (3, 3, stream.VALUE_BINS)
    expected = np.zeros(3)
    for index, name in enumerate(m.names):
        sample = np.concatenate(
            [w[name].ravel()[: reference.WEIGHTS_OF_EACH] for w in weights]
        ).astype(np.float64)
        if (
            sample.size < 3 * reference.WEIGHTS_OF_EACH
        ):  # the whole layer was sampled: its range is known
            low, high = sample.mean() - 8 * sample.std(), sample.mean() + 8 * sample.std()
            counts = [np.histogram(w[name], stream.VALUE_BINS, (low, high))[0] for w in weights]
            np.testing.assert_allclose(m.histogram[index].sum(axis=1), weights[0][name].size)
            assert np.abs(np.cumsum(m.histogram[index] - counts, axis=1)).max() <= 1
        expected += [stats.entropy(c) for c in m.histogram[index]]
    np.testing.assert_allclose(scores.entropy(m), expected, rtol=1e-12)


def test_entropy_orders_by_spread():
    rng = np.random.default_rng(0)
    narrow, wide = (rng.normal(0, s, (64, 64)).astype(np.float32) for s in (0.1, 1.0))
    one = np.zeros((64, 64), np.float32)
    found = scores.entropy(measured({"w": one}, {"w": narrow}, {"w": wide}))
    assert found[0] == 0
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, -7.7])
@pytest.mark.parametrize("size", [7, 5000])
def test_a_constant_layer_says_nothing(value, size):
    rng = np.random.default_rng(1)
    fc = [rng.normal(size=(30, 30)).astype(np.float32) for _ in range(2)]
    norm = np.full(size, value, np.float32)
    with_norm = measured(*({"fc": w, "norm": norm} for w in fc))
    without = measured(*({"fc": w} for w in fc))
    for name in ("kurtosis", "skewness", "variance", "entropy"):
        found = scores.SCORES[name](with_norm)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, scores.SCORES[name](without), rtol=1e-12, err_msg=name)


def test_a_single_weight():
    m = measured({"a": np.ones((1, 1), np.float32)}, {"a": np.zeros((1, 1), np.float32)})
    for name, score in scores.SCORES.items():
        assert np.isfinite(score(m)).all(), name


def test_the_paper_chooses_by_kurtosis_first():
    assert list(scores.SCORES) == ["kurtosis", "mean", "variance", "skewness", "entropy"]
