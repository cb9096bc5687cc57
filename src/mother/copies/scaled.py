"""Copies whose layers were multiplied by numbers: equal but for a scale, and for rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from mother.checkpoints import Tensor
from mother.copies.duplicates import Duplicate, chunks, originals
from mother.copies.nearer import nearer
from mother.evidence.kinship import kinship
from mother.layouts import Group
from mother.measures import Measures, is_matrix

SAME_DIRECTION = 1e-3  # squared sine of the angle between layers that are looked at closely
LONG = 8  # elements of a vector that tell a number of its own
ROUNDED_TWICE = 1.05  # of the error of rounding twice


def find_scaled(group: Group, m: Measures, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """Models of a group that are another one with its layers multiplied, one number each:
    "converted", or "edited" where it is the same number for all. Of the one that others are nearer
    to, else of the first by id; but training makes lengths grow or shrink, too, so which was first
    is open. copies: those known before, which are left out."""
    matrices = [k for k, layer in enumerate(group.layers) if is_matrix(layer.shape)]
    if not matrices:
        return []
    length = np.sqrt(np.maximum(np.diagonal(m.gram, axis1=1, axis2=2)[matrices], 1e-200))
    # beside a layer of zeros, what rounding left of an inner product is out of all proportion
    cosine = np.clip(m.gram[matrices] / (length[:, :, None] * length[:, None]), -1.0, 1.0)
    scale = length[:, None] / length[:, :, None]  # of the column, as a multiple of the row
    found: list[Duplicate] = []
    original = originals(group, copies)
    order = sorted(np.flatnonzero(original < 0).tolist(), key=lambda k: group.checkpoints[k].id)
    alone: list[int] = []
    kin = kinship(m) > 1
    for k in order:
        alike = (1 - cosine[:, alone, k] ** 2 <= SAME_DIRECTION).all(axis=0)
        for o in (o for o, near in zip(alone, alike, strict=True) if near):
            told = dict(zip(matrices, scale[:, o, k].tolist(), strict=True))
            if (scales := _scales(group, o, k, told)) is not None:
                others = [x for x in order if kin[x, o] and x not in (o, k)]
                first, _ = nearer(m, m.squared_distance[:, o, k] > 0, o, k, others)
                one, other = (o, k) if first is None else (first, o + k - first)
                if first == k:
                    alone[alone.index(o)] = k
                said = _said(scales if one == o else [1 / x for x in scales])
                pair = group.checkpoints[one], group.checkpoints[other]
                # one number for all is no rescaling that a next layer takes back
                relation = "edited" if " to " not in said else "converted"
                found.append(Duplicate(*pair, relation, said, undirected=True))
                break
        else:
            alone.append(k)
    return found


def _said(scales: Sequence[float]) -> str:
    low, high = (f"{x:.4g}" for x in (min(scales), max(scales)))
    return f"scaled by {low}" if low == high else f"scaled by {low} to {high}"


def _scales(group: Group, i: int, k: int, scale: Mapping[int, float]) -> list[float] | None:
    """The numbers that layers of i are multiplied by to be those of k; None where that is not all
    that differs, or nothing does. scale: those of matrices. Short vectors are as they are, or times
    the number of all matrices, where that is one."""
    moved, every = False, list(scale.values())
    one = every[0] if np.ptp(every) <= SAME_DIRECTION * abs(every[0]) else 1.0
    for number, layer in enumerate(group.layers):
        if not {i, k} <= set(layer.members):
            return None
        a, b = (layer.tensors[layer.members.index(x)] for x in (i, k))
        if not _times(a, b, 1.0):
            moved = True
            own = scale.get(number, one)
            if number not in scale and a.size >= LONG and not _times(a, b, own):
                every.append(own := _ratio(a, b))
            if not _times(a, b, own):
                return None
    return every if moved else None


def _ratio(a: Tensor, b: Tensor) -> float:
    """What a is multiplied by to be nearest to b."""
    across = own = 0.0
    for x, y in chunks(a, b):
        across += float(x.astype(np.float64) @ y.astype(np.float64))
        own += float(np.square(x.astype(np.float64)).sum())
    return across / own if own > 0 else 1.0


def rounding(tensor: Tensor) -> float:
    """The distance of 1 from the next larger number of a tensor's type."""
    return float(ml_dtypes.finfo(tensor.dtype).eps)


def _times(a: Tensor, b: Tensor, scale: float) -> bool:
    """Whether b is a times a number, to the rounding of both."""
    eps = ROUNDED_TWICE * max(map(rounding, (a, b)))
    for x, y in chunks(a, b):
        expected, got = scale * x.astype(np.float64), y.astype(np.float64)
        if not (np.abs(got - expected) <= eps * np.abs(got)).all():
            return False
    return True
