"""What adapters write to the rows of a module's matrix, or turn of what it reads, by the names that
PEFT, kohya's scripts and diffusers give them: of LoRA (Hu and others 2021), W + left @ right, its
left factor; of LoHa (Hyeon-Woo and others 2022) the product by weights of two such; of OFT (Qiu and
others 2023), W R, the skew matrix of each block of R.

Names: `get_peft_model_state_dict` in PEFT; `networks/lora.py` in kohya-ss/sd-scripts;
`convert_state_dict_to_diffusers` in diffusers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints.tensor import Checkpoint, Tensor

Array = NDArray[np.float64]

#: what a left factor is called, the module before it
_LEFT = re.compile(
    r"(?P<module>.+?)(?:\.lora_B(?:\.(?!weight$)[^.]+)?(?:\.weight)?|\.lora_up\.weight"
    r"|\.lora\.up\.weight|_lora\.up\.weight|\.lora_linear_layer\.up\.weight)"
)
_LOHA = re.compile(r"(?P<module>.+?)\.hada_w1_a(?:\.[^.]+)?")
_OFT = re.compile(r"(?P<module>.+?)\.oft_R(?:\.(?!weight$)[^.]+)?(?:\.weight)?")
LARGEST = 1 << 26  # weights of what an adapter writes
_FACTOR = re.compile(r"lora_|\.lora\.|_lora\.|hada_|lokr_|ia3_|oft_|vera_|prompt_emb")
_PREFIXES = ("base_model.model.", "lora_unet_", "lora_te1_", "lora_te2_", "lora_te_", "unet.")
FEWEST = 0.5  # of a checkpoint's tensors that are factors, where it is an adapter


def is_adapter_alone(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint holds an adapter's factors, and no model."""
    if checkpoint.base is not None or not checkpoint.tensors:
        return False
    if checkpoint.format == "peft" and not checkpoint.is_sketch:  # of which the base is not kept
        return True
    found = sum(_FACTOR.search(name) is not None for name in checkpoint.tensors)
    return found >= FEWEST * len(checkpoint.tensors)


@dataclass(frozen=True)
class Factor:
    """rows: of the module's matrix, or its columns. read: (rows, r) weights."""

    rows: int
    read: Callable[[], Array]


def left_factors(checkpoint: Checkpoint) -> dict[str, Factor]:
    """What writes to the rows of a module's matrix, or turns its columns, by module."""
    found: dict[str, Factor] = {}
    for name, tensor in checkpoint.tensors.items():
        match = _LEFT.fullmatch(name) or _LOHA.fullmatch(name) or _OFT.fullmatch(name)
        if not match or not tensor.is_weight or len(tensor.shape) < 2 or not tensor.size:
            continue
        if match.re is _LEFT:
            factor: Factor | None = Factor(tensor.shape[0], partial(_matrix, tensor))
        elif match.re is _LOHA:
            factor = _hadamard(checkpoint, name)
        else:
            factor = _skew(tensor)
        if factor is not None:
            module = match["module"]
            for prefix in _PREFIXES:
                module = module.removeprefix(prefix)
            found[module] = factor
    return found


def _matrix(tensor: Tensor) -> Array:
    return tensor.read().astype(np.float64).reshape(tensor.shape[0], -1)


def _hadamard(checkpoint: Checkpoint, name: str) -> Factor | None:
    """(w1_a @ w1_b) * (w2_a @ w2_b), from the name of w1_a."""
    names = [name.replace("w1_a", part) for part in ("w1_a", "w1_b", "w2_a", "w2_b")]
    if not all(n in checkpoint.tensors for n in names):
        return None
    w1a, w1b, w2a, w2b = (checkpoint.tensors[n] for n in names)
    chained = all(
        len(a.shape) == len(b.shape) == 2 and a.shape[1] == b.shape[0]
        for a, b in ((w1a, w1b), (w2a, w2b))
    )
    rows, columns = w1a.shape[0], w1b.shape[-1]
    if not chained or (rows, columns) != (w2a.shape[0], w2b.shape[1]) or rows * columns > LARGEST:
        return None
    return Factor(rows, lambda: (_matrix(w1a) @ _matrix(w1b)) * (_matrix(w2a) @ _matrix(w2b)))


def _skew(tensor: Tensor) -> Factor | None:
    """Blocks of s columns each, turned by skew matrices of which (blocks, s (s - 1) / 2) entries
    above the diagonal are stored."""
    blocks, held = tensor.shape[0], tensor.size // tensor.shape[0]
    side = (1 + math.isqrt(1 + 8 * held)) // 2
    if side < 2 or side * (side - 1) // 2 != held or (blocks * side) ** 2 > LARGEST:
        return None

    def read() -> Array:
        above = np.triu_indices(side, 1)
        out = np.zeros((blocks * side, blocks * side))
        for k, values in enumerate(_matrix(tensor)):
            own = np.zeros((side, side))
            own[above] = values
            out[k * side : (k + 1) * side, k * side : (k + 1) * side] = own - own.T
        return out

    return Factor(blocks * side, read)


def module_of(name: str, modules: Mapping[str, str]) -> str | None:
    """The module that a matrix of a model is, by the end of its name. modules: as `flat` has them,
    with their names."""
    parts = flat(name.removesuffix(".weight")).split("_")
    for k in range(len(parts)):
        if (found := modules.get("_".join(parts[k:]))) is not None:
            return found
    return None


def flat(name: str) -> str:
    """A name as kohya's scripts write it.

    >>> flat("model.layers.0.self_attn.q_proj")
    'model_layers_0_self_attn_q_proj'
    """
    return name.replace(".", "_")
