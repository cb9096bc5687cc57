"""Ranks from sketches against singular values of the whole difference."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.layouts import align
from mother.measures import is_matrix, lowrank, measure, rank_distances
from mother.measures.formats import rounding

BF16 = np.dtype(ml_dtypes.bfloat16)
K = lowrank.SKETCH
SHAPES = [(256, 192), (192, 256), (128, 3, 7, 7), (96, 20, 3, 3), (64, 64), (160, 160)]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other over matrices this small take longer than the work."""
    with threadpool_limits(1):
        yield


def group_of(*models):
    checkpoints = [
        Checkpoint(f"{i:03}", Path("x"), "npz", {n: constant(n, w) for n, w in m.items()})
        for i, m in enumerate(models)
    ]
    (group,) = align(checkpoints)
    return group


def ranks(*weights, **options):
    group = group_of(*({"w": w} for w in weights))
    norms = np.diagonal(measure(group).gram, axis1=1, axis2=2)
    return rank_distances(group.layers, len(weights), norms, **options)


def pair(a, b):
    return int(ranks(a, b)[0, 1])


def weights(rng, shape, dtype=np.float32):
    return rng.normal(0, 0.02, shape).astype(dtype)


def update(rng, shape, r, size):
    """A LoRA step of rank r whose entries are as large as `size`."""
    rows, columns = lowrank.as_matrix(shape)
    step = rng.normal(size=(rows, r)) @ rng.normal(size=(r, columns))
    return (step * size / max(r, 1) ** 0.5).reshape(shape)


def merged(w, step):
    return (w.astype(np.float64) + step).astype(w.dtype)


def svd_rank(a, b):
    """Singular values above those of rounding: E |noise| <= sigma (sqrt m + sqrt n)."""
    difference = (a.astype(np.float64) - b.astype(np.float64)).reshape(a.shape[0], -1)
    eps = float(ml_dtypes.finfo(a.dtype).eps)
    sigma = eps / 24**0.5 * np.sqrt(np.mean(np.square(a, dtype=np.float64))) * 2**0.5
    noise = 1.5 * sigma * sum(np.sqrt(difference.shape))
    return np.linalg.matrix_rank(difference, tol=max(noise, 1e-6 * np.linalg.norm(difference, 2)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("r", [1, 7, 16, 30, 64])
@pytest.mark.parametrize("size", [0.003, 0.0002])
def test_a_merged_lora_step_has_its_rank(shape, r, size):
    rng = np.random.default_rng([r, *shape])
    a = weights(rng, shape)
    b = merged(a, update(rng, shape, r, size))
    assert svd_rank(a, b) == r
    assert ranks(a, b)[0, 1] == pair(a, b) == min(r, lowrank.sketch_size(shape))


def test_large_steps_of_others_do_not_blur_a_small_rank():
    rng = np.random.default_rng(0)
    root = weights(rng, (96, 96))
    large = [merged(root, update(rng, root.shape, 16, 0.1)) for _ in range(8)]
    small = merged(root, update(rng, root.shape, 2, 0.001))
    assert ranks(root, *large, small)[0].tolist() == [0, *[16] * 8, 2]
    assert svd_rank(root, small) == 2


def test_a_layer_as_large_as_those_of_vits():
    rng = np.random.default_rng(0)
    a = weights(rng, (768, 768))
    b, c = (merged(a, update(rng, a.shape, r, 0.001)) for r in (16, 64))
    found = ranks(a, b, c)
    assert found.tolist() == [[0, 16, 64], [16, 0, 80], [64, 80, 0]]
    assert svd_rank(b, c) == 80


@pytest.mark.parametrize(("r1", "r2"), [(1, 1), (4, 8), (16, 16), (64, 32), (64, 64)])
def test_siblings_are_as_far_apart_as_both_steps_together(r1, r2):
    rng = np.random.default_rng([r1, r2])
    root = weights(rng, (256, 192))
    a, b = (merged(root, update(rng, root.shape, r, 0.002)) for r in (r1, r2))
    found = ranks(root, a, b)
    assert found.tolist() == [[0, r1, r2], [r1, 0, r1 + r2], [r2, r1 + r2, 0]]
    assert svd_rank(a, b) == r1 + r2
    # a model's sketch sums the steps before it: the order must not matter
    assert ranks(a, root, b).tolist() == [[0, r1, r1 + r2], [r1, 0, r2], [r1 + r2, r2, 0]]


def test_a_chain_of_steps_adds_up():
    rng = np.random.default_rng(1)
    chain = [weights(rng, (192, 256))]
    for _ in range(5):
        chain.append(merged(chain[-1], update(rng, chain[0].shape, 8, 0.002)))
    found = ranks(*chain)
    assert found.tolist() == [[8 * abs(i - j) for j in range(6)] for i in range(6)]


@pytest.mark.parametrize("r", [140, 155, 159, 160, 161, 180, 192])
def test_it_saturates_at_the_cap(r):
    rng = np.random.default_rng(r)
    a = weights(rng, (256, 192))
    b = merged(a, update(rng, a.shape, r, 0.004))
    assert ranks(a, b)[0, 1] == min(r, K)
    assert ranks(a, b, k=32)[0, 1] == 32


def test_strangers_are_at_the_cap():
    rng = np.random.default_rng(2)
    found = ranks(*(weights(rng, (256, 192)) for _ in range(3)))
    assert found.tolist() == [[0, K, K], [K, 0, K], [K, K, 0]]


@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (128, 300), (256, 192), (64, 16, 3, 3)])
@pytest.mark.parametrize("seed", range(6))
def test_a_few_rows_changed(shape, seed):
    """As where tokens are added to an embedding. Rows far apart may not fall on each other."""
    rng = np.random.default_rng(seed)
    a = weights(rng, shape)
    b = a.copy()
    rows = rng.choice(shape[0], 5, replace=False)
    b[rows] += rng.normal(0, 0.01, (5, *shape[1:])).astype(np.float32)
    assert np.linalg.matrix_rank((a - b).reshape(shape[0], -1)) == 5
    assert ranks(a, b)[0, 1] == pair(a, b) == 5


@pytest.mark.parametrize("step", [16, 32, 40, 64])
def test_rows_at_equal_steps_that_cancel(step):
    a = weights(np.random.default_rng(3), (160, 160))
    b = a.copy()
    b[0] += 0.25
    b[step] -= 0.25
    b[:, 2] += 0.5
    expected = np.linalg.matrix_rank((b - a).astype(np.float64), tol=1e-3)
    assert expected == 2
    assert pair(a, b) == 2


@pytest.mark.parametrize("count", [1, 50, 120])
def test_sparse_weights_changed(count):
    """A single weight is a matrix of rank one; many are of as many as they have rows, about."""
    rng = np.random.default_rng(count)
    a = weights(rng, (256, 192))
    b = a.copy()
    b[rng.choice(256, count, replace=False), rng.choice(192, count, replace=False)] += 0.1
    assert pair(a, b) == count


def test_equal_weights_have_rank_zero():
    rng = np.random.default_rng(4)
    a = weights(rng, (256, 192))
    assert ranks(a, a.copy())[0, 1] == 0
    assert ranks(np.zeros_like(a), np.zeros_like(a))[0, 1] == 0
    assert pair(a, a.copy()) == 0


@pytest.mark.parametrize("dtype", [BF16, np.dtype(np.float16)], ids=str)
@pytest.mark.parametrize("r", [1, 4, 8, 16, 32])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_step_stored_in_a_coarse_type(dtype, r, share):
    """Rounding gives the stored difference full rank; above the noise there is the step's."""
    rng = np.random.default_rng(r)
    a = weights(rng, (320, 256), dtype)
    b = merged(a, update(rng, a.shape, r, 0.02 * share))
    difference = a.astype(np.float64) - b.astype(np.float64)
    assert np.linalg.matrix_rank(difference) == 256
    assert svd_rank(a, b) == r
    assert ranks(a, b)[0, 1] == pair(a, b) == r


@pytest.mark.parametrize("r", [4, 16])
def test_a_step_below_the_noise_is_never_called_larger(r):
    """A step under the rounding of bf16 can't be seen whole, but must not look like more."""
    rng = np.random.default_rng(r)
    a = weights(rng, (512, 512), BF16)
    b = merged(a, update(rng, a.shape, r, 0.02 * 0.002))
    assert pair(a, b) <= r


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16], ids=str)
def test_full_fine_tuning_stays_full_in_every_type(dtype):
    rng = np.random.default_rng(5)
    a = weights(rng, (256, 192), dtype)
    b = merged(a, rng.normal(0, 0.005, a.shape))
    coarse = np.dtype(dtype).itemsize == 2  # the smallest singular values are below its rounding
    assert (0.9 * K if coarse else K) <= ranks(a, b)[0, 1] <= K


def test_float64_sees_smaller_steps():
    rng = np.random.default_rng(6)
    a = weights(rng, (256, 192), np.float64)
    b = merged(a, update(rng, a.shape, 12, 1e-9))
    assert svd_rank(a, b) == 12
    assert ranks(a, b)[0, 1] == 12
    assert ranks(a.astype(np.float32), b.astype(np.float32))[0, 1] in range(13)


def test_the_layer_of_largest_rank_counts():
    rng = np.random.default_rng(7)
    base = {
        "small": weights(rng, (64, 64)),
        "large": weights(rng, (192, 200)),
        "bias": weights(rng, (64,)),
        "other": weights(rng, (64, 64)),
    }
    one, two = dict(base), dict(base)
    one["small"] = merged(base["small"], update(rng, (64, 64), 9, 0.003))
    one["large"] = merged(base["large"], update(rng, (192, 200), 5, 0.003))
    one["bias"] = base["bias"] + 1
    two["large"] = merged(base["large"], update(rng, (192, 200), 3, 0.003))
    del two["other"]
    group = group_of(base, one, two)
    norms = np.diagonal(measure(group).gram, axis1=1, axis2=2)
    found = rank_distances(group.layers, 3, norms)
    assert found.tolist() == [[0, 9, 3], [9, 0, 9], [3, 9, 0]]


def test_what_is_a_matrix():
    assert lowrank.as_matrix((6, 5, 2, 2)) == (6, 20)
    assert lowrank.as_matrix((3, 3, 16, 32)) == (144, 32)  # kernels of Keras, outputs last
    shapes = [(8, 8), (4, 4), (3, 100), (100,), (), (64, 3, 3, 3), (1, 197, 768), (5, 3, 1)]
    assert [is_matrix(s) for s in shapes] == [True, True, False, False, False, True, True, False]


def test_seeds_and_sketch_sizes_agree():
    rng = np.random.default_rng(8)
    a = weights(rng, (256, 192))
    b = merged(a, update(rng, a.shape, 11, 0.002))
    for seed in range(5):
        for k in (24, 64, 100, 160, 192, 400):
            assert ranks(a, b, seed=seed, k=k)[0, 1] == 11
    np.testing.assert_array_equal(ranks(a, b), ranks(a, b))


def test_sketches_are_linear():
    """S_i - S_j is the sketch of w_i - w_j, in whatever order the models come."""
    rng = np.random.default_rng(9)
    models = [weights(rng, (256, 192)) for _ in range(3)]
    layers = [group_of(*({"w": m} for m in order)).layers[0] for order in (models, models[::-1])]
    forward, backward = (lowrank.sketches(layer) for layer in layers)
    assert forward.shape == (3, K, K)
    step = forward[0] - forward[2]
    np.testing.assert_allclose(step, backward[2] - backward[0], atol=1e-5 * np.abs(step).max())


@pytest.mark.parametrize(
    ("dtype", "low"), [(np.float32, -3), (np.float16, -2), (BF16, -2)], ids=str
)
def test_rounding_is_what_rounding_does(dtype, low):
    x = np.random.default_rng(10).normal(0, 10.0**low, 100_000)
    error = x.astype(dtype).astype(np.float64) - x
    measured = np.sqrt(np.mean(error**2) / np.mean(x**2))
    assert rounding(constant("w", x.astype(dtype))) == pytest.approx(measured, rel=0.25)
