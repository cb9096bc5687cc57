"""What a sketch costs on a Hub: by the real client against a loopback Hub that counts, on files of
the layouts that language models come in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from kit import save_distributed
from loopback_hub import Record, client_of, serve
from safetensors.numpy import save_file

from mother.checkpoints import open_checkpoint
from mother.index import Index
from mother.sketches.sketch import sketch
from mother.sketches.sketch_bytes import dump

REQUESTS = 48  # a few dozen, with the list of files and the headers
Shapes = dict[str, tuple[int, ...]]
SIZES = {"F32": 4, "BF16": 2}


def decoder(blocks: int, width: int, inner: int, keys: int, words: int) -> Shapes:
    """Names and shapes of a decoder with grouped keys and gated neurons, in the order of files."""
    block: Shapes = {
        "input_layernorm": (width,),
        "mlp.down_proj": (width, inner),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "post_attention_layernorm": (width,),
        "self_attn.k_proj": (keys, width),
        "self_attn.o_proj": (width, width),
        "self_attn.q_proj": (width, width),
        "self_attn.v_proj": (keys, width),
    }
    names = sorted(f"model.layers.{k}.{part}.weight" for k in range(blocks) for part in block)
    shapes = {name: block[".".join(name.split(".")[3:-1])] for name in names}
    ends = {"lm_head.weight": (words, width), "model.embed_tokens.weight": (words, width)}
    return {**ends, **shapes, "model.norm.weight": (width,)}


def older(blocks: int, width: int, words: int) -> Shapes:
    """The same of a decoder that has its keys, queries and values in one matrix, and biases."""
    block: Shapes = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    out: Shapes = {"wte.weight": (words, width), "wpe.weight": (1024, width)}
    for k in range(blocks):
        for part, shape in block.items():
            out |= {f"h.{k}.{part}.weight": shape, f"h.{k}.{part}.bias": shape[1:]}
        for part in ("ln_1", "ln_2"):
            out |= {f"h.{k}.{part}.weight": (width,), f"h.{k}.{part}.bias": (width,)}
    return out


def turned(shapes: Shapes) -> Shapes:
    """The same with the head the other way round, as in and out stand in some formats."""
    return shapes | {"lm_head.weight": shapes["lm_head.weight"][::-1]}


def unnumbered(shapes: Shapes) -> Shapes:
    """The same with blocks that are told apart by no number of its own, as `h_3`."""
    return {name.replace("h.", "h_", 1): shape for name, shape in shapes.items()}


LAYOUTS = {
    "24 blocks in BF16": (decoder(24, 1024, 2816, 1024, 151_936), "BF16"),
    "32 blocks in BF16": (decoder(32, 1280, 3456, 320, 32_000), "BF16"),
    "16 blocks in F32": (decoder(16, 768, 2048, 256, 151_936), "F32"),
    "24 blocks in F32": (older(24, 1024, 50_257), "F32"),
    "head the other way round": (turned(decoder(24, 1024, 2816, 1024, 151_936)), "BF16"),
    "blocks without numbers": (unnumbered(older(24, 1024, 50_257)), "F32"),
}


def write(file: Path, shapes: Shapes, dtype: str) -> int:
    """A file of such tensors, all of them zeros and most of it a hole; its bytes."""
    entries, stop = {}, 0
    for name, shape in shapes.items():
        start, stop = stop, stop + SIZES[dtype] * int(np.prod(shape))
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
    header = json.dumps(entries).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        opened.truncate(8 + len(header) + stop)
    return file.stat().st_size


def save(folder: Path, layout: str, shards: int) -> int:
    """A model of that layout in so many files; their bytes."""
    shapes, dtype = LAYOUTS[layout]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "x"}')
    if shards == 1:
        return write(folder / "model.safetensors", shapes, dtype)
    rest, size, places = iter(shapes.items()), 0, {}
    for k in range(1, shards + 1):
        name = f"model-{k:05}-of-{shards:05}.safetensors"
        part = dict(islice(rest, -(-len(shapes) // shards)))
        size += write(folder / name, part, dtype)
        places |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return size


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def models(tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the Hub serves, with an environment of its own for the client."""
    folder, spool = tmp_path / "hub" / "models", tmp_path / "spool"
    folder.mkdir(parents=True)
    spool.mkdir()
    monkeypatch.setattr("mother.hub.mirrors._spool", spool)
    with serve(folder.parent, record) as endpoint:
        client_of(endpoint, tmp_path, monkeypatch)
        yield folder


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gigabyte_is_added_in_few_requests(
    models: Path, record: Record, tmp_path: Path, layout: str, shards: int
) -> None:
    size = save(models / "org" / "model", layout, shards)
    assert size > 0.9e9
    with Index.create(tmp_path / "index") as index:
        added = index.add(["hf://org/model"])
        assert (added.new, added.problems) == (("model",), ())
    print(f"{layout}, {shards}: {len(record.asked)} requests, {record.served.total() / size:.2%}")
    assert len(record.asked) <= REQUESTS
    assert record.served.total() < 0.01 * size


def in_q4_k(folder: Path, shapes: Shapes) -> int:
    """The layout in one GGUF file, matrices in blocks of 256 weights; its bytes."""
    folder.mkdir(parents=True)
    writer = gguf.GGUFWriter(folder / "model-Q4_K.gguf", "llama")
    stop = 0
    for name, shape in shapes.items():
        many = int(np.prod(shape))
        kind = gguf.GGMLQuantizationType.Q4_K if len(shape) == 2 else None
        nbytes = many // 256 * 144 if kind else 4 * many
        stored = (*shape[:-1], shape[-1] // 256 * 144) if kind else shape
        dtype = np.dtype(np.uint8 if kind else np.float32)
        writer.add_tensor_info(name, stored, dtype, nbytes, raw_dtype=kind)
        stop += -(-nbytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with (folder / "model-Q4_K.gguf").open("r+b") as opened:
        opened.truncate(-(-opened.seek(0, 2) // 32) * 32 + stop)
    return (folder / "model-Q4_K.gguf").stat().st_size


def in_gptq(folder: Path, shapes: Shapes, group: int = 128) -> int:
    """The layout with its linear layers in words of eight weights; its bytes."""
    folder.mkdir(parents=True)
    entries, stop = {}, 0
    for name, shape in sorted(shapes.items()):
        stem, whole = name.removesuffix(".weight"), {name: ("F16", shape)}
        if "proj" in name:
            outputs, inputs = shape
            whole = {
                f"{stem}.g_idx": ("I32", (inputs,)),
                f"{stem}.qweight": ("I32", (inputs // 8, outputs)),
                f"{stem}.qzeros": ("I32", (inputs // group, outputs // 8)),
                f"{stem}.scales": ("F16", (inputs // group, outputs)),
            }
        for part, (dtype, sides) in whole.items():
            start, stop = stop, stop + (2 if dtype == "F16" else 4) * int(np.prod(sides))
            entries[part] = {"dtype": dtype, "shape": sides, "data_offsets": [start, stop]}
    header = json.dumps(entries).encode()
    with (folder / "model.safetensors").open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        opened.truncate(8 + len(header) + stop)
    quantized = {"quant_method": "gptq", "bits": 4, "group_size": group}
    config = {"model_type": "x", "quantization_config": quantized}
    (folder / "config.json").write_text(json.dumps(config))
    return 8 + len(header) + stop


@pytest.mark.parametrize(("quantize", "share"), [(in_q4_k, 0.03), (in_gptq, 0.4)])
def test_of_quantized_files_ranges_come(
    models: Path,
    record: Record,
    tmp_path: Path,
    quantize: Callable[[Path, Shapes], int],
    share: float,
) -> None:
    """Of GPTQ's words, in which an output is a column, a window takes the whole matrix."""
    size = quantize(models / "org" / "model", decoder(8, 1024, 2816, 1024, 16_000))
    with Index.create(tmp_path / "index") as index:
        added = index.add(["hf://org/model"])
        assert (len(added.new), added.problems) == (1, ())
    came = record.served.total() / size
    print(f"{len(record.asked)} requests, {came:.2%} of {size / 1e6:.0f} MB")
    assert len(record.asked) <= REQUESTS
    assert came < share


COPIES = [
    *("llama-q4_k_m.gguf", "gptq-4bit", "mlx-4bit", "torchao-int8"),
    *(f"frameworks/{name}" for name in ("orbax", "orbax-zarr", "saved", "net.pdparams")),
]


@pytest.mark.parametrize("copy", COPIES)
def test_a_sketch_of_a_copy_is_the_same_from_the_disk(models: Path, copy: str) -> None:
    stored = Path(__file__).parent / "data" / "formats" / copy
    there = models / "org" / "model"
    if stored.is_dir():
        shutil.copytree(stored, there)
    else:
        there.mkdir(parents=True)
        shutil.copy(stored, there)
    assert dump(sketch(open_checkpoint("hf://org/model"))) == dump(sketch(open_checkpoint(stored)))


def test_a_distributed_checkpoint_comes_with_its_hidden_metadata(models: Path) -> None:
    there = models / "org" / "model"
    weights = {"w": torch.arange(4000.0).reshape(50, 80)}
    save_distributed(weights, there)
    found = open_checkpoint("hf://org/model")
    np.testing.assert_array_equal(found.tensors["w"].read(), np.arange(4000.0))


def random(shapes: Shapes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_a_sketch_is_the_same_from_the_disk(models: Path, record: Record) -> None:
    (models / "org" / "model").mkdir(parents=True)
    file = models / "org" / "model" / "model.safetensors"
    save_file(random(decoder(12, 256, 1024, 128, 4000)), file)
    there = open_checkpoint("hf://org/model")
    assert dump(sketch(there)) == dump(sketch(open_checkpoint(file)))
    assert record.requests["org/model/model.safetensors"] <= REQUESTS


def test_of_a_small_model_all_comes_at_once(models: Path, record: Record) -> None:
    (models / "org" / "model").mkdir(parents=True)
    file = models / "org" / "model" / "model.safetensors"
    save_file(random({f"layers.{k}.weight": (180, 180) for k in range(100)}), file)
    sketch(open_checkpoint("hf://org/model"))
    assert record.requests["org/model/model.safetensors"] <= 3
    assert record.served.total() <= file.stat().st_size
