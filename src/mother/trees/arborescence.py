"""Minimum arborescences: the cheapest way to give every node a parent without making a cycle.

`_grow` walks backwards along cheapest entering edges and contracts each cycle that it closes;
`_expand` opens the cycles again. `_Matrix` finds the cheapest edge into a component as the minimum
of a row.

Roots come from a *virtual root*, numbered n, with an edge to every node. Where as few trees as
possible are wanted, its edges rank behind all others, whatever these cost. The rank is compared
apart from the cost: a huge number added to the cost would swallow its last digits.

Sources: Edmonds, *Optimum branchings*, 1967; Tarjan, *Finding optimum branchings*, 1977; Gabow,
Galil, Spencer and Tarjan, *Efficient algorithms for finding minimum spanning trees in undirected
and directed graphs*, 1986 (the growing path).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def minimum_arborescence(
    cost: ArrayLike, root_cost: ArrayLike | None = None, root: int | None = None
) -> Indices:
    """The parent of every node in the minimum arborescence of a dense graph; -1 for a root.

    - with neither `root_cost` nor `root`: one tree, with the root that makes it cheapest;
    - with `root`: one tree with that root;
    - with `root_cost`: as many trees as are cheapest, each paying the cost of its root.

    Ties: of equally cheap edges into a component the one from the smaller source wins, then the
    one to the smaller target; a node becomes a root only if that is strictly cheaper. Components
    grow from node 0 upwards. (Costs are
    compared after subtractions: ties are seen where these are exact, as they are for integers.)

    Args:
        cost: (n, n) float64, `cost[i, j]` for the edge i -> j, negative ones allowed, +inf for no
            edge. The diagonal is ignored.
        root_cost: scalar or (n,) float64, +inf for a node that must not be a root.
        root: 0 <= root < n.

    Returns:
        (n,) intp. Time and memory O(n^2).

    Raises:
        ValueError: there is no such arborescence, a cost is NaN or -inf, or shapes do not fit.

    >>> cost = [[0, 1, 5], [9, 0, 1], [9, 9, 0]]
    >>> minimum_arborescence(cost)
    array([-1,  0,  1])
    >>> minimum_arborescence(cost, root=2)
    array([ 2,  0, -1])
    >>> minimum_arborescence(cost, root_cost=0.5)
    array([-1, -1, -1])
    """
    cost = np.asarray(cost, dtype=np.float64)
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"cost must be a square matrix, got shape {cost.shape}")
    entries = np.vstack([cost, _root_costs(len(cost), root_cost, root)])
    np.fill_diagonal(entries, np.inf)
    _refuse_nan(entries)
    if root is not None:
        entries[:-1, root] = np.inf
    return _grow(_Matrix(entries, roots_last=root_cost is None))


def _root_costs(n: int, root_cost: ArrayLike | None, root: int | None) -> Floats:
    """What the virtual root's edges cost, (n,)."""
    if root is not None and root_cost is not None:
        raise ValueError("root and root_cost exclude each other")
    if root is not None and not 0 <= root < n:
        raise ValueError(f"root {root} is not one of the {n} nodes")
    costs = np.asarray(0.0 if root_cost is None else root_cost, dtype=np.float64)
    if costs.shape not in ((), (n,)):
        raise ValueError(f"root_cost must be a scalar or have shape ({n},), got {costs.shape}")
    return np.broadcast_to(costs, (n,))


def _refuse_nan(costs: Floats) -> None:
    if not (costs > -np.inf).all():
        raise ValueError("costs must be numbers or +inf (no edge), got NaN or -inf")


def _outermost(around: list[int], component: int) -> int:
    """The end of the way from each component to one around it (union-find with path halving)."""
    while around[component] != component:
        around[component] = component = around[around[component]]
    return component


def _grow(edges: _Matrix) -> Indices:
    """Choose an entering edge for every component, contracting cycles, until all are reached.

    Components are the nodes, the virtual root n, and from n + 1 on contracted cycles. The path runs
    backwards: each component on it holds the source of the edge chosen before.
    """
    n, around = edges.n, edges.around
    chosen: dict[int, tuple[int, int]] = {}
    container: dict[int, int] = {}  # the component around one that was contracted
    settled = {n}  # reached from the virtual root by chosen edges: on no cycle any more
    for start in range(n):
        node = start
        path: list[int] = []
        while (component := _outermost(around, node)) not in settled:
            if component in chosen:  # it is on the path
                cycle = [path.pop()]
                while cycle[-1] != component:
                    cycle.append(path.pop())
                component = len(around)
                around.append(component)
                for inner in cycle:
                    around[inner] = container[inner] = component
                edges.merge(cycle, component)
            edge = edges.cheapest(component)
            if edge is None:
                raise ValueError(f"no arborescence: node {node} is reached from no possible root")
            path.append(component)
            chosen[component] = edge
            node = edge[0]
        settled.update(path)
    parent = _expand(n, chosen, container)
    if edges.roots_last and (parent < 0).sum() > 1:  # there are as few roots as can be
        one, other, *_ = np.flatnonzero(parent < 0)
        raise ValueError(f"no arborescence: no possible root reaches both node {one} and {other}")
    return parent


def _expand(n: int, chosen: dict[int, tuple[int, int]], container: dict[int, int]) -> Indices:
    """Parents from chosen edges: each takes the place of all into smaller components it enters."""
    parent = np.full(n, -1, dtype=np.intp)
    replaced = set()
    for component in sorted(chosen, reverse=True):  # the container before what it holds
        if component not in replaced:
            source, target = chosen[component]
            parent[target] = source if source < n else -1
            while target != component:
                replaced.add(target)
                target = container[target]
    return parent


class _Matrix:
    """The edges: for every component a row of n + 1 sources, the virtual root last."""

    def __init__(self, entries: Floats, roots_last: bool) -> None:
        n = entries.shape[1]
        self.n, self.around, self.roots_last = n, list(range(n + 1)), roots_last
        self.entries = entries  # (n + 1, n): sources by targets
        self.rows = dict(enumerate(entries.T.copy()))
        self.component = np.arange(n)  # the outermost one around each node
        self.saved = np.zeros(n)  # by an edge to each node, on the cycles that it opens
        self.least: dict[int, float] = {}

    def cheapest(self, component: int) -> tuple[int, int] | None:
        """Source and target node of the cheapest edge from outside; None if there is no edge."""
        row = self.rows[component]
        source = int(row[:-1].argmin())
        if row[source] == np.inf or (not self.roots_last and row[-1] < row[source]):
            source = self.n
        if row[source] == np.inf:
            return None
        self.least[component] = float(row[source])
        # Rows hold no targets: to find one again here spares an n x n matrix of them.
        inside = np.flatnonzero(self.component == component)
        return source, int(inside[(self.entries[source, inside] - self.saved[inside]).argmin()])

    def merge(self, cycle: list[int], merged: int) -> None:
        """Let `merged` stand for the cycle: an edge into it saves the cycle edge it replaces."""
        total = self.rows[cycle[0]]
        for component in cycle:
            row = self.rows.pop(component)
            row -= self.least[component]
            np.minimum(total, row, out=total)
            inside = self.component == component
            self.saved[inside] += self.least[component]
            self.component[inside] = merged
        total[:-1][self.component == merged] = np.inf
        self.rows[merged] = total
