"""GGUF files, as llama.cpp and what is built on it write them.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.decoded import Decoded
from mother.checkpoints.gguf_blocks import BLOCKS, PLAIN, BlockType
from mother.checkpoints.gguf_header import Entry, Order, read_gguf_header
from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Checkpoint, DType, Slice, Tensor, dtype_of
from mother.checkpoints.unfilled import refuse_unfilled

#: names of mostly what is in a file, by `general.file_type`
_FILE_TYPES = {
    **dict(enumerate(("Q4_0", "Q4_1"), 2)),
    **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L"), 7)),
    **dict(enumerate(("Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS"), 14)),
    **dict(enumerate(("Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M"), 21)),
    **dict(enumerate(("IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M"), 28)),
    **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0"), 36)),
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
        with np.errstate(all="ignore"):  # scales that are no numbers
            return self.kind.decode(blocks).reshape(-1)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        return self.window.slices(low * self.block.itemsize, high * self.block.itemsize)


def read_gguf(file: File) -> Checkpoint:
    """The checkpoint in a GGUF file, names and rows as stored and the header's fields as its
    config; reads the header, and whether the end was filled. Raises InputError."""
    header = read_gguf_header(file)
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for entry in header.tensors:
        if entry.name in tensors:
            raise file.fault(f"header names {entry.name!r} twice")
        tensor, size = tensor_of(file, entry, header.order)
        tensors[entry.name] = tensor
        spans.append((entry.start, entry.start + size, entry.name))
    for (_, stop, one), (start, _, other) in itertools.pairwise(sorted(spans)):
        if start < stop:
            raise file.fault(f"tensors {one!r} and {other!r} overlap")
    if not tensors:
        raise file.fault("holds no tensors")
    refuse_unfilled(file, ((a, b, max(tensors[n].shape[:1]), n) for a, b, n in spans))
    scheme = _scheme(header.fields.get("general.file_type"), tensors)
    fields = header.fields
    return Checkpoint(file.path.stem, file.path, "gguf", tensors, fields, scheme=scheme)


def tensor_of(file: File, entry: Entry, order: Order) -> tuple[Tensor, int]:
    """The tensor that an entry of a header describes, and how many bytes it takes. Raises
    InputError."""
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
    """What the file says that it is quantized as, if its tensors are; else what most weights
    are."""
    name = _FILE_TYPES.get(told, "") if isinstance(told, int) else ""
    if name and any(tensor.scheme.startswith(name[:3]) for tensor in tensors.values()):
        return name
    return scheme_by_size(tensors)


def scheme_by_size(tensors: Mapping[str, Tensor]) -> str:
    """What most weights are quantized as; "" where they are stored as numbers."""
    held = Counter[str]()
    for tensor in tensors.values():
        if tensor.scheme:
            held[tensor.scheme] += tensor.size
    return max(held, key=lambda scheme: (held[scheme], scheme), default="")
