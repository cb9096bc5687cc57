"""8-bit weights, floats or whole numbers, with a scale for the tensor, a row, a group or a block.

As compressed-tensors' `int-quantized` and `float-quantized`, DeepSeek's and transformers' FP8 with
`weight_scale_inv`, FBGEMM's, ModelOpt's, ComfyUI's `scale_weight` and torchao store them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mother.checkpoints.quantized.scheme import ByRows, Module, Scheme, Weight, rounded
from mother.checkpoints.tensor import Array, Tensor


def _blocks(size: int, many: int, told: object) -> int:
    """How many rows or columns share a scale, if `many` scales serve `size` of them."""
    if isinstance(told, int) and told > 0 and -(-size // told) == many:
        return told
    if size % many == 0:
        return size // many
    # the usual one, or as many as fit with the last block shorter
    for block in (128, 1 << (-(-size // many) - 1).bit_length(), -(-size // many)):
        if -(-size // block) == many:
            return block
    raise ValueError(f"{many} scales don't serve {size} rows or columns")


def _told_blocks(module: Module) -> tuple[object, object]:
    """The height and width of blocks that the config states."""
    told = module.config.get("weight_block_size")
    if not isinstance(told, list):
        told = weights_of(module).get("block_structure")
    return (told[0], told[1]) if isinstance(told, list) and len(told) == 2 else (None, None)


def weights_of(module: Module) -> dict[str, Any]:
    """What the first group of compressed-tensors' config states of weights."""
    groups = module.config.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            return weights
    return {}


def scaled(
    module: Module, codes: Tensor, scale: Tensor, zero: Tensor | None, bits: object = None
) -> Weight:
    """code * scale, or (code - zero) * scale, in the scales' number type. bits: of whole numbers,
    fewer than 8 of which may lie in bytes; what compressed-tensors' config states if None."""
    if len(codes.shape) != 2 or not codes.size:
        raise ValueError(f"weight of shape {list(codes.shape)} is no matrix")
    rows, width = codes.shape
    if codes.dtype != np.int8 and not (codes.is_weight and codes.dtype.itemsize == 1):
        raise ValueError(f"weight of {codes.dtype} with a scale is not read")
    if not scale.is_weight or not scale.size or len(scale.shape) > 2:
        raise ValueError(f"the scale of shape {list(scale.shape)} is none")
    if zero is not None and zero.shape != scale.shape:
        raise ValueError("scales and zeros are of different shapes")
    dtype = scale.dtype
    plain = scale.size == 1
    across = 1 if plain or len(scale.shape) < 2 else scale.shape[1]
    down = scale.size // across
    tall, wide = _told_blocks(module)
    height = rows if plain else _blocks(rows, down, tall)
    block = _blocks(width, across, wide)

    def decode(*parts: Array) -> Array:
        values = parts[0].astype(np.float32)
        if zero is not None:
            values -= np.repeat(parts[2].astype(np.float32), block, axis=1)[:, :width]
        with np.errstate(over="ignore", invalid="ignore"):
            values *= np.repeat(parts[1].astype(np.float32), block, axis=1)[:, :width]
        return rounded(values, dtype)

    if plain:
        scale = Tensor(scale.name, scale.dtype, (1, 1), scale.source)
        zero = None if zero is None else Tensor(zero.name, zero.dtype, (1, 1), zero.source)
    held = [(codes, 1), (scale, height)] + ([(zero, height)] if zero is not None else [])
    bits = weights_of(module).get("num_bits") if bits is None else bits
    whole = f"int{bits if bits in (2, 3, 4, 5, 6, 7) else 8}"
    kind = whole if codes.dtype == np.int8 else f"FP8 {str(codes.dtype).removeprefix('float8_')}"
    return Weight(
        ByRows(width, tuple(held), decode),
        dtype,
        (rows, width),
        f"{kind} {_extent(plain, height, across, block)}",
    )


def _extent(plain: bool, height: int, across: int, block: int) -> str:
    if plain:
        return "per tensor"
    if height > 1:
        return f"blocks {height}x{block}"
    return "per channel" if across == 1 else f"g{block}"


def _reader(scale: str) -> Scheme:
    def read(module: Module) -> Weight:
        zero = module.get(".weight_zero_point")
        return scaled(module, module[".weight"], module[scale], zero)

    def fits(module: Module) -> bool:
        return module[".weight"].dtype.itemsize == 1

    return Scheme(_METHODS, (".weight", scale), _OTHERS, read, fits)


def _bits(module: Module) -> int:
    """Of torchao's codes, as its config names their type."""
    told: object = module.config
    for key in ("quant_type", "default", "_data", "weight_dtype", "_data"):
        told = told.get(key) if isinstance(told, Mapping) else None
    match = re.fullmatch(r"int([2-7])", told) if isinstance(told, str) else None
    return int(match[1]) if match else 8


def _torchao(module: Module) -> Weight:
    codes, scale = module["._weight_qdata"], module["._weight_scale"]
    weight = scaled(module, codes, scale, module.get("._weight_zero_point"), _bits(module))
    return weight._replace(scheme=f"torchao {weight.scheme}")


_METHODS = frozenset({"compressed-tensors", "fp8", "fbgemm-fp8", "modelopt", "quark"})
#: scales of activations, which no weight needs
_OTHERS = (
    ".weight_zero_point",
    ".input_scale",
    ".input_zero_point",
    ".output_scale",
    ".output_zero_point",
    ".scale_input",
    ".activation_scale",
    ".input_scale_ub",
)
SCALED = tuple(_reader(end) for end in (".weight_scale", ".weight_scale_inv", ".scale_weight"))
TORCHAO = Scheme(
    frozenset({"torchao"}),
    ("._weight_qdata", "._weight_scale"),
    ("._weight_zero_point",),
    _torchao,
)
