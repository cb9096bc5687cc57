"""The low-rank factors of adapters by module, by the names that PEFT, kohya's scripts and diffusers
give them: W + left @ right, with left (rows, r).

Names: `get_peft_model_state_dict` in PEFT; `networks/lora.py` in kohya-ss/sd-scripts;
`convert_state_dict_to_diffusers` in diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mother.checkpoints.tensor import Checkpoint, Tensor

#: what a left factor is called, the module before it
_LEFT = re.compile(
    r"(?P<module>.+?)(?:\.lora_B(?:\.(?!weight$)[^.]+)?(?:\.weight)?|\.lora_up\.weight"
    r"|\.lora\.up\.weight|_lora\.up\.weight|\.lora_linear_layer\.up\.weight)"
)
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


def left_factors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The factors that write to the rows of a module's matrix, (rows, r), by module."""
    found: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        match = _LEFT.fullmatch(name)
        if match and tensor.is_weight and len(tensor.shape) >= 2 and tensor.size:
            module = match["module"]
            for prefix in _PREFIXES:
                module = module.removeprefix(prefix)
            found[module] = tensor
    return found


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
