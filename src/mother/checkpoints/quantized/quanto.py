"""optimum-quanto: int8 with a scale for each row, and 4 or 2 bits with scale and shift for groups.

Layout: `QTensor.save_to_state_dict` and `pack_weights` of optimum-quanto.
"""

from __future__ import annotations

from mother.checkpoints.quantized.scaled import scaled
from mother.checkpoints.quantized.scheme import Module, Scheme, Weight


def _bytes(module: Module) -> Weight:
    weight = scaled(module, module[".weight._data"], module[".weight._scale"], None)
    return weight._replace(scheme=f"quanto {weight.scheme}")


def _bits(module: Module) -> Weight:
    raise ValueError("quanto's packed 4 and 2 bits don't store the weight's shape: not read")


_ACTIVATIONS = (".input_scale", ".output_scale")
BYTES = Scheme(frozenset({"quanto"}), (".weight._data", ".weight._scale"), _ACTIVATIONS, _bytes)
BITS = Scheme(
    frozenset({"quanto"}),
    (".weight._data._data", ".weight._scale", ".weight._shift"),
    _ACTIVATIONS,
    _bits,
)
