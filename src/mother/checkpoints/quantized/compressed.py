"""What compressed-tensors packs: whole numbers of 1 to 8 bits, 4-bit floats, and sparse bitmasks.

Layout: `pack_to_int32`, `pack_fp4_to_uint8` and `Sparse24BitMaskCompressor` of compressed-tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from mother.checkpoints.quantized.scaled import scaled, weights_of
from mother.checkpoints.quantized.scheme import (
    BF16,
    F32,
    ByRows,
    Module,
    Scheme,
    Weight,
    rounded,
    words,
)
from mother.checkpoints.tensor import Array, Slice, Tensor

#: the values of E2M1 (OCP Microscaling Formats 1.0, section 5.3.3)
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
E2M1 = np.concatenate([E2M1, -E2M1])


def _told_shape(module: Module, ending: str) -> tuple[int, int] | None:
    """The two sizes that a small tensor of whole numbers holds."""
    kept = module.get(ending)
    if kept is None:
        return None
    if kept.size != 2 or kept.dtype.kind not in "iu":
        raise ValueError(f"{ending} does not hold two sizes")
    rows, width = (int(n) for n in kept.read())
    if not (0 < rows < 1 << 40 and 0 < width < 1 << 40):
        raise ValueError(f"{ending} holds {rows} and {width}")
    return rows, width


def _packed(module: Module) -> Weight:
    if module[".weight_packed"].dtype == np.uint8:
        return _fours(module, module[".weight_packed"], module.get(".weight_global_scale"))
    rows, held = module.matrix(".weight_packed")
    if module[".weight_packed"].dtype.itemsize != 4:
        raise ValueError("weight_packed is neither words of 32 bits nor bytes")
    shape = _told_shape(module, ".weight_shape")
    told = weights_of(module).get("num_bits")
    width = shape[1] if shape else None
    bits = told if isinstance(told, int) else (held * 32 // width if width else 4)
    width = width or held * 32 // bits
    if not 1 <= bits <= 8 or -(-width * bits // 32) != held or (shape and shape[0] != rows):
        raise ValueError(f"weight_packed of {held} words a row does not hold {width} codes")
    scale, zero = module[".weight_scale"], module.get(".weight_zero_point")
    groups = module.matrix(".weight_scale")[1]
    places = module.get(".weight_g_idx")
    if scale.shape[0] not in (1, rows) or not scale.is_weight:
        raise ValueError(f"weight_scale of shape {list(scale.shape)} does not fit {rows} rows")
    if places is not None and (places.shape != (width,) or places.dtype.kind != "i"):
        raise ValueError("weight_g_idx does not fit the columns")
    if places is None and width % groups:
        raise ValueError(f"{width} columns are not {groups} equal groups")
    if zero is not None and zero.shape != (-(-rows * bits // 32), groups):
        raise ValueError(f"weight_zero_point of shape {list(zero.shape)} does not fit the scales")
    parts = module[".weight_packed"], scale, zero, places
    source = _Packed(width, bits, *parts)
    extent = "per channel" if groups == 1 else f"g{width // groups}"
    order = " act-order" if weights_of(module).get("actorder") in ("group", True) else ""
    return Weight(source, scale.dtype, (rows, width), f"W{bits} {extent}{order}")


@dataclass(frozen=True, eq=False)
class _Packed:
    """Rows of codes in words, half of their range above what they stand for."""

    width: int
    bits: int
    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    places: Tensor | None

    def decode(self, low: int, high: int) -> Array:
        held, groups = self.codes.shape[1], self.scale.shape[1]
        stored = self.codes.read(low * held, high * held).reshape(high - low, held)
        codes = self._unpacked(stored)[:, : self.width]
        values = codes.astype(np.float32) - np.float32(1 << self.bits - 1)
        group = self._groups(groups)
        if self.zero is not None:
            zeros = self._zeros(low, high).astype(np.float32) - np.float32(1 << self.bits - 1)
            values -= zeros[:, group]
        alone = self.scale.shape[0] == 1
        kept = self.scale.read(*((0, groups) if alone else (low * groups, high * groups)))
        with np.errstate(over="ignore", invalid="ignore"):
            values *= kept.reshape(-1, groups).astype(np.float32)[:, group]
        return rounded(values, self.scale.dtype).reshape(-1)

    def _unpacked(self, stored: Array) -> Array:
        """A last run of 32 codes may be cut where its row ends."""
        short = -stored.shape[1] % self.bits
        return words(np.pad(stored, ((0, 0), (0, short))), self.bits)

    def _zeros(self, low: int, high: int) -> Array:
        """Zeros are packed along the rows: 32 of them take `bits` words. (n, groups)"""
        groups = self.scale.shape[1]
        first, last = low // 32 * self.bits, -(-high // 32) * self.bits
        assert self.zero is not None
        stored = self.zero.read(first * groups, last * groups).reshape(-1, groups).T
        start = low - low // 32 * 32
        return self._unpacked(np.ascontiguousarray(stored))[:, start : start + high - low].T

    def _groups(self, groups: int) -> Array:
        if self.places is None:
            return np.arange(self.width) // (self.width // groups)
        places = self.places.read()
        if places.min() < 0 or places.max() >= groups:
            raise ValueError("weight_g_idx names a group that is not there")
        return places

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        held, groups = self.codes.shape[1], self.scale.shape[1]
        yield from self.codes.slices(low * held, high * held)
        alone = self.scale.shape[0] == 1
        yield from self.scale.slices(*((0, groups) if alone else (low * groups, high * groups)))
        if self.zero is not None:
            first, last = low // 32 * self.bits, -(-high // 32) * self.bits
            yield from self.zero.slices(first * groups, last * groups)
        if self.places is not None:
            yield from self.places.slices()


def _fours(module: Module, codes: Tensor, whole: Tensor | None) -> Weight:
    """4-bit floats, two a byte, the lower half first, with a scale for each 16 or 32 of them."""
    rows, held = codes.shape
    width, groups = held * 2, module.matrix(".weight_scale")[1]
    scale = module.expect(".weight_scale", rows, groups)
    if width % groups:
        raise ValueError(f"{width} columns are not {groups} equal groups")
    powers = scale.dtype == np.uint8
    if whole is not None and (whole.size != 1 or whole.dtype != F32):
        raise ValueError("weight_global_scale is no float32 number")
    if not powers and not scale.is_weight:
        raise ValueError(f"weight_scale of {scale.dtype} is not read")

    def decode(packed: Array, kept: Array, *rest: Array) -> Array:
        nibbles = np.stack([packed & np.uint8(15), packed >> 4], axis=-1)
        values: Array = E2M1[nibbles].reshape(len(packed), groups, -1)
        scales: Array = kept.astype(np.float32)
        if powers:
            scales = np.exp2(scales - 127)
        with np.errstate(all="ignore"):
            scales = scales / rest[0] if rest else scales
            values = values * scales[..., None]
        return rounded(values.reshape(len(packed), -1), BF16)

    source = ByRows(width, ((codes, 1), (scale, 1)), decode, () if whole is None else (whole,))
    return Weight(source, BF16, (rows, width), f"{'MX' if powers else 'NV'}FP4")


def _sparse(module: Module, before: str = "") -> Weight:
    """Values of which a bitmask tells the places, half of each row or as many as offsets say; they
    may be codes of which a scale tells the numbers."""
    shape = _told_shape(module, f"{before}.shape")
    assert shape is not None
    rows, width = shape
    mask = module.expect(f"{before}.bitmask", rows, -(-width // 8))
    values, offsets = module[f"{before}.compressed"], module.get(f"{before}.row_offsets")
    if mask.dtype != np.uint8:
        raise ValueError("bitmask is not made of bytes")
    if offsets is None and values.shape != (rows, width // 2):
        raise ValueError(f"compressed of shape {list(values.shape)} is not half of {list(shape)}")
    if offsets is not None and (offsets.size != rows or offsets.dtype.kind != "i"):
        raise ValueError("row_offsets don't fit the rows")
    told = "2:4 sparse" if offsets is None else "sparse"
    weight = Weight(_Sparse(width, values, mask, offsets), values.dtype, shape, told)
    if (scale := module.get(".weight_scale")) is None:
        return weight
    if values.dtype.itemsize != 1:
        raise ValueError(f"compressed of {values.dtype} has a scale")
    codes = scaled(module, weight.tensor(module.name), scale, None)
    return codes._replace(scheme=f"{told} {codes.scheme}")


@dataclass(frozen=True, eq=False)
class _Sparse:
    width: int
    values: Tensor
    mask: Tensor
    offsets: Tensor | None

    def decode(self, low: int, high: int) -> Array:
        held = self.mask.shape[1]
        packed = self.mask.read(low * held, high * held).reshape(high - low, held)
        there = np.unpackbits(packed, axis=1, count=self.width, bitorder="little").astype(bool)
        values = self.values.read(*self._range(low, high))
        if np.count_nonzero(there) != len(values):
            raise ValueError("a bitmask has more or fewer places than there are values")
        out = np.zeros(there.shape, self.values.dtype)
        out[there] = values
        return out.reshape(-1)

    def _range(self, low: int, high: int) -> tuple[int, int]:
        if self.offsets is None:
            return low * (self.width // 2), high * (self.width // 2)
        ends = [*(int(n) for n in self.offsets.read(low, high + 1)), self.values.size]
        first, last = ends[0], ends[high - low]
        if not 0 <= first <= last <= self.values.size:
            raise ValueError("row_offsets don't ascend within the values")
        return first, last

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        held = self.mask.shape[1]
        yield from self.mask.slices(low * held, high * held)
        if self.offsets is not None:
            yield from self.offsets.slices(low, high + 1)
        yield from self.values.slices(*self._range(low, high))


def _modelopt(module: Module) -> Weight:
    second = module[".weight_scale_2"]
    if module[".weight"].dtype != np.uint8 or second.size != 1 or second.dtype != F32:
        raise ValueError(
            "ModelOpt's 4-bit weights have bytes and one float32 scale over the others"
        )
    module.matrix(".weight")
    inverse = Tensor(second.name, F32, (1,), _Inverse(second))
    return _fours(module, module[".weight"], inverse)


@dataclass(frozen=True, eq=False)
class _Inverse:
    stored: Tensor

    def read(self, start: int, stop: int) -> Array:
        with np.errstate(divide="ignore"):
            return np.asarray(np.float32(1) / self.stored.read(start, stop))

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.stored.slices(start, stop)


_METHOD = frozenset({"compressed-tensors"})
PACKED = Scheme(
    _METHOD,
    (".weight_packed", ".weight_scale"),
    (
        ".weight_shape",
        ".weight_zero_point",
        ".weight_g_idx",
        ".weight_global_scale",
        ".input_global_scale",
        ".input_scale",
    ),
    _packed,
)
MODELOPT = Scheme(
    frozenset({"modelopt"}),
    (".weight", ".weight_scale", ".weight_scale_2"),
    (".input_scale",),
    _modelopt,
)
#: of matrices without an order, and of those of two in each four, which are called otherwise
SPARSE = tuple(
    Scheme(
        _METHOD,
        (f"{before}.compressed", f"{before}.bitmask", f"{before}.shape"),
        (f"{before}.row_offsets", ".weight_scale", ".input_scale"),
        partial(_sparse, before=before),
    )
    for before in (".weight", "")
)
