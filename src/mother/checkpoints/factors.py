"""The factors of adapters, each with the modules that it may be of, by the names that PEFT, kohya's
scripts, LyCORIS and diffusers give their parts. What has a name that none of these gives is taken
for a factor as it is stored.

Names: `get_peft_model_state_dict` in PEFT; `networks/lora.py` in kohya-ss/sd-scripts;
`lycoris/modules` in KohakuBlueleaf/LyCORIS; `convert_state_dict_to_diffusers` in diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mother.checkpoints import factored
from mother.checkpoints.factored import Factor, Parts
from mother.checkpoints.tensor import Checkpoint, Tensor

#: what is made of the parts of an adapter, by how the name of the first of them begins and ends
KINDS: Mapping[tuple[str, str], Callable[[Parts, str], list[Factor]]] = {
    ("hada_", "w1_a"): factored.hadamard,
    ("lokr_", "w1(?:_a)?"): factored.kronecker,
    ("vera_", "lambda_b"): factored.shared,
    ("b?oft_", "R|blocks"): factored.turned,
    ("hra_", "u"): factored.reflected,
}
_NAMED = [
    (
        re.compile(
            rf"(?P<module>.+?)\.(?P<stem>{stem})(?P<part>{part})"
            r"(?P<end>(?:\.(?!weight$)[^.]+)?(?:\.weight)?)"
        ),
        make,
    )
    for (stem, part), make in KINDS.items()
]
_PART = re.compile(rf"\.(?:{'|'.join(stem for stem, _ in KINDS)})")
_FACTOR = re.compile(
    r"lora_|\.lora\.|_lora\.|hada_|lokr_|ia3_|oft_|vera_|hra_u|miss_block|bone_block|prompt_emb"
)
_PREFIXES = ("base_model.model.", "lora_unet_", "lora_te1_", "lora_te2_", "lora_te_", "unet.")
FEWEST = 0.5  # of a checkpoint's tensors that are factors, where it is an adapter
DEEP = 3  # parts of a name, that may stand behind that of the module


def is_adapter_alone(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint holds an adapter's factors, and no model."""
    if checkpoint.base is not None or not checkpoint.tensors:
        return False
    if checkpoint.format == "peft" and not checkpoint.is_sketch:  # of which the base is not kept
        return True
    found = sum(_FACTOR.search(name) is not None for name in checkpoint.tensors)
    return found >= FEWEST * len(checkpoint.tensors)


@dataclass(frozen=True)
class Learnt:
    """A factor of a module. modules: what that may be called, see `flat`. label: the factor, among
    those of one module."""

    modules: tuple[str, ...]
    label: str
    factor: Factor


def factors(checkpoint: Checkpoint) -> list[Learnt]:
    """Of an adapter, by the names of its tensors."""
    return [x for name in checkpoint.tensors for x in _factors(checkpoint, name)]


def _factors(checkpoint: Checkpoint, name: str) -> Iterator[Learnt]:
    plain = re.sub(r"[._]lora\.", ".lora_", name).replace(".processor.", ".")
    for pattern, make in _NAMED:
        if match := pattern.fullmatch(name):
            modules, found = [match["module"]], make(_parts(checkpoint, match), match["part"])
            break
    else:
        if _PART.search(name):
            return
        steps = plain.split(".")
        found = factored.stored(checkpoint.tensors[name]) if len(steps) > 1 else []
        modules = [".".join(steps[:-k]) for k in range(1, min(DEEP + 1, len(steps)))]
    for side, factor in enumerate(found):
        label = f"{_label(plain, modules)} {'reads' if side else 'writes'}"
        yield Learnt(tuple(map(_plain, modules)), label, factor)


def _label(name: str, modules: list[str]) -> str:
    return re.sub(r"\d", "", name.removeprefix(min(modules, key=len)))


def _plain(module: str) -> str:
    for prefix in _PREFIXES:
        module = module.removeprefix(prefix)
    return flat(module)


def _parts(checkpoint: Checkpoint, match: re.Match[str]) -> Parts:
    """The parts of the same adapter, which are called alike."""

    def part(name: str) -> Tensor | None:
        for start in (match["module"], "base_model"):  # which holds what all modules share
            tensor = checkpoint.tensors.get(f"{start}.{match['stem']}{name}{match['end']}")
            if tensor is not None and tensor.is_weight and tensor.shape and tensor.size:
                return tensor
        return None

    return part


def kind_of(name: str) -> str:
    """What tensors of one kind are called in all blocks: the last two parts of the name.

    >>> kind_of("base_model.model.layers.0.q_proj.lora_A.weight")
    'q_proj.lora_A'
    """
    return ".".join(name.removesuffix(".weight").split(".")[-2:])


def module_of(name: str, modules: Mapping[str, object]) -> str | None:
    """The module that a matrix of a model is, by the end of its name, of those that are called as
    `flat` has them."""
    parts = flat(name.removesuffix(".weight")).split("_")
    ends = ("_".join(parts[k:]) for k in range(len(parts)))
    return next((end for end in ends if end in modules), None)


def flat(name: str) -> str:
    """A name as kohya's scripts write it.

    >>> flat("model.layers.0.self_attn.q_proj")
    'model_layers_0_self_attn_q_proj'
    """
    return name.replace(".", "_")
