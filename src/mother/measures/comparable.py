"""Whether checkpoints can be compared: they hold weights, and these are numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.layouts import Group, Layer
from mother.measures import Measures

OVERFLOWS = 1e15  # beyond it, squares summed in float32 may overflow
VANISHES = 1e-19  # below it, squares vanish in float32
NOT_ENOUGH = "not enough of it can be read"
SAFE_LOW, SAFE_HIGH = 1e-9, 1e9  # far from these, sums of squares do neither


class NotFiniteError(Exception):
    """Checkpoints, each with the fault in its weights."""

    def __init__(self, bad: list[tuple[Checkpoint, str]]) -> None:
        self.bad = bad
        super().__init__("weights that are not finite")


def no_weights(checkpoint: Checkpoint) -> str | None:
    """Why a checkpoint can't be compared at all, if so."""
    if checkpoint.parameters == 0:
        return "holds no floating-point weights"
    share = checkpoint.parameters / checkpoint.weights
    if share < 0.5:
        why = next((n for n in checkpoint.notes if "not read" in n), "")
        rest = f"the rest are packed or integers{f'; {why}' if why else ''}"
        return f"{NOT_ENOUGH}: {share:.2g} of its weights, {rest}"
    return None


def comparable_part(checkpoint: Checkpoint) -> Checkpoint | None:
    """A checkpoint without the tensors whose values can't be compared, which it has `unread` then;
    None where there are none, or what is left is less than half of its weights. Masks stay.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> tensors = {"fc": constant("fc", np.ones(9)), "table": constant("table", np.full(4, np.nan))}
    >>> part = comparable_part(Checkpoint("a", Path("a"), "npz", tensors))
    >>> list(part.tensors), part.unread, part.notes
    (['fc'], {'table': 4}, ("left out 'table': NaN or infinite weights",))
    """
    weights = {n: t.kept for n, t in checkpoint.tensors.items() if t.is_weight and t.kept.size}
    faults = {n: fault for n, t in weights.items() if (fault := unfit(t)) and not _is_two(t)}
    part = replace(
        checkpoint,
        tensors={n: t for n, t in checkpoint.tensors.items() if n not in faults},
        unread={**checkpoint.unread, **{n: checkpoint.tensors[n].size for n in faults}},
        notes=(*checkpoint.notes, *(f"left out {n!r}: {says}" for n, says in faults.items())),
    )
    return None if not faults or no_weights(part) else part


def ordinary(sketch: Checkpoint) -> bool:
    """Whether a sketch alone can be compared, as a first look tells: `finite_layers` has nothing
    against weights of such sizes."""
    kept = (t.kept for t in sketch.tensors.values() if t.is_weight and t.kept.size)
    with np.errstate(invalid="ignore"):
        largest = np.array([np.abs(t.read().astype(np.float64)).max() for t in kept])
    return bool(np.isfinite(largest).all() and SAFE_LOW < largest.max(initial=0.0) < SAFE_HIGH)


def finite_layers(group: Group, measures: Measures) -> np.ndarray:
    """Layers whose inner products are finite, (L,) bool. Raises for models whose weights are not,
    or are too large to be squared; unless they are the same in all of them, without a NaN, or two
    numbers in the only one: that is a mask, not a weight."""
    finite = np.ones(len(group.layers), dtype=bool)
    bad: dict[int, str] = {}
    for index, layer in enumerate(group.layers):
        members = list(layer.members)
        if np.isfinite(measures.gram[index][np.ix_(members, members)]).all():
            continue
        finite[index] = False
        faults = {
            m: fault
            for m, tensor in zip(members, layer.tensors, strict=True)
            if (fault := unfit(tensor))
        }
        if len(faults) < len(members) or not _is_mask(layer):
            bad |= {m: f"{fault} in {layer.name}" for m, fault in faults.items()}
    if 2 * measures.sizes[finite].sum() < measures.sizes.sum() and not bad:
        bad |= dict.fromkeys(
            range(len(group.checkpoints)), "NaN or infinite weights in most layers"
        )
    silent = np.ones(len(group.checkpoints), dtype=bool)
    for index, layer in enumerate(group.layers):
        rows = np.array(layer.members)
        silent[rows] &= measures.gram[index, rows, rows] == 0
    for m in np.flatnonzero(silent).tolist():
        own = (t for x in group.layers for k, t in zip(x.members, x.tensors, strict=True) if k == m)
        if any(t.read().any() for t in own):
            bad[m] = f"weights below {VANISHES:.0e}, too small to compare"
    if bad:
        raise NotFiniteError([(group.checkpoints[m], fault) for m, fault in sorted(bad.items())])
    return finite


def unfit(tensor: Tensor) -> str | None:
    """Why its values can't be compared, if so."""
    values = tensor.read()
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(np.abs(values.astype(np.float64)).max(initial=0.0))
    if not np.isfinite(largest):
        return "NaN or infinite weights"
    if largest > OVERFLOWS:
        return f"weights up to {largest:.0e}, too large to compare,"
    return None


def _is_mask(layer: Layer) -> bool:
    if len(layer.tensors) == 1:
        return _is_two(layer.tensors[0])
    first, *others = (t.read().astype(np.float64) for t in layer.tensors)
    return not np.isnan(first).any() and all(np.array_equal(first, each) for each in others)


def _is_two(tensor: Tensor) -> bool:
    values = np.unique(tensor.read().astype(np.float64))
    return len(values) == 2 and not np.isnan(values).any()
