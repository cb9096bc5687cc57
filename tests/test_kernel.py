"""The compiled loops and their numpy twin against plain float64 numpy."""

from __future__ import annotations

import ctypes
from dataclasses import astuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mother.measures import kernel, numpy_kernel

BF16, E4M3, E5M2 = (
    np.dtype(t) for t in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
)
F16, F32, F64 = (np.dtype(t) for t in (np.float16, np.float32, np.float64))
DTYPES = [F32, F64, F16, BF16, E4M3, E5M2]
LENGTHS = [1, 2, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 2049]
TWINS = pytest.mark.parametrize("loops", [kernel, numpy_kernel], ids=["compiled", "numpy"])


def unaligned(values, dtype, offset):
    """The values as a block at an odd place in memory, as in a file."""
    stored = values.astype(dtype)
    room = np.zeros(offset + stored.nbytes, np.uint8)
    room[offset:] = stored.view(np.uint8)
    return room[offset:].view(dtype)


def forest(rng, n):
    """A random reference forest, in which a model may come before what it refers to."""
    order = rng.permutation(n)
    reference = np.full(n, -1, np.int64)
    for k in range(1, n):
        if rng.random() < 0.8:
            reference[order[k]] = order[rng.integers(k)]
    return reference


def increments(blocks, reference):
    w = np.stack([b.astype(np.float64) for b in blocks])
    return np.stack([w[i] - (w[r] if r >= 0 else 0) for i, r in enumerate(reference)])


def gaps(blocks):
    w = np.stack([b.astype(np.float64) for b in blocks])
    return np.abs(w[:, None] - w[None])


def gram(loops, blocks, reference):
    return loops.sums(blocks, reference).gram


def distances(loops, blocks):
    found = loops.sums(blocks, None, linf=True, l1=True)
    return found.linf, found.l1


def moments(loops, block):
    return loops.sums([block], None, moments=True).moments[0]


@st.composite
def whole_blocks(draw):
    """Blocks of whole numbers, of which every float32 sum in a tile is exact."""
    n = draw(st.one_of(st.integers(1, 9), st.integers(1, 33)))
    length = draw(st.one_of(st.sampled_from(LENGTHS), st.integers(1, 200)))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = [
        unaligned(rng.integers(-8, 9, length), dtypes[i % len(dtypes)], int(rng.integers(8)))
        for i in range(n)
    ]
    return blocks, forest(rng, n)


def test_the_compiled_kernel_is_in_use():
    assert kernel.native, "kernel.c was not built, or can't be loaded"
    assert isinstance(kernel._lib, ctypes.CDLL)


def test_blocks_can_be_unaligned():
    block = unaligned(np.arange(5), F32, 3)
    assert not block.flags.aligned
    assert kernel._readable(block).ctypes.data == block.ctypes.data


@TWINS
@given(given_=whole_blocks())
@settings(deadline=None, max_examples=50)
def test_gram_of_whole_numbers_is_exact(loops, given_):
    blocks, reference = given_
    d = increments(blocks, reference)
    found = gram(loops, blocks, reference)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, d @ d.T)


@TWINS
@given(given_=whole_blocks())
@settings(deadline=None, max_examples=50)
def test_distances_of_whole_numbers_are_exact(loops, given_):
    blocks, _ = given_
    most, total = distances(loops, blocks)
    np.testing.assert_array_equal(most, gaps(blocks).max(axis=2))
    np.testing.assert_array_equal(total, gaps(blocks).sum(axis=2))


@TWINS
@pytest.mark.parametrize("n", range(1, 34))
def test_every_number_of_models(loops, n):
    rng = np.random.default_rng(n)
    blocks = [rng.integers(-8, 9, 2 * 1024 + 7).astype(DTYPES[i % 6]) for i in range(n)]
    reference = forest(rng, n)
    d = increments(blocks, reference)
    np.testing.assert_array_equal(gram(loops, blocks, reference), d @ d.T)
    most, total = distances(loops, blocks)
    np.testing.assert_array_equal(most, gaps(blocks).max(axis=2))
    np.testing.assert_array_equal(total, gaps(blocks).sum(axis=2))


@TWINS
@pytest.mark.parametrize("length", LENGTHS)
def test_moments_and_histogram_of_every_length(loops, length):
    rng = np.random.default_rng(length)
    for k, dtype in enumerate(DTYPES):
        block = unaligned(rng.integers(-8, 9, length), dtype, k)
        x = block.astype(np.float64)
        c = x - x.mean()
        expected = [x.mean(), *((c**p).sum() for p in (2, 3, 4)), x.min(), x.max()]
        scale = np.array([8, *(np.abs(c**p).sum() for p in (2, 3, 4)), 8, 8])
        np.testing.assert_array_less(np.abs(moments(loops, block) - expected), 3e-6 * scale + 1e-12)
        counts = loops.histogram(block, -16.0, 16.0, 64)
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(counts, np.histogram(x, 64, (-16, 16))[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", [17, 1025, 5003])
def test_gram_of_real_weights(dtype, length):
    rng = np.random.default_rng(length)
    n = 21
    base = rng.normal(0, 0.5, length)
    blocks = [(base + rng.normal(0, 0.1, length)).astype(dtype) for _ in range(n)]
    for reference in (np.full(n, -1), forest(rng, n)):
        d = increments(blocks, reference)
        # sums of 64 products in float32 a lane
        bound = 64 * np.finfo(np.float32).eps * (np.abs(d) @ np.abs(d).T)
        for found in (gram(kernel, blocks, reference), gram(numpy_kernel, blocks, reference)):
            assert (np.abs(found - d @ d.T) <= bound).all()
            np.testing.assert_array_equal(found, found.T)
    most, total = distances(kernel, blocks)
    gap = gaps(blocks)
    np.testing.assert_allclose(most, gap.max(axis=2), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(total, gap.sum(axis=2), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("dtype", "step"), [(F32, 1e-6), (F64, 1e-6), (F64, 1e-12), (F32, 1e-4)], ids=str
)
def test_close_models_keep_their_distance(dtype, step):
    rng = np.random.default_rng(0)
    parent = rng.normal(1.0, 0.02, 9001)
    blocks = [parent.astype(dtype), (parent + step * rng.normal(size=9001)).astype(dtype)]
    exact = float(gaps(blocks)[0, 1] @ gaps(blocks)[0, 1])
    assert exact > 0
    assert gram(kernel, blocks, np.array([-1, 0]))[1, 1] == pytest.approx(exact, rel=1e-5)
    assert gram(kernel, blocks, np.array([1, -1]))[0, 0] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("dtype", [F16, BF16, E4M3, E5M2], ids=str)
def test_every_finite_number_of_a_small_type(dtype):
    """Subnormals and both zeros included: the sum over one weight is that weight."""
    bits = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    values = bits.view(dtype)
    with np.errstate(invalid="ignore"):
        wide = values.astype(np.float32)
    finite = np.isfinite(wide)
    step = 1 if dtype.itemsize == 1 else 7
    values, wide = (x[finite][::step] for x in (values, wide))
    whole = len(values) // 8 * 8
    zero = np.zeros(1, np.float32)
    rows = zip(values[:whole].reshape(-1, 8), wide[:whole].reshape(-1, 8), strict=True)
    for row, expected in rows:
        most, total = distances(kernel, [*(row[k : k + 1] for k in range(8)), zero])
        np.testing.assert_array_equal(most[8, :8], np.abs(expected))
        np.testing.assert_array_equal(total[8, :8], np.abs(expected))
        low, high = moments(kernel, row)[4:]
        assert (low, high) == (expected.min(), expected.max())


@pytest.mark.parametrize("dtype", [F32, F64, F16, BF16, E4M3, E5M2], ids=str)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("at", [0, 16, 1023, 1024, 1030])
def test_what_is_not_finite_shows_on_the_diagonal(dtype, bad, at):
    rng = np.random.default_rng(at)
    blocks = [rng.integers(-8, 9, 1031).astype(dtype) for _ in range(6)]
    with np.errstate(over="ignore", invalid="ignore"):
        blocks[3][at] = bad
    if np.isfinite(blocks[3][at].astype(np.float32)):
        pytest.skip("a type without infinities")
    for loops in (kernel, numpy_kernel):
        for reference in (np.full(6, -1), np.array([-1, 0, 1, 0, 3, 2])):
            with np.errstate(invalid="ignore"):
                found = gram(loops, blocks, reference)
            hit = {3} | {i for i in range(6) if reference[i] == 3}
            sound = sorted(set(range(6)) - hit)
            assert not np.isfinite(np.diagonal(found)[sorted(hit)]).any()
            d = increments([blocks[i] if i in sound else blocks[0] for i in range(6)], reference)
            expected = (d @ d.T)[np.ix_(sound, sound)]
            np.testing.assert_array_equal(found[np.ix_(sound, sound)], expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
def test_a_histogram_stays_in_its_bins(bad):
    block = np.full(3001, bad, np.float32)
    counts = kernel.histogram(block, -1.0, 1.0, 16)
    assert counts.sum() == 3001
    assert counts[1:-1].sum() == 0


@TWINS
def test_the_end_bins_take_what_lies_outside(loops):
    block = np.array([-1e30, -4, -3.5, 0, 3.5, 4, 1e30], np.float32)
    np.testing.assert_array_equal(loops.histogram(block, -4, 4, 4), [3, 0, 1, 3])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_histogram_against_numpy(scale):
    x = (np.random.default_rng(1).normal(0, scale, 20_001)).astype(np.float32)
    edges = np.linspace(-3 * scale, 3 * scale, 257)
    expected = np.histogram(np.clip(x, edges[0], edges[-1]).astype(np.float64), edges)[0]
    for loops in (kernel, numpy_kernel):
        counts = loops.histogram(x, float(edges[0]), float(edges[-1]), 256)
        assert counts.sum() == x.size
        assert np.abs(np.cumsum(counts - expected)).max() <= 2  # weights on an edge, in float32


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_moments_against_scipy(dtype, centre):
    rng = np.random.default_rng(3)
    block = (centre + 0.05 * rng.gamma(2.0, size=30_011)).astype(dtype)
    x = block.astype(np.float64)
    for loops in (kernel, numpy_kernel):
        mean, second, third, fourth, low, high = moments(loops, block)
        assert mean == pytest.approx(x.mean(), rel=1e-6)
        assert second / x.size == pytest.approx(x.var(), rel=1e-5)
        assert third * x.size**0.5 / second**1.5 == pytest.approx(stats.skew(x), rel=1e-4)
        kurtosis = stats.kurtosis(x, fisher=False)
        assert fourth * x.size / second**2 == pytest.approx(kurtosis, rel=1e-4)
        assert (low, high) == pytest.approx((x.min(), x.max()), rel=1e-7)  # read as float32


@TWINS
@pytest.mark.parametrize("value", [0.1, 1.0, -7.7, 1e-3, 0.0])
@pytest.mark.parametrize("length", [1, 100, 1025, 5000])
def test_a_constant_block_has_no_spread(loops, value, length):
    block = np.full(length, value, np.float32)
    v = float(block[0])
    np.testing.assert_array_equal(moments(loops, block), [v, 0, 0, 0, v, v])


@TWINS
@given(k=st.integers(1, 60), r=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_rank_against_singular_values(loops, k, r, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(k, min(r, k))) @ rng.normal(size=(min(r, k), k))
    before = matrix.copy()
    assert loops.pivots(matrix, 1e-9)[0] == np.linalg.matrix_rank(matrix, tol=1e-9) == min(r, k)
    np.testing.assert_array_equal(matrix, before)


@TWINS
def test_rank_of_plain_matrices(loops):
    assert loops.pivots(np.zeros((7, 7)), 0.0)[0] == 0
    assert loops.pivots(np.eye(9)[::-1] * 1e-3, 1e-6)[0] == 9
    assert loops.pivots(np.diag([5.0, -1e-7, 2.0]), 1e-6)[0] == 2
    only = np.zeros((5, 5))
    only[4, 2] = -3.0
    assert loops.pivots(only, 1e-9)[0] == 1


@pytest.fixture
def kind():
    """Which of the kernel's loops are in use; the best for this processor outside of a test."""
    chosen = ctypes.c_int.in_dll(kernel._lib, "mother_kind")
    best = chosen.value
    yield chosen
    chosen.value = best


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 21, 34])
def test_loops_for_other_processors_agree(kind, n):
    """Those for the processors before this one, which no test here would run otherwise."""
    rng = np.random.default_rng(n)
    blocks = [rng.integers(-8, 9, 2 * 1024 + 7).astype(DTYPES[i % 6]) for i in range(n)]
    reference = forest(rng, n)
    d = increments(blocks, reference)
    for level in range(kind.value + 1):
        kind.value = level
        found = kernel.sums(blocks, reference, linf=True, l1=True, moments=True)
        np.testing.assert_array_equal(found.gram, d @ d.T)
        np.testing.assert_array_equal(found.linf, gaps(blocks).max(axis=2))
        np.testing.assert_array_equal(found.l1, gaps(blocks).sum(axis=2))
        alone = kernel.sums(blocks, None, linf=True)
        assert alone.gram is alone.l1 is alone.moments is None
        np.testing.assert_array_equal(alone.linf, found.linf)
        twin = numpy_kernel.sums(blocks, None, moments=True).moments
        scale = np.array([8, 8**2, 8**3, 8**4, 8, 8]) * 2055.0 ** np.array([0, 1, 1, 1, 0, 0])
        off = np.abs(found.moments - twin).max(axis=0)
        np.testing.assert_array_less(off, 1e-5 * scale)


def test_without_a_compiler_numpy_stands_in(monkeypatch):
    blocks = [np.array([1.0, 2.0], np.float32), np.array([1.5, 5.0], np.float32)]
    calls = (
        lambda: gram(kernel, blocks, np.array([-1, 0])),
        lambda: np.stack(distances(kernel, blocks)),
        lambda: np.stack(astuple(kernel.sums(blocks, np.array([-1, 0]), linf=True, l1=True))[:3]),
        lambda: moments(kernel, blocks[0]),
        lambda: kernel.histogram(blocks[1], 0.0, 8.0, 4),
        lambda: np.array(kernel.pivots(np.eye(4), 0.5)),
    )
    native = [call() for call in calls]
    monkeypatch.setattr(kernel, "_lib", None)
    for call, expected in zip(calls, native, strict=True):
        np.testing.assert_allclose(call(), expected, rtol=1e-6)
