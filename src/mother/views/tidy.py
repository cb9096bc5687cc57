"""Tidy trees: Buchheim, Jünger and Leipert, *Improving Walker's Algorithm to Run in Linear Time*
(Graph Drawing 2002). Same rows as d3-hierarchy's `tree`, which draws the page; the tests hold them
against each other in a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: rows between neighbours of one parent, and of two
SIBLINGS, COUSINS = 1.0, 1.25


@dataclass(slots=True, eq=False)
class _Place:
    parent: _Place | None
    number: int
    children: list[_Place] = field(default_factory=list)
    prelim: float = 0.0
    modifier: float = 0.0
    change: float = 0.0
    shift: float = 0.0
    thread: _Place | None = None
    ancestor: _Place | None = None
    default: _Place | None = None


def tidy(root: int, children: Callable[[int], Sequence[int]]) -> dict[int, float]:
    """The row of every node below `root`, in rows, the root's own at 0.

    >>> tidy(0, lambda k: {0: [1, 2], 1: [3, 4]}.get(k, []))
    {0: 0.0, 1: -0.5, 2: 0.5, 3: -1.0, 4: 0.0}
    """
    places = {root: _Place(None, 0)}
    order = [root]
    for at in order:
        for number, child in enumerate(children(at)):
            places[child] = _Place(places[at], number)
            places[at].children.append(places[child])
            order.append(child)
    for one in places.values():
        one.ancestor = one
    for one in _bottom_up(places[root]):
        _settle(one)
    sums = {id(places[root]): 0.0}
    rows = {}
    for index in order:
        place = places[index]
        offset = sums[id(place)]
        rows[index] = place.prelim + offset
        for inner in place.children:
            sums[id(inner)] = offset + place.modifier
    return {index: row - rows[root] for index, row in rows.items()}


def _bottom_up(root: _Place) -> list[_Place]:
    """Children before parents, siblings in their order."""
    out, stack = [], [root]
    while stack:
        place = stack.pop()
        out.append(place)
        stack.extend(place.children)
    return out[::-1]


def _settle(place: _Place) -> None:
    """First walk: the place relative to its left sibling, its subtree pushed clear of theirs."""
    left = place.parent.children[place.number - 1] if place.parent and place.number else None
    if place.children:
        _spread(place)
        middle = (place.children[0].prelim + place.children[-1].prelim) / 2
        place.prelim = middle
        if left is not None:
            place.prelim = left.prelim + SIBLINGS
            place.modifier = place.prelim - middle
    elif left is not None:
        place.prelim = left.prelim + SIBLINGS
    if place.parent is not None:
        default = place.parent.default or place.parent.children[0]
        place.parent.default = _clear(place, left, default)


def _spread(place: _Place) -> None:
    """Carry out the shifts that its children owe to those pushed aside between them."""
    shift = change = 0.0
    for child in reversed(place.children):
        child.prelim += shift
        child.modifier += shift
        change += child.change
        shift += child.shift + change


def _down_left(place: _Place) -> _Place | None:
    return place.children[0] if place.children else place.thread


def _down_right(place: _Place) -> _Place | None:
    return place.children[-1] if place.children else place.thread


def _clear(place: _Place, left: _Place | None, default: _Place) -> _Place:
    """Push the subtree clear of all to its left, along both contours at once."""
    if left is None or place.parent is None:
        return default
    inner, outer, before, first = place, place, left, place.parent.children[0]
    m_inner, m_outer = inner.modifier, outer.modifier
    m_before, m_first = before.modifier, first.modifier
    while True:
        next_before, next_inner = _down_right(before), _down_left(inner)
        if next_before is None or next_inner is None:
            break
        before, inner = next_before, next_inner
        first, outer = _known(_down_left(first)), _known(_down_right(outer))
        outer.ancestor = place
        gap = SIBLINGS if before.parent is inner.parent else COUSINS
        push = before.prelim + m_before - inner.prelim - m_inner + gap
        if push > 0:
            ancestor = _known(before.ancestor)
            apart = ancestor if ancestor.parent is place.parent else default
            _move(apart, place, push)
            m_inner += push
            m_outer += push
        m_before += before.modifier
        m_inner += inner.modifier
        m_first += first.modifier
        m_outer += outer.modifier
    if next_before is not None and _down_right(outer) is None:
        outer.thread = next_before
        outer.modifier += m_before - m_outer
    if next_inner is not None and _down_left(first) is None:
        first.thread = next_inner
        first.modifier += m_inner - m_first
        default = place
    return default


def _known(place: _Place | None) -> _Place:
    assert place is not None, "contours of a tree are as long as the shorter one"
    return place


def _move(left: _Place, right: _Place, push: float) -> None:
    each = push / (right.number - left.number)
    right.change -= each
    right.shift += push
    left.change += each
    right.prelim += push
    right.modifier += push
