"""Partitions of a collection: from distances, from an adjacency, and how well two of them agree.

A partition is an array of labels, numbered 0, 1, ... in the order of their first appearance, so
that equal partitions are equal arrays.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.intp]
Linkage = Literal["single", "complete", "average", "weighted", "centroid", "median", "ward"]


def hierarchical_clusters(
    distance: ArrayLike,
    *,
    k: int | None = None,
    threshold: float | None = None,
    method: Linkage = "single",
) -> Labels:
    """Merge the nearest clusters until `k` are left, or until none lie within `threshold`.

    MoTHer clusters this way, by scipy's default single linkage on L1 distances and with k known
    (paper, sec. 5.2 and 6). The result has exactly k clusters, also where distances are tied:
    `fcluster(..., "maxclust")` returns fewer then, because it makes all merges of one height.

    Args:
        distance: (n, n) float64, finite and symmetric; the diagonal is ignored.
        k: 1 <= k <= n. Give this or `threshold`.
        threshold: clusters at this distance or less are merged.
        method: how the distance of two clusters follows from that of their members.

    Returns:
        (n,) intp labels. Time and memory O(n^2).

    >>> distance = abs(np.subtract.outer([0, 1, 5, 6, 20], [0, 1, 5, 6, 20]))
    >>> hierarchical_clusters(distance, k=2)
    array([0, 0, 0, 0, 1])
    >>> hierarchical_clusters(distance, threshold=1)
    array([0, 0, 1, 1, 2])
    """
    distance = _checked_distance(distance)
    n = len(distance)
    if (k is None) == (threshold is None):
        raise ValueError("give either k or threshold")
    if k is not None and not 1 <= k <= n:
        raise ValueError(f"k must lie in 1..{n}, got {k}")
    if method not in get_args(Linkage):
        raise ValueError(f"method must be one of {', '.join(get_args(Linkage))}, got {method!r}")
    if n < 2:  # nothing to link, which scipy refuses
        return np.zeros(n, dtype=np.intp)
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    merges = hierarchy.linkage(squareform(distance, checks=False), method)
    if threshold is not None:
        return _renumbered(hierarchy.fcluster(merges, threshold, criterion="distance"))
    assert k is not None
    return _after_merges(merges[: n - k], n)


def connected_components(adjacency: ArrayLike) -> Labels:
    """Label the nodes of a graph by its components; the direction of an edge does not matter.

    Args:
        adjacency: (n, n) bool.

    Returns:
        (n,) intp labels. Time and memory O(n^2).

    >>> connected_components([[0, 0, 1], [0, 0, 0], [0, 0, 0]])
    array([0, 1, 0])
    """
    adjacency = np.asarray(adjacency, dtype=bool)
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"adjacency must be a square matrix, got shape {adjacency.shape}")
    return joined(len(adjacency), *np.nonzero(adjacency))


def components(joined: ArrayLike) -> list[list[int]]:
    """Connected components of an (n, n) adjacency as lists of nodes.

    >>> components([[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    [[0, 2], [1]]
    """
    return groups(connected_components(joined))


def groups(labels: Labels) -> list[list[int]]:
    """NDArray[np.intp] by label."""
    order = np.argsort(labels, kind="stable")
    many = int(labels.max(initial=-1)) + 1
    return [part.tolist() for part in np.split(order, np.cumsum(np.bincount(labels))[: many - 1])]


def children_of(parents: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The children of each node, ascending.

    >>> children_of(np.array([-1, 0, 0]))
    [array([1, 2]), array([], dtype=int64), array([], dtype=int64)]
    """
    order = np.argsort(parents, kind="stable")
    return np.split(order, np.searchsorted(parents[order], np.arange(len(parents) + 1)))[1:-1]


def minimum_spanning_trees(cost: ArrayLike) -> NDArray[np.intp]:
    """Minimum spanning trees of B dense graphs at once (Prim), as parents towards node 0.

    Of equally cheap edges the one to the smaller node wins. Infinite costs are no edges; a node
    that none reaches hangs from node 0.

    Args:
        cost: (B, n, n) float64, symmetric; the diagonals are ignored.

    Returns:
        (B, n) intp, -1 at node 0. Time O(B n^2).

    >>> minimum_spanning_trees([[[0, 9, 1], [9, 0, 2], [1, 2, 0]]])
    array([[-1,  2,  0]])
    """
    cost = np.asarray(cost, dtype=np.float64)
    B, n, _ = cost.shape
    rows = np.arange(B)
    towards = np.zeros((B, n), dtype=np.intp)
    nearest = cost[:, 0].copy()
    outside = np.ones((B, n), dtype=bool)
    outside[:, 0] = False
    for _ in range(n - 1):
        reach = np.where(outside, nearest, np.inf)
        new = reach.argmin(axis=1)
        new = np.where(outside[rows, new], new, outside.argmax(axis=1))
        outside[rows, new] = False
        closer = outside & (cost[rows, new] < nearest)
        nearest = np.where(closer, cost[rows, new], nearest)
        towards = np.where(closer, new[:, None], towards)
    towards[:, 0] = -1
    return towards


def adjusted_rand_index(a: ArrayLike, b: ArrayLike) -> float:
    """How far two partitions agree on which pairs belong together, corrected for chance.

    With A, B and C the number of pairs that are together in `a`, in `b` and in both, of T pairs:
    (C - E) / ((A + B) / 2 - E), where E = A B / T is what chance gives: 1 for equal partitions, 0
    on average for independent ones. Hubert and Arabie, *Comparing partitions*, 1985.

    Args:
        a, b: (n,) labels of any kind; their names and numbering do not matter.

    Time O(n log n).

    >>> adjusted_rand_index([0, 0, 1, 1], ["x", "x", "y", "y"])
    1.0
    >>> adjusted_rand_index([0, 0, 1, 1], [0, 1, 0, 1])
    -0.5
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(
            f"labels must be vectors of one length, got shapes {a.shape} and {b.shape}"
        )
    a, b = _renumbered(a), _renumbered(b)
    n = len(a)
    pairs_a, pairs_b, pairs_both = _pairs(a), _pairs(b), _pairs(a * n + b)
    pairs = n * (n - 1) // 2
    chance = pairs_a * pairs_b
    span = pairs * (pairs_a + pairs_b) - 2 * chance
    if span == 0:  # both hold no pair together, or both hold all: they are equal
        return 1.0
    return 2 * (pairs * pairs_both - chance) / span


def _checked_distance(distance: ArrayLike) -> NDArray[np.float64]:
    """A symmetric copy with a diagonal of 0."""
    distance = np.array(distance, dtype=np.float64)
    if distance.ndim != 2 or distance.shape[0] != distance.shape[1]:
        raise ValueError(f"distance must be a square matrix, got shape {distance.shape}")
    np.fill_diagonal(distance, 0)
    if not np.isfinite(distance).all():
        raise ValueError("distance must be finite, got NaN or infinity")
    if not np.allclose(distance, distance.T):
        raise ValueError("distance must be symmetric")
    return distance


def _after_merges(merges: NDArray[np.float64], n: int) -> Labels:
    """Labels of n leaves after the given first rows of a scipy linkage; row i makes node n + i."""
    made = n + np.arange(len(merges))
    halves = merges[:, :2].astype(np.intp)
    return joined(n + len(merges), np.repeat(made, 2), halves.ravel())[:n]


def joined(n: int, ends: NDArray[np.intp], other_ends: NDArray[np.intp]) -> Labels:
    """Labels of n nodes, equal where edges join them; both ends are (m,).

    Each component's first node is its name: it is handed on along edges, then along names
    (Shiloach and Vishkin 1982), which takes O(m log n).

    >>> joined(3, np.array([0]), np.array([2]))
    array([0, 1, 0])
    """
    first = np.arange(n)
    while (apart := first[ends] != first[other_ends]).any():
        ends, other_ends = ends[apart], other_ends[apart]
        one, other = first[ends], first[other_ends]
        np.minimum.at(first, np.maximum(one, other), np.minimum(one, other))
        while (first != first[first]).any():
            first = first[first]
    return _renumbered(first)


def _renumbered(labels: NDArray[np.generic]) -> Labels:
    """The same partition with labels 0, 1, ... in the order of their first appearance."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def _pairs(labels: Labels) -> int:
    """The number of pairs that are together."""
    sizes = np.unique(labels, return_counts=True)[1]
    return int((sizes * (sizes - 1) // 2).sum())
