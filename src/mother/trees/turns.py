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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
TURN = 2.0  # by how much of itself a step costs more that goes straight back; 2 to 3 are alike
CHANCE = 2.0  # standard deviations by which a cosine may be below 0 for nothing
SWEEPS = 20
BESIDE = 16  # models looked at around a parent, for the middle of its cluster
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
    chance: standard deviation of the cosine of two steps that know nothing of each other, in what
    was seen of them.
    """

    squared: Sequence[Row]
    nearest: Sequence[Sequence[int]]
    beside: Sequence[Sequence[int]]
    chance: float = 0.0


def straightened(
    parents: Indices,
    squared: Array,
    near: NDArray[np.bool_],
) -> Indices:
    """The tree after every move of one subtree that makes the tree cheaper, and then with each
    model hung from the most central of the parents that can't be told apart.

    The cost of a tree is the sum over its edges of |c - p|^2 (1 + TURN max(0, -cos(c - p, p - g))),
    g the parent of p; from the root, which has none, of |c - p|^2.

    Args:
        parents: (n,) intp, -1 at the root.
        squared: (n, n) |i - j|^2.
        near: (n, n) bool, who may be whose parent.

    >>> x = np.array([[0.0, 0.0], [4.0, 3.0], [4.0, -3.0], [8.0, 0.0]])
    >>> squared = ((x[:, None] - x) ** 2).sum(axis=2)
    >>> far = np.array([-1, 0, 1, 2])  # to and fro
    >>> straightened(far, squared, squared > 0)
    array([-1,  0,  0,  2])
    """
    return straighten(parents, _among_all(squared, near))


def straighten(parents: Indices, among: Candidates) -> Indices:
    """The same among candidates."""
    tree, nearest = _Tree(parents, among), among.nearest
    free = [c for c, p in enumerate(tree.up) if p >= 0]
    for _ in range(SWEEPS):
        moved = False
        for c in free:
            best = tree.cheapest(c, nearest[c], tree.around(c, tree.up[c]))
            if best is not None and best != tree.up[c]:
                tree.move(c, best)
                moved = True
        if not moved:
            break
    for c in free:
        tree.settle(c, nearest[c], among.beside[tree.up[c]])
    return np.array(tree.up, dtype=np.intp)


def hung(c: int, parents: Indices, among: Candidates) -> int:
    """The parent that one model would hang from in a tree that stays as it is; `parents[c]` is any
    other."""
    tree, nearest = _Tree(parents, among), among.nearest[c]
    best = tree.cheapest(c, nearest, math.inf)
    if best is not None:
        tree.move(c, best)
    tree.settle(c, nearest, among.beside[tree.up[c]])
    return tree.up[c]


def runners_up(parents: Indices, squared: Array, near: NDArray[np.bool_]) -> tuple[Indices, Array]:
    """Each model's next best parent, -1 if none, and by what factor it makes the tree dearer around
    the model, NaN if none; both (n,). Arguments as those of `straightened`."""
    return rivals(parents, _among_all(squared, near))


def rivals(parents: Indices, among: Candidates) -> tuple[Indices, Array]:
    """The same among candidates."""
    tree, nearest = _Tree(parents, among), among.nearest
    rival, factor = np.full(len(parents), -1, dtype=np.intp), np.full(len(parents), np.nan)
    for c, p in enumerate(tree.up):
        others = [q for q in nearest[c] if q != p]
        if p >= 0 and (best := tree.cheapest(c, others, math.inf)) is not None:
            now = tree.around(c, p)
            rival[c] = best
            factor[c] = tree.around(c, best) / now if now > 0 else math.inf
    return rival, factor


def turns(parents: Indices, squared: Array) -> Array:
    """Cosine of each model's own edge with the edge above it, (n,): cos(c - p, p - g); NaN where
    there are no two.

    >>> squared = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    >>> turns(np.array([-1, 0, 1]), squared)
    array([nan, nan,  1.])
    """
    above = np.where(parents >= 0, parents[parents], -1)
    c = np.flatnonzero(above >= 0)
    p, g = parents[c], above[c]
    out = np.full(len(parents), np.nan)
    out[c] = turn_of(squared[g, c], squared[p, c], squared[g, p])
    return out


def turn_of(whole: Array, last: Array, first: Array) -> Array:
    """cos(c - p, p - g) from |c - g|^2, |c - p|^2 and |p - g|^2; NaN where one is 0."""
    length = np.sqrt(last * first)
    return np.asarray((whole - last - first) / 2 / np.where(length > 0, length, np.nan))


def _among_all(squared: Array, near: NDArray[np.bool_]) -> Candidates:
    """Plain lists: single entries are read, one by one."""
    order = np.argsort(np.where(near, squared, np.inf), axis=0, kind="stable")
    nearest = [order[:many, c].tolist() for c, many in enumerate(near.sum(axis=0).tolist())]
    beside = [near[:BESIDE] for near in nearest]
    return Candidates(squared.tolist(), nearest, beside)


class _Tree:
    """A tree that subtrees move about in."""

    def __init__(self, parents: Indices, among: Candidates) -> None:
        self.up: list[int] = parents.tolist()
        self.children: list[list[int]] = [[] for _ in self.up]
        for c, p in enumerate(self.up):
            if p >= 0:
                self.children[p].append(c)
        self._squared = among.squared
        self._slack = CHANCE * among.chance

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
        that is more than d^2: which of several is the nearest is no evidence.
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
            if best != p:
                self.move(c, best)

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
