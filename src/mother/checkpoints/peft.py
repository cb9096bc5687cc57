"""LoRA adapters as PEFT stores them: factors A and B of low-rank changes to a base model.

LoRA: https://arxiv.org/abs/2106.09685. Layout: `get_peft_model_state_dict` in PEFT.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mother.checkpoints.formats import open_file
from mother.checkpoints.json_files import read_config
from mother.checkpoints.storage import refusal
from mother.checkpoints.tensor import Array, Checkpoint, Slice, Tensor, clean

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])"
    r"(?:\.(?!weight$)[^.]+)?(?:\.weight)?"
)
_WRAPPERS = re.compile(
    r"\.(?:modules_to_save|original_module)(?:\.[^.]+(?=\.[^.]+$))?|\.base_layer"
)


def is_adapter(names: list[str]) -> bool:
    """Whether a folder with these names is a PEFT adapter."""
    return CONFIG in names and any(name in names for name in WEIGHTS)


def open_adapter(folder: Path, names: list[str], base: Checkpoint | None = None) -> Checkpoint:
    """The adapter in a folder, its factors as stored; with `base`, merged into that checkpoint.

    A merged layer is base + scaling * B @ A, in float32 or in the base's dtype where that is
    wider, computed for the rows that a read asks for. Raises InputError.
    """
    weights = next(name for name in WEIGHTS if name in names)
    stored = open_file(folder / weights)
    config, notes = read_config(folder / CONFIG)
    adapter = replace(stored, path=folder, format="peft", config=config)
    adapter = replace(adapter, notes=(*stored.notes, *notes, *_rank_notes(adapter)))
    return adapter if base is None else merge(adapter, base)


def _ranks(checkpoint: Checkpoint) -> set[int]:
    found = set()
    for name, tensor in checkpoint.tensors.items():
        factor = _FACTOR.fullmatch(name)
        if factor and factor["side"] == "A" and tensor.shape:
            found.add(tensor.shape[0])
    return found


def _rank_notes(adapter: Checkpoint) -> list[str]:
    patterns = adapter.config.get("rank_pattern")
    told = [adapter.config.get("r"), *(patterns.values() if isinstance(patterns, dict) else ())]
    ranks = _ranks(adapter)
    if ranks and not ranks <= {rank for rank in told if isinstance(rank, int)}:
        return [f"the config says rank {clean(str(told[0]))[:20]}, the weights {sorted(ranks)}"]
    return []


@dataclass(frozen=True, eq=False)
class _Merged:
    """base + scaling * left @ right, with left (rows, r) and right (r, columns)."""

    base: Tensor
    a: Tensor
    b: Tensor
    scaling: float
    transposed: bool
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> Array:
        columns = self.base.size // self.base.shape[0]
        low, high = start // columns, -(-stop // columns)
        left, right = self._factors(low, high)
        delta = (left @ right).reshape(-1)[start - low * columns : stop - low * columns]
        out = self.base.read(start, stop).astype(self.dtype)
        out += self.dtype.type(self.scaling) * delta
        return out

    def _factors(self, low: int, high: int) -> tuple[Array, Array]:
        rank = self.a.shape[0]
        a = self.a.read().astype(self.dtype).reshape(rank, -1)
        if self.transposed:
            b = self.b.read().astype(self.dtype).reshape(-1, rank)
            return a.T[low:high], b.T
        return self.b.read(low * rank, high * rank).astype(self.dtype).reshape(-1, rank), a

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        yield from self.base.slices(start, stop)
        yield from self.a.slices()
        yield from self.b.slices()


def merge(adapter: Checkpoint, base: Checkpoint) -> Checkpoint:
    """The base with the adapter's changes; reads nothing yet. Raises InputError."""
    where = adapter.path
    kind = adapter.config.get("peft_type", "LORA")
    if kind != "LORA" or adapter.config.get("use_dora"):
        raise refusal(where, f"only plain LoRA can be merged, this is {_kind(adapter.config)}")
    sides, others = _sort_tensors(adapter)
    tensors = dict(base.tensors)
    unmatched = []
    for module, (a, b, embedding) in sides.items():
        try:
            name = _target(f"{module}.weight", base.tensors)
            tensors[name] = _merged(base.tensors[name], a, b, module, embedding, adapter.config)
        except LookupError:
            unmatched.append(module)
        except ValueError as error:
            raise refusal(where, f"{module}: {error}") from None
    if unmatched:
        raise refusal(where, f"not in the base {base.id}: {', '.join(unmatched[:5])}")
    for name, tensor in others.items():
        # a module that the base lacks, such as a new head, keeps its name
        with suppress(LookupError):
            name = _target(name, base.tensors)
        tensors[name] = replace(tensor, name=name)
    notes = (*adapter.notes, f"merged into {base.id}")
    return replace(adapter, tensors=tensors, notes=notes, base=base)


def _kind(config: Mapping[str, Any]) -> str:
    return "DoRA" if config.get("use_dora") else clean(str(config.get("peft_type")))[:40]


def _sort_tensors(
    adapter: Checkpoint,
) -> tuple[dict[str, tuple[Tensor, Tensor, bool]], dict[str, Tensor]]:
    """The factors A and B by module, and the tensors that replace those of the base."""
    found: dict[tuple[str, bool], dict[str, Tensor]] = {}
    others: dict[str, Tensor] = {}
    for name, tensor in adapter.tensors.items():
        plain = name.removeprefix("base_model.model.")
        factor = _FACTOR.fullmatch(plain)
        if factor:
            key = (factor["module"], factor["embedding"] is not None)
            if found.setdefault(key, {}).setdefault(factor["side"], tensor) is not tensor:
                raise refusal(adapter.path, f"{name}: a second adapter in one file")
        elif ".lora_" in plain:
            raise refusal(adapter.path, f"{name}: only plain LoRA can be merged")
        else:
            others[_WRAPPERS.sub("", plain)] = tensor
    sides = {}
    for (module, embedding), pair in found.items():
        if len(pair) < 2:
            raise refusal(adapter.path, f"{module}: lacks one of its two factors")
        sides[module] = (pair["A"], pair["B"], embedding)
    return sides, others


def _target(name: str, tensors: Mapping[str, Tensor]) -> str:
    """The base's name for the adapter's: the same, or the one with another prefix."""
    if name in tensors:
        return name
    ends = [n for n in tensors if n.endswith(f".{name}") or ("." in n and name.endswith(f".{n}"))]
    if len(ends) != 1:
        raise LookupError(name)
    return ends[0]


def _merged(
    base: Tensor, a: Tensor, b: Tensor, module: str, embedding: bool, config: Mapping[str, Any]
) -> Tensor:
    """The merged layer; ValueError where the factors don't fit it or the config is malformed."""
    if not (base.is_weight and a.is_weight and b.is_weight):
        raise ValueError("the layer or its factors are not floating")
    if not (len(base.shape) >= 2 and len(a.shape) >= 2 and len(b.shape) >= 2 and a.size and b.size):
        raise ValueError("the layer and its factors are not matrices")
    rank = a.shape[0]
    inner, outer = a.size // rank, b.shape[0]
    straight = base.shape[0] == outer and base.size == inner * outer
    crossed = base.shape == (inner, outer)
    if b.size != outer * rank or not (straight or crossed):
        raise ValueError(f"factors of {a.shape} and {b.shape} don't fit a layer of {base.shape}")
    transposed = crossed and (not straight or embedding or bool(config.get("fan_in_fan_out")))
    dtype = np.dtype("float64" if base.dtype.itemsize > 4 else "float32")
    scaling = _scaling(module, rank, config)
    source = _Merged(base, a, b, scaling, transposed, dtype)
    return Tensor(base.name, dtype, base.shape, source)


def _scaling(module: str, rank: int, config: Mapping[str, Any]) -> float:
    alpha = config.get("lora_alpha", 8)
    patterns = config.get("alpha_pattern")
    for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
        # PEFT runs these as regular expressions; from outside, only literal names are taken
        literal = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
        if re.search(r"[\\*+?()\[\]{}|^$]", literal):
            raise ValueError(f"alpha_pattern {clean(pattern)[:60]!r} is no plain name")
        if module == literal or module.endswith(f".{literal}"):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
        raise ValueError(f"the config's alpha {clean(str(alpha))[:20]} is no sensible number")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
