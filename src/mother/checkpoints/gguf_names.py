"""From GGUF's names and order of rows to those of transformers, by architecture.

The names are those of the package gguf (gguf_names.json, by experiments/formats/gguf_names.py);
which rows are in another order and what is added to norms is what llama.cpp's converter does
(`modify_tensors` of its classes).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files

import numpy as np

from mother.checkpoints.decoded import Part, Reordered, Shifted
from mother.checkpoints.tensor import Checkpoint, Tensor, printable

#: whose q and k have the two halves of each head interleaved, for its rotary embedding
_PERMUTED = {
    "arcee",
    "arctic",
    "baichuan",
    "bailingmoe",
    "chameleon",
    "cogvlm",
    "deci",
    "deepseek",
    "granite",
    "granitehybrid",
    "granitemoe",
    "internlm2",
    "llada",
    "llama",
    "llama-embed",
    "minicpm",
    "nemotron_h",
    "olmo",
    "smollm3",
    "xverse",
}
#: whose norms are stored plus one
_SHIFTED = {"gemma", "gemma2", "gemma3", "nemotron", "qwen3next", "qwen35", "qwen35moe"}
#: whose checkpoints call experts as Mixtral does
_MIXTRAL = {"llama", "phimoe", "minimax-m2"}
_EXPERTS = {"gate": "w1", "up": "w3", "down": "w2"}
_BLOCK = re.compile(r"blk\.(\d{1,6})\.(.+)")
_STACKED = re.compile(r"blk\.\d+\.ffn_(gate|up|down)_exps\.(weight|bias)")
#: experts that stacks are taken apart into, of one model
MAX_EXPERTS = 1 << 18
#: rows of one head
MAX_HEAD = 1 << 16


@cache
def _table() -> dict[str, dict[str, str]]:
    """Names in transformers by those in GGUF: "" for most architectures, and what one has of its
    own."""
    text = (files("mother.checkpoints") / "gguf_names.json").read_text()
    parsed = json.loads(text)
    return {"": parsed["common"], **parsed["own"]}


def as_transformers(checkpoint: Checkpoint) -> Checkpoint:
    """A GGUF checkpoint with the names and rows that it had before it was converted."""
    named = _Names(checkpoint)
    tensors: dict[str, Tensor] = {}
    for tensor in checkpoint.tensors.values():
        for found in named.of(tensor):
            tensors.setdefault(found.name, found)
    if len(tensors) < len(checkpoint.tensors):
        named.notes.append("two tensors have one name in transformers; names are left as stored")
        tensors = dict(checkpoint.tensors)
    return replace(checkpoint, tensors=tensors, notes=(*checkpoint.notes, *named.notes))


class _Names:
    def __init__(self, checkpoint: Checkpoint) -> None:
        self.fields = checkpoint.config
        told = self.fields.get("general.architecture")
        self.architecture = told if isinstance(told, str) else ""
        self.notes: list[str] = []
        own = _table().get(self.architecture)
        if own is None:
            name = printable(self.architecture, 40)
            self.notes.append(f"the architecture {name!r} is not known: rows are left as stored")
        self.names = {**_table()[""], **(own or {})}
        self.experts_left = MAX_EXPERTS

    def of(self, tensor: Tensor) -> Iterator[Tensor]:
        """The tensors of transformers that a stored one holds."""
        stacked = _STACKED.fullmatch(tensor.name)
        many = tensor.shape[0] if stacked and len(tensor.shape) > 1 and tensor.size else 0
        if stacked and 0 < many <= self.experts_left:
            self.experts_left -= many
            yield from self._experts(tensor, stacked[1], stacked[2])
            return
        yield self._plain(tensor)

    def _name(self, stored: str) -> str:
        base, dot, suffix = stored.rpartition(".")
        block = _BLOCK.fullmatch(base)
        key = f"blk.{{bid}}.{block[2]}" if block else base
        if key not in self.names:
            return stored
        name = self.names[key]
        if self.architecture in _MIXTRAL and key.endswith(".ffn_gate_inp"):
            name = name.replace(".mlp.", ".block_sparse_moe.")
        return (name.replace("{bid}", block[1]) if block else name) + dot + suffix

    def _plain(self, tensor: Tensor) -> Tensor:
        source = tensor.source
        order = self._order(tensor)
        if order is not None:
            source = Reordered(tensor, tensor.size // tensor.shape[0], order)
        elif self.architecture in _SHIFTED and _is_shifted(tensor):
            source = Shifted(tensor, 1.0)
        return replace(tensor, name=self._name(tensor.name), source=source)

    def _order(self, tensor: Tensor) -> np.ndarray[tuple[int], np.dtype[np.intp]] | None:
        """Where the rows of a head lie, of a tensor whose rows were moved."""
        block = _BLOCK.fullmatch(tensor.name)
        if self.architecture not in _PERMUTED or block is None or not tensor.size:
            return None
        side = re.fullmatch(r"attn_([qk])\.(weight|bias)", block[2])
        if side is None:
            return None
        heads = self._heads(int(block[1]), kv=side[1] == "k")
        rows = tensor.shape[0]
        if not heads or rows % (2 * heads) or rows // heads > MAX_HEAD:
            self.notes.append(f"{tensor.name}: the header tells no heads for its {rows} rows")
            return None
        return np.arange(rows // heads).reshape(-1, 2).T.reshape(-1)

    def _heads(self, block: int, kv: bool) -> int:
        key = f"{self.architecture}.attention.head_count"
        told = self.fields.get(f"{key}_kv" if kv else key, self.fields.get(key))
        if isinstance(told, list):
            told = told[block] if block < len(told) else 0
        return told if isinstance(told, int) and told > 0 else 0

    def _experts(self, tensor: Tensor, side: str, suffix: str) -> Iterator[Tensor]:
        """Each expert of a stack, (experts, ...)."""
        block = tensor.name.split(".")[1]
        whole = self._name(tensor.name).removesuffix(f".{suffix}")
        before, last = whole.rpartition(".")[::2]
        if self.architecture in _MIXTRAL:
            before = f"model.layers.{block}.block_sparse_moe.experts"
            last = _EXPERTS[side]
        size = tensor.size // tensor.shape[0]
        for expert in range(tensor.shape[0]):
            name = f"{before}.{expert}.{last}.{suffix}"
            source = Part(tensor, expert * size)
            yield replace(tensor, name=name, shape=tensor.shape[1:], source=source)


def _is_shifted(tensor: Tensor) -> bool:
    return tensor.name.endswith("norm.weight") and not tensor.name.endswith("ssm_norm.weight")
