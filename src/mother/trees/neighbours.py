"""Who may be joined to whom among n points, without n x n numbers.

The scan is plain: blocks of squared distances by one matrix product each, of which the smallest are
kept. It costs n^2 d multiplications, which is a minute for 100,000 points; nothing is built that
would have to be kept. Its float32 only chooses; distances that count are of differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mother.measures.clustering import joined, minimum_spanning_trees
from mother.sketches.points import projected, squared_distances

Array = NDArray[np.float64]
Points = NDArray[np.float32]
Indices = NDArray[np.intp]
SPARE = 16  # looked at beyond those asked for: what rounding and projection may put out of order
ROWS_OF_BLOCK, PANEL, FOLD = 1024, 1 << 14, 32
COSTS_AT_ONCE = 1 << 20  # costs of several trees that are held at once


def nearest(
    points: Points,
    rows: Indices,
    k: int,
    apart: NDArray[np.intp] | None = None,
    threads: int = 1,
    block: int = ROWS_OF_BLOCK,
) -> Indices:
    """The k points nearest to each of some, (len(rows), k), in no order, -1 where there are fewer.

    apart: (n,) labels in ascending order; points of the same label don't count.
    """
    n = len(points)
    ends = (
        (np.arange(n), np.arange(1, n + 1))
        if apart is None
        else (np.searchsorted(apart, apart, "left"), np.searchsorted(apart, apart, "right"))
    )
    norms = np.square(points).sum(axis=1)
    panels = [(at, min(at + PANEL, n)) for at in range(0, n, PANEL)]

    def of_block(at: int) -> Indices:
        here = rows[at : at + block]
        query = -2 * points[here]
        found, far = [], []
        for start, stop in panels:
            width = -(-(stop - start) // FOLD) * FOLD
            distance = np.full((len(here), width), np.inf, dtype=np.float32)
            np.matmul(query, points[start:stop].T, out=distance[:, : stop - start])
            distance[:, : stop - start] += norms[start:stop]
            for row, (low, high) in enumerate(zip(ends[0][here], ends[1][here], strict=True)):
                if low < stop and high > start:
                    distance[row, max(low - start, 0) : high - start] = np.inf
            columns, values = _smallest(distance, k)
            found.append(columns + start)
            far.append(values)
        columns, values = np.concatenate(found, axis=1), np.concatenate(far, axis=1)
        if columns.shape[1] > k:
            best = np.argpartition(values, k - 1, axis=1)[:, :k]
            columns = np.take_along_axis(columns, best, axis=1)
            values = np.take_along_axis(values, best, axis=1)
        return np.where(np.isfinite(values), columns, -1)

    with ThreadPoolExecutor(max(1, threads)) as pool:
        parts = list(pool.map(of_block, range(0, len(rows), block)))
    return np.concatenate(parts) if parts else np.zeros((0, k), dtype=np.intp)


def _smallest(values: Points, k: int) -> tuple[Indices, Points]:
    """Columns and values of the k smallest in each row, in no order. They lie in the k folds with
    the smallest minima."""
    many, width = values.shape
    if width <= k:
        return np.broadcast_to(np.arange(width), values.shape), values
    folds = width // FOLD
    if folds > k:
        least = values.reshape(many, FOLD, folds).min(axis=1)
        chosen = np.argpartition(least, k - 1, axis=1)[:, :k]
        columns = (chosen[:, None] + folds * np.arange(FOLD)[:, None]).reshape(many, -1)
        values = np.take_along_axis(values, columns, axis=1)
    else:
        columns = np.broadcast_to(np.arange(width), values.shape)
    best = np.argpartition(values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(columns, best, axis=1), np.take_along_axis(values, best, axis=1)


def candidate_pairs(points: Points, k: int, threads: int = 1) -> tuple[Indices, Indices, Array]:
    """Pairs i < j that a spanning tree is sought among, with their squared distances, (E,) each.

    - The k nearest of each point. All pairs, if there are no more than k others.
    - What is nearest to these: seen from afar, a hub is but one of many.
    - For a point that others are nearest to, its k nearest outside of the cluster around it: its
      own parent is farther than its children. Clusters are joined to their nearest neighbours.
    - The same of what is still apart, until all is joined.

    >>> i, j, squared = candidate_pairs(np.array([[0], [1], [3]], np.float32), 16)
    >>> list(zip(i.tolist(), j.tolist(), squared.tolist()))
    [(0, 1, 1.0), (0, 2, 9.0), (1, 2, 4.0)]
    """
    n = len(points)
    if n <= k + 1:
        i, j = np.triu_indices(n, 1)
        return i, j, squared_distances(points, i, j)
    scanned = projected(points)
    every = np.arange(n)
    near, squared = _ranked(points, every, nearest(scanned, every, k + SPARE, None, threads), k)
    pairs = _Found(n)
    pairs.add(np.repeat(every, k), near.ravel(), squared.ravel())
    closest = near[:, 0]
    second = closest[near]  # of each one's nearest, what is nearest to these
    i, j = np.repeat(every, k), second.ravel()
    i, j = pairs.new(i, j)
    pairs.add(i, j, squared_distances(points, i, j))
    hubs = np.unique(closest)
    labels = joined(n, every, closest)
    while labels.max() > 0:
        order = np.argsort(labels, kind="stable")
        place = np.empty(n, dtype=np.intp)
        place[order] = every
        found = nearest(scanned[order], place[hubs], k, labels[order], threads)
        found = np.where(found >= 0, order[found], -1)
        i, j = np.repeat(hubs, found.shape[1]), found.ravel()
        i, j = pairs.new(i[j >= 0], j[j >= 0])
        pairs.add(i, j, squared_distances(points, i, j))
        before = int(labels.max())
        labels = joined(n, pairs.i, pairs.j)
        largest = np.bincount(labels).argmax()
        hubs = hubs[labels[hubs] != largest]
        if int(labels.max()) >= before:  # no hub is left outside: rounding hid them
            hubs = every[labels != largest]
    return pairs.i, pairs.j, pairs.squared


def _ranked(points: Points, rows: Indices, found: Indices, k: int) -> tuple[Indices, Array]:
    """The k nearest of those found, nearest first, of equals the first; with squared distances."""
    many = found.shape[1]
    squared = squared_distances(points, np.repeat(rows, many), found.ravel()).reshape(-1, many)
    squared[found < 0] = np.inf
    order = np.lexsort((found, squared), axis=1)[:, :k]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(squared, order, axis=1)


class _Found:
    """Pairs i < j of n points, each once, in ascending order."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._keys = np.zeros(0, dtype=np.int64)
        self.squared: Array = np.zeros(0)

    @property
    def i(self) -> Indices:
        return (self._keys // self._n).astype(np.intp)

    @property
    def j(self) -> Indices:
        return (self._keys % self._n).astype(np.intp)

    def new(self, i: Indices, j: Indices) -> tuple[Indices, Indices]:
        """Those of some pairs that are not among them."""
        keys = np.setdiff1d(self._key(i, j)[i != j], self._keys)
        return (keys // self._n).astype(np.intp), (keys % self._n).astype(np.intp)

    def add(self, i: Indices, j: Indices, squared: Array) -> None:
        keys = np.concatenate([self._keys, self._key(i, j)])
        self._keys, first = np.unique(keys, return_index=True)
        self.squared = np.concatenate([self.squared, squared])[first]

    def _key(self, i: Indices, j: Indices) -> NDArray[np.int64]:
        return np.minimum(i, j).astype(np.int64) * self._n + np.maximum(i, j)


def spanning_tree(n: int, i: Indices, j: Indices, cost: Array) -> Indices:
    """The minimum spanning tree of pairs that join all, as parents towards node 0; of equally
    cheap pairs the first.

    >>> spanning_tree(3, np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([1.0, 3.0, 3.0]))
    array([-1,  0,  0])
    """
    (tree,) = spanning_trees(n, i, j, cost[None])
    return tree


def spanning_trees(n: int, i: Indices, j: Indices, costs: Array) -> Iterator[Indices]:
    """The same for each of several costs of the pairs, (B, E)."""
    if len(i) == n * (n - 1) // 2:
        step = max(1, COSTS_AT_ONCE // n**2)
        for some in (costs[at : at + step] for at in range(0, len(costs), step)):
            table = np.full((len(some), n, n), np.inf)
            table[:, i, j] = table[:, j, i] = some
            yield from minimum_spanning_trees(table)
        return
    from scipy.sparse import coo_array, csgraph

    for cost in costs:
        rank = np.empty(len(cost))  # never 0, which would be no edge to scipy
        rank[np.lexsort((j, i, cost))] = np.arange(1, len(cost) + 1)
        tree = csgraph.minimum_spanning_tree(coo_array((rank, (i, j)), shape=(n, n)).tocsr())
        towards = csgraph.breadth_first_order(tree, 0, directed=False)[1].astype(np.intp)
        yield np.where(towards < 0, -1, towards)
