"""MLX: scale * code + bias for groups of a row, codes as one stream of bits in words of 32.

Layout: `mlx.core.quantize`. The config tells bits and group, for all layers or one by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import ml_dtypes
import numpy as np

from mother.checkpoints.quantized.compressed import E2M1
from mother.checkpoints.quantized.scheme import (
    BF16,
    ByRows,
    Module,
    Scheme,
    Weight,
    rounded,
    words,
)
from mother.checkpoints.tensor import Array

_BITS = (2, 3, 4, 5, 6, 8)


def _bits(module: Module, held: int, groups: int) -> int:
    """Bits of a code, by the config; by the shapes where only one number of bits fits them."""
    own = module.config.get(module.name)
    told = {**module.config, **own} if isinstance(own, Mapping) else module.config
    bits, group = told.get("bits"), told.get("group_size")
    fitting = [b for b in _BITS if held * 32 % b == 0 and held * 32 // b % groups == 0]
    if isinstance(bits, int):
        fitting = [b for b in fitting if b == bits]
    if isinstance(group, int):
        fitting = [b for b in fitting if held * 32 // b == group * groups]
    if len(fitting) != 1:
        raise ValueError("the config does not tell the bits that its words and scales fit")
    return fitting[0]


def _affine(module: Module) -> Weight:
    rows, held = module.matrix(".weight")
    groups = module.matrix(".scales")[1]
    scales = module.expect(".scales", rows, groups)
    biases = module.expect(".biases", rows, groups)
    if not (scales.is_weight and biases.dtype == scales.dtype):
        raise ValueError("scales and biases are no floats of one type")
    bits, dtype = _bits(module, held, groups), scales.dtype
    width = held * 32 // bits

    def decode(packed: Array, scale: Array, bias: Array) -> Array:
        codes = words(packed, bits).reshape(len(packed), groups, -1).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            values = rounded(codes * scale.astype(np.float32)[..., None], dtype).astype(np.float32)
            values += bias.astype(np.float32)[..., None]
        return rounded(values.reshape(len(packed), -1), dtype)

    parts = (module[".weight"], 1), (scales, 1), (biases, 1)
    source = ByRows(width, parts, decode)
    return Weight(source, dtype, (rows, width), f"MLX {bits} bit g{width // groups}")


def _powers(stored: Array) -> Array:
    found: Array = np.exp2(stored.astype(np.float32) - 127)
    return found


def _eighths(stored: Array) -> Array:
    found: Array = stored.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    return found


#: of floats as codes, by how many words share a scale: name, bits, the scales' and codes' numbers
_FLOATS: Mapping[int, tuple[str, int, Callable[[Array], Array], Callable[[Array], Array]]] = {
    2: ("NVFP4", 4, _eighths, E2M1.__getitem__),
    4: ("MXFP4", 4, _powers, E2M1.__getitem__),
    8: ("MXFP8", 8, _powers, _eighths),
}


def _floats(module: Module) -> Weight:
    rows, held = module.matrix(".weight")
    groups = module.matrix(".scales")[1]
    scales = module.expect(".scales", rows, groups)
    if scales.dtype != np.uint8 or held % groups or held // groups not in _FLOATS:
        raise ValueError("scales are no bytes for 16 or 32 codes each")
    kind, bits, of_scales, of_codes = _FLOATS[held // groups]
    width = held * 32 // bits

    def decode(packed: Array, scale: Array) -> Array:
        values = of_codes(words(packed, bits)).reshape(len(packed), groups, -1)
        with np.errstate(all="ignore"):
            values = values * of_scales(scale)[..., None]
        return rounded(values.reshape(len(packed), -1), BF16)

    source = ByRows(width, ((module[".weight"], 1), (scales, 1)), decode)
    return Weight(source, BF16, (rows, width), f"MLX {kind}")


def _is_mlx(module: Module) -> bool:
    return module[".weight"].dtype == np.uint32 and len(module[".weight"].shape) == 2


AFFINE = Scheme(frozenset(), (".weight", ".scales", ".biases"), (), _affine, _is_mlx)
FLOATS = Scheme(frozenset(), (".weight", ".scales"), (), _floats, _is_mlx)
