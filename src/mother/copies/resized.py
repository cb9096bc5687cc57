"""Copies with another vocabulary: all the same but for rows that were added to an embedding, or
left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mother.checkpoints import Tensor
from mother.copies.duplicates import Duplicate, originals
from mother.evidence.ranks import unchanged
from mother.layouts import Group
from mother.measures import Measures

RESIZED_ROWS = 64  # that are compared


def find_resized(group: Group, m: Measures, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """Models of a group that are another one with more or fewer rows. copies: those known before.

    The one whose shapes are shared by more of the group is taken for the original; of two alone,
    the one with fewer rows, and the edge is `undirected`.
    """
    n = len(group.checkpoints)
    odd = [k for k in range(n) if group.unaligned[k]]
    if not odd:
        return []
    same = np.all(unchanged(m) | np.isnan(m.squared_distance), axis=0)
    taken = originals(group, copies) >= 0
    shapes = [tuple(sorted(_unshared(group, k))) for k in range(n)]
    many = Counter(shapes)
    found = []
    order = sorted(range(n), key=lambda k: (many[shapes[k]], k not in odd, -_rows(group, k)))
    for k in order:
        for o in range(n):
            if o == k or taken[o] or taken[k] or shapes[o] == shapes[k] or not same[o, k]:
                continue
            if (many[shapes[o]], -_rows(group, o)) < (many[shapes[k]], -_rows(group, k)):
                continue
            if _rows_kept(group, o, k):
                alone = many[shapes[o]] == many[shapes[k]]
                one, other = group.checkpoints[o], group.checkpoints[k]
                found.append(Duplicate(one, other, "resized", undirected=alone))
                taken[k] = True
    return found


def _unshared(group: Group, k: int) -> list[tuple[str, tuple[int, ...]]]:
    """The tensors of a model that have no partner of their shape in all others."""
    shared = {
        tensor.name
        for layer in group.layers
        if len(layer.members) == len(group.checkpoints)
        for member, tensor in zip(layer.members, layer.tensors, strict=True)
        if member == k
    }
    tensors = group.checkpoints[k].tensors.values()
    return [(t.name, t.shape) for t in tensors if t.is_weight and t.name not in shared]


def _rows(group: Group, k: int) -> int:
    return sum(shape[0] for _, shape in _unshared(group, k) if shape)


def _rows_kept(group: Group, o: int, k: int) -> bool:
    """Whether tensors of another shape have the same rows, as many as the smaller one has."""
    one, other = (group.checkpoints[x].tensors for x in (o, k))
    resized = [
        (one[name], other[name])
        for name, shape in _unshared(group, k)
        if name in one and one[name].shape != shape
    ]
    if len(resized) != len(_unshared(group, k)) or not resized:
        return False
    return all(_same_rows(a, b) for a, b in resized)


def _same_rows(a: Tensor, b: Tensor) -> bool:
    if len(a.shape) != len(b.shape) or a.shape[1:] != b.shape[1:] or not a.size or not b.size:
        return False
    few = min(a.shape[0], b.shape[0])
    columns = a.size // a.shape[0]
    rows = sorted({int(r) for r in np.linspace(0, few - 1, min(few, RESIZED_ROWS))})
    spans = [(r * columns, (r + 1) * columns) for r in rows]
    return all(np.array_equal(a.read(*at), b.read(*at)) for at in spans)
