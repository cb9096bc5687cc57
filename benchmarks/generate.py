"""Checkpoints of ViT-B/16's names and shapes with random weights: a root, 4 children, 16
grandchildren, fully fine-tuned or by LoRA on queries and values."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

WIDTH, DEPTH, MLP, RANK = 768, 12, 3072, 16


def shapes(depth: int = DEPTH) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a ViT-B/16 without head: 85.8 M weights, 343 MB in float32."""
    out: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 16, 16),
        "embeddings.position_embeddings": (1, 197, WIDTH),
        "layernorm.bias": (WIDTH,),
        "layernorm.weight": (WIDTH,),
    }
    for i in range(depth):
        block = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            out[f"{block}.attention.attention.{name}.weight"] = (WIDTH, WIDTH)
            out[f"{block}.attention.attention.{name}.bias"] = (WIDTH,)
        out[f"{block}.attention.output.dense.weight"] = (WIDTH, WIDTH)
        out[f"{block}.attention.output.dense.bias"] = (WIDTH,)
        out[f"{block}.intermediate.dense.weight"] = (MLP, WIDTH)
        out[f"{block}.intermediate.dense.bias"] = (MLP,)
        out[f"{block}.output.dense.weight"] = (WIDTH, MLP)
        out[f"{block}.output.dense.bias"] = (WIDTH,)
        for name in ("layernorm_before", "layernorm_after"):
            out[f"{block}.{name}.weight"] = (WIDTH,)
            out[f"{block}.{name}.bias"] = (WIDTH,)
    return out


def tuned(name: str) -> bool:
    """Whether LoRA is put on a layer, by peft's default for a ViT."""
    return name.endswith(("query.weight", "value.weight"))


def write(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A safetensors file, tensor by tensor."""
    header, at = {}, 0
    for name, t in tensors.items():
        end = at + t.nbytes
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            file.write(t.tobytes())


def family(folder: Path, kind: str, models: int = 21, depth: int = DEPTH, seed: int = 0) -> None:
    """`models` checkpoints and truth.json in `folder`; kind is "ft" or "lora"."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    edges = []

    def child(parent: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if kind == "ft":
            return {
                name: t + 0.002 * rng.standard_normal(t.shape, dtype=np.float32)
                for name, t in parent.items()
            }
        out = dict(parent)
        for name in filter(tuned, parent):
            up = rng.standard_normal((WIDTH, RANK), dtype=np.float32)
            down = rng.standard_normal((RANK, WIDTH), dtype=np.float32)
            out[name] = parent[name] + np.float32(0.001) * (up @ down)
        return out

    root = {
        name: np.float32(0.02) * rng.standard_normal(shape, dtype=np.float32)
        for name, shape in shapes(depth).items()
    }
    write(folder / "root.safetensors", root)
    left = models - 1
    for i in range(4):
        if left <= 0:
            break
        middle = child(root)
        write(folder / f"c{i}.safetensors", middle)
        edges.append(["root", f"c{i}"])
        left -= 1
        for j in range(4):
            if left <= 0:
                break
            write(folder / f"c{i}g{j}.safetensors", child(middle))
            edges.append([f"c{i}", f"c{i}g{j}"])
            left -= 1
    (folder / "truth.json").write_text(json.dumps({"edges": edges}))
