"""DeepSpeed's ZeRO checkpoints: full-precision weights spread over the ranks' optimizer states.

At stages 1 and 2 each rank holds a stretch of every group's weights, one behind the other; at
stage 3, a part of each weight. Names and sizes are in the model states. Pickles are only looked at.
Format: deepspeed/utils/zero_to_fp32.py
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mother.checkpoints.pickled_objects import StridedView
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Checkpoint, Tensor, clean
from mother.checkpoints.torch_files import TorchFile
from mother.checkpoints.views import Tile, reshaped, rows, tiled
from mother.checkpoints.work import STEP, Work

_RANK = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_OWN = re.compile(r"zero_pp_rank_(\d+)_mp_rank_00_model_states\.pt")
_STATES = re.compile(r"(?:mp_rank_\d+|zero_pp_rank_0_mp_rank_\d+)_model_states\.pt")
MAX_RANKS = 100_000
#: what a rank at stage 3 holds its weights under: the number of the stage is an object
_THIRD = "fp32_flat_groups"


def is_zero(names: list[str]) -> bool:
    """Whether a folder with these names is a ZeRO checkpoint.

    >>> is_zero(["zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt"])
    True
    """
    return any(map(_RANK.fullmatch, names)) and any(map(_STATES.fullmatch, names))


def read_zero(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; reads what is pickled, no weights. Raises InputError."""
    names = sorted(each.name for each in folder.iterdir())
    ranks = {int(m[1]): name for name in names if (m := _RANK.fullmatch(name))}
    states = [name for name in names if _STATES.fullmatch(name)]
    if sorted(ranks) != list(range(len(ranks))) or len(ranks) > MAX_RANKS:
        raise refusal(folder, f"has {len(ranks)} ranks' states, not those of all ranks")
    if len(states) != 1 or any(
        not name.endswith("mp_rank_00_optim_states.pt") for name in ranks.values()
    ):
        raise refusal(folder, "a ZeRO checkpoint of a model that is split; join it by zero_to_fp32")
    model = TorchFile.of(File(folder / states[0]))
    parts = [TorchFile.of(File(folder / ranks[rank])) for rank in sorted(ranks)]
    try:
        tensors = dict(_buffers(model))
        tensors |= dict(_weights(model, parts))
        tensors |= dict(_frozen(folder, model, names))
    except ValueError as error:
        raise refusal(folder, f"ZeRO checkpoint {error}") from None
    if not tensors:
        raise refusal(folder, "a ZeRO checkpoint without weights")
    files = (model.file, *(part.file for part in parts))
    notes = (f"joined the states of {len(parts)} ranks",)
    steps = parts[0].steps()
    return Checkpoint(folder.name, folder, "zero", tensors, notes=notes, files=files, steps=steps)


def _buffers(model: TorchFile) -> Iterator[tuple[str, Tensor]]:
    """What the model states hold whole: all weights at stages 1 and 2, else buffers."""
    module = model.tree.get("module") if isinstance(model.tree, dict) else None
    for name, view in module.items() if isinstance(module, dict) else ():
        if isinstance(view, StridedView) and 0 not in view.shape:
            yield clean(name), model.tensor(clean(name), view)


def _frozen(folder: Path, model: TorchFile, names: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Weights that were not trained, of which each rank's model states hold a part at stage 3."""
    tree = model.tree if isinstance(model.tree, dict) else {}
    shapes = tree.get("frozen_param_shapes")
    if not isinstance(shapes, dict) or not shapes or not model.file.path.name.startswith("zero_pp"):
        return
    own = sorted((int(m[1]), name) for name in names if (m := _OWN.fullmatch(name)))
    held = [model, *(TorchFile.of(File(folder / name)) for rank, name in own if rank)]
    parts = [part.tree.get("frozen_param_fragments") for part in held if _is_dict(part.tree)]
    if len(parts) != len(held) or not all(map(_is_dict, parts)):
        raise ValueError("has a rank without its frozen weights")
    for name, shape in _named(shapes):
        views = [part.get(name) for part in parts]
        if not all(isinstance(view, StridedView) for view in views):
            raise ValueError(f"has a rank without its part of {name[:200]!r}")
        line = _chain([of.tensor("", v) for of, v in zip(held, views, strict=True)])
        size = math.prod(shape)
        if size > line.size:
            raise ValueError(f"holds less than the weight {name[:200]!r} needs")
        yield name, reshaped(rows(line, 0, size), shape, name)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _weights(model: TorchFile, parts: list[TorchFile]) -> Iterator[tuple[str, Tensor]]:
    states = [_state(part) for part in parts]
    key = _THIRD if _THIRD in states[0] else "single_partition_of_fp32_groups"
    shapes = model.tree.get("param_shapes") if isinstance(model.tree, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(group, dict) for group in shapes):
        raise ValueError("does not tell the shapes of its weights")
    flat = [
        [part.tensor("", view) for view in _views(state.get(key))]
        for part, state in zip(parts, states, strict=True)
    ]
    if key == _THIRD:
        yield from _of_all(shapes, [_chain(each) for each in flat], model.file.work)
        return
    if any(len(groups) != len(shapes) for groups in flat):
        raise ValueError(f"has {len(shapes)} groups of weights, other numbers in its states")
    paddings = states[0].get("param_alignment_paddings")
    for k, group in enumerate(shapes):
        line, at = _chain([groups[k] for groups in flat]), 0
        after = [0] * len(group) if paddings is None else _paddings(paddings, k, len(group))
        for (name, shape), padding in zip(_named(group), after, strict=True):
            size = math.prod(shape)
            if at + size > line.size:
                raise ValueError(f"holds less than the weight {name[:200]!r} needs")
            yield name, reshaped(rows(line, at, at + size), shape, name)
            at += size + padding


def _paddings(told: Any, group: int, many: int) -> list[int]:
    """How many elements follow each weight of a group, of which none needs them."""
    found = told[group] if isinstance(told, list) and group < len(told) else None
    if not isinstance(found, list) or len(found) != many:
        raise ValueError("tells of padding for other weights than it has")
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in found):
        raise ValueError("tells of padding for other weights than it has")
    return found


def _of_all(
    shapes: list[dict[str, Any]], lines: list[Tensor], work: Work
) -> Iterator[tuple[str, Tensor]]:
    """Stage 3: of each weight, every rank holds an equal part, the last one filled up."""
    at = 0
    for group in shapes:
        for name, shape in _named(group):
            size = math.prod(shape)
            work.spend(STEP * len(lines))
            each = -(-size // len(lines))
            if any(at + each > line.size for line in lines):
                raise ValueError(f"holds less than the weight {name[:200]!r} needs")
            kept = [min(each, max(size - k * each, 0)) for k in range(len(lines))]
            parts = [rows(line, at, at + n) for line, n in zip(lines, kept, strict=True) if n]
            yield name, reshaped(_chain(parts), shape, name)
            at += each


def _chain(parts: list[Tensor]) -> Tensor:
    """Tensors of one dimension, one behind the other."""
    if not parts:
        raise ValueError("has a rank without weights")
    tiles, at = [], 0
    for part in parts:
        tiles.append(Tile((at,), reshaped(part, (part.size,))))
        at += part.size
    return tiled("", parts[0].dtype, (at,), tiles)


def _state(part: TorchFile) -> dict[str, Any]:
    state = part.tree.get("optimizer_state_dict") if isinstance(part.tree, dict) else None
    if not isinstance(state, dict):
        raise ValueError("has a rank without an optimizer's state")
    return state


def _views(held: Any) -> list[StridedView]:
    if not isinstance(held, list | tuple) or not all(isinstance(v, StridedView) for v in held):
        raise ValueError("has a rank without full-precision weights")
    return list(held)


def _named(group: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, shape in group.items():
        whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 1 << 62 for n in shape)
        if not whole:
            raise ValueError(f"has a weight {clean(str(name))[:200]!r} without a shape")
        yield clean(str(name)), shape
