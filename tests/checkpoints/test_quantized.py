"""Quantized layers: values against those of the library that wrote them (tests/data/formats, by
experiments/formats/quantized_files.py), slices, and parts that do not fit."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mother.checkpoints import discover, open_checkpoint, unpack
from mother.errors import InputError

DATA = Path(__file__).parents[1] / "data" / "formats"
FOLDERS = sorted(path.parent for path in DATA.glob("*/expected.json"))
WRITTEN = pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
NAME = "model.layers.0.mlp.up_proj"
WEIGHT = f"{NAME}.weight"
SCHEMES = {
    "bnb-fp4": "FP4",
    "bnb-int8": "LLM.int8",
    "bnb-nf4": "NF4",
    "bnb-nf4-double": "NF4 double-quantized",
    "ct-fp8-block": "FP8 e4m3fn blocks 16x32",
    "ct-nvfp4": "NVFP4",
    "ct-w4-g32": "W4 g32",
    "gptq-4bit-act-order": "GPTQ 4 bit g32 act-order",
    "hqq-2bit": "HQQ 2 bit g32",
    "mlx-6bit": "MLX 6 bit g32",
    "quanto-int2": "quanto int2 g96",
    "quanto-int4": "quanto int4 g96",
}


@WRITTEN
def test_values_are_those_of_the_library(folder):
    expected = json.loads((folder / "expected.json").read_text())
    checkpoint = open_checkpoint(folder)
    assert list(checkpoint.tensors) == [WEIGHT]
    weight = checkpoint.tensors[WEIGHT]
    assert list(weight.shape) == expected["shape"]
    values = weight.read()
    if folder.name.startswith("torchao"):  # the library rounds to the type that the layer had
        values = values.astype(np.float32)
    told = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
    assert told == expected["sha256"]
    assert checkpoint.scheme == weight.scheme == SCHEMES.get(folder.name, checkpoint.scheme) != ""


def test_what_quanto_does_not_store_of_a_shape(tmp_path):
    """By the bias, by the width of the model, or not at all; 27 x 96 weights in groups of 96."""
    stored = load_file(DATA / "quanto-int4" / "model.safetensors")
    method = {"quantization_config": {"quant_method": "quanto"}}

    def shape(name, config, **more):
        parts = {key.replace(NAME, name): value for key, value in stored.items()}
        save_file(parts | more, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(method | config))
        return open_checkpoint(tmp_path).tensors[f"{name}.weight"].shape

    assert shape("h.0.mlp.up_proj", {"d_model": 96}) == (27, 96)
    assert shape("h.0.mlp.down_proj", {"d_model": 96}) == (96, 27)
    assert shape("h.0.mlp.down_proj", {"text_config": {"hidden_size": 27}}) == (27, 96)
    assert shape("h.0.intermediate.dense", {"hidden_size": 96}) == (27, 96)
    bias = {"h.0.mlp.down_proj.bias": np.zeros(27, np.float32)}
    assert shape("h.0.mlp.down_proj", {}, **bias) == (27, 96)
    for config in ({}, {"hidden_size": 7}, {"hidden_size": "96"}, {"text_config": 3}):
        with pytest.raises(InputError, match="tells the model's width"):
            shape("h.0.mlp.up_proj", config)


def test_all_schemes_of_the_table_are_written():
    assert SCHEMES.keys() <= {folder.name for folder in FOLDERS}


@WRITTEN
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_slices_are_slices_of_the_whole(folder, data):
    weight = open_checkpoint(folder).tensors[WEIGHT]
    start = data.draw(st.integers(0, weight.size))
    stop = data.draw(st.integers(start, weight.size))
    assert weight.read(start, stop).tobytes() == weight.read()[start:stop].tobytes()
    size = (folder / "model.safetensors").stat().st_size
    assert all(0 <= a < b <= size for _, a, b in weight.slices(start, stop))


@WRITTEN
def test_numpy_makes_the_same_of_them_as_c(folder, monkeypatch):
    assert unpack.native, "unpack.c was not built, or can't be loaded"
    compiled = open_checkpoint(folder).tensors[WEIGHT].read()
    monkeypatch.setattr(unpack, "_lib", None)
    assert open_checkpoint(folder).tensors[WEIGHT].read().tobytes() == compiled.tobytes()


def bits_of(codes, bits):
    """Codes along axis 0 as words, a bit at a time."""
    out = np.zeros((codes.shape[0] * bits // 32, codes.shape[1]), np.uint32)
    for k, row in enumerate(codes):
        for bit in range(bits):
            at = k * bits + bit
            out[at // 32] |= (row >> bit & 1).astype(np.uint32) << np.uint32(at % 32)
    return out.view(np.int32)


def store(folder, tensors, method=None, **config):
    folder.mkdir(exist_ok=True)
    held = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    save_file(held, folder / "model.safetensors")
    if method is not None:
        told = {"quantization_config": {"quant_method": method, **config}}
        (folder / "config.json").write_text(json.dumps(told))
    return folder


def gptq_layer(draw, bits, form, ordered, kind):
    """The parts of a layer (32, 64) in groups of 32, and what they stand for."""
    codes = draw.integers(0, 1 << bits, (64, 32))
    zeros = draw.integers(1, 1 << bits, (2, 32))
    scales = (draw.random((2, 32)) * 10.0 ** -draw.integers(1, 7)).astype(kind)
    places = np.arange(64) // 32
    places = draw.permutation(places) if ordered else places
    tensors = {
        "m.qweight": bits_of(codes, bits),
        "m.qzeros": bits_of((zeros - (form == "gptq")).T, bits).T,
        "m.g_idx": places.astype(np.int32),
        "m.scales": scales,
    }
    exact = (codes - zeros[places]).astype(np.float64) * scales[places].astype(np.float64)
    return tensors, exact.astype(np.float32).astype(kind).T


@given(
    st.sampled_from([2, 3, 4, 8]),
    st.sampled_from(["gptq", "gptq_v2"]),
    st.booleans(),
    st.sampled_from([np.float16, np.float32]),
    st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_gptq_is_what_its_formula_says(tmp_path_factory, bits, form, ordered, kind, seed):
    tensors, wanted = gptq_layer(np.random.default_rng(seed), bits, form, ordered, kind)
    folder = tmp_path_factory.mktemp("g") / "m"
    store(folder, tensors, "gptq", bits=bits, checkpoint_format=form, desc_act=ordered)
    checkpoint = open_checkpoint(folder)
    weight = checkpoint.tensors["m.weight"]
    assert weight.read().tobytes() == np.ascontiguousarray(wanted).tobytes()
    assert weight.read(70, 1000).tobytes() == wanted.ravel()[70:1000].tobytes()
    assert checkpoint.scheme == f"GPTQ {bits} bit g32{' act-order' if ordered else ''}"


def test_awq_is_what_its_formula_says(tmp_path):
    draw = np.random.default_rng(0)
    codes, zeros = draw.integers(0, 16, (64, 32)), draw.integers(0, 16, (2, 32))
    scales = draw.random((2, 32)).astype(np.float16)

    def packed(values):
        out = np.zeros((len(values), values.shape[1] // 8), np.uint32)
        for nibble, output in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
            out |= values[:, output::8].astype(np.uint32) << np.uint32(4 * nibble)
        return out.view(np.int32)

    tensors = {"m.qweight": packed(codes), "m.qzeros": packed(zeros), "m.scales": scales}
    for method in ("awq", None):
        folder = store(tmp_path / str(method), tensors, method, version="gemm")
        checkpoint = open_checkpoint(folder)
        wanted = ((codes - zeros.repeat(32, 0)).astype("f4") * scales.repeat(32, 0)).T
        assert np.array_equal(checkpoint.tensors["m.weight"].read(), wanted.astype("f2").ravel())
        assert checkpoint.scheme == "AWQ 4 bit g32"


def test_experts_of_gpt_oss_are_put_the_right_way_round(tmp_path):
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 256, (2, 5, 3, 16), dtype=np.uint8)
    scales = draw.integers(110, 140, (2, 5, 3), dtype=np.uint8)
    tensors = {"e.up_blocks": blocks, "e.up_scales": scales, "e.up_bias": np.zeros(5, "f4")}
    checkpoint = open_checkpoint(store(tmp_path / "m", tensors, "mxfp4"))
    value = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    value += [-v for v in value]
    wanted = np.zeros((2, 96, 5), "f4")
    for e, out, group, byte in np.ndindex(blocks.shape):
        for half, code in enumerate(
            (blocks[e, out, group, byte] & 15, blocks[e, out, group, byte] >> 4)
        ):
            power = 2.0 ** (int(scales[e, out, group]) - 127)
            wanted[e, group * 32 + byte * 2 + half, out] = value[code] * power
    weight = checkpoint.tensors["e.up"]
    assert weight.shape == wanted.shape
    assert np.array_equal(weight.read().astype("f4"), wanted.ravel())
    for start, stop in ((0, 1), (3, 170), (473, 490), (480, 960)):
        assert np.array_equal(weight.read(start, stop).astype("f4"), wanted.ravel()[start:stop])


def _halved(draw, rows=6, width=16):
    """Of each four weights two are left."""
    dense = draw.normal(size=(rows, width)).astype("f2")
    for row in dense:
        for at in range(0, width, 4):
            row[at + draw.permutation(4)[:2]] = 0
    return dense


@pytest.mark.parametrize("codes", ["float8_e4m3fn", "int8", None])
def test_two_in_four_as_llm_compressor_calls_them(tmp_path, codes):
    """Beside the layer's name, not the weight's, with a scale a row where they are codes."""
    import torch
    from safetensors.torch import save_file

    draw = np.random.default_rng(0)
    dense = _halved(draw) if codes != "int8" else np.round(_halved(draw) * 40)
    there = dense != 0
    values = torch.from_numpy(dense[there].reshape(6, 8)).to(getattr(torch, codes or "float16"))
    tensors = {
        "m.compressed": values,
        "m.bitmask": torch.from_numpy(np.packbits(there, axis=1, bitorder="little")),
        "m.shape": torch.tensor([[6], [16]]),
    }
    scale = torch.arange(1, 7, dtype=torch.float32)[:, None] / 8
    if codes:
        tensors["m.weight_scale"] = scale
    save_file(tensors, tmp_path / "a.safetensors")
    found = open_checkpoint(tmp_path / "a.safetensors")
    (weight,) = found.tensors.values()
    wanted = np.zeros(dense.shape, "f4")
    wanted[there] = values.float().numpy().ravel()
    wanted *= scale.numpy() if codes else 1
    assert (weight.name, weight.shape) == ("m.weight", (6, 16))
    assert found.scheme.startswith("2:4 sparse")
    assert np.array_equal(weight.read().astype("f4"), wanted.ravel())
    assert np.array_equal(weight.read(17, 66).astype("f4"), wanted.ravel()[17:66])


@pytest.mark.parametrize("offsets", [False, True])
def test_sparse_bitmasks(tmp_path, offsets):
    draw = np.random.default_rng(0)
    dense = draw.normal(size=(6, 16)).astype("f2") if offsets else _halved(draw)
    if offsets:
        dense[draw.random(dense.shape) < 0.6] = 0
    there = dense != 0
    tensors = {
        "m.weight.compressed": dense[there] if offsets else dense[there].reshape(6, 8),
        "m.weight.bitmask": np.packbits(there, axis=1, bitorder="little"),
        "m.weight.shape": np.array([6, 16]),
    }
    if offsets:
        tensors["m.weight.row_offsets"] = np.concatenate([[0], there.sum(1).cumsum()[:-1]])
    folder = store(tmp_path / "m", tensors, "compressed-tensors")
    weight = open_checkpoint(folder).tensors["m.weight"]
    assert np.array_equal(weight.read(), dense.ravel())
    assert np.array_equal(weight.read(17, 66), dense.ravel()[17:66])
    tensors["m.weight.bitmask"][1] = 255
    with pytest.raises(InputError, match="places than there are values"):
        open_checkpoint(store(folder, tensors)).tensors["m.weight"].read()


@pytest.mark.parametrize("ending", ["_scale", "_scale_inv"])
def test_fp8_with_scales_of_a_tensor_and_of_blocks(tmp_path, ending):
    import torch
    from safetensors.torch import save_file as save

    codes = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).to(torch.float8_e4m3fn)
    scale = torch.tensor([[0.5, 2.0], [1.0, 4.0]]) if ending == "_scale_inv" else torch.tensor(0.25)
    save({"m.weight": codes, f"m.weight{ending}": scale}, tmp_path / "a.safetensors")
    (weight,) = open_checkpoint(tmp_path / "a.safetensors").tensors.values()
    by_block = scale.repeat_interleave(3, 0).repeat_interleave(4, 1) if scale.ndim else scale
    assert np.array_equal(weight.read(), (codes.float() * by_block).numpy().ravel())


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
def test_bitsandbytes_codes_in_another_storage(tmp_path, stored):
    """`bnb_4bit_quant_storage`: the type that the bytes of codes are handed over as."""
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    folder = tmp_path / "m"
    shutil.copytree(DATA / "bnb-nf4-double", folder)
    tensors = load(folder / "model.safetensors")
    tensors[WEIGHT] = tensors[WEIGHT].view(-1).view(getattr(torch, stored))
    save(tensors, folder / "model.safetensors")
    (found,) = open_checkpoint(folder).tensors.values()
    (expected,) = open_checkpoint(DATA / "bnb-nf4-double").tensors.values()
    whole = expected.read()
    assert found.read().tobytes() == whole.tobytes()
    for start in range(0, found.size, 61):
        assert np.array_equal(found.read(start, start + 35), whole[start : start + 35])


def test_torchao_says_of_how_many_bits_the_codes_in_its_bytes_are(tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(DATA / "torchao-int8", folder)
    kind = {"_type": "IntxWeightOnlyConfig", "_data": {"weight_dtype": {"_data": "int4"}}}
    told = {"quant_method": "torchao", "quant_type": {"default": kind}}
    (folder / "config.json").write_text(json.dumps({"quantization_config": told}))
    assert open_checkpoint(folder).scheme == "torchao int4 per channel"


def test_a_method_that_is_not_known_is_named(tmp_path):
    folder = store(tmp_path / "m", {"m.weight": np.zeros((2, 2), np.int8)}, "own\x1b")
    told = "quantized by 'own\\x1b', which is not read; save it dequantized"
    assert open_checkpoint(folder).notes == (told,)


BAD = {
    "bnb-nf4": {
        ".weight.absmax": np.ones(3, "f4"),
        ".weight.quant_map": np.ones(15, "f4"),
        ".weight.quant_state.bitsandbytes__nf4": np.frombuffer(b'{"shape": [1e9]}', np.uint8),
    },
    "ct-w4-asymmetric": {
        ".weight_shape": np.array([2**60, 2**60]),
        ".weight_scale": np.ones((5, 5), "f4"),
        ".weight_zero_point": np.ones((1, 1), "i4"),
    },
    "ct-nvfp4": {".weight_global_scale": np.ones(2, "f4")},
    "hqq-4bit": {".shape": np.array([2**62, 4]), ".nbits": np.array(5), ".scale": np.ones(3, "f4")},
    "mlx-4bit": {".scales": np.ones((16, 3), "f2")},
}


@pytest.mark.parametrize(("name", "ending"), [(n, e) for n, parts in BAD.items() for e in parts])
def test_parts_that_do_not_fit_are_refused(tmp_path, name, ending):
    folder = tmp_path / name
    shutil.copytree(DATA / name, folder)
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    tensors = load(folder / "model.safetensors")
    tensors[WEIGHT.removesuffix(".weight") + ending] = torch.from_numpy(BAD[name][ending].copy())
    save(tensors, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"layer 'model\.layers\.0\.mlp\.up_proj'"):
        open_checkpoint(folder)


@pytest.mark.parametrize("part", ["scales", "qzeros", "qweight", "g_idx", "format"])
def test_parts_of_gptq_that_do_not_fit_are_refused(tmp_path, part):
    tensors, _ = gptq_layer(np.random.default_rng(0), 4, "gptq", False, np.float16)
    if part == "format":
        folder = store(tmp_path / "m", tensors, "gptq", checkpoint_format="marlin")
    else:
        cut = {**tensors, f"m.{part}": tensors[f"m.{part}"][:-1]}
        folder = store(tmp_path / "m", cut, "gptq")
    with pytest.raises(InputError, match="layer 'm'"):
        open_checkpoint(folder)


def test_groups_that_are_not_there_are_refused_when_read(tmp_path):
    tensors, _ = gptq_layer(np.random.default_rng(0), 4, "gptq", False, np.float16)
    tensors["m.g_idx"][5] = 9
    with pytest.raises(InputError, match="a group that is not there"):
        open_checkpoint(store(tmp_path / "m", tensors, "gptq")).tensors["m.weight"].read()


@given(st.sampled_from(FOLDERS), st.integers(8, 6000), st.binary(min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_good_files_changed_anywhere(tmp_path_factory, folder, at, changed):
    whole = (folder / "model.safetensors").read_bytes()
    at %= len(whole)
    path = tmp_path_factory.mktemp("q") / "model.safetensors"
    path.write_bytes(whole[:at] + changed + whole[at + len(changed) :])
    found, problems = discover([path])
    assert len(found) + len(problems) == 1
    for tensor in (tensor for each in found for tensor in each.tensors.values()):
        try:
            assert len(tensor.read(0, 200)) == min(200, tensor.size)
        except InputError as error:
            problems.append(error)
    assert all(len(str(problem).splitlines()) == 1 for problem in problems)
