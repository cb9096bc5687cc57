"""BitNet b1.58 (arXiv:2402.17764) as transformers stores it: weights -1, 0 and 1, four to a byte.

A byte holds four rows, which lie a quarter of the layer apart, and the layer has one scale: its
weights are code / scale, or code * scale where the config calls layers "autobitlinear".
Layout: `pack_weights` of transformers/integrations/bitnet.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.quantized.scheme import Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, Slice, Tensor


@dataclass(frozen=True, eq=False)
class _Quarters:
    """A layer (4 * rows, width), of whose rows those a quarter apart share their bytes."""

    packed: Tensor
    scale: Tensor
    times: bool

    @property
    def width(self) -> int:
        return self.packed.shape[1]

    def decode(self, low: int, high: int) -> Array:
        width = self.width
        scale = self.scale.read().astype(np.float32)
        parts = []
        for quarter, first, last in self._parts(low, high):
            data = self.packed.read(first * width, last * width)
            codes = (data >> np.uint8(2 * quarter) & np.uint8(3)).astype(np.float32) - 1
            with np.errstate(all="ignore"):  # a scale may be anything
                parts.append(codes * scale if self.times else codes / scale)
        return rounded(np.concatenate(parts), self.scale.dtype)

    def _parts(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Each quarter that rows [low, high) lie in, and the packed rows of it."""
        height = self.packed.shape[0]
        for quarter in range(low // height, -(-high // height)):
            at = quarter * height
            yield quarter, max(low - at, 0), min(high - at, height)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        width = self.width
        for _, first, last in self._parts(low, high):
            yield from self.packed.slices(first * width, last * width)
        yield from self.scale.slices()


def _read(module: Module) -> Weight:
    height, width = module.matrix(".weight")
    packed, scale = module[".weight"], module[".weight_scale"]
    if packed.dtype != np.uint8 or not scale.is_weight or scale.size != 1:
        raise ValueError("a weight that is not packed by four, or without one scale")
    times = module.config.get("linear_class") == "autobitlinear"
    source = _Quarters(packed, scale, times)
    return Weight(source, scale.dtype, (4 * height, width), "BitNet 1.58 bit")


BITNET = Scheme(frozenset({"bitnet"}), (".weight", ".weight_scale"), (), _read, lambda m: False)
