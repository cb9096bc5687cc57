"""HQQ (Half-Quadratic Quantization): (code - zero) * scale for groups of a flattened weight.

Layout: `Quantizer` and `BitPack` of hqq. Codes of as many bits lie in the upper bits of a byte as
the first part of all groups, in the next bits the second part, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.quantized.scheme import Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, Slice, Tensor


@dataclass(frozen=True, eq=False)
class _Groups:
    """Groups that follow one another in the weight (axis 1)."""

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    group: int

    @property
    def width(self) -> int:
        return self.group

    def decode(self, low: int, high: int) -> Array:
        many = self.codes.shape[0]
        found = []
        for part, first, last in self._parts(low, high):
            packed = self.codes.read(first * self.group, last * self.group)
            found.append(packed >> np.uint8(8 - self.bits * (part + 1)))
        codes = np.concatenate(found) & np.uint8((1 << self.bits) - 1)
        assert many
        scale, zero = (t.read(low, high).astype(np.float32) for t in (self.scale, self.zero))
        dtype = self.scale.dtype
        with np.errstate(over="ignore", invalid="ignore"):
            values = codes.reshape(high - low, -1).astype(np.float32) - zero[:, None]
            values = rounded(values, dtype).astype(np.float32) * scale[:, None]
        return rounded(values, dtype).reshape(-1)

    def _parts(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Which part of the groups those are in, and which rows of bytes hold them."""
        many = self.codes.shape[0]
        for part in range(low // many, -(-high // many)):
            yield part, max(low - part * many, 0), min(high - part * many, many)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        for _, first, last in self._parts(low, high):
            yield from self.codes.slices(first * self.group, last * self.group)
        yield from self.scale.slices(low, high)
        yield from self.zero.slices(low, high)


def _told(module: Module, ending: str) -> int:
    kept = module.get(ending)
    if kept is None or kept.size != 1 or kept.dtype.kind not in "iu":
        raise ValueError(f"{ending} is no whole number")
    return int(kept.read()[0])


def _read(module: Module) -> Weight:
    rows, group = module.matrix(".W_q")
    kept = module.get(".shape")
    if kept is None or not 0 < kept.size <= 8 or kept.dtype.kind not in "iu":
        raise ValueError("shape is not stored")
    shape = tuple(int(n) for n in kept.read())
    bits, axis = _told(module, ".nbits"), _told(module, ".axis")
    if axis != 1 or bits not in (8, 4, 2, 1) or module[".W_q"].dtype != np.uint8:
        raise ValueError(f"HQQ of {bits} bits along axis {axis} is not read")
    groups = rows * 8 // bits
    size = groups * group
    if any(not 0 < n < 1 << 40 for n in shape) or int(np.prod(np.array(shape, object))) != size:
        raise ValueError(f"shape {list(shape)} does not hold {size} weights")
    scale, zero = module[".scale"], module[".zero"]
    if not (scale.size == zero.size == groups and scale.is_weight and zero.is_weight):
        raise ValueError(f"scale and zero are not those of {groups} groups")
    source = _Groups(module[".W_q"], scale, zero, bits, group)
    return Weight(source, scale.dtype, shape, f"HQQ {bits} bit g{group}")


#: what it stores of its settings beside
_SETTINGS = (
    *(".nbits", ".axis", ".shape", ".group_size", ".packing", ".view_as_float", ".optimize"),
    *(".unpack_view_dtype", ".quant_scale", ".quant_zero", ".compute_dtype", ".offload_meta"),
    *(".encoded_state_dict", ".stores_quant_config", ".channel_wise", ".round_zero"),
)
HQQ = Scheme(frozenset({"hqq"}), (".W_q", ".scale", ".zero"), _SETTINGS, _read)
