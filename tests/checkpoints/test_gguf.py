"""GGUF: values against the package gguf, names and rows against what llama.cpp's converter was
given, and bytes of any kind."""

from __future__ import annotations

import struct
import sys
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.checkpoints import discover, open_checkpoint
from mother.checkpoints.gguf_blocks import BLOCKS
from mother.errors import InputError

DATA = Path(__file__).parents[1] / "data" / "formats"
sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.formats.gguf_files import original  # noqa: E402

KINDS = pytest.mark.parametrize("number", BLOCKS, ids=[kind.name for kind in BLOCKS.values()])


def raw_blocks(number, many, seed=0):
    size = BLOCKS[number].block.itemsize
    return np.random.default_rng(seed).integers(0, 256, (many, size), dtype=np.uint8)


def decoded(number, raw):
    with np.errstate(all="ignore"):
        return BLOCKS[number].decode(raw.view(BLOCKS[number].block).reshape(-1))


def equal(one, other):
    """Bit for bit, but for the bits of what is no number."""
    one, other = one.reshape(-1), other.reshape(-1)
    same = one.view(np.uint32) == other.view(np.uint32)
    return one.shape == other.shape and bool((same | (np.isnan(one) & np.isnan(other))).all())


def by_hand(number, block):
    """Types that the package does not read, one number at a time."""
    name, data = BLOCKS[number].name, bytes(block)
    half = float(np.frombuffer(data[:2], np.float16)[0])
    if name == "Q8_K":
        scale = struct.unpack("<f", data[:4])[0]
        return [scale * code for code in struct.unpack("256b", data[4:260])]
    if name == "Q8_1":
        return [half * code for code in struct.unpack("32b", data[4:36])]
    if name == "Q1_0":
        return [half * (2 * (data[2 + k // 8] >> k % 8 & 1) - 1) for k in range(128)]
    assert name == "Q2_0"
    return [half * ((data[2 + k // 4] >> 2 * (k % 4) & 3) - 1) for k in range(64)]


@KINDS
def test_values_are_those_of_the_format(number):
    raw = raw_blocks(number, 200)
    if BLOCKS[number].name in ("Q8_1", "Q8_K", "Q1_0", "Q2_0"):
        with np.errstate(all="ignore"):
            wanted = np.array([by_hand(number, block) for block in raw]).astype(np.float32)
    else:
        with np.errstate(all="ignore"):
            wanted = gguf.dequantize(raw, gguf.GGMLQuantizationType(number))
    assert equal(decoded(number, raw), wanted)


@KINDS
def test_sizes_are_those_of_the_format(number):
    sizes = {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    # as ggml_type_size has them: the package has Q8_1 of an older day, and Q2_0 not yet
    sizes |= {9: (32, 36), 42: (64, 18)}
    assert (BLOCKS[number].elements, BLOCKS[number].block.itemsize) == sizes[number]


def write(path, tensors, architecture="llama", order=gguf.GGUFEndian.LITTLE, **options):
    """As the package writes it; tensors: arrays of numbers, or (bytes of blocks, their type)."""
    writer = gguf.GGUFWriter(path, architecture, endianess=order, **options)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_token_list([f"token {k}" for k in range(500)])
    for name, values in tensors.items():
        blocks = isinstance(values, tuple)
        kind = gguf.GGMLQuantizationType(values[1]) if blocks else None
        writer.add_tensor(name, values[0] if blocks else values, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@given(st.integers(0, 6 * 256), st.integers(0, 6 * 256))
@settings(max_examples=30, deadline=None)
def test_slices_are_slices_of_the_whole(tmp_path_factory, start, stop):
    raw = raw_blocks(12, 6).reshape(3, -1)
    raw[:, 0:4] = 0x20  # scales that are numbers
    path = write(tmp_path_factory.mktemp("g") / "a.gguf", {"token_embd.weight": (raw, 12)})
    tensor = open_checkpoint(path).tensors["model.embed_tokens.weight"]
    assert tensor.shape == (3, 512)
    assert tensor.scheme == "Q4_K"
    assert equal(tensor.read(start, stop), tensor.read()[start:stop])
    read = sum(piece.stop - piece.start for piece in tensor.slices(start, stop))
    assert read <= (max(stop - start, 0) // 256 + 2) * 144


def test_what_llama_cpp_makes_of_a_llama_is_that_llama():
    checkpoint = open_checkpoint(DATA / "llama-q4_k_m.gguf")
    assert (checkpoint.scheme, checkpoint.format) == ("Q4_K_M", "gguf")
    wanted = original()
    assert checkpoint.tensors.keys() == wanted.keys()
    for name, weights in wanted.items():
        read = checkpoint.tensors[name].read().astype(np.float64)
        assert checkpoint.tensors[name].shape == weights.shape
        cosine = read @ weights.reshape(-1) / np.linalg.norm(read) / np.linalg.norm(weights)
        assert cosine > 0.99, name
    stored = {t.name: t for t in gguf.GGUFReader(DATA / "llama-q4_k_m.gguf").tensors}
    up = stored["blk.0.ffn_up.weight"]
    ours = checkpoint.tensors["model.layers.0.mlp.up_proj.weight"]
    assert equal(ours.read(), gguf.dequantize(up.data, up.tensor_type))


def test_rows_of_heads_are_put_back(tmp_path):
    draw = np.random.default_rng(0)
    q, k = (draw.normal(size=(rows, 3)).astype("f4") for rows in (32, 16))

    def stored(weights, heads):  # as `permute` in llama.cpp's converter
        parts = weights.reshape(heads, 2, len(weights) // heads // 2, -1)
        return parts.swapaxes(1, 2).reshape(weights.shape)

    names = {"blk.7.attn_q.weight": stored(q, 4), "blk.7.attn_k.weight": stored(k, 2)}
    tensors = open_checkpoint(write(tmp_path / "a.gguf", names)).tensors
    for name, weights in (("q_proj", q), ("k_proj", k)):
        found = tensors[f"model.layers.7.self_attn.{name}.weight"]
        assert np.array_equal(found.read(), weights.reshape(-1))
        for start, stop in ((0, 1), (7, 22), (13, 48), (47, 48)):
            assert np.array_equal(found.read(start, stop), weights.reshape(-1)[start:stop])
    (plain,) = open_checkpoint(
        write(tmp_path / "b.gguf", {"blk.7.attn_q.weight": q}, "qwen2")
    ).tensors.values()
    assert np.array_equal(plain.read(), q.reshape(-1))


def test_stacked_experts_are_taken_apart(tmp_path):
    gates = np.arange(24, dtype="f4").reshape(3, 2, 4)
    path = write(tmp_path / "a.gguf", {"blk.0.ffn_gate_exps.weight": gates}, "qwen3moe")
    tensors = open_checkpoint(path).tensors
    name = "model.layers.0.mlp.experts.{}.gate_proj.weight"
    assert list(tensors) == [name.format(k) for k in range(3)]
    assert all(np.array_equal(tensors[name.format(k)].read(), gates[k].ravel()) for k in range(3))
    path = write(tmp_path / "b.gguf", {"blk.0.ffn_up_exps.weight": gates}, "llama")
    assert "model.layers.0.block_sparse_moe.experts.2.w3.weight" in open_checkpoint(path).tensors


def test_ones_added_to_norms_are_taken_off(tmp_path):
    norm = np.array([0.5, -0.25], "f4")
    path = write(tmp_path / "a.gguf", {"blk.0.attn_norm.weight": norm + 1}, "gemma2")
    tensors = open_checkpoint(path).tensors
    assert np.array_equal(tensors["model.layers.0.input_layernorm.weight"].read(), norm)


def test_an_architecture_that_is_not_known_is_said(tmp_path):
    x = np.ones((2, 32), "f4")
    checkpoint = open_checkpoint(write(tmp_path / "a.gguf", {"own.weight": x}, "marsian"))
    assert list(checkpoint.tensors) == ["own.weight"]
    assert checkpoint.notes == ("the architecture 'marsian' is not known: rows are left as stored",)


@pytest.mark.parametrize("order", gguf.GGUFEndian)
def test_numbers_in_both_byte_orders(tmp_path, order):
    draw = np.random.default_rng(0)
    values = {f"v{k.char}": draw.normal(size=(4, 3)).astype(k) for k in map(np.dtype, ("f4", "f2"))}
    values["i"] = np.arange(5, dtype=np.int32)
    path = write(tmp_path / "a.gguf", dict(values), order=order)
    tensors = open_checkpoint(path).tensors
    for name, wanted in values.items():
        assert tensors[name].dtype == wanted.dtype
        assert np.array_equal(tensors[name].read(), wanted.reshape(-1))


def test_split_files_are_one_model(tmp_path):
    weights = {f"blk.{k}.attn_norm.weight": np.full(8, k, "f4") for k in range(5)}
    write(tmp_path / "big.gguf", weights, "gemma", split_max_tensors=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"big-0000{k}-of-00003.gguf" for k in (1, 2, 3)]
    (whole,), problems = discover([tmp_path])
    assert (whole.id, len(whole.tensors), problems) == ("big", 5, [])
    last = whole.tensors["model.layers.4.input_layernorm.weight"]
    assert np.array_equal(last.read(), np.full(8, 3.0))
    assert len(open_checkpoint(tmp_path / names[1]).tensors) == 5
    (tmp_path / names[2]).unlink()
    with pytest.raises(InputError, match="is missing"):
        open_checkpoint(tmp_path / names[0])


def header(*tensors, alignment=None):
    text = lambda s: struct.pack("<Q", len(s)) + s  # noqa: E731
    pairs = b"" if alignment is None else text(b"general.alignment") + alignment
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), bool(pairs)) + pairs
    for name, shape, kind, start in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, start)
    return head


HOSTILE = {
    "unknown GGUF type 36": header((b"a", (256,), 36, 0)),
    "no whole blocks": header((b"a", (255,), 12, 0)),
    "is truncated": header((b"a", (256, 2**40), 12, 0)),
    "more than any file": header((b"a", (2**63,), 0, 0)),
    "axes": header((b"a", (1,) * 9, 0, 0)),
    "twice": header((b"a", (1,), 0, 0), (b"a", (1,), 0, 4)),
    "overlap": header((b"a", (4,), 0, 0), (b"b", (4,), 0, 4)),
    "tensors; ": b"GGUF" + struct.pack("<IQQ", 3, 2**40, 0),
    "alignment": header((b"a", (1,), 0, 0), alignment=struct.pack("<II", 4, 0)),
    "no tensors": header(),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_headers_that_lie_are_refused_without_allocating(tmp_path, fault):
    (tmp_path / "a.gguf").write_bytes(HOSTILE[fault] + bytes(64))
    tracemalloc.start()
    with pytest.raises(InputError, match=fault):
        open_checkpoint(tmp_path / "a.gguf")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20


def test_experts_and_heads_beyond_reason_stay_as_stored(tmp_path):
    many = np.zeros((300_000, 1), "f4")
    path = write(tmp_path / "a.gguf", {"blk.0.ffn_up_exps.weight": many}, "qwen3moe")
    (tensor,) = open_checkpoint(path).tensors.values()
    assert tensor.shape == many.shape
    path = write(tmp_path / "b.gguf", {"blk.0.attn_q.weight": many})
    assert "tells no heads" in open_checkpoint(path).notes[0]


@given(st.integers(24, 47_000), st.binary(min_size=1, max_size=9), st.integers(0, 47_136))
@settings(max_examples=200, deadline=None)
def test_a_good_file_cut_or_changed_anywhere(tmp_path_factory, at, changed, end):
    whole = (DATA / "llama-q4_k_m.gguf").read_bytes()
    path = tmp_path_factory.mktemp("g") / "a.gguf"
    at = at % 1400 if end % 2 else at
    spoilt = whole[:at] + changed + whole[at + len(changed) :]
    path.write_bytes(spoilt[: end if end > at else None])
    (found, problems) = discover([path])
    assert len(found) + len(problems) == 1
    for tensor in (t for c in found for t in c.tensors.values()):
        assert len(tensor.read(0, 300)) == min(300, tensor.size)
    assert all(len(str(problem).splitlines()) == 1 for problem in problems)
