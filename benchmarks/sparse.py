"""Checkpoints of a 7B language model's names and shapes as sparse files: what is read of them holds
weights of a family, a root, 7 children and their children, and all else is a hole. So fifty of
14 GB fit on a disk, and whatever is read beyond what was foreseen reads zeros."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

from mother.checkpoints import Checkpoint, open_checkpoint
from mother.layouts import align
from mother.measures.shapes import as_matrix
from mother.methods.adaptive import _of, _windows
from mother.sketches.sketch import runs

WIDTH, MLP, DEPTH, VOCABULARY, SHARDS = 4096, 11008, 32, 32000, 3
FIRST, MIDDLE, ROWS = 1 << 12, 1 << 10, 8  # what is read of a tensor beside its window
START, STEP = 0.02, 0.002  # standard deviations of weights, and of a step
BLOCK = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)])
CHANGED = 0.1  # of the codes, that a step changes


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of a LLaMA of 6.7 G weights."""
    out: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (VOCABULARY, WIDTH),
    }
    for k in range(DEPTH):
        block = f"model.layers.{k}"
        for name in "qkvo":
            out[f"{block}.self_attn.{name}_proj.weight"] = (WIDTH, WIDTH)
        out[f"{block}.mlp.gate_proj.weight"] = out[f"{block}.mlp.up_proj.weight"] = (MLP, WIDTH)
        out[f"{block}.mlp.down_proj.weight"] = (WIDTH, MLP)
        out[f"{block}.input_layernorm.weight"] = (WIDTH,)
        out[f"{block}.post_attention_layernorm.weight"] = (WIDTH,)
    return out


def sharded(folder: Path) -> None:
    """An empty checkpoint in bfloat16, in SHARDS safetensors files and their index."""
    folder.mkdir(parents=True)
    names = list(shapes())
    weight_map = {}
    for k in range(SHARDS):
        file = f"model-{k + 1:05}-of-{SHARDS:05}.safetensors"
        header, at = {}, 0
        for name in names[k * len(names) // SHARDS : (k + 1) * len(names) // SHARDS]:
            end = at + 2 * int(np.prod(shapes()[name]))
            shape = list(shapes()[name])
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
            weight_map[name], at = file, end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file).open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            out.truncate(8 + len(text) + at)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


_OURS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "model.layers.": "blk.",
}


def quantized(path: Path) -> None:
    """An empty checkpoint in Q4_K, in one GGUF file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_head_count(32)
    writer.add_head_count_kv(32)
    writer.add_block_count(DEPTH)
    whole = 0
    for name, shape in shapes().items():
        for theirs, ours in _OURS.items():
            name = name.replace(theirs, ours)
        size = int(np.prod(shape))
        kind = gguf.GGMLQuantizationType.Q4_K if len(shape) == 2 else None
        nbytes = size // 256 * BLOCK.itemsize if kind else 4 * size
        packed = (*shape[:-1], shape[-1] // 256 * BLOCK.itemsize) if kind else shape
        dtype = np.dtype(np.uint8 if kind else np.float32)
        writer.add_tensor_info(name, packed, dtype, nbytes, raw_dtype=kind)
        whole += -(-nbytes // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as out:
        head = -(-path.stat().st_size // 32) * 32
        out.truncate(head + whole)


def touched(model: Checkpoint) -> dict[Path, list[tuple[int, int, bool]]]:
    """By file, the bytes [start, stop) that a recovery reads of it first, and whether they are of a
    matrix."""
    (group,) = align([model, model])
    ordered = sorted(model.tensors.values(), key=lambda t: (-t.size, t.name))
    largest = {tensor.name for tensor in ordered[:4]}
    found: dict[Path, set[tuple[int, int, bool]]] = {}
    for tensor, window in _of(group, _windows(group), 0):
        height, width = as_matrix(tensor.shape)
        size = tensor.size
        spans = runs(tensor, window) if window else [(0, size)]
        spans += [
            (0, min(FIRST, size)),
            (max(size // 2 - MIDDLE, 0), min(size // 2 + MIDDLE, size)),
        ]
        if len(tensor.shape) > 1:
            many = 64 if tensor.scheme else ROWS if tensor.name in largest else 0
            rows = np.linspace(0, height - 1, many).astype(int).tolist()
            spans += [(r * width, (r + 1) * width) for r in rows]
        for span in spans:
            for part in tensor.slices(*span):
                held = part.start, part.stop, len(tensor.shape) > 1
                found.setdefault(part.file.path, set()).add(held)
    return {path: list(_joined(sorted(spans))) for path, spans in found.items()}


def _joined(spans: list[tuple[int, int, bool]]) -> Iterator[tuple[int, int, bool]]:
    start, stop, matrix = spans[0]
    for low, high, kind in spans[1:]:
        if low <= stop and kind == matrix:
            stop = max(stop, high)
            continue
        yield start, stop, matrix
        start, stop, matrix = low, high, kind
    yield start, stop, matrix


def filled(
    model: Checkpoint, line: list[int], spans: dict[str, list[tuple[int, int, bool]]]
) -> None:
    """Write the weights of a model where they are read. line: from the root down to it. spans: by
    name of a file, as `touched` has them."""
    for number, file in enumerate(model.files):
        packed = file.path.suffix == ".gguf"
        with file.path.open("r+b") as out:
            for start, stop, matrix in spans["" if packed else file.path.name]:
                out.seek(start)
                make = q4_k if matrix and packed else floats if packed else _brain
                seeds = [[start, number, own] for own in line]
                out.write(make(stop - start, seeds).tobytes())


def _normal(many: int, seeds: list[list[int]]) -> np.ndarray:
    values = np.zeros(many, np.float32)
    for seed, size in zip(seeds, [START, *[STEP] * len(seeds)], strict=False):
        rng = np.random.default_rng(seed)
        values += np.float32(size) * rng.standard_normal(many, np.float32)
    return values


def _brain(nbytes: int, seeds: list[list[int]]) -> np.ndarray:
    bits = _normal(nbytes // 2, seeds).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def floats(nbytes: int, seeds: list[list[int]]) -> np.ndarray:
    """The same in float32."""
    return _normal(nbytes // 4, seeds)


def q4_k(nbytes: int, seeds: list[list[int]]) -> np.ndarray:
    """Blocks of a model in so many bytes; a seed for the root and for each step down to it."""
    many = nbytes // BLOCK.itemsize
    rng = np.random.default_rng(seeds[0])
    blocks = np.zeros(many, BLOCK)
    blocks["d"], blocks["dmin"] = 1e-4, 8e-4
    blocks["scales"][:, :4] = blocks["scales"][:, 4:8] = 40
    blocks["scales"][:, 8:] = 0x88
    codes = np.clip(np.rint(7.5 + 2.5 * rng.standard_normal((many, 256), np.float32)), 0, 15)
    for seed in seeds[1:]:
        rng = np.random.default_rng(seed)
        moved = rng.random((many, 256), np.float32)
        codes += (moved < CHANGED / 2).astype(np.float32) - (moved > 1 - CHANGED / 2)
    codes = np.clip(codes, 0, 15).astype(np.uint8)
    blocks["qs"] = codes[:, :128] | codes[:, 128:] << 4
    return blocks


def family(folder: Path, kind: str, models: int = 50) -> None:
    """`models` checkpoints and truth.json in `folder`; kind is "bf16" or "q4_k"."""
    edges: list[list[str]] = []
    lines: dict[str, list[int]] = {"root": [0]}
    for k in range(1, models):
        parent = "root" if k <= 7 else f"m{(k - 1) % 7 + 1}"
        lines[f"m{k}"] = [*lines[parent], k]
        edges.append([parent, f"m{k}"])
    spans: dict[str, list[tuple[int, int, bool]]] = {}
    for name, line in lines.items():
        path = folder / (name if kind == "bf16" else f"{name}.gguf")
        (sharded if kind == "bf16" else quantized)(path)
        model = open_checkpoint(path)
        if not spans:
            found = touched(model)
            spans = {p.name if kind == "bf16" else "": x for p, x in found.items()}
        filled(model, line, spans)
    (folder / "truth.json").write_text(json.dumps({"edges": edges}))
