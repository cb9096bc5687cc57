"""GGUF files, as llama.cpp and what is built on it write them.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.decoded import Decoded
from mother.checkpoints.gguf_blocks import BLOCKS, PLAIN, BlockType
from mother.checkpoints.gguf_header import Entry, read_gguf_header
from mother.checkpoints.storage import File, Window, lay_out
from mother.checkpoints.tensor import Array, Checkpoint, DType, Slice, Tensor, dtype_of

#: names of mostly what is in a file, by `general.file_type`
_FILE_TYPES = {
    **{2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S"},
    **{12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M"},
    **{18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS"},
    **{24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M"},
    **{30: "IQ4_XS", 31: "IQ1_M", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4"},
    **{40: "Q1_0", 41: "Q2_0"},
}


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks of one type that follow one another in a file."""

    window: Window
    kind: BlockType
    block: DType

    @property
    def width(self) -> int:
        return self.kind.elements

    def decode(self, low: int, high: int) -> Array:
        item = self.block.itemsize
        blocks = self.window.array(low * item, high * item).view(self.block)
        return self.kind.decode(blocks).reshape(-1)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        return self.window.slices(low * self.block.itemsize, high * self.block.itemsize)


def read_gguf(file: File) -> Checkpoint:
    """The checkpoint in a GGUF file, names and rows as stored and the header's fields as its
    config; reads the header only. Raises InputError."""
    header = read_gguf_header(file)
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for entry in header.tensors:
        if entry.name in tensors:
            raise file.fault(f"header names {entry.name!r} twice")
        tensor, size = _tensor(file, entry, header.order)
        tensors[entry.name] = tensor
        spans.append((entry.start, entry.start + size, entry.name))
    for (_, stop, one), (start, _, other) in itertools.pairwise(sorted(spans)):
        if start < stop:
            raise file.fault(f"tensors {one!r} and {other!r} overlap")
    if not tensors:
        raise file.fault("holds no tensors")
    scheme = _scheme(header.fields.get("general.file_type"), tensors)
    fields = header.fields
    return Checkpoint(file.path.stem, file.path, "gguf", tensors, fields, scheme=scheme)


def _tensor(file: File, entry: Entry, order: str) -> tuple[Tensor, int]:
    """The tensor, and how many bytes it takes."""
    size, name = math.prod(entry.shape), entry.name
    kind = BLOCKS.get(entry.kind)
    plain = dtype_of(PLAIN[entry.kind]) if entry.kind in PLAIN else None
    if plain is not None:
        stored = plain if order == "<" else plain.newbyteorder(">")
        taken = size * plain.itemsize
    elif kind is not None:
        if not entry.shape or entry.shape[-1] % kind.elements:
            raise file.fault(f"tensor {name!r} has rows that are no whole blocks of {kind.name}")
        stored = kind.block.newbyteorder(order)
        taken = size // kind.elements * stored.itemsize
    else:
        raise file.fault(f"tensor {name!r} is of the unknown GGUF type {entry.kind}")
    if entry.start + taken > file.size:
        end = entry.start + taken
        raise file.fault(f"tensor {name!r} ends at byte {end} of {file.size}; it is truncated")
    window = Window(file, entry.start, taken)
    if kind is None:
        return lay_out(name, window, stored, entry.shape), taken
    floats = np.dtype(np.float32)
    source = Decoded(_Blocks(window, kind, stored), floats)
    return Tensor(name, floats, entry.shape, source, scheme=kind.name), taken


def _scheme(told: object, tensors: dict[str, Tensor]) -> str:
    """What the file says that it is quantized as, if its tensors are; else what most weights are;
    "" where they are stored as numbers."""
    held: dict[str, int] = {}
    for tensor in tensors.values():
        if tensor.scheme:
            held[tensor.scheme] = held.get(tensor.scheme, 0) + tensor.size
    name = _FILE_TYPES.get(told, "") if isinstance(told, int) else ""
    if name and any(scheme.startswith(name[:3]) for scheme in held):
        return name
    return max(held, key=lambda scheme: (held[scheme], scheme), default="")
