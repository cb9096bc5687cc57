"""Checkpoints of quantized layers, read as what was quantized: a scheme is a file and a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mother.checkpoints.quantized import (
    bitnet,
    bitsandbytes,
    compressed,
    gptq,
    hqq,
    mlx,
    mxfp4,
    quanto,
    scaled,
)
from mother.checkpoints.quantized.scheme import Module, Scheme
from mother.checkpoints.storage import refusal
from mother.checkpoints.tensor import CODE, Checkpoint, Tensor

#: bits of a code where the quantizer is not known: as few as those take that need a table
FEWEST = 2
#: the first whose marks a layer has reads it
SCHEMES: tuple[Scheme, ...] = (
    gptq.GPTQ,
    gptq.AWQ,
    bitnet.BITNET,
    bitsandbytes.FOUR,
    bitsandbytes.EIGHT,
    *compressed.SPARSE,
    compressed.PACKED,
    compressed.MODELOPT,
    *scaled.SCALED,
    scaled.TORCHAO,
    mlx.AFFINE,
    mlx.FLOATS,
    mxfp4.MXFP4,
    hqq.HQQ,
    quanto.BYTES,
    quanto.BITS,
)


def dequantized(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with a tensor in place of the parts of each layer that a quantizer stored.

    The config says how, or else the parts do. Reads no weights. Raises InputError where a layer
    claims a scheme that its parts do not fit.
    """
    config = _config(checkpoint.config)
    method = config.get("quant_method")
    method = method.replace("_", "-").lower() if isinstance(method, str) else ""
    tensors = dict(checkpoint.tensors)
    found: Counter[str] = Counter()
    for scheme in SCHEMES:
        if method in _METHODS and method not in scheme.methods:
            continue
        for module in list(_modules(scheme, tensors, config, checkpoint.config)):
            try:
                if not (method in scheme.methods or scheme.fits(module)):
                    continue
                weight = scheme.read(module)
                tensor = weight.tensor(module.name)
                if tensor.name in tensors and tensor.name not in _names(module):
                    raise ValueError(f"{tensor.name} is stored beside its parts")
            except ValueError as error:
                fault = f"layer {module.name!r}: {error}"
                raise refusal(checkpoint.path, fault) from None
            for name in _names(module):
                del tensors[name]
            tensors[tensor.name] = tensor
            found[weight.scheme] += tensor.size
    if not found:
        return _left(checkpoint, method) if method and method not in _METHODS else checkpoint
    scheme_name = max(found, key=lambda name: (found[name], name))
    return replace(checkpoint, tensors=tensors, scheme=scheme_name)


def _left(checkpoint: Checkpoint, method: str) -> Checkpoint:
    """The checkpoint of a quantizer that is not read: its integers are codes, of two bits where
    nothing tells, and no numbers to be compared."""
    told = f"quantized by {method[:40]!r}, which is not read; save it dequantized"
    codes = {n: t for n, t in checkpoint.tensors.items() if not t.is_weight and t.size > 1}
    kept = {n: t for n, t in checkpoint.tensors.items() if n not in codes}
    unread = {n: CODE // FEWEST * t.weights for n, t in codes.items()}
    return replace(
        checkpoint,
        tensors=kept,
        notes=(*checkpoint.notes, told),
        unread={**checkpoint.unread, **unread},
    )


def _config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config says of quantization; under "quantization", MLX does."""
    for of in (config, config.get("text_config")):
        for name in ("quantization_config", "compression_config", "quantization"):
            told = of.get(name) if isinstance(of, Mapping) else None
            if isinstance(told, Mapping):
                return told
    return {}


def _modules(
    scheme: Scheme,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    model: Mapping[str, Any],
) -> Iterator[Module]:
    last = max(scheme.marks, key=len)
    for name in tensors:
        if not name.endswith(last):
            continue
        module = name.removesuffix(last)
        if all(module + mark in tensors for mark in scheme.marks):
            endings = (*scheme.marks, *scheme.parts)
            parts = {end: tensors[module + end] for end in endings if module + end in tensors}
            yield Module(module, parts, config, model, tensors.get(f"{module}.bias"))


def _names(module: Module) -> list[str]:
    return [module.name + ending for ending in module.parts]


_METHODS = frozenset(method for scheme in SCHEMES for method in scheme.methods)
