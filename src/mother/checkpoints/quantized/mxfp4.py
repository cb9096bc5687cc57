"""MXFP4 as gpt-oss stores its experts: bytes of two 4-bit floats, and a power of two for each 32.

Layout: `convert_moe_packed_tensors` of transformers, which turns (experts, out, in / 32, 16) into
(experts, in, out).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.decoded import PIECE_ACROSS
from mother.checkpoints.quantized.compressed import E2M1
from mother.checkpoints.quantized.scheme import BF16, Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, Slice, Tensor


@dataclass(frozen=True, eq=False)
class _Experts:
    """A row is one input of one expert: a nibble of each of its outputs' blocks."""

    blocks: Tensor
    scales: Tensor

    @property
    def width(self) -> int:
        return self.blocks.shape[1]

    @property
    def inputs(self) -> int:
        return self.blocks.shape[2] * 32

    def decode(self, low: int, high: int) -> Array:
        parts = [self._inputs(*part) for part in self._experts(low, high)]
        return np.concatenate(parts, axis=1).T.reshape(-1)

    def _experts(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Each expert that rows [low, high) are of, and which of its inputs."""
        for expert in range(low // self.inputs, -(-high // self.inputs)):
            first = expert * self.inputs
            yield expert, max(low - first, 0), min(high - first, self.inputs)

    def _inputs(self, expert: int, low: int, high: int) -> Array:
        """(out, high - low)"""
        _, many, groups, _ = self.blocks.shape
        first, last = low // 32, -(-high // 32)
        size = many * groups
        scales = self.scales.read(expert * size, (expert + 1) * size).reshape(many, groups)
        packed = self.blocks.read(expert * size * 16, (expert + 1) * size * 16)
        packed = packed.reshape(many, groups, 16)[:, first:last]
        codes = np.stack([packed & np.uint8(15), packed >> 4], axis=-1).reshape(many, -1, 32)
        with np.errstate(all="ignore"):
            powers = np.exp2(scales[:, first:last].astype(np.float32) - 127)
            values = rounded(E2M1[codes] * powers[..., None], BF16)
        return values.reshape(many, -1)[:, low - first * 32 : high - first * 32]

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        _, many, groups, _ = self.blocks.shape
        for expert, start, stop in self._experts(low, high):
            first, last = start // 32, -(-stop // 32)
            yield from self.scales.slices(expert * many * groups, (expert + 1) * many * groups)
            for row in range(expert * many, (expert + 1) * many):
                at = row * groups
                yield from self.blocks.slices((at + first) * 16, (at + last) * 16)


def _read(module: Module) -> Weight:
    blocks, scales = module["_blocks"], module["_scales"]
    if len(blocks.shape) != 4 or blocks.shape[-1] != 16 or not blocks.size:
        raise ValueError(f"blocks of shape {list(blocks.shape)} are none of 16 bytes")
    if scales.shape != blocks.shape[:3] or not blocks.dtype == scales.dtype == np.uint8:
        raise ValueError(f"scales of shape {list(scales.shape)} don't fit the blocks")
    experts, outputs, groups, _ = blocks.shape
    source = _Experts(blocks, scales)
    return Weight(source, BF16, (experts, groups * 32, outputs), "MXFP4", "", PIECE_ACROSS)


MXFP4 = Scheme(frozenset({"mxfp4"}), ("_blocks", "_scales"), (), _read)
