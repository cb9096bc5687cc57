"""The streaming pass against float64 numpy on whole layers."""

from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import checkpoint as model
from kit import group_of

from mother.checkpoints import Checkpoint, Tensor
from mother.layouts import align
from mother.measures import measure, reference, stream

BF16 = np.dtype(ml_dtypes.bfloat16)
ALL = {"distances": True, "moments": True, "entropy": True}


def exact(models, name, i, j):
    a, b = (models[k][name].astype(np.float64).ravel() for k in (i, j))
    gap = np.abs(a - b)
    return {"gram": a @ b, "squared": gap @ gap, "linf": gap.max(), "l1": gap.mean()}


def change(w, rel, rng):
    """The weights after a step of `rel` of their norm."""
    scale = rel * np.linalg.norm(w.astype(np.float64)) / np.sqrt(w.size)
    return (w.astype(np.float64) + scale * rng.normal(size=w.shape)).astype(w.dtype)


def mixed(dtype=np.float32, n=5):
    """A family in which some layers belong to some models only."""
    rng = np.random.default_rng(0)
    base = {
        "embed": rng.normal(0, 0.05, (101, 31)),
        "layer.weight": rng.normal(0, 0.02, (64, 3, 5, 5)),
        "layer.bias": rng.normal(0, 0.1, (64,)),
        "norm": np.ones(33),
        "head": rng.normal(0, 0.02, (10, 64)),
        "pooler": rng.normal(0, 0.02, (64, 64)),
    }
    out = []
    for i in range(n):
        own = {k: change(w, 0.01 * (i + 1), rng) for k, w in base.items()}
        if i in (0, 3):
            del own["head"]
        if i < 3:
            del own["pooler"]
        out.append({k: w.astype(dtype) for k, w in own.items()})
    return out


def same_bytes(a, b):
    for x, y in zip(astuple(a), astuple(b), strict=True):
        if isinstance(x, np.ndarray):
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            assert x.tobytes() == y.tobytes()
        else:
            assert x == y


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16], ids=str)
@pytest.mark.parametrize("block", [1 << 17, 500])
def test_every_measure(dtype, block, monkeypatch):
    monkeypatch.setattr(stream, "block_length", lambda n, memory, threads: block)
    models = mixed(dtype)
    m = measure(group_of(models), **ALL)
    assert set(m.names) == set(models[0]) | {"head", "pooler"}
    for index, name in enumerate(m.names):
        having = [i for i, w in enumerate(models) if name in w]
        assert m.shapes[index] == models[having[0]][name].shape
        assert m.sizes[index] == models[having[0]][name].size
        for i in range(len(models)):
            if i not in having:
                assert np.isnan(m.gram[index, i]).all()
                assert np.isnan(m.gram[index, :, i]).all()
                assert np.isnan(m.linf[index, i]).all()
                assert np.isnan(m.l1[index, :, i]).all()
                assert np.isnan(m.moments[index, i]).all()
                assert m.histogram[index, i].sum() == 0
                continue
            assert m.histogram[index, i].sum() == m.sizes[index]
            x = models[i][name].astype(np.float64).ravel()
            c = x - x.mean()
            powers = [(c**k).sum() for k in (2, 3, 4)]
            size = [np.abs(c**k).sum() for k in (2, 3, 4)]
            found = m.moments[index, i]
            np.testing.assert_allclose(found[[0, 4, 5]], [x.mean(), x.min(), x.max()], atol=1e-7)
            assert (np.abs(found[1:4] - powers) <= 1e-5 * np.array(size) + 1e-15).all()
            for j in having:
                e = exact(models, name, i, j)
                norms = np.linalg.norm(x) * np.linalg.norm(models[j][name].astype(np.float64))
                assert abs(m.gram[index, i, j] - e["gram"]) <= 1e-6 * norms
                assert m.squared_distance[index, i, j] == pytest.approx(e["squared"], rel=1e-4)
                assert m.linf[index, i, j] == pytest.approx(e["linf"], rel=1e-5, abs=1e-7)
                assert m.l1[index, i, j] == pytest.approx(e["l1"], rel=1e-5, abs=1e-9)
                loss = m.gram[index, i, i] - m.gram[index, i, j]
                assert m.loss[index, i, j] == loss


def test_only_what_was_asked_for():
    m = measure(group_of(mixed()))
    assert m.gram.shape == (6, 5, 5)
    assert m.linf.shape == m.l1.shape == m.histogram.shape == (0, 0, 0)
    assert m.moments.shape == (0, 0, 6)


@pytest.mark.parametrize("block", [1 << 17, 999])
def test_threads_do_not_change_a_byte(block, monkeypatch):
    monkeypatch.setattr(stream, "BLOCK_MAX", block)
    group = group_of(mixed())
    one = measure(group, **ALL, threads=1, memory=1 << 20)
    for threads in (2, 3, 8):
        same_bytes(one, measure(group, **ALL, threads=threads, memory=1 << 20))


def test_blocks_change_nothing_but_last_bits(monkeypatch):
    rng = np.random.default_rng(5)
    models = [{"w": (1 + rng.gamma(2.0, size=(300, 100))).astype(np.float32)} for _ in range(3)]
    group = group_of(models)
    whole = measure(group, **ALL)
    for block in (4097, 10_000, 29_999):
        monkeypatch.setattr(stream, "BLOCK_MAX", block)
        parts = measure(group, **ALL)
        np.testing.assert_array_equal(parts.histogram, whole.histogram)
        np.testing.assert_array_equal(parts.linf, whole.linf)
        for x, y in ((parts.gram, whole.gram), (parts.l1, whole.l1)):
            np.testing.assert_allclose(x, y, rtol=1e-6)
        np.testing.assert_allclose(parts.moments, whole.moments, rtol=1e-5)


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5),
    centres=st.lists(st.integers(-100, 100), min_size=5, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_moments_merge_as_if_of_one_block(sizes, centres, seed):
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(c, 1, (2, s)) for s, c in zip(sizes, centres, strict=False)]

    def moments(x):
        c = x - x.mean(axis=1, keepdims=True)
        sums = [(c**k).sum(axis=1) for k in (2, 3, 4)]
        return np.stack([x.mean(axis=1), *sums, x.min(axis=1), x.max(axis=1)], axis=1)

    done, merged = 0, np.full((2, 6), np.nan)
    for block in blocks:
        merged = stream._merge(merged, done, moments(block), block.shape[1])
        done += block.shape[1]
    whole = np.concatenate(blocks, axis=1)
    c = np.abs(whole - whole.mean(axis=1, keepdims=True))
    size = np.stack([np.full(2, 100.0), *((c**k).sum(axis=1) for k in (2, 3, 4))], axis=1)
    np.testing.assert_array_less(
        np.abs(merged - moments(whole)), 1e-11 * np.c_[size, [100, 100], [100, 100]] + 1e-12
    )


@pytest.mark.parametrize(
    ("dtype", "rel"),
    [(BF16, 1e-4), (np.float16, 1e-4), (np.float32, 1e-4), (np.float32, 1e-6), (np.float64, 1e-6)],
    ids=str,
)
def test_close_models_of_two_families(dtype, rel):
    """Distances of models that differ by a tiny part of their norm, beside unrelated ones."""
    rng = np.random.default_rng(2)
    shapes = {"a": (300, 200), "b": (257, 3, 3, 3), "c": (1001,)}
    models = []
    for _ in range(2):
        root = {n: rng.normal(0.001, 0.02, s).astype(dtype) for n, s in shapes.items()}
        child = {n: change(w, rel, rng) for n, w in root.items()}
        models += [root, child, {n: change(w, rel, rng) for n, w in child.items()}]
        models.append({n: change(w, rel, rng) for n, w in root.items()})
    m = measure(group_of(models))
    checked = 0
    for index, name in enumerate(m.names):
        for i in range(8):
            for j in range(8):
                e = exact(models, name, i, j)
                found = m.squared_distance[index, i, j]
                if i // 4 == j // 4 and e["squared"]:
                    ratio = e["squared"] / exact(models, name, i, i)["gram"]
                    assert ratio < (30 * rel) ** 2 or dtype in (BF16, np.float16)
                    checked += 1
                assert found == pytest.approx(e["squared"], rel=1e-3)
    assert checked > 40


def test_bf16_models_apart_by_1e_4_of_their_norm():
    """In bf16 that is a few weights moved by one unit in the last place."""
    rng = np.random.default_rng(3)
    parent = rng.normal(0, 0.02, (400, 300)).astype(BF16)
    models = [{"w": parent}]
    for _ in range(6):
        bits = models[-1]["w"].copy().view(np.uint16)
        bits.reshape(-1)[rng.choice(bits.size, 40, replace=False)] ^= 1
        models.append({"w": bits.view(BF16)})
    m = measure(group_of(models))
    for i in range(7):
        for j in range(i):
            e = exact(models, "w", i, j)
            assert 0 < e["squared"] < (3e-4) ** 2 * exact(models, "w", i, i)["gram"]
            assert m.squared_distance[0, i, j] == pytest.approx(e["squared"], rel=1e-3)
            p, c = (models[k]["w"].astype(np.float64).ravel() for k in (i, j))
            lost = (p - c) @ p
            assert m.loss[0, i, j] == pytest.approx(lost, abs=1e-2 * e["squared"])


@pytest.mark.parametrize("hub", [0, 1, 2])
@pytest.mark.parametrize("rel", [1e-4, 1e-5])
def test_close_models_whose_hub_lacks_the_layer(hub, rel):
    """The reference of a layer must be among those that have it: children share a head, the
    parent that they are nearest to has none."""
    rng = np.random.default_rng(4)
    body, head = (rng.normal(0, 0.02, s).astype(np.float32) for s in ((300, 200), (200, 200)))
    models = [{"body": change(body, rel, rng), "head": change(head, rel, rng)} for _ in range(3)]
    models.insert(hub, {"body": body})
    m = measure(group_of(models))
    index = m.names.index("head")
    for i in range(4):
        for j in range(i):
            if hub not in (i, j):
                e = exact(models, "head", i, j)["squared"]
                assert m.squared_distance[index, i, j] == pytest.approx(e, rel=1e-3)


@given(n=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_weights_come_back_from_their_increments(n, seed):
    rng = np.random.default_rng(seed)
    distance = rng.integers(0, 4, (n, n)).astype(float)
    forest = reference.reference_tree(distance + distance.T)
    assert forest[0] == -1
    forest[rng.random(n) < 0.2] = -1
    weights = rng.integers(-8, 9, (n, 30)).astype(float)
    increments = np.zeros_like(weights)
    for k, up in enumerate(forest):
        increments[k] = weights[k] - (weights[up] if up >= 0 else 0)
        seen = {k}
        while up >= 0:  # no circle
            assert up not in seen
            seen.add(up)
            up = forest[up]
    found = reference.from_increments(increments @ increments.T, forest)
    np.testing.assert_array_equal(found, weights @ weights.T)


def test_squared_distances_of_samples():
    rng = np.random.default_rng(11)
    samples = [rng.normal(size=(5, s)) for s in (40, 7, 300)]
    samples[0][2] = np.nan  # models without the layer
    samples[1][[2, 3]] = np.nan
    samples[2][[2, 4]] = np.nan
    found = reference.squared_distances(samples)
    for i in range(5):
        for j in range(5):
            shared = [s for s in samples if np.isfinite(s[[i, j]]).all()]
            total = sum(((s[i] - s[j]) ** 2).sum() for s in shared)
            count = sum(s.shape[1] for s in shared)
            expected = total / count if count else np.inf
            assert found[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(n=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_reference_tree_is_a_minimum_spanning_tree(n, seed):
    from scipy.sparse.csgraph import minimum_spanning_tree

    points = np.random.default_rng(seed).normal(size=(n, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    tree = reference.reference_tree(distance)
    length = sum(distance[i, up] for i, up in enumerate(tree) if up >= 0)
    assert (tree == -1).sum() == 1
    assert length == pytest.approx(minimum_spanning_tree(distance).sum())


def test_the_reference_tree_spans_models_that_share_nothing():
    distance = np.array([[0, np.inf, 1], [np.inf, 0, np.inf], [1, np.inf, 0]])
    assert reference.reference_tree(distance).tolist()[0] == -1
    assert (reference.reference_tree(distance)[1:] >= 0).all()
    assert (reference.reference_tree(np.full((3, 3), np.inf))[1:] >= 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("who", [0, 1, 3])
def test_what_is_not_finite_shows_on_the_diagonal(bad, who):
    rng = np.random.default_rng(6)
    root = rng.normal(size=(40, 30)).astype(np.float32)
    models = [{"w": change(root, 0.1, rng), "ok": change(root, 0.1, rng)} for _ in range(4)]
    models[who]["w"][-1, -1] = bad
    m = measure(group_of(models), distances=True, moments=True)
    assert not np.isfinite(m.gram[m.names.index("w"), who, who])
    assert np.isfinite(m.gram[m.names.index("ok")]).all()


def test_a_mask_of_infinities_is_no_cause_for_warnings():
    """Attention masks are stored with -inf everywhere; pytest makes an error of a warning."""
    rng = np.random.default_rng(7)
    mask = np.full((9, 9), -np.inf, np.float32)
    models = [{"mask": mask, "w": rng.normal(size=(9, 9)).astype(np.float32)} for _ in range(3)]
    m = measure(group_of(models), **ALL)
    assert not np.isfinite(m.gram[m.names.index("mask")]).any()
    assert np.isfinite(m.gram[m.names.index("w")]).all()


class Spy:
    """A source that says what was read of it."""

    def __init__(self, values):
        self.values, self.reads = values.reshape(-1), []

    def read(self, start, stop):
        self.reads.append((start, stop))
        return self.values[start:stop]


def spied(n=3, size=50_000):
    rng = np.random.default_rng(8)
    spies = [Spy(rng.normal(size=size).astype(np.float32)) for _ in range(n)]
    shape = (size // 100, 100)
    checkpoints = [
        Checkpoint(f"{i}", Path("x"), "npz", {"w": Tensor("w", np.dtype("f4"), shape, s)})
        for i, s in enumerate(spies)
    ]
    (group,) = align(checkpoints)
    return group, spies


@pytest.mark.parametrize("threads", [1, 2])
def test_every_weight_is_read_once_and_in_order(threads):
    group, spies = spied()
    told = []
    measure(group, **ALL, threads=threads, memory=1 << 19, progress=told.append)
    length = stream.block_length(3, 1 << 19, 2)
    assert length < 50_000
    assert sum(told) == 3 * 50_000 * 4
    assert all(step > 0 for step in told)
    for spy in spies:
        blocks = [(a, b) for a, b in spy.reads if b - a > reference.WEIGHTS_OF_EACH]
        looks = [(a, b) for a, b in spy.reads if b - a <= reference.WEIGHTS_OF_EACH]
        tail = 50_000 % length
        if 0 < tail <= reference.WEIGHTS_OF_EACH:
            looks.remove((50_000 - tail, 50_000))
            blocks.append((50_000 - tail, 50_000))
        blocks.sort()
        assert blocks[0][0] == 0
        assert blocks[-1][1] == 50_000
        assert all(a[1] == b[0] for a, b in pairwise(blocks))
        assert max(b - a for a, b in blocks) <= length
        assert len(looks) <= 2  # the sample, and the range of the histogram


@given(
    n=st.integers(1, 2000), memory=st.integers(1 << 20, 1 << 36), threads=st.sampled_from([1, 2, 8])
)
def test_blocks_stay_within_memory(n, memory, threads):
    length = stream.block_length(n, memory, threads)
    assert 4096 <= length <= stream.BLOCK_MAX
    assert length == 4096 or length * n * 4 * threads <= memory // 2


def test_memory_is_obeyed_by_measure():
    for memory, most in ((1 << 20, stream.block_length(3, 1 << 20, 2)), (1 << 18, 10_922)):
        group, spies = spied()
        measure(group, memory=memory)
        assert max(b - a for spy in spies for a, b in spy.reads) <= most


def test_a_failing_read_reaches_the_caller():
    group, spies = spied()

    def fail(start, stop):
        if start > 20_000 and stop - start > reference.WEIGHTS_OF_EACH:
            raise OSError("gone")
        return Spy.read(spies[1], start, stop)

    spies[1].read = fail
    for threads in (1, 2, 3):
        with pytest.raises(OSError, match="gone"):
            measure(group, threads=threads, memory=1 << 18)


def test_some_layers_and_some_models():
    m = measure(group_of(mixed()), **ALL)
    keep = np.array([name != "norm" for name in m.names])
    some = m.over(keep).among([4, 1])
    assert some.names == tuple(n for n in m.names if n != "norm")
    for index, name in enumerate(some.names):
        was = m.names.index(name)
        assert some.shapes[index] == m.shapes[was]
        assert some.sizes[index] == m.sizes[was]
        for a, b in ((some.gram, m.gram), (some.linf, m.linf), (some.l1, m.l1)):
            np.testing.assert_array_equal(a[index], b[was][np.ix_([4, 1], [4, 1])])
        np.testing.assert_array_equal(some.moments[index], m.moments[was][[4, 1]])
        np.testing.assert_array_equal(some.histogram[index], m.histogram[was][[4, 1]])


def test_one_model_alone():
    (group,) = align([model("a", mixed()[1])])
    m = measure(group, **ALL, threads=2)
    index = m.names.index("head")
    head = mixed()[1]["head"].astype(np.float64)
    assert m.gram[index].shape == (1, 1)
    assert m.gram[index, 0, 0] == pytest.approx((head**2).sum(), rel=1e-6)


def test_from_files_in_place(tmp_path):
    """Through a safetensors file, whose tensors lie at odd offsets."""
    from safetensors.numpy import save_file

    from mother.checkpoints import open_checkpoint

    models = mixed()
    for i, weights in enumerate(models):
        save_file(weights, tmp_path / f"{i:03}.safetensors", metadata={"pad": "x" * i})
    opened = [open_checkpoint(tmp_path / f"{i:03}.safetensors", id=f"{i:03}") for i in range(5)]
    (group,) = align(opened)
    same_bytes(measure(group, **ALL), measure(group_of(models), **ALL))


def test_what_is_equal_is_measured_as_equal_though_a_head_was_made_anew():
    """One layer that is far from all is no reason to centre a model on another than its twin."""
    rng = np.random.default_rng(0)
    base = {f"h.{k}.w": rng.standard_normal((40, 50)) for k in range(6)}
    base["head"] = rng.standard_normal((90, 50))
    models = [
        {n: w + 0.01 * rng.standard_normal(w.shape) for n, w in base.items()} for _ in range(6)
    ]
    models.append(models[3] | {"head": 9 * rng.standard_normal((90, 50))})
    stored = [{n: w.astype(np.float32) for n, w in weights.items()} for weights in models]
    found = measure(group_of(stored))
    apart = found.squared_distance[:, 3, 6]
    assert [n for n, x in zip(found.names, apart, strict=True) if x > 0] == ["head"]
