"""A model graph as arrays for messages along its edges: who hands on to whom, level by level.

Between a parent and those of its children that were made by one kind of step stands their *brood*,
a row of its own without a model. Siblings of one kind are often more alike than parent and child
(arXiv:2508.06811): what they share and the parent has not is the brood's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mother.graph import ModelGraph

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
#: lengths are told against the middle one of their kind, and held within this factor of it
FURTHEST = 10.0


@dataclass(frozen=True)
class Pedigree:
    """Rows are the graph's models, then its hidden ancestors, then broods.

    parent, child: (links,) rows; a link leads from a parent to a brood or from a brood to a child.
    weight: (links,) what part of the child is the parent's; 1 but for the broods of merges.
    kind: (links,) number of its name in `kinds`. length: (links,) distance against the middle one
    of its kind, 1 where none is known. family: (rows,) connected component. Links are in the order
    of their child's level, then of their parent; `levels` are the slices.
    """

    rows: int
    models: int
    parent: Indices
    child: Indices
    weight: Array
    kind: Indices
    length: Array
    family: Indices
    kinds: tuple[str, ...]
    levels: tuple[slice, ...]

    @cached_property
    def roots(self) -> Indices:
        """Rows that nothing leads to."""
        below = np.zeros(self.rows, dtype=bool)
        below[self.child] = True
        return np.flatnonzero(~below)

    @cached_property
    def merged(self) -> Indices:
        """Links to broods of several parents."""
        return np.flatnonzero(self.weight < 1)

    @cached_property
    def families(self) -> int:
        """How many connected components there are."""
        return int(self.family.max(initial=-1)) + 1

    @cached_property
    def first_parent(self) -> Indices:
        """(models,) the row of a model's first parent, or -1."""
        above = np.full(self.rows, -1, dtype=np.intp)
        above[self.child[::-1]] = self.parent[::-1]
        brood = above[: self.models]
        return np.where(brood >= 0, above[brood], -1)

    def part(self, families: Mask) -> tuple[Pedigree, Indices]:
        """The rows of some families, families: (families,), as a pedigree of their own, and their
        numbers in this one."""
        rows = np.flatnonzero(families[self.family])
        place = np.full(self.rows, -1, dtype=np.intp)
        place[rows] = np.arange(len(rows))
        links = np.flatnonzero(families[self.family[self.child]])
        number = np.cumsum(families) - 1
        ends = np.searchsorted(links, [level.stop for level in self.levels])
        return replace(
            self,
            rows=len(rows),
            models=int(np.searchsorted(rows, self.models)),
            parent=place[self.parent[links]],
            child=place[self.child[links]],
            weight=self.weight[links],
            kind=self.kind[links],
            length=self.length[links],
            family=number[self.family[rows]],
            levels=_slices(ends.tolist()),
        ), rows

    def times(self, copies: int) -> Pedigree:
        """So many copies beside each other, as for several characters; which rows are models is not
        told any more."""
        of, links = np.arange(copies), len(self.parent)
        order = [(links * of[:, None] + np.arange(links)[at]).ravel() for at in self.levels]
        chosen = np.concatenate([np.zeros(0, dtype=np.intp), *order])
        ends = np.cumsum([len(x) for x in order], dtype=np.intp).tolist()
        tiled = {
            name: np.tile(getattr(self, name), copies)[chosen]
            for name in ("weight", "kind", "length")
        }
        return replace(
            self,
            rows=self.rows * copies,
            models=0,
            parent=(self.rows * of[:, None] + self.parent).ravel()[chosen],
            child=(self.rows * of[:, None] + self.child).ravel()[chosen],
            family=(self.families * of[:, None] + self.family).ravel(),
            levels=_slices(ends),
            **tiled,
        )


def pedigree(graph: ModelGraph) -> Pedigree:
    """The pedigree of a graph.

    >>> from mother.graph import Edge, Node
    >>> nodes = tuple(Node(x, x, "npz", "a", 1) for x in "abc")
    >>> graph = ModelGraph("", nodes, (Edge("a", "b", "lora"), Edge("a", "c", "lora")))
    >>> found = pedigree(graph)
    >>> found.rows, found.kinds, found.parent.tolist(), found.child.tolist()
    (4, ('to lora', 'lora'), [0, 3, 3], [3, 1, 2])
    """
    ids = graph.ids
    row = {id_: k for k, id_ in enumerate(ids)}
    steps = [
        _Step(row[e.parent], row[e.child], e.relation, e.distance, e.share) for e in graph.edges
    ]
    steps += [_Step(row[p], row[c], "hidden", None, None) for p, c in graph.hidden_edges()]
    return _linked(len(ids), len(graph.nodes), steps)


class _Step(NamedTuple):
    """An edge, between rows of models and of hidden ancestors."""

    parent: int
    child: int
    relation: str
    distance: float | None
    share: float | None


def _linked(rows: int, models: int, steps: Sequence[_Step]) -> Pedigree:
    above: dict[int, list[_Step]] = {}
    for step in steps:
        above.setdefault(step.child, []).append(step)
    broods: dict[tuple[tuple[tuple[int, float], ...], str], int] = {}
    relations = sorted({step.relation for step in steps})
    number = {relation: k for k, relation in enumerate(relations)}
    links: list[tuple[int, int, float, int, float]] = []
    for child, many in above.items():
        parents, relation = _parents(many), many[0].relation
        brood = broods.get((parents, relation))
        if brood is None:
            brood = broods[parents, relation] = rows + len(broods)
            kind = 2 * number[relation]
            links += [(p, brood, share, kind, np.nan) for p, share in parents]
        known = [s.distance for s in many if s.distance is not None and 0 < s.distance < np.inf]
        far = min(known, default=np.nan)
        links.append((brood, child, 1.0, 2 * number[relation] + 1, far))
    kinds = tuple(name for r in relations for name in (f"to {r}", r))
    table = np.array(links, dtype=np.float64).reshape(-1, 5)
    return _ordered(rows + len(broods), models, table, kinds)


def _parents(steps: Sequence[_Step]) -> tuple[tuple[int, float], ...]:
    """The parents of one child, each with its part of it: as the edges say, or alike."""
    shares = {s.parent: max(s.share or 0.0, 0.0) for s in steps}
    if any(s.share is None for s in steps) or not sum(shares.values()):
        shares = dict.fromkeys(shares, 1.0)
    whole = sum(shares.values())
    return tuple((p, share / whole) for p, share in sorted(shares.items()))


def _ordered(rows: int, models: int, links: Array, kinds: tuple[str, ...]) -> Pedigree:
    """links: (links, 5) parent, child, weight, kind and distance."""
    parent, child, kind = links[:, [0, 1, 3]].T.astype(np.intp)
    weight, distance = links[:, 2], links[:, 4]
    depth = _depths(rows, parent, child)
    order = np.lexsort((child, parent, depth[child]))
    ends = np.cumsum(np.bincount(depth[child], minlength=1)[1:]).tolist()
    joined = coo_array((np.ones(len(parent)), (parent, child)), shape=(rows, rows))
    _, family = connected_components(joined, directed=False)
    length = np.ones(len(parent))
    for k in range(len(kinds)):
        here = (kind == k) & np.isfinite(distance)
        if here.any():
            length[here] = distance[here] / np.median(distance[here])
    length = np.clip(length, 1 / FURTHEST, FURTHEST)
    return Pedigree(
        rows,
        models,
        parent[order],
        child[order],
        weight[order],
        kind[order],
        length[order],
        np.asarray(family, dtype=np.intp),
        kinds,
        _slices(ends),
    )


def _slices(ends: list[int]) -> tuple[slice, ...]:
    """From each end to the next, none of them empty."""
    return tuple(slice(a, b) for a, b in pairwise([0, *ends]) if a < b)


def _depths(rows: int, parent: Indices, child: Indices) -> Indices:
    """Links on the longest way down to each row, of an acyclic graph."""
    order = np.argsort(parent, kind="stable")
    below = child[order]
    start = np.searchsorted(parent[order], np.arange(rows + 1))
    waiting = np.bincount(child, minlength=rows)
    depth = np.zeros(rows, dtype=np.intp)
    front = np.flatnonzero(waiting == 0)
    while len(front):
        many = start[front + 1] - start[front]
        shift = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        links = np.repeat(start[front], many) + shift
        reached = below[links]
        np.maximum.at(depth, reached, np.repeat(depth[front] + 1, many))
        np.subtract.at(waiting, reached, 1)
        reached = np.unique(reached)
        front = reached[waiting[reached] == 0]
    return depth
