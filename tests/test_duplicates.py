"""Copies: bit for bit, in another format, and after conversion of the number type."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from mother.checkpoints import Checkpoint, open_checkpoint
from mother.checkpoints.tensor import constant
from mother.copies import duplicates
from mother.copies.duplicates import find_duplicates, without
from mother.layouts import align

BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
SHAPES = {"conv.weight": (16, 3, 3, 3), "fc.weight": (40, 50), "fc.bias": (40,), "norm": (7,)}


def weights(seed=0):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 0.5, s).astype(np.float32) for n, s in SHAPES.items()}


def converted(model, dtype):
    return {n: w.astype(dtype) for n, w in model.items()}


def found(**models):
    checkpoints = [
        Checkpoint(i, Path(i), "npz", {n: constant(n, w) for n, w in m.items()})
        for i, m in models.items()
    ]
    groups = align(checkpoints)
    return sorted(
        (d.original.id, d.copy.id, d.relation) for g in groups for d in find_duplicates(g)
    )


def test_bit_identical_copies_name_the_first():
    assert found(b=weights(), a=weights(), c=weights(1)) == [("a", "b", "duplicate")]


def test_no_copies_among_different_models():
    assert found(a=weights(0), b=weights(1), c=weights(2)) == []


def test_many_copies_are_a_star():
    models = {f"m{k}": weights() for k in range(5)}
    assert found(**models) == [("m0", f"m{k}", "duplicate") for k in range(1, 5)]


@pytest.mark.parametrize("dtype", [np.float16, BF16, E4M3, ml_dtypes.float8_e5m2], ids=str)
def test_conversion_to_a_coarser_type(dtype):
    full, coarse = weights(), converted(weights(), dtype)
    assert found(a=coarse, z=full) == [("z", "a", "converted")]
    assert found(a=full, z=coarse) == [("a", "z", "converted")]


@pytest.mark.parametrize("dtype", [np.float16, BF16, E4M3], ids=str)
def test_a_coarse_copy_stored_wide_again(dtype):
    """Its bytes are as many as the original's, its numbers are not."""
    full, wide = weights(), converted(converted(weights(), dtype), np.float32)
    assert found(a=full, z=wide) == [("a", "z", "converted")]
    assert found(z=full, a=wide) == [("z", "a", "converted")]
    ((*pair, relation),) = found(a=converted(weights(), dtype), b=wide)
    assert (sorted(pair), relation) == (["a", "b"], "duplicate")


@pytest.mark.parametrize("names", [("a", "z"), ("z", "a")])
def test_a_copy_that_is_stored_wider_than_its_original(names):
    """bfloat16 holds 1e-12, float16 does not, float32 would hold either."""
    model = converted(weights(), BF16)
    model["fc.weight"][3, :5] = 1e-12
    copy = converted(converted(model, np.float16), np.float32)
    original, lossy = names
    assert found(**{original: model, lossy: copy}) == [(original, lossy, "converted")]


def test_the_most_precise_is_the_original_of_all():
    full = weights()
    kinds = {"d": full, "a": converted(full, np.float16), "b": converted(full, BF16), "c": full}
    assert found(**kinds) == [
        ("c", "a", "converted"),
        ("c", "b", "converted"),
        ("c", "d", "duplicate"),
    ]


def test_of_double_and_single():
    double = converted(weights(), np.float64)
    assert found(a=weights(), z=double) == [("z", "a", "duplicate")]
    rng = np.random.default_rng(9)
    double = {n: w + 1e-12 * rng.normal(size=w.shape) for n, w in double.items()}
    assert found(z=double, a=converted(double, np.float32)) == [("z", "a", "converted")]


def test_a_copy_in_mixed_types():
    """As mixed-precision training saves: norms in float32, the rest in bf16."""
    full = weights()
    part = converted(full, BF16) | {"norm": full["norm"]}
    assert found(a=full, b=part) == [("a", "b", "converted")]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("at", [0, -1, "middle"])
def test_one_weight_changed_is_no_copy(name, at):
    near = weights()
    flat = near[name].reshape(-1)
    at = flat.size // 2 if at == "middle" else at
    flat[at] = np.nextafter(flat[at], np.float32(9))
    assert found(a=weights(), b=near) == []
    flat[at] = weights()[name].reshape(-1)[at]
    assert found(a=weights(), b=near) == [("a", "b", "duplicate")]


@pytest.mark.parametrize("as_if", [0.0, 6e-8, -6e-8, 1e-7])
def test_tiny_numbers_come_out_of_float16_as_converters_like(as_if):
    model = weights()
    model["fc.weight"][3, 4] = -2e-8
    coarse = converted(model, np.float16)
    coarse["fc.weight"][3, 4] = as_if
    assert found(a=model, b=coarse) == [("a", "b", "converted")]
    coarse["fc.weight"][3, 4] = 7e-5
    assert found(a=model, b=coarse) == []


@given(
    name=st.sampled_from(sorted(SHAPES)),
    at=st.integers(0, 10**6),
    bit=st.integers(0, 15),
    dtype=st.sampled_from([np.dtype(np.float16), BF16]),
)
@settings(deadline=None, max_examples=60)
def test_any_bit_flipped_in_a_converted_copy_tells(name, at, bit, dtype):
    coarse = converted(weights(), dtype)
    coarse[name].reshape(-1).view(np.uint16)[at % coarse[name].size] ^= 1 << bit
    assert found(a=weights(), b=coarse) == []


def test_a_change_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr(duplicates, "COMPARED_AT_ONCE", 100)
    near = weights()
    near["fc.weight"][-1, -1] += 1
    assert found(a=weights(), b=near, c=weights()) == [("a", "c", "duplicate")]


def test_a_light_fine_tune_of_one_layer_is_no_copy():
    tuned = weights() | {"fc.bias": weights()["fc.bias"] + np.float32(1e-3)}
    assert found(a=weights(), b=tuned) == []


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.net."])
def test_renamed_by_a_prefix(prefix):
    renamed = {prefix + n: w for n, w in weights().items()}
    assert found(a=weights(), b=renamed) == [("a", "b", "duplicate")]
    assert found(a=weights(), b=converted(renamed, np.float16)) == [("a", "b", "converted")]


def test_an_added_head_is_no_copy():
    more = weights() | {"head.weight": np.ones((2, 40), np.float32)}
    assert found(a=weights(), b=more) == []
    # nor are two that differ in what has no partner
    other = weights() | {"head.weight": np.ones((3, 40), np.float32)}
    assert found(a=more, b=other) == []
    assert found(a=more, b=dict(more), c=other) == [("a", "b", "duplicate")]


def test_transposed_weights_are_no_copy():
    turned = weights()
    turned["fc.weight"] = np.ascontiguousarray(turned["fc.weight"].T)
    assert found(a=weights(), b=turned) == []


def test_not_a_number_equals_itself():
    a, b = weights(), weights()
    for one in (a, b):
        one["fc.weight"][3, 3] = np.nan
        one["norm"][0] = np.inf
    assert found(a=a, b=b) == [("a", "b", "duplicate")]
    b["fc.weight"][3, 3] = 0
    assert found(a=a, b=b) == []


def test_a_conversion_that_overflows():
    """1e6 is infinite in float16: a copy all the same, and no warning."""
    big = weights()
    big["norm"][2] = 1e6
    with np.errstate(over="ignore"):
        half = converted(big, np.float16)
    assert found(a=big, b=half) == [("a", "b", "converted")]


def test_zeros_of_either_sign():
    minus = {n: -np.zeros(s, np.float32) for n, s in SHAPES.items()}
    plus = {n: np.zeros(s, np.float32) for n, s in SHAPES.items()}
    assert found(a=plus, b=dict(plus)) == [("a", "b", "duplicate")]
    assert found(a=plus, b=minus) in ([], [("a", "b", "duplicate")])


def test_one_model_alone():
    assert found(a=weights()) == []


def test_what_is_left():
    checkpoints = [
        Checkpoint(i, Path(i), "npz", {n: constant(n, w) for n, w in weights(s).items()})
        for i, s in (("a", 0), ("b", 1), ("c", 0), ("d", 1), ("e", 2))
    ]
    (group,) = align(checkpoints)
    copies = find_duplicates(group)
    assert [c.id for c in without(group, copies)] == ["a", "b", "e"]
    assert without(group, []) == list(group.checkpoints)


def test_across_formats_on_disk(tmp_path):
    torch_weights = {n: torch.from_numpy(w) for n, w in weights().items()}
    np.savez(tmp_path / "a.npz", **weights())
    save_file(torch_weights, tmp_path / "b.safetensors")
    torch.save(torch_weights, tmp_path / "c.pt")
    half = {f"module.{n}": w.to(torch.bfloat16) for n, w in torch_weights.items()}
    save_file(half, tmp_path / "d.safetensors")
    torch.save({"state_dict": {n: w.half() for n, w in torch_weights.items()}}, tmp_path / "e.pt")
    np.savez(tmp_path / "f.npz", **(weights() | {"norm": weights()["norm"] + 1}))
    opened = [open_checkpoint(p, id=p.stem) for p in sorted(tmp_path.iterdir())]
    (group,) = align(opened)
    copies = {d.copy.id: (d.original.id, d.relation) for d in find_duplicates(group)}
    assert copies == {
        "b": ("a", "duplicate"),
        "c": ("a", "duplicate"),
        "d": ("a", "converted"),
        "e": ("a", "converted"),
    }
