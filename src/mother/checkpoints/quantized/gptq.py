"""GPTQ (arXiv:2210.17323) as AutoGPTQ and GPTQModel store it, and AWQ (arXiv:2306.00978).

Layout: `pack` of GPTQModel's `PackableQuantLinear`, and of AutoAWQ's `WQLinear_GEMM`. Both store a
layer (out, in) as words of 32 bits, (in, out): GPTQ packs along the inputs, AWQ along the outputs.
Groups of inputs share a scale and a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mother.checkpoints import unpack
from mother.checkpoints.decoded import PIECE_ACROSS
from mother.checkpoints.quantized.scheme import (
    Module,
    Scheme,
    Weight,
    column_slices,
    columns,
    rounded,
    words,
)
from mother.checkpoints.tensor import Array, DType, Slice, Tensor

_BITS = (2, 3, 4, 8)
#: added to the zeros as stored, by what the config calls the format
_ADDED = {None: 1, "": 1, "gptq": 1, "gptq_v2": 0}
#: which nibble of a word holds each of its eight outputs, in AWQ
_NIBBLES = np.array([0, 4, 1, 5, 2, 6, 3, 7])


@dataclass(frozen=True, eq=False)
class _Columns:
    """A layer (out, in) whose rows are columns of its parts, (code - zero) * scale each.

    packed_inputs: whether words hold inputs (GPTQ) or outputs (AWQ). group: of each input, a part
    of its own or `size` inputs each.
    """

    codes: Tensor
    zeros: Tensor
    scales: Tensor
    places: Tensor | None
    inputs: int
    bits: int
    added: int
    packed_inputs: bool

    @property
    def width(self) -> int:
        return self.inputs

    def decode(self, low: int, high: int) -> Array:
        zeros = self._outputs(self.zeros, low, high).T
        if self.added:
            zeros = zeros + np.uint8(1) & np.uint8((1 << self.bits) - 1)
        zeros, group = zeros.astype(np.float32), self._groups()
        scales = columns(self.scales, low, high).T.astype(np.float32)
        dtype = self.scales.dtype
        if self.packed_inputs:
            packed = columns(self.codes, low, high)
            apart = group.reshape(len(packed), -1) if 32 % self.bits == 0 else group[:, None]
            alike = bool((apart == apart[:, :1]).all())
            places = apart[:, 0] if alike else group
            found = unpack.columns(packed, self.bits, places, zeros, scales, dtype)
            if found is not None:
                return found.reshape(-1)
            codes = words(np.ascontiguousarray(packed.T), self.bits)
        else:
            codes = self._outputs(self.codes, low, high)
        with np.errstate(over="ignore", invalid="ignore"):
            values = (codes.astype(np.float32) - zeros[:, group]) * scales[:, group]
        return rounded(values, dtype).reshape(-1)

    def _outputs(self, packed: Tensor, low: int, high: int) -> Array:
        """Codes whose words lie along the outputs: for the codes (outputs, in), for zeros
        (groups, outputs)."""
        first, last = self._words(low, high)
        found = words(np.ascontiguousarray(columns(packed, first, last)), self.bits)
        if not self.packed_inputs:
            found = found.reshape(len(found), -1, 8)[..., _NIBBLES].reshape(len(found), -1)
        start = low - low // 32 * 32
        found = found[:, start : start + high - low]
        return found.T if packed is self.codes else found

    def _words(self, low: int, high: int) -> tuple[int, int]:
        """The words that hold the codes of those outputs: each 32 of them take `bits` words."""
        return low // 32 * self.bits, min(-(-high // 32) * self.bits, self.zeros.shape[1])

    def _groups(self) -> Array:
        """The group of each input, (in,)."""
        many = self.scales.shape[0]
        if self.places is None:
            return np.arange(self.inputs) // -(-self.inputs // many)
        places = self.places.read()
        if places.min() < 0 or places.max() >= many:
            raise ValueError("g_idx names a group that is not there")
        return places

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        first, last = self._words(low, high)
        whole = (low, high) if self.packed_inputs else (first, last)
        yield from column_slices(self.codes, *whole)
        yield from column_slices(self.zeros, first, last)
        yield from column_slices(self.scales, low, high)
        if self.places is not None:
            yield from self.places.slices()


def _parts(module: Module) -> tuple[int, int, int]:
    """Groups, outputs and bits, of which the zeros tell."""
    groups, outputs = module.matrix(".scales")
    bits = module.matrix(".qzeros")[1] * 32 // outputs
    if not module[".scales"].is_weight:
        raise ValueError("scales are no floats")
    if bits not in _BITS or module[".qzeros"].shape != (groups, -(-outputs * bits // 32)):
        raise ValueError(f"qzeros of shape {list(module['.qzeros'].shape)} don't fit the scales")
    if any(module[part].dtype.itemsize != 4 for part in (".qweight", ".qzeros")):
        raise ValueError("qweight and qzeros are no words of 32 bits")
    return groups, outputs, bits


def _group(inputs: int, groups: int) -> str:
    return f"g{inputs // groups}" if groups > 1 else "per channel"


def _is_gptq(module: Module) -> bool:
    return module.matrix(".qweight")[1] == module.matrix(".scales")[1]


def _gptq(module: Module) -> Weight:
    groups, outputs, bits = _parts(module)
    packed = module.matrix(".qweight")[0]
    module.expect(".qweight", packed, outputs)
    inputs = packed * 32 // bits
    if packed % bits and bits == 3:
        raise ValueError("qweight ends within a run of 32 codes")
    told = module.config.get("checkpoint_format", module.config.get("format"))
    if not isinstance(told, str | None) or told not in _ADDED:
        raise ValueError(f"GPTQ of the format {str(told)[:40]!r} is not read")
    places = module.get(".g_idx")
    if places is not None and module.expect(".g_idx", inputs).dtype.kind != "i":
        raise ValueError("g_idx is no whole number")
    if places is None and inputs % groups:
        raise ValueError(f"{inputs} inputs are not {groups} equal groups")
    order = " act-order" if module.config.get("desc_act") is True else ""
    scales = module[".scales"]
    parts = module[".qweight"], module[".qzeros"], scales, places
    source = _Columns(*parts, inputs, bits, _ADDED[told], packed_inputs=True)
    scheme = f"GPTQ {bits} bit {_group(inputs, groups)}{order}"
    return Weight(source, scales.dtype, (outputs, inputs), scheme, piece=PIECE_ACROSS)


def _awq(module: Module) -> Weight:
    groups, outputs, bits = _parts(module)
    inputs = module.matrix(".qweight")[0]
    told = module.config.get("version", "gemm")
    if bits != 4 or str(told).lower() != "gemm":
        raise ValueError(f"AWQ of {bits} bits and version {str(told)[:40]!r} is not read")
    module.expect(".qweight", inputs, outputs // 8)
    if inputs % groups or outputs % 8:
        raise ValueError(f"{inputs} inputs are not {groups} equal groups")
    scales: Tensor = module[".scales"]
    dtype: DType = scales.dtype
    parts = module[".qweight"], module[".qzeros"], scales, None
    source = _Columns(*parts, inputs, bits, 0, packed_inputs=False)
    scheme = f"AWQ {bits} bit {_group(inputs, groups)}"
    return Weight(source, dtype, (outputs, inputs), scheme, piece=PIECE_ACROSS)


_MARKS = (".qweight", ".qzeros", ".scales")
GPTQ = Scheme(frozenset({"gptq"}), _MARKS, (".g_idx",), _gptq, _is_gptq)
AWQ = Scheme(frozenset({"awq"}), _MARKS, (), _awq, lambda module: not _is_gptq(module))
