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

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
TURN = 2.0  # by how much of itself a step costs more that goes straight back; 2 to 3 are alike
SWEEPS = 20


def straightened(parents: Indices, squared: Array, lack: Array, near: NDArray[np.bool_]) -> Indices:
    """The tree after every move of one subtree that makes the tree cheaper.

    The cost of a tree is the sum over its edges of |c - p|^2 (1 + TURN max(0, -cos(c - p, p - g))),
    g the parent of p; from the root, which has none, of |c - p|^2 (1 + lack[p, c]).

    Args:
        parents: (n,) intp, -1 at the root.
        squared: (n, n) |i - j|^2.
        lack: (n, n), [p, c]: share of the step that p lacks.
        near: (n, n) bool, who may be whose parent.

    >>> x = np.array([[0.0, 0.0], [4.0, 3.0], [4.0, -3.0], [8.0, 0.0]])
    >>> squared = ((x[:, None] - x) ** 2).sum(axis=2)
    >>> far = np.array([-1, 0, 1, 2])  # to and fro
    >>> straightened(far, squared, np.zeros((4, 4)), squared > 0)
    array([-1,  0,  0,  2])
    """
    n = len(parents)
    up: list[int] = parents.tolist()
    D: list[list[float]] = squared.tolist()
    share: list[list[float]] = lack.tolist()
    order = np.argsort(np.where(near, squared, np.inf), axis=0, kind="stable")
    nearest = [order[: int(near[:, c].sum()), c].tolist() for c in range(n)]
    children: list[list[int]] = [[] for _ in range(n)]
    for c, p in enumerate(up):
        if p >= 0:
            children[p].append(c)

    def cost(c: int, p: int, g: int) -> float:
        step = D[p][c]
        if g < 0:
            return step * (1 + share[p][c])
        back = (step + D[p][g] - D[c][g]) / 2
        if back <= 0 or D[p][g] <= 0:
            return step
        return step + TURN * back * math.sqrt(step / D[p][g])

    def around(c: int, p: int) -> float:
        return cost(c, p, up[p]) + sum(cost(k, c, p) for k in children[c])

    for _ in range(SWEEPS):
        moved = False
        for c in range(n):
            if up[c] < 0:
                continue
            now, best, below = around(c, up[c]), up[c], None
            for p in nearest[c]:
                if D[p][c] >= now:
                    break  # the farther ones cost more than that already
                below = _below(c, children) if below is None else below
                if p != up[c] and p not in below and (other := around(c, p)) < now * (1 - 1e-9):
                    now, best = other, p
            if best != up[c]:
                children[up[c]].remove(c)
                children[best].append(c)
                up[c], moved = best, True
        if not moved:
            break
    return np.array(up, dtype=np.intp)


def _below(c: int, children: list[list[int]]) -> set[int]:
    found = [c]
    for v in found:
        found += children[v]
    return set(found)
