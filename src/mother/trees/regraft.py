"""Trees without turning back: what three models on a path say.

Let c be a child of p, and p of g. Training p -> c adds a step that knows nothing of g -> p, so
<c - p, p - g> is near 0: cosines from -0.3 to 0.5 over the families of docs/research/direction.md.
A sibling taken for the parent gives the path away, for the way from it to c starts by undoing what
it went through alone: -0.7 is the middle, -0.1 the least. Steps that resemble each other, children
of one model on the same data, bring siblings nearer than their parent; turning back tells them.
All of it is in the distances: 2 <c - p, p - g> = |c - g|^2 - |c - p|^2 - |p - g|^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from mother.measures.products import Array, Bools, Indices

Pairs = tuple[Indices, Indices]
TURN = 2.0  # by how much of itself a step costs more that goes straight back; 2 to 3 are alike
MOVE_SWEEPS = 20
CLUSTER_SIZE = 16  # models looked at around a parent, for the middle of its cluster
CLUSTER = 0.2  # as a share of a step's length: models that are alike, seen from its end


class Row(Protocol):
    """Numbers by the model they are about: a list, or a dict that fills its gaps."""

    def __getitem__(self, model: int, /) -> float: ...


@dataclass(frozen=True)
class Candidates:
    """Who may be whose parent, of n models.

    squared: [i][j] |i - j|^2. nearest: who may be each one's parent, nearest first. beside: what
    else is near to each one, where a model's own candidates may be but a few of the cluster that
    its parent is in.
    slack: by how much the cosine of two steps may be below 0 for nothing.
    """

    squared: Sequence[Row]
    nearest: Sequence[Sequence[int]]
    beside: Sequence[Sequence[int]]
    slack: float = 0.0

    @classmethod
    def among(
        cls,
        n: int,
        pairs: Pairs,
        squared: Array,
        possible: Bools,
        far: Callable[[int, int], float],
        slack: float = 0.0,
        most: int | None = None,
    ) -> Candidates:
        """Of pairs, (E,), those that are `possible`. far: |i - j|^2 of two that are no pair. most:
        of those near to a hub that may be its parent."""
        rows = _rows(n, pairs, squared, far)
        i, j = (side[possible] for side in pairs)
        here, there = np.concatenate([i, j]), np.concatenate([j, i])
        order = np.lexsort((there, np.tile(squared[possible], 2), here))
        ends = np.searchsorted(here[order], np.arange(n + 1)).tolist()
        ranked = there[order].tolist()
        nearest = [
            ranked[start:stop] if most is None else ranked[start : min(stop, start + most)]
            for start, stop in pairwise(ends)
        ]
        return cls(rows, nearest, [near[:CLUSTER_SIZE] for near in nearest], slack)


def _rows(n: int, pairs: Pairs, squared: Array, far: Callable[[int, int], float]) -> Sequence[Row]:
    """Plain lists where all pairs are there: single entries are read, one by one."""
    i, j = pairs
    if len(i) == n * (n - 1) // 2:
        table = np.zeros((n, n))
        table[i, j] = table[j, i] = squared
        return table.tolist()
    rows = [_Distances(far, k) for k in range(n)]
    for one, other, length in zip(i.tolist(), j.tolist(), squared.tolist(), strict=True):
        rows[one][other] = rows[other][one] = length
    return rows


class _Distances(dict[int, float]):
    """|i - j|^2 from one model i to those asked for."""

    __slots__ = ("_far", "_own")

    def __init__(self, far: Callable[[int, int], float], own: int) -> None:
        super().__init__()
        self._far, self._own = far, own

    def __missing__(self, other: int) -> float:
        found = self[other] = self._far(self._own, other)
        return found


def regraft(parents: Indices, among: Candidates, *, centre: bool = True) -> Indices:
    """The tree after every move of one subtree (subtree prune and regraft) that makes the tree
    cheaper, and then with each model hung from the most central of the parents that can't be told
    apart, unless without `centre`.

    The cost of a tree is the sum over its edges of |c - p|^2 (1 + TURN max(0, -cos(c - p, p - g))),
    g the parent of p; from the root, which has none, of |c - p|^2.

    parents: (n,) intp, -1 at the root.

    >>> x = np.array([[0.0, 0.0], [4.0, 3.0], [4.0, -3.0], [8.0, 0.0]])
    >>> squared = ((x[:, None] - x) ** 2).sum(axis=2).tolist()
    >>> near = [sorted({0, 1, 2, 3} - {k}, key=squared[k].__getitem__) for k in range(4)]
    >>> regraft(np.array([-1, 0, 1, 2]), Candidates(squared, near, near))  # to and fro before
    array([-1,  0,  0,  2])
    """
    tree, nearest = _Tree(parents, among), among.nearest
    free = [c for c, p in enumerate(tree.up) if p >= 0]
    for _ in range(MOVE_SWEEPS):
        moved = False
        for c in free:
            best = tree.cheapest(c, nearest[c], tree.around(c, tree.up[c]))
            if best is not None and best != tree.up[c]:
                tree.move(c, best)
                moved = True
        if not moved:
            break
    for c in free if centre else ():
        tree.settle(c, nearest[c], among.beside[tree.up[c]])
    return np.array(tree.up, dtype=np.intp)


def rivals(parents: Indices, among: Candidates, most: int | None = None) -> tuple[Indices, Array]:
    """Each model's next best parent, of the nearest `most`, -1 if none, and by what factor it makes
    the tree dearer around the model, NaN if none; both (n,)."""
    tree = _Tree(parents, among)
    rival, factor = np.full(len(parents), -1, dtype=np.intp), np.full(len(parents), np.nan)
    for c, p in enumerate(tree.up):
        others = [q for q in among.nearest[c][:most] if q != p]
        if p >= 0 and (best := tree.cheapest(c, others, math.inf)) is not None:
            now = tree.around(c, p)
            rival[c] = best
            factor[c] = tree.around(c, best) / now if now > 0 else math.inf
    return rival, factor


def turn_of(whole: Array, last: Array, first: Array) -> Array:
    """cos(c - p, p - g) from |c - g|^2, |c - p|^2 and |p - g|^2; NaN where one is 0."""
    length = np.sqrt(last * first)
    return np.asarray((whole - last - first) / 2 / np.where(length > 0, length, np.nan))


class _Tree:
    """A tree that subtrees move about in."""

    def __init__(self, parents: Indices, among: Candidates) -> None:
        self.up: list[int] = parents.tolist()
        self.children: list[list[int]] = [[] for _ in self.up]
        for c, p in enumerate(self.up):
            if p >= 0:
                self.children[p].append(c)
        self._squared = among.squared
        self._slack = among.slack

    def cost(self, c: int, p: int, g: int) -> float:
        """Of the edge p -> c where p hangs from g."""
        D = self._squared
        step = D[p][c]
        if g < 0:
            return step
        back = (step + D[p][g] - D[c][g]) / 2
        if back <= 0 or min(step, D[p][g]) <= 0:
            return step
        beyond = back / math.sqrt(step * D[p][g]) - self._slack  # -cos(c - p, p - g)
        return step * (1 + TURN * max(0.0, beyond))

    def around(self, c: int, p: int) -> float:
        """What changes where c hangs from p."""
        own = self.cost(c, p, self.up[p])
        return own + sum(self.cost(k, c, p) for k in self.children[c])

    def cheapest(self, c: int, nearest: Sequence[int], limit: float) -> int | None:
        """The parent that makes the tree around c cheaper than `limit`, by most."""
        best: int | None = None
        below: set[int] = set()
        least = sum(self._squared[c][k] for k in self.children[c])
        for p in nearest:
            if self._squared[p][c] + least >= limit:
                break  # the farther ones cost more than that already
            below = below or self.below(c)
            if p not in below and (other := self.around(c, p)) < limit * (1 - 1e-9):
                limit, best = other, p
        return best

    def settle(self, c: int, nearest: Sequence[int], beside: Sequence[int]) -> None:
        """Hang c from the middle of the cluster that its parent belongs to, if it is far from it.

        Steps are not quite independent: their cosine x makes the squared distances of c, at the
        length e, to two models d apart differ by 2 x d e for nothing. Where d is below CLUSTER e
        that is more than d^2: which of several is the nearest is no evidence. Of two, the one that
        has more neighbours is the likelier parent, as it is the likelier root (rooting.py).
        """
        p, D = self.up[c], self._squared
        below = self.below(c)
        about = nearest
        if beside:
            # what is so near to p is about as far from c as p is: no other distances are needed
            low, high = ((1 + side * CLUSTER) ** 2 * D[p][c] for side in (-1.01, 1.01))
            about = [q for q in nearest if low <= D[c][q] <= high]
            about += [q for q in beside if q not in nearest]
        alike = [q for q in about if D[p][q] < CLUSTER**2 * D[p][c] and q not in below]
        if len(alike) > 2:
            best = alike[_centre([[D[q][r] for r in alike] for q in alike])]
        else:
            best = max(alike, key=lambda q: (self.others(q, c), q == p), default=p)
        if best != p:
            self.move(c, best)

    def others(self, q: int, c: int) -> int:
        """How many neighbours q has in the tree beside c."""
        return len(self.children[q]) + (self.up[q] >= 0) - (self.up[c] == q)

    def below(self, c: int) -> set[int]:
        """c and its descendants."""
        found = [c]
        for v in found:
            found += self.children[v]
        return set(found)

    def move(self, c: int, p: int) -> None:
        """Hang c from p."""
        self.children[self.up[c]].remove(c)
        self.children[p].append(c)
        self.up[c] = p


def _centre(squared: list[list[float]]) -> int:
    """The node of the minimum spanning tree whose removal leaves the smallest largest part."""
    n = len(squared)
    nearest, towards = list(squared[0]), [0] * n
    order, outside = [0], list(range(1, n))
    while outside:  # Prim; plain lists, for there are a few nodes and many such trees
        new = min(outside, key=nearest.__getitem__)
        outside.remove(new)
        order.append(new)
        row = squared[new]
        for v in outside:
            if row[v] < nearest[v]:
                nearest[v], towards[v] = row[v], new
    size, largest = [1] * n, [0] * n
    for v in reversed(order[1:]):
        size[towards[v]] += size[v]
        largest[towards[v]] = max(largest[towards[v]], size[v])
    return min(range(n), key=lambda v: (max(largest[v], n - size[v]), v))
