"""Matrices of one name with more rows in some models than in others: a vocabulary that grew, was
padded or trimmed. The rows that all have are compared, if they are the same rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mother.checkpoints.tensor import Tensor
from mother.checkpoints.views import rows
from mother.layouts.alignment import Group, Layer
from mother.thresholds import MOST

ROWS_COMPARED = 64  # rows that are compared
COLUMNS_COMPARED = 1 << 16  # columns of these
Held = dict[int, Tensor]


def with_common_rows(group: Group) -> Group:
    """The group, each matrix of which models have more and fewer rows cut to those that all have.

    Models in which these are other rows (a head for other classes) are left out of it, as before.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import Checkpoint, constant
    >>> from mother.layouts import align
    >>> w = np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32)
    >>> models = [
    ...     Checkpoint(f"m{n}", Path(f"m{n}"), "npz", {"e": constant("e", w[:n]),
    ...                "u": constant("u", np.ones((20, 20), np.float32))})
    ...     for n in (8, 9)
    ... ]
    >>> (group,) = align(models)
    >>> [(x.name, x.shape) for x in with_common_rows(group).layers]
    [('e', (8, 16)), ('u', (20, 20))]
    """
    if len(group.checkpoints) < 2 or _sketched(group):
        return group
    told = list(group.unaligned)
    layers = {(layer.name, layer.shape): layer for layer in group.layers}
    for name, held in sorted(_held(group).items()):
        found = _cut(held)
        if found is None:
            continue
        least = found[min(found)].shape[0]
        layers = {key: x for key, x in layers.items() if key[0] != name}
        members = tuple(sorted(found))
        shape = found[members[0]].shape
        layers[name, shape] = Layer(name, shape, members, tuple(found[k] for k in members))
        for k in members:
            lines = (
                f"{x}; {least} rows are compared" if x.startswith(f"{name}: ") else x
                for x in told[k]
            )
            told[k] = tuple(lines)
    ordered = tuple(layers[key] for key in sorted(layers))
    return replace(group, layers=ordered, unaligned=tuple(told))


def _sketched(group: Group) -> bool:
    return any(t.sample is not None for c in group.checkpoints[:1] for t in c.tensors.values())


def _held(group: Group) -> dict[str, Held]:
    """By name, the matrices that have another shape in some models."""
    names = {
        line.split(": of shape", 1)[0]
        for lines in group.unaligned
        for line in lines
        if "elsewhere" in line
    }
    many = defaultdict(list)
    for layer in group.layers:
        many[layer.name].append(layer)
    names |= {name for name, layers in many.items() if len(layers) > 1}
    found: dict[str, Held] = {name: {} for name in names}
    for name in names:
        for layer in many[name]:
            found[name] |= dict(zip(layer.members, layer.tensors, strict=True))
    for k, lines in enumerate(group.unaligned):
        tensors = group.checkpoints[k].tensors
        for name in {line.split(": of shape", 1)[0] for line in lines} & names:
            own = [n for n in tensors if n == name or n.endswith(f".{name}")]
            if len(own) == 1:
                found[name][k] = tensors[own[0]]
    return found


def _cut(held: Held) -> Held | None:
    """The matrices cut to the same rows, of models in which they are the same; None where there are
    not two sizes of them."""
    usable = {k: t for k, t in held.items() if len(t.shape) == 2 and min(t.shape) > 0}
    if not usable:
        return None
    sizes = [t.shape for t in usable.values()]
    usual = max(sorted(set(sizes)), key=sizes.count)
    first = next(t for t in usable.values() if t.shape == usual)
    same = {k: t for k, t in usable.items() if t.shape == usual or _same_rows(first, t)}
    least = min(t.shape[0] for t in same.values())
    if len({t.shape for t in same.values()}) < 2:
        return None
    return {k: t if t.shape[0] == least else rows(t, 0, least) for k, t in same.items()}


def _same_rows(a: Tensor, b: Tensor) -> bool:
    few, many = sorted((a.shape[0], b.shape[0]))
    if a.shape[1] != b.shape[1] or few < MOST * many:
        return False
    picked = np.unique(np.linspace(0, few - 1, min(few, ROWS_COMPARED)).astype(int))
    one, other = (_picked(t, picked.tolist()) for t in (a, b))
    size = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = (one * other).sum(axis=1) / np.where(size > 0, size, np.inf)
    return bool(np.median(cosine) > MOST)


def _picked(tensor: Tensor, picked: Sequence[int]) -> np.ndarray:
    columns = tensor.shape[1]
    starts = (row * columns for row in picked)
    width = min(columns, COLUMNS_COMPARED)
    return np.stack([tensor.read(at, at + width).astype(np.float64) for at in starts])
