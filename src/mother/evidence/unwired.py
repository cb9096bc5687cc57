"""Kinship of two models of any architecture, however their units are ordered.

Each matrix by itself tells which of its rows and columns are which of the other model's
(layouts/unaided.py). If one model comes from the other, matrices that write and read the same units
say the same of them, and the larger part of these moved. Which matrices share units need not be
known: all axes with as many units are compared, and their number is counted. Units that stay where
they are count for nothing: labels do, and those of strangers mean the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints import Tensor
from mother.evidence.agreement import Agreement
from mother.layouts.unaided import MATCHED_LEAST, MATCHED_SIDE, unaided
from mother.layouts.units import Array, Order, directions, spread, values_of
from mother.layouts.wiring import matrices, natural
from mother.thresholds import MOST

UNWIRED_MATRICES = 48  # of a model, spread over it

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Axis:
    """The units of an axis of a matrix, or of a part of it, (n, k) in either model, and which of
    the other's are which of the one's."""

    name: str
    one: Array
    other: Array
    order: Order
    among: int = 0  # units of the axis that it is a part of

    def part(self, start: int, units: int) -> Axis:
        """So many of its units, and where they lie among these; outside of them nowhere."""
        some = slice(start, start + units)
        order = self.order[some] - start
        order = np.where((order >= 0) & (order < units), order, -1)
        return Axis(self.name, self.one[some], self.other[some], order, len(self.order))

    def is_copy(self, second: Axis) -> bool:
        """Whether the second one holds the same weights in either model."""
        for a, b in ((self.one, second.one), (self.other, second.other)):
            if a.shape == b.shape and np.median(np.einsum("ij,ij->i", a, b)) > MOST:
                return True
        return False


def axes_of(one: Tensors, other: Tensors) -> list[Axis]:
    """Of the matrices that two models have in common."""
    found = []
    for seed, name in enumerate(_looked_at(one)):
        a, b = (values_of(side[name]) for side in (one, other))
        for k, order in enumerate(unaided(a, b, seed)):
            x, y = (directions(side.swapaxes(0, k).reshape(len(order), -1)) for side in (a, b))
            found.append(Axis(name, x, y, order))
    return [axis for axis in found if len(axis.order) >= MATCHED_LEAST]


def _looked_at(one: Tensors) -> list[str]:
    shapes = matrices({name: tensor.shape for name, tensor in one.items()})
    some = [n for n, shape in shapes.items() if MATCHED_LEAST <= max(shape[:2]) <= MATCHED_SIDE]
    return spread(sorted(some, key=natural), UNWIRED_MATRICES)


def found_alone(one: Tensors, other: Tensors) -> list[str]:
    """Of matrices of two models that are kin, those looked at of which most rows and columns are
    found again once they were moved."""
    found = []
    for seed, name in enumerate(_looked_at(one)):
        a, b = (values_of(side[name]) for side in (one, other))
        draw = np.random.default_rng(seed)
        moved = [draw.permutation(units) for units in a.shape[:2]]
        told = unaided(a, b[moved[0]][:, moved[1]], seed)
        right = [m[t] == np.arange(len(m)) for m, t in zip(moved, told, strict=True)]
        if all(2 * r.sum() >= len(r) for r in right):
            found.append(name)
    return found


def agreements(axes: Sequence[Axis]) -> tuple[list[Agreement], int]:
    """The axes of which two matrices say the same, or the one of which they say the most; and how
    many pairs were compared.

    >>> from mother.checkpoints.tensor import constant
    >>> draw = np.random.default_rng(0)
    >>> def net(*weights):
    ...     return {str(k): constant(str(k), w) for k, w in enumerate(weights)}
    >>> first, second = draw.normal(size=(16, 9)), draw.normal(size=(12, 16))
    >>> order = draw.permutation(16)
    >>> agreements(axes_of(net(first, second), net(first[order], second[:, order])))
    ([Agreement(name='1', alike=16, units=16, among=16)], 7)
    """
    found = []
    for x, y in pairs_of(axes):
        moved = x.order != np.arange(len(x.order))
        alike = int((moved & (x.order == y.order)).sum())
        found.append((Agreement(x.name, alike, len(x.order), len(x.order)), x, y))
    best: dict[int, Agreement] = {}
    for agreement, x, y in sorted(found, key=lambda each: (not each[0].agrees, each[0].p)):
        if best and not agreement.agrees:
            break
        if id(x) not in best and not x.is_copy(y):
            best[id(x)] = agreement
    return list(best.values()), len(found)


def pairs_of(axes: Sequence[Axis]) -> Iterator[tuple[Axis, Axis]]:
    """Axes of two matrices, or parts of them, that have as many units."""
    for k, x in enumerate(axes):
        for y in axes[:k]:
            if x.name == y.name:
                continue
            few, many = sorted((x, y), key=lambda axis: len(axis.order))
            units, whole = len(few.order), len(many.order)
            starts = range(0, whole, units) if whole % units == 0 else (0, whole - units)
            for start in starts:
                yield few, many.part(start, units) if units < whole else many
