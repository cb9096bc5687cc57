"""Fine-tunes in layouts that no table knows are seen in their relatives' one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.layouts import align, in_one_layout
from mother.options import Options
from mother.recovery import recover_checkpoints

BLOCKS, WIDTH, HIDDEN = 3, 64, 96


def model(seed):
    rng = np.random.default_rng(seed)
    shapes = {"embed.weight": (80, WIDTH), "stem.weight": (24, 8, 3, 3)}
    for k in range(BLOCKS):
        for name in "qkv":
            shapes[f"block.{k}.{name}.weight"] = (WIDTH, WIDTH)
            shapes[f"block.{k}.{name}.bias"] = (WIDTH,)
        shapes[f"block.{k}.up.weight"] = (HIDDEN, WIDTH)
        shapes[f"block.{k}.down.weight"] = (WIDTH, HIDDEN)
        shapes[f"block.{k}.norm.weight"] = (WIDTH,)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def tuned(weights, seed):
    rng = np.random.default_rng(seed)
    return {n: (w + 0.1 * rng.normal(size=w.shape)).astype(np.float32) for n, w in weights.items()}


def fused(w):
    """qkv in one matrix, other names."""
    out = {"wte": w["embed.weight"], "conv": w["stem.weight"]}
    for k in range(BLOCKS):
        own = {name: w[f"block.{k}.{name}"] for name in ("up.weight", "down.weight", "norm.weight")}
        out |= {f"h.{k}.{name}": value for name, value in own.items()}
        for end in ("weight", "bias"):
            parts = [w[f"block.{k}.{name}.{end}"] for name in "qkv"]
            out[f"h.{k}.c_attn.{end}"] = np.concatenate(parts)
    return out


def grouped(w):
    """As Megatron has it: for each of 4 heads its rows of q, of k and of v."""
    out = fused(w)
    for name, value in out.items():
        if "c_attn" in name:
            heads = value.reshape(3, 4, WIDTH // 4, -1).swapaxes(0, 1)
            out[name] = heads.reshape(value.shape)
    return out


def turned(w):
    """As Flax and TensorFlow have it: kernels (in, out) and (height, width, in, out)."""
    out = {}
    for name, value in w.items():
        axes = {2: (1, 0), 4: (2, 3, 1, 0)}.get(value.ndim, (0,))
        kept = "embed" in name
        label = f"m/{name.replace('.', '/').replace('weight', 'kernel')}"
        out[label] = value if kept else value.transpose(axes).copy()
    return out


def stacked(w):
    """As a scan has it: all blocks along a first axis."""
    out = {"wte": w["embed.weight"]}
    for name in {name.split(".", 2)[2] for name in w if name.startswith("block")}:
        every = [w[f"block.{k}.{name}"] for k in range(BLOCKS)]
        out[f"blocks/{name}"] = np.stack([v.T for v in every])
    return out


def heads_apart(w):
    """As T5X has it: heads along an axis of their own."""
    out = turned(w)
    for name, value in out.items():
        if any(f"/{each}/kernel" in name for each in "qkv"):
            out[name] = value.reshape(WIDTH, 4, WIDTH // 4)
    return out


def renamed(w):
    return {f"p{k}": value for k, value in enumerate(w.values())}


def interleaved(w):
    """As rotary halves are interleaved: every second row from the other half."""
    halves = {n: v for n, v in w.items() if v.ndim == 2 and "embed" not in n}
    out = {f"p{k}": v for k, v in enumerate(w.values()) if v.ndim != 2 or len(v) == 80}
    for k, (name, value) in enumerate(halves.items()):
        order = np.arange(len(value)).reshape(2, -1).T.reshape(-1)
        out[f"i{k}.matrix"] = value[order]
        bias = w.get(name.replace("weight", "bias"))
        if bias is not None:
            out = {n: v for n, v in out.items() if v is not bias} | {f"i{k}.vector": bias[order]}
    return out


LAYOUTS = [fused, grouped, turned, stacked, heads_apart, renamed, interleaved]


def checkpoint(id, weights):
    tensors = {name: constant(name, value) for name, value in weights.items()}
    return Checkpoint(id, Path(id), "npz", tensors)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fine_tune_in_another_layout(layout):
    base = model(0)
    child = tuned(base, 1)
    family = [checkpoint("base", base), checkpoint("sibling", tuned(base, 2))]
    seen, ids = in_one_layout([*family, checkpoint("child", layout(child))])
    assert ids == {"child"}
    assert len(align(seen)) == 1
    found = {n: t for n, t in seen[2].tensors.items() if n in child}
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor.read().reshape(tensor.shape), child[name], name)
        np.testing.assert_array_equal(tensor.read(3, 20), child[name].reshape(-1)[3:20], name)
    missing = sum(child[n].size for n in child if n not in found)
    kept = 0 if layout is not stacked else child["stem.weight"].size
    assert missing - kept <= 0.02 * sum(value.size for value in child.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_family_in_another_layout_joins_one_of_a_single_model(layout):
    base = model(0)
    others = [checkpoint(f"t{k}", layout(tuned(base, k))) for k in (1, 2)]
    seen, ids = in_one_layout([checkpoint("base", base), *others])
    assert ids in ({"base"}, {"t1", "t2"})
    assert len(align(seen)) == 1


def test_what_names_leave_is_found_by_content():
    base = model(0)
    child = tuned(base, 1)
    half = {n.replace(".up.", ".w1."): v[::-1] if ".up." in n else v for n, v in child.items()}
    given = [checkpoint(id, w) for id, w in (("base", base), ("kid", tuned(base, 2)))]
    seen, ids = in_one_layout([*given, checkpoint("child", half)])
    assert ids == {"child"}
    assert set(seen[2].tensors) == set(base)
    for name, tensor in seen[2].tensors.items():
        np.testing.assert_array_equal(tensor.read().reshape(tensor.shape), child[name])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strangers_stay_apart(layout):
    given = [checkpoint("a", model(0)), checkpoint("b", layout(model(1)))]
    seen, ids = in_one_layout(given)
    assert not ids
    assert [id(c) for c in seen] == [id(c) for c in given]


def test_rows_that_are_all_alike_are_no_evidence():
    """An embedding whose rows share a direction agrees with any other of that kind."""
    rng = np.random.default_rng(0)
    mean = 3 * rng.normal(size=WIDTH)
    a, b = ((mean + rng.normal(size=(200, WIDTH))).astype(np.float32) for _ in range(2))
    _, ids = in_one_layout([checkpoint("a", {"e": a}), checkpoint("b", {"f.w": b[:150]})])
    assert not ids


def test_older_names_of_vectors_pair_up():
    base = model(0)
    old = {n.replace("norm.weight", "norm.gamma"): v for n, v in tuned(base, 1).items()}
    (group,) = align([checkpoint("a", base), checkpoint("b", old)])
    assert {layer.name for layer in group.layers} == set(base)


def test_weights_that_are_no_numbers_are_found_nowhere():
    broken = {n: np.full_like(v, np.nan) for n, v in model(0).items()}
    huge = {n: np.full_like(v, np.inf) for n, v in model(0).items()}
    given = [checkpoint("a", model(0)), checkpoint("b", renamed(broken))]
    assert not in_one_layout([*given, checkpoint("c", turned(huge))])[1]


@pytest.mark.parametrize("died", [0, 40])
def test_norms_folded_into_rows_are_seen_where_rows_are_rows(died):
    """A converter for phones turns kernels, folds batch norms into them, and leaves of units that
    died what single precision does."""
    rng = np.random.default_rng(0)
    keras, phone = {}, {}
    for k in range(6):
        kernel = rng.normal(size=(1, 1, 48, 64)).astype(np.float32)
        kernel[..., :died] *= 1e-24
        by = np.exp(1.5 * rng.normal(size=64)).astype(np.float32)
        keras[f"conv_{k}/kernel"] = kernel
        keras[f"norm_{k}/gamma"] = by
        phone[f"model/conv_{k}/Conv2D"] = np.moveaxis(kernel * by, -1, 0)
    models = [
        Checkpoint(name, Path(name), name, {n: constant(n, w) for n, w in weights.items()})
        for name, weights in (("keras", keras), ("tflite", phone))
    ]
    graph = recover_checkpoints(models, Options(bootstrap=0))
    (edge,) = graph.edges
    assert (edge.parent, edge.child, edge.relation) == ("keras", "tflite", "converted")
