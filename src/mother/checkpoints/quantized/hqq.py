"""HQQ (Half-Quadratic Quantization): (code - zero) * scale for groups of a flattened weight.

Layout: `Quantizer` and `BitPack` of hqq. The first part of all rows of codes lies in the upper bits
of words, the second part in the next bits, and so on; words are bytes, of 3 bits 32-bit integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.quantized.scheme import Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, Slice, Tensor


@dataclass(frozen=True, eq=False)
class _Groups:
    """Rows of codes that follow one another in the weight: a row is a group (axis 1), or holds one
    code of each group (axis 0). per: codes in a word."""

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    per: int
    axis: int

    @property
    def width(self) -> int:
        return self.codes.shape[1]

    def decode(self, low: int, high: int) -> Array:
        found = []
        for part, first, last in self._parts(low, high):
            packed = self.codes.read(first * self.width, last * self.width)
            shifted = packed >> packed.dtype.type(self.bits * (self.per - 1 - part))
            found.append(shifted & packed.dtype.type((1 << self.bits) - 1))
        codes = np.concatenate(found).reshape(high - low, self.width).astype(np.float32)
        scale, zero = (t.read(*self._range(low, high)) for t in (self.scale, self.zero))
        scale, zero = (t.astype(np.float32) for t in (scale, zero))
        if self.axis == 1:
            scale, zero = scale[:, None], zero[:, None]
        dtype = self.scale.dtype
        with np.errstate(over="ignore", invalid="ignore"):
            values = rounded(codes - zero, dtype).astype(np.float32) * scale
        return rounded(values, dtype).reshape(-1)

    def _range(self, low: int, high: int) -> tuple[int, int]:
        """The scales of those rows."""
        return (low, high) if self.axis == 1 else (0, self.width)

    def _parts(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Which part of the rows those are in, and which rows of words hold them."""
        many = self.codes.shape[0]
        for part in range(low // many, -(-high // many)):
            yield part, max(low - part * many, 0), min(high - part * many, many)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        for _, first, last in self._parts(low, high):
            yield from self.codes.slices(first * self.width, last * self.width)
        yield from self.scale.slices(*self._range(low, high))
        yield from self.zero.slices(*self._range(low, high))


def _told(module: Module, ending: str) -> int:
    kept = module.get(ending)
    if kept is None or kept.size != 1 or kept.dtype.kind not in "iu":
        raise ValueError(f"{ending} is no whole number")
    return int(kept.read()[0])


def _read(module: Module) -> Weight:
    held, width = module.matrix(".W_q")
    kept = module.get(".shape")
    if kept is None or not 0 < kept.size <= 8 or kept.dtype.kind not in "iu":
        raise ValueError("shape is not stored")
    shape = tuple(int(n) for n in kept.read())
    bits, axis = _told(module, ".nbits"), _told(module, ".axis")
    if axis not in (0, 1) or bits not in _PER or module[".W_q"].dtype != _PER[bits][1]:
        raise ValueError(f"HQQ of {bits} bits along axis {axis} is not read")
    if any(not 0 < n < 1 << 40 for n in shape):
        raise ValueError(f"shape {list(shape)} is none")
    size, per = math.prod(shape), _PER[bits][0]
    rows = size // width
    if size % width or held != -(-rows // per):
        raise ValueError(f"shape {list(shape)} does not fit {held} x {width} words of {per} codes")
    scale, zero = module[".scale"], module[".zero"]
    groups, group = (rows, width) if axis == 1 else (width, rows)
    if not (scale.size == zero.size == groups and scale.is_weight and zero.is_weight):
        raise ValueError(f"scale and zero are not those of {groups} groups")
    source = _Groups(module[".W_q"], scale, zero, bits, per, axis)
    return Weight(source, scale.dtype, shape, f"HQQ {bits} bit g{group}")


#: by bits: how many codes a word holds, and which
_PER = {8: (1, np.uint8), 4: (2, np.uint8), 3: (10, np.int32), 2: (4, np.uint8), 1: (8, np.uint8)}
#: what it stores of its settings beside
_SETTINGS = (
    *(".nbits", ".axis", ".shape", ".group_size", ".packing", ".view_as_float", ".optimize"),
    *(".unpack_view_dtype", ".quant_scale", ".quant_zero", ".compute_dtype", ".offload_meta"),
    *(".encoded_state_dict", ".stores_quant_config", ".channel_wise", ".round_zero"),
)
HQQ = Scheme(frozenset({"hqq"}), (".W_q", ".scale", ".zero"), _SETTINGS, _read)
