"""optimum-quanto: int8 with a scale for each row, and 4 or 2 bits with scale and shift for groups.

Layout: `QTensor.save_to_state_dict`, `group` and `pack_weights` of optimum-quanto. The first part
of all rows of codes lies in the lowest bits of bytes, the second part in the next, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mother.checkpoints.quantized.scaled import scaled
from mother.checkpoints.quantized.scheme import Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, Slice, Tensor

#: what configs call the width of the stream that layers read from and write to
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
#: layers that write to it, as public layouts call them; others read from it
_BACK = frozenset(
    [
        *("o_proj", "down_proj", "out_proj", "c_proj", "proj_out", "fc2", "w2", "wo", "Wo"),
        *("dense", "dense_4h_to_h", "output_linear"),
    ]
)
#: layers called as those above that don't
_NOT_BACK = ("intermediate.dense", "pooler.dense")


def _bytes(module: Module) -> Weight:
    weight = scaled(module, module[".weight._data"], module[".weight._scale"], None)
    return weight._replace(scheme=f"quanto {weight.scheme}")


@dataclass(frozen=True, eq=False)
class _Groups:
    """Groups of codes that follow one another in the weight, one a row."""

    codes: Tensor
    scale: Tensor
    shift: Tensor
    bits: int

    @property
    def width(self) -> int:
        return self.codes.shape[1]

    def decode(self, low: int, high: int) -> Array:
        found, width = [], self.width
        for part, first, last in self._parts(low, high):
            packed = self.codes.read(first * width, last * width).reshape(-1, width)
            found.append(packed >> np.uint8(self.bits * part) & np.uint8((1 << self.bits) - 1))
        codes, scale, shift = np.concatenate(found), self.scale, self.shift
        by, less = (t.read(low, high)[:, None] for t in (scale, shift))
        with np.errstate(over="ignore", invalid="ignore"):
            if shift.dtype.kind == "i":
                whole = (codes.astype(np.int8) - less.astype(np.int8)).astype(np.float32)
                values = rounded(by.astype(np.float32) * whole, scale.dtype)
            else:
                values = by.astype(np.float32) * codes.astype(np.float32)
                values = rounded(values, scale.dtype).astype(np.float32) - less.astype(np.float32)
        return rounded(values, scale.dtype).reshape(-1)

    def _parts(self, low: int, high: int) -> Iterator[tuple[int, int, int]]:
        """Which part of the rows those are in, and which rows of bytes hold them."""
        held = self.codes.shape[0]
        for part in range(low // held, -(-high // held)):
            yield part, max(low - part * held, 0), min(high - part * held, held)

    def slices(self, low: int, high: int) -> Iterator[Slice]:
        for _, first, last in self._parts(low, high):
            yield from self.codes.slices(first * self.width, last * self.width)
        yield from self.scale.slices(low, high)
        yield from self.shift.slices(low, high)


def _bits(module: Module) -> Weight:
    held, width = module.matrix(".weight._data._data")
    codes, scale, shift = (module[mark] for mark in BITS.marks)
    per = next((n for n in (2, 4) if held == -(-scale.size // n)), 0)
    if codes.dtype != np.uint8 or not per or not scale.is_weight or shift.size != scale.size:
        raise ValueError(f"{held} rows of bytes with {scale.size} scales are not read")
    if shift.dtype != np.int8 and not shift.is_weight:
        raise ValueError(f"a shift of {shift.dtype} is not read")
    bits = 8 // per
    source = _Groups(codes, scale, shift, bits)
    shape = _shape(module, scale.size * width)
    return Weight(source, scale.dtype, shape, f"quanto int{bits} g{width}")


def _shape(module: Module, size: int) -> tuple[int, int]:
    """Outputs and inputs of a layer of that many weights, which is not stored: by its bias, or by
    the width of the model and whether the layer writes to its stream. Raises ValueError."""
    if module.bias is not None and module.bias.size and size % module.bias.size == 0:
        return module.bias.size, size // module.bias.size
    told = module.model.get("text_config")
    of = told if isinstance(told, Mapping) else module.model
    width = next((w for name in _WIDTHS if isinstance(w := of.get(name), int)), 0)
    if width < 1 or size % width:
        raise ValueError(
            "quanto stores no shape of packed weights, and no config.json beside them tells the"
            " model's width"
        )
    back = module.name.rpartition(".")[2] in _BACK and not module.name.endswith(_NOT_BACK)
    return (width, size // width) if back else (size // width, width)


_ACTIVATIONS = (".input_scale", ".output_scale")
BYTES = Scheme(frozenset({"quanto"}), (".weight._data", ".weight._scale"), _ACTIVATIONS, _bytes)
BITS = Scheme(
    frozenset({"quanto"}),
    (".weight._data._data", ".weight._scale", ".weight._shift"),
    _ACTIVATIONS,
    _bits,
)
