"""Where a tree has its root, from the evidence on all of its edges together.

A tree of n models has n possible roots, and each root directs all edges. So directions are not
judged edge by edge: the belief in a root is what all edges say of it, and an edge points away from
the root with the summed belief of one side.

Before any evidence, a node with many neighbours is the likelier root: most of what is published was
made from a few models that much else was made from, and one of a chain is not likelier than
another. The number of orders in which a tree can have grown (rumor centrality: Shah and Zaman,
*Rumors in a network: who's the culprit?*, 2011) puts the roots of chains in their middle, and finds
fewer of the true ones (docs/research/wild.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
HUB = 2.0  # the root is as likely as the number of its neighbours, from two on, to this power


def orient(parents: Indices, own: Array, *, prior: bool = True) -> tuple[Indices, Array]:
    """The same tree from its likeliest root, and the probability of each model's own edge.

    Args:
        parents: (n,) intp, a tree, -1 at its root; directions do not count.
        own: (n,), log-odds of parents[v] being the parent of v rather than its child.
        prior: whether hubs are the likelier roots.

    Returns:
        Parents (n,), and (n,) the probability that the edge to the parent points that way; NaN at
        the root.

    >>> parents, direction = orient(np.array([-1, 0, 0, 0]), np.zeros(4))
    >>> parents, direction.round(3)
    (array([-1,  0,  0,  0]), array([ nan, 0.81, 0.81, 0.81]))
    >>> orient(np.array([-1, 0]), np.array([0.0, -2.0]))[0]
    array([ 1, -1])
    """
    n = len(parents)
    hangs, odds = parents.tolist(), own.tolist()
    neighbours: list[list[int]] = [[] for _ in range(n)]
    for child, parent in enumerate(hangs):
        if parent >= 0:
            neighbours[child].append(parent)
            neighbours[parent].append(child)
    order, up = _from(0, neighbours)
    belief = [0.0] * n
    for v in order[1:]:
        said = odds[v] if hangs[v] == up[v] else -odds[up[v]]
        belief[v] = belief[up[v]] - said
    if prior:
        for v, others in enumerate(neighbours):
            belief[v] += HUB * math.log(max(len(others), 2) / 2)
    share = np.exp(np.array(belief) - max(belief))
    root = int(share.argmax())
    share /= share.sum()
    order, up = _from(root, neighbours)
    below = share.tolist()
    for v in reversed(order[1:]):
        below[up[v]] += below[v]
    direction = 1.0 - np.array(below)
    direction[root] = np.nan
    return np.array(up, dtype=np.intp), direction


def _from(root: int, neighbours: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """Nodes, each after its parent, and each one's parent when the tree hangs from `root`."""
    order, up = [root], [-1] * len(neighbours)
    for v in order:
        for w in neighbours[v]:
            if w != up[v]:
                up[w] = v
                order.append(w)
    return order, up
