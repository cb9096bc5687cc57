"""Axes of several matrices that hold the same units, and one order for all of them.

A narrow matrix may take one unit for another that looks like it. All that write and read the same
units tell them together (coordinate descent on all matrices, after Ainsworth et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mother.layouts.moves import Move, scaled
from mother.layouts.unaided import MATCHED_SIDE
from mother.layouts.units import Array, Order, assigned, cosines, spread
from mother.thresholds import LARGELY, NEARLY_ALL

SHARED = 10  # units that two axes place alike at least, and most of all, if they are one
TELLING = 8  # axes that tell units, of many


@dataclass(frozen=True)
class Place:
    """Units of an axis of a matrix, from `start` on."""

    name: str
    axis: int
    start: int


#: the units of both models along an axis of a matrix, (n, k), its other axis undone
Sides = Callable[[str, int], tuple[Array, Array]]


def shared(orders: Mapping[tuple[str, int], Order]) -> list[list[Place]]:
    """Axes, and parts of axes as long as others, that have one order. orders: of axes of matrices.

    >>> own = np.array([2, 0, 1, *range(3, 12)])
    >>> twice = np.concatenate([own, own + 12])
    >>> found = shared({("a", 0): own, ("b", 0): twice, ("c", 0): own[::-1]})
    >>> [(place.name, place.start) for place in found[0]]
    [('a', 0), ('b', 0), ('b', 12)]
    """
    classes: list[tuple[Order, list[Place]]] = []
    for size in sorted({len(order) for order in orders.values() if len(order) >= SHARED}):
        wholes = [(key, 0) for key, order in orders.items() if len(order) == size]
        parts = [(key, at) for key, order in orders.items() for at in _starts(len(order), size)]
        own: list[tuple[Order, list[Place]]] = []
        for (name, axis), start in (*wholes, *parts):
            order = orders[name, axis][start : start + size] - start
            alike = [int((first == order).sum()) for first, _ in own]
            best = int(np.argmax(alike)) if alike else 0
            if alike and alike[best] >= max(SHARED, LARGELY * size):
                own[best][1].append(Place(name, axis, start))
            elif len(orders[name, axis]) == size:
                own.append((order, [Place(name, axis, start)]))
        classes += own
    return [places for order, places in classes if len(order) <= MATCHED_SIDE]


def _starts(many: int, size: int) -> Sequence[int]:
    """Where parts of an axis may begin: one after the other, or the first and the last."""
    if size >= many:
        return ()
    return range(0, many, size) if many % size == 0 else (0, many - size)


def settled(moves: dict[tuple[str, int], Move], places: Sequence[Place], sides: Sides) -> bool:
    """Whether all axes of one order have the one that they tell together, which they then are
    given in `moves`."""
    first = places[0]
    size = moves[first.name, first.axis].size
    total = np.zeros((size, size))
    for place in spread(places, TELLING):
        a, b = (x[place.start : place.start + size] for x in sides(place.name, place.axis))
        total += a.shape[1] * np.abs(cosines(a, b))
    order = assigned(total)
    changed = False
    for place in places:
        move = moves[place.name, place.axis]
        whole = move.order.copy()
        whole[place.start : place.start + size] = place.start + order
        if not np.array_equal(whole, move.order) and len(set(whole.tolist())) == len(whole):
            units = sides(place.name, place.axis)
            alike, told = scaled(*units, whole)
            if alike >= NEARLY_ALL * scaled(*units, move.order)[0]:
                moves[place.name, place.axis] = told
                changed = True
    return not changed
