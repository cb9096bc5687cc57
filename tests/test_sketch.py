from collections import Counter
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import Tensor, constant
from mother.errors import InputError
from mother.layouts import align
from mother.measures import measure
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.signature import signature
from mother.sketches.sketch import agree, layout, sketch
from mother.sketches.sketch_bytes import dump, load
from mother.sketches.windows import SAMPLED_MATRICES, VECTOR, golden, windows

HERE = Path("here")


def model(id, arrays, format="safetensors"):
    return Checkpoint(id, HERE / id, format, {n: constant(n, a) for n, a in arrays.items()})


def weights(rng, dtype=np.float32):
    return {
        "embed.weight": rng.normal(size=(200, 64)).astype(dtype),
        "layer.0.weight": rng.normal(size=(96, 64)).astype(dtype),
        "layer.0.bias": rng.normal(size=96).astype(dtype),
        "layer.1.weight": rng.normal(size=(64, 8, 3, 3)).astype(dtype),
        "layer.1.scale": np.array(rng.normal(), dtype=dtype),
        "steps": np.array(7),
    }


def rolled(array, window):
    """The window by numpy alone."""
    matrix = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
    rows = [(window.top + k * window.step) % len(matrix) for k in range(window.rows)]
    columns = [(window.left + k * window.across) % matrix.shape[1] for k in range(window.columns)]
    return matrix[np.ix_(rows, columns)]


@pytest.mark.parametrize("budget", [64, 4096, 20_000, 1 << 30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("apart", [0, 10_000, 1 << 15])
def test_samples_are_the_windows(budget, dtype, apart):
    arrays = weights(np.random.default_rng(0), dtype)
    whole = model("a", arrays)
    chosen = windows(whole.tensors, budget, apart=apart)
    assert set(chosen) == set(arrays) - {"steps"}
    for name, tensor in sketch(whole, budget, apart=apart).tensors.items():
        assert (tensor.shape, tensor.dtype) == (arrays[name].shape, arrays[name].dtype)
        if name in chosen:
            expected = rolled(arrays[name], chosen[name])
            assert tensor.kept.shape == expected.shape
            np.testing.assert_array_equal(tensor.kept.read(), expected.ravel())
            assert tensor.kept.dtype == arrays[name].dtype


def test_budget_is_kept_and_used():
    whole = model("a", weights(np.random.default_rng(0)))
    for budget in (2048, 8192, 32_768):
        held = sum(t.sample.nbytes for t in sketch(whole, budget).tensors.values() if t.sample)
        assert 0.8 * budget <= held <= budget


def test_what_each_layer_gets():
    rng = np.random.default_rng(0)
    arrays = {
        "large.weight": rng.normal(size=(1024, 1024)).astype(np.float32),
        "quarter.weight": rng.normal(size=(512, 512)).astype(np.float32),
        "tiny.weight": rng.normal(size=(8, 8)).astype(np.float32),
        "norm.bias": rng.normal(size=1024).astype(np.float32),
    }
    got = {n: w.rows * w.columns for n, w in windows(model("a", arrays).tensors, 65_536).items()}
    assert got["tiny.weight"] == 64
    assert got["norm.bias"] <= VECTOR
    assert got["large.weight"] / got["quarter.weight"] == pytest.approx(2, rel=0.1)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_any_number_of_rows_is_spread_over_the_matrix(height, many):
    many = min(many, height)
    rows = sorted(k * golden(height) % height for k in range(many))
    assert len(set(rows)) == many
    gaps = np.diff([*rows, rows[0] + height])
    assert gaps.max() <= 4 * -(-height // many)


def test_rows_follow_one_another_where_each_stretch_costs():
    tensors = model("a", weights(np.random.default_rng(0))).tensors
    apart, together = windows(tensors, 8192), windows(tensors, 8192, apart=0)
    shape = tensors["embed.weight"].shape
    assert len(apart["embed.weight"].bands(shape)) == apart["embed.weight"].rows
    assert len(together["embed.weight"].bands(shape)) <= 2
    columns = np.sort(together["embed.weight"].places(shape)[1])
    assert np.diff(columns).max() > 1


def test_places_do_not_depend_on_prefix_order_or_other_layers():
    arrays = weights(np.random.default_rng(0))
    plain = windows(model("a", arrays).tensors, 8192)
    prefixed = windows(
        model("b", {f"vit.{n}": a for n, a in reversed(arrays.items())}).tensors, 8192
    )
    assert {f"vit.{n}": w for n, w in plain.items()} == prefixed
    more = windows(model("c", arrays | {"head.weight": np.zeros((50, 64))}).tensors, 8192)
    for name, window in plain.items():
        assert (more[name].top, more[name].left) == (window.top, window.left)
    assert windows(model("a", arrays).tensors, 8192, seed=1) != plain


@pytest.mark.parametrize("apart", [0, 1 << 15])
def test_a_smaller_sketch_is_a_corner_of_a_larger_one(apart):
    rng = np.random.default_rng(0)
    one, other = (model(id, weights(rng)) for id in "ab")
    (mixed,) = align([sketch(one, 4096, apart=apart), sketch(other, 30_000, apart=apart)])
    for layer in mixed.layers:
        whole = one.tensors[layer.name].read().reshape(layer.shape)
        window = windows(one.tensors, 4096, apart=apart)[layer.name]
        larger = windows(one.tensors, 30_000, apart=apart)[layer.name]
        rows, columns = min(window.rows, larger.rows), min(window.columns, larger.columns)
        common = replace(window, rows=rows, columns=columns)
        assert layer.shape == whole.shape
        np.testing.assert_array_equal(layer.tensors[0].read(), rolled(whole, common).ravel())
        assert layer.tensors[1].size == layer.tensors[0].size


def shaped(shapes, dtype=np.float32):
    """Tensors of which no weights are read."""
    return {n: Tensor(n, np.dtype(dtype), shape, _Counting()) for n, shape in shapes.items()}


def decoder(blocks, experts=0):
    """A large model of so many blocks, each of six kinds of matrices, and of experts."""
    kinds = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"]
    kinds += [f"experts.{e}.{kind}" for e in range(experts) for kind in ("up", "down")]
    shapes = {f"layers.{k}.{kind}.weight": (512, 512) for k in range(blocks) for kind in kinds}
    norms = {f"layers.{k}.norm.weight": (512,) for k in range(blocks)}
    return shapes | norms | {"embed.weight": (30_000, 512), "head.weight": (30_000, 512)}


@pytest.mark.parametrize("blocks", [12, 24, 32])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_few_matrices_are_of_every_block_and_every_kind(blocks, seed):
    few = windows(shaped(decoder(blocks)), seed=seed)
    assert len(few) <= SAMPLED_MATRICES
    assert {"embed.weight", "head.weight"} <= few.keys()
    inside = [name.split(".") for name in few if name.startswith("layers")]
    # 35 matrices are not always of 32 blocks
    assert len({int(k) for _, k, *_ in inside}) >= blocks - (blocks > 24)
    kinds = Counter(kind for *_, kind, _ in inside)
    assert kinds.keys() == {"q", "k", "v", "o", "up", "down"}
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_many_experts_leave_room_for_the_rest():
    few = windows(shaped(decoder(24, experts=60)))
    kinds = Counter(name.rpartition(".")[0].rpartition(".")[2] for name in few)
    assert len(few) <= SAMPLED_MATRICES
    assert min(kinds[kind] for kind in "qkvo") >= 4


def test_few_matrices_are_the_same_few_under_a_prefix_and_beside_a_head():
    shapes = decoder(24)
    few = windows(shaped(shapes))
    heads = {"score.weight": (9, 512), "classifier.1.weight": (700, 512)}
    others = shapes | heads
    prefixed = {f"module.{n}": shape for n, shape in reversed(others.items())}
    found = windows(shaped(prefixed))
    assert {f"module.{name}" for name in few} <= found.keys()
    for name, window in few.items():
        other = found[f"module.{name}"]
        assert (other.top, other.left, other.step) == (window.top, window.left, window.step)
    # of another type and a larger budget as well
    assert windows(shaped(shapes, np.float16), 1 << 20).keys() == few.keys()


def test_a_small_model_is_sampled_everywhere():
    shapes = {f"layers.{k}.weight": (128, 128) for k in range(100)} | {"norm.weight": (128,)}
    assert windows(shaped(shapes)).keys() == shapes.keys()


def test_what_a_sketch_holds_nothing_of_says_nothing_of_it(monkeypatch):
    monkeypatch.setattr("mother.sketches.windows.SMALL", 1000)
    rng = np.random.default_rng(0)
    arrays = {f"layers.{k}.weight": rng.normal(size=(64, 64)) for k in range(12)}
    few = sketch(model("few", arrays), matrices=4)
    (group,) = align([few, *(sketch(model(id, arrays)) for id in "ab")])
    held = {name for name, tensor in few.tensors.items() if tensor.kept.size}
    assert 0 < len(held) < 12
    assert {layer.name for layer in group.layers} == held
    assert all(layer.members == (0, 1, 2) for layer in group.layers)
    assert not any(group.unaligned)


def test_estimates_are_right_on_average():
    """Inner products from sketches against those of numpy in float64, over seeds."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(128, 96))
    arrays = [(base + rng.normal(size=base.shape) * s).astype(np.float32) for s in (0, 0.1, 0.3)]
    models = [model(str(k), {"fc.weight": a}) for k, a in enumerate(arrays)]
    exact = np.array([[float(np.vdot(a, b)) for b in arrays] for a in arrays], dtype=np.float64)
    found = []
    for seed in range(60):
        (group,) = align([sketch(m, 4096, seed=seed) for m in models])
        measures = measure(group)
        assert measures.sizes.tolist() == [base.size]
        assert measures.seen[0] < 1024
        found.append(measures.gram[0])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - exact) < 4 * error).all()
    # and about as exact as so many weights drawn one by one
    assert np.std(found, axis=0)[0, 0] < 3 * base.size * np.sqrt(2 / 1024)


def test_a_whole_sketch_measures_as_the_weights_do():
    rng = np.random.default_rng(0)
    models = [model(id, weights(rng)) for id in "abc"]
    (full,), (sketched,) = align(models), align([sketch(m, 1 << 30) for m in models])
    few = [k for k, layer in enumerate(full.layers) if layer.size > VECTOR and len(layer.shape) < 2]
    one, other = measure(full, moments=True), measure(sketched, moments=True)
    every = [k for k in range(len(full.layers)) if k not in few]
    np.testing.assert_allclose(one.gram[every], other.gram[every], rtol=1e-6, atol=5e-3)
    np.testing.assert_allclose(one.moments[every], other.moments[every], rtol=1e-5, atol=1e-2)
    np.testing.assert_array_equal(one.sizes, other.sizes)


def test_lora_and_its_rank_show_in_a_sketch():
    rng = np.random.default_rng(0)
    base = {
        f"block.{k}.{n}.weight": rng.normal(size=(256, 256)).astype(np.float32)
        for k in range(4)
        for n in "qkv"
    }
    tuned = dict(base)
    for name in base:
        if ".v." in name:
            change = rng.normal(size=(256, 3)) @ rng.normal(size=(3, 256))
            tuned[name] = base[name] + (0.02 * change).astype(np.float32)
    graph = recover_checkpoints(
        [sketch(model("base", base)), sketch(model("tuned", tuned))], Options(bootstrap=0)
    )
    (edge,) = graph.edges
    assert (edge.parent, edge.child, edge.relation, edge.rank) == ("base", "tuned", "lora", 3)


def test_bytes_come_back_the_same():
    whole = model("a", weights(np.random.default_rng(0)))
    small = sketch(whole, 8192, seed=3)
    data = dump(small, 3)
    again = load(data, HERE, id="a", seed=3)
    assert dump(again, 3) == data == dump(sketch(whole, 8192, seed=3), 3)
    assert again.format == "safetensors"
    for name, tensor in small.tensors.items():
        other = again.tensors[name]
        assert (other.shape, other.dtype) == (tensor.shape, tensor.dtype)
        if tensor.sample is not None:
            np.testing.assert_array_equal(other.kept.read(), tensor.kept.read())
    with pytest.raises(InputError, match="but a sample"):
        again.tensors["embed.weight"].read()
    with pytest.raises(InputError, match="of seed 3, not 0"):
        load(data, HERE)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    budgets=st.tuples(*[st.sampled_from([64, 1000, 4096, 20_000, 1 << 20])] * 2),
    dtype=st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]),
    apart=st.sampled_from([0, 1 << 15]),
)
def test_sketches_agree_unless_a_value_that_both_hold_differs(seed, budgets, dtype, apart):
    rng = np.random.default_rng(seed)
    arrays = weights(rng, dtype)
    arrays["layer.0.bias"][:] = np.nan
    name = str(rng.choice(["embed.weight", "layer.0.weight", "layer.1.weight"]))
    at = tuple(rng.integers(arrays[name].shape))
    others = {n: a.copy() for n, a in arrays.items()}
    others[name][at] += dtype(1)
    one, same, other = (
        sketch(model("a", a), budget, apart=apart)
        for a, budget in zip((arrays, arrays, others), (*budgets, budgets[1]), strict=True)
    )
    assert agree(load(dump(one), HERE), same)
    marked = {n: np.zeros(np.shape(a)) for n, a in arrays.items()}
    marked[name][at] = 1
    looked = (windows(model("a", arrays).tensors, b, apart=apart)[name] for b in budgets)
    assert agree(one, other) == (not all(rolled(marked[name], w).any() for w in looked))
    del others["steps"]
    assert not agree(one, sketch(model("a", others), budgets[0], apart=apart))


def test_layout_has_no_weights():
    small = load(dump(layout(model("a", weights(np.random.default_rng(0))))), HERE)
    assert not any(t.kept.size for t in small.tensors.values())
    assert small.tensors["embed.weight"].shape == (200, 64)


def test_other_versions_and_strangers_are_refused():
    data = dump(sketch(model("a", weights(np.random.default_rng(0))), 4096))
    for altered, fault in (
        (b"", "not a sketch"),
        (b"\x89PNG" + data, "not a sketch"),
        (data.replace(b"/4\n", b"/6\n", 1), "upgrade mother"),
        (data[:20], "cut off"),
        (data[:-40], "torn or altered"),
        (data[:900] + b"\0" + data[901:], "torn or altered"),
        (data + b"\0", "torn or altered"),
    ):
        with pytest.raises(InputError, match=fault):
            load(altered, HERE)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_do_harm(data):
    """Altered anywhere, checksum taken for right: a sketch or one line."""
    good = dump(sketch(model("a", weights(np.random.default_rng(0))), 2048), labels=bytes(64))
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(bad), 700) - 1))
        bad[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found = load(bytes(bad), HERE, verified=True)
    except InputError as fault:
        lines = str(fault).splitlines()
        assert len(lines) == 1
    else:
        for tensor in found.tensors.values():
            tensor.kept.shape  # noqa: B018


def test_hostile_headers_are_refused_in_one_line():
    import json
    import zlib

    def of(**header):
        text = zlib.compress(json.dumps(header).encode())
        data = b"mother.sketch/4\n" + len(text).to_bytes(4, "little") + text
        return data + bytes(32)

    good = ["w", "float32", [8, 8], [0, 0, 1, 1, 1, 1]]
    for tensors in (
        [["w", "float32", [8, 8], [0, 0, 9, 1, 1, 1]]],
        [["w", "float32", [8, 8], [8, 0, 1, 1, 1, 1]]],
        [["w", "float32", [8, 8], [0, 0, 0, 1, 1, 1]]],
        [["w", "float32", [0, 8], [0, 0, 1, 1, 1, 1]]],
        [["w", "float32", [2**62] * 32, [0, 0, 2**62, 2**62, 1, 1]]],
        [["w", "float32", [-8, 8], [0, 0, 1, 1, 1, 1]]],
        [["w", "float32", [8.0, 8], [0, 0, 1, 1, 1, 1]]],
        [["w", "float32", [True, 8], [0, 0, 1, 1, 1, 1]]],
        [["w", "float32", [8, 8], [0, 0, 1, 1, 0, 1]]],
        [["w", "float32", [8, 8], [0, 0, 1, 1, 1, 0]]],
        [["w", "float32", [8, 8], [0, 0, 1, 1, 1]]],
        [["w", "int64", [8, 8], [0, 0, 1, 1, 1, 1]]],
        [["w", "object", [8, 8], None]],
        [["w", "f4,f4", [8, 8], None]],
        [["w", "float32", [1] * 33, None]],
        [[7, "float32", [8, 8], None]],
        [good, good],
        [good[:3]],
        "tensors",
        {"w": good},
    ):
        with pytest.raises(InputError, match=r"broken header|of another length"):
            load(of(seed=0, format="npz", tensors=tensors), HERE, verified=True)
    nothing = {"seed": 0, "format": "npz", "tensors": []}
    for header in (
        {},
        nothing | {"seed": "0"},
        nothing | {"labels": 65},
        nothing | {"labels": 64.0},
    ):
        with pytest.raises(InputError, match="broken header"):
            load(of(**header), HERE, verified=True)
    bomb = zlib.compress(b" " * (80 << 20), 9)
    data = b"mother.sketch/4\n" + len(bomb).to_bytes(4, "little") + bomb + bytes(32)
    with pytest.raises(InputError, match="sensible length"):
        load(data, HERE, verified=True)


def test_signatures_keep_distances():
    rng = np.random.default_rng(0)
    base = weights(rng)
    root = signature(sketch(model("a", base), 8192))
    apart = []
    for scale in (0.01, 0.1):
        moved = {
            n: a if a.dtype.kind == "i" else (a + scale * rng.normal(size=a.shape)).astype(a.dtype)
            for n, a in base.items()
        }
        apart.append(np.linalg.norm(signature(sketch(model("b", moved), 8192)) - root))
        prefixed = {f"m.{n}": a for n, a in moved.items()}
        again = signature(sketch(model("c", prefixed), 8192))
        assert np.linalg.norm(again - root) == pytest.approx(apart[-1], rel=1e-5)
    stranger = np.linalg.norm(signature(sketch(model("d", weights(rng)), 8192)) - root)
    assert apart[1] / apart[0] == pytest.approx(10, rel=0.5)
    assert stranger > 5 * apart[1]


class _Counting:
    """A source that remembers what was read."""

    def __init__(self):
        self.read_elements = 0

    def read(self, start, stop):
        self.read_elements += stop - start
        return np.ones(stop - start, np.float32)

    def slices(self, start, stop):
        return iter(())


def test_little_is_read():
    sources = {f"layer.{k}.weight": _Counting() for k in range(60)}
    shape = (2048, 2048)
    tensors = {n: Tensor(n, np.dtype(np.float32), shape, s) for n, s in sources.items()}
    whole = Checkpoint("a", HERE, "safetensors", tensors)
    sketch(whole)
    total = sum(t.size for t in tensors.values())  # 1 GB of float32
    assert 4 * total > 10**9
    assert sum(s.read_elements for s in sources.values()) < total / 100
