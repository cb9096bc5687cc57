"""The default method on samples of many models: families too large for n x n matrices.

The same evidence by the same formulas as in gram.py, on candidate pairs alone: a model's parent is
sought among those near to it, and what a pair says is weighed only where a tree might use it. There
is no support: replicates would cost as much again each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mother.heritage.direction import COSINE, POLARITIES, Pairs, Products, telling, weigh_products
from mother.heritage.forest import Forest, no_edges
from mother.heritage.gram import NEAREST, NEUTRAL, VECTORS, alike, heavy
from mother.heritage.hidden import hidden_ancestors
from mother.heritage.neighbours import candidate_pairs, spanning_tree, squared_distances
from mother.heritage.relatedness import inherited
from mother.heritage.rooting import orient_edges, settled
from mother.heritage.turns import Candidates, Row, rivals, straighten, turn_of
from mother.measures.samples import Samples

Array = NDArray[np.float64]
Points = NDArray[np.float32]
Indices = NDArray[np.intp]
_TINY = 1e-300
MOST = 4 * NEAREST  # of those near to a hub that may be its parent
RIVALS = 4  # nearest models that may be the next best parent
LOOKED_AT = 256  # models of a family that tell which layers are inherited


def recover_family(family: Samples, threads: int = 1) -> Forest:
    """The tree of one family; a Forest as of `gram.recover`, without support.

    Its result does not depend on `threads`. Time n^2 for the scan for near models, else n log n;
    memory n times what a sample is, twice.
    """
    n = len(family.rows)
    if n == 1:
        return no_edges(1)
    view = view_of(family)
    if not view.layers.any():
        return alike(n)
    family = family.over(view.layers)
    return _Family(family, view, view.points(family)).recover(threads)


@dataclass(frozen=True)
class View:
    """How a family is looked at: its layers that tell, (L,) of all, and of these how much each
    counts, which are matrices, and the family's middle. norm: (n,) |w|^2 of models, so counted."""

    layers: NDArray[np.bool_]
    weight: Array
    tells: NDArray[np.bool_]
    middle: NDArray[np.float32]
    norm: Array

    def points(self, samples: Samples) -> Points:
        """Points whose squared distances are the sum over layers of weight times |i - j|^2, about
        the family's middle, so that float32 loses little of them. samples: over `layers`."""
        column = np.repeat(np.sqrt(self.weight * samples.sizes / samples.seen), samples.seen)
        points = samples.rows - self.middle
        points *= column.astype(np.float32)
        return points


def view_of(family: Samples) -> View:
    """Layers that are inherited, as some of the models tell, and that changed."""
    n = len(family.rows)
    some = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(np.intp))
    chosen = inherited(family.among(some).measures())
    moved = chosen & _changed(family)
    told = moved & heavy(moved, family.sizes) if moved.any() else moved
    norms = family.squared_norms()
    mean = norms.mean(axis=1)
    weight = family.sizes / family.sizes[chosen].sum() / np.where(mean > 0, mean, 1.0)
    norm = weight[chosen] @ norms[chosen]
    family, weight = family.over(told), weight[told]
    tells = telling(family)
    weight = np.where(tells, weight, VECTORS * weight)
    middle = family.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return View(told, weight, tells, middle, norm)


def _changed(family: Samples) -> NDArray[np.bool_]:
    """The layers that differ between some models, (L,)."""
    differs = np.zeros(family.rows.shape[1], dtype=bool)
    for at in range(0, len(family.rows), 4096):
        differs |= (family.rows[at : at + 4096] != family.rows[0]).any(axis=0)
    return np.logical_or.reduceat(differs, family.columns[:-1])


def told(log_f: Array) -> Array:
    """The mean polarity as far as it is known, (E,): 0 where all of POLARITIES are as likely.

    Samples of a few hundred weights a layer tell little of direction, and a root that lacks half of
    every step by default would lose its children to any model that is near to it.

    >>> told(np.array([[0.0, 0.0], [0.0, 9.0], [0.0, 0.0]])).round(2)
    array([0. , 0.5])
    """
    share = np.exp(log_f - log_f.max(axis=0))
    share /= share.sum(axis=0)
    entropy = -(share * np.log(np.maximum(share, _TINY))).sum(axis=0) / np.log(len(share))
    return np.asarray(np.maximum(POLARITIES @ share - NEUTRAL * entropy, 0.0))


class _Distances(dict[int, float]):
    """|i - j|^2 from one model i to those asked for."""

    __slots__ = ("_own", "_points")

    def __init__(self, points: Points, own: int) -> None:
        super().__init__()
        self._points, self._own = points, own

    def __missing__(self, other: int) -> float:
        gap = self._points[self._own] - self._points[other]
        found = self[other] = float(np.square(gap, out=gap).sum())
        return found


class _Lacks(dict[int, float]):
    """The share of a step that one model lacks, by the other."""

    def __missing__(self, other: int) -> float:
        return 0.0


@dataclass
class _Family:
    """One family, and what was weighed of its pairs so far."""

    samples: Samples
    view: View
    points: Points
    odds: dict[tuple[int, int], float] = field(default_factory=dict)
    lacks: dict[int, _Lacks] = field(default_factory=dict)

    def recover(self, threads: int) -> Forest:
        n = len(self.points)
        i, j, squared = candidate_pairs(self.points, NEAREST, threads)

        def cost(pairs: Indices) -> Array:
            lack = self._weigh(i[pairs], j[pairs]).lack.min(axis=0)
            return np.asarray(squared[pairs] * (1 + lack))

        tree = spanning_tree(n, i, j, squared, cost)
        among = self._candidates(i, j, squared)
        parents, direction = settled(
            tree,
            lambda parents: orient_edges(parents, self._odds(parents)),
            lambda parents: self._straightened(parents, among),
        )
        kept, hidden = hidden_ancestors(parents, *self._edges(parents))
        forest = replace(no_edges(n), parents=kept, hidden=tuple(hidden))
        c = np.flatnonzero(kept >= 0)
        p = kept[c]
        length, lacking, _, _ = self._edges(kept)
        forest.distance[c] = np.sqrt(length[c] / self.view.norm[p])
        with np.errstate(invalid="ignore"):
            forest.polarity[c] = lacking[c] / length[c]
        forest.direction[c] = direction[c]
        forest.odds[c] = self._odds(kept)[c]
        forest.turn[c] = self._turns(kept)[c]
        few = replace(among, nearest=[near[:RIVALS] for near in among.nearest])
        rival, factor = rivals(kept, few)
        forest.rival[c], forest.rival_factor[c] = rival[c], factor[c]
        return forest

    def _weigh(self, i: Indices, j: Indices) -> Pairs:
        """The evidence on pairs, kept for later."""
        samples = self.samples.over(self.view.tells)
        found = weigh_products(
            i, j, Products(*samples.products(i, j), samples.chance), by_layer=False
        )
        lack = np.stack([told(found.forward), told(found.back)])
        for a, b, odds, first, second in zip(
            i.tolist(), j.tolist(), found.log_odds.tolist(), *lack.tolist(), strict=True
        ):
            self.odds[a, b], self.odds[b, a] = odds, -odds
            self.lacks.setdefault(a, _Lacks())[b] = first
            self.lacks.setdefault(b, _Lacks())[a] = second
        return found

    def _odds(self, parents: Indices) -> Array:
        """Log-odds of each model's own edge, 0 at the root; weighed where they weren't."""
        child = np.flatnonzero(parents >= 0)
        pairs = list(zip(parents[child].tolist(), child.tolist(), strict=True))
        new = np.array([pair for pair in pairs if pair not in self.odds], dtype=np.intp)
        if len(new):
            self._weigh(*new.T)
        out = np.zeros(len(parents))
        out[child] = [self.odds[pair] for pair in pairs]
        return out

    def _candidates(self, i: Indices, j: Indices, squared: Array) -> Candidates:
        """Near ones of each model. Of the many that a hub is near to, the nearest."""
        n = len(self.points)
        rows = [_Distances(self.points, k) for k in range(n)]
        for a, b, far in zip(i.tolist(), j.tolist(), squared.tolist(), strict=True):
            rows[a][b] = rows[b][a] = far
        here, there = np.concatenate([i, j]), np.concatenate([j, i])
        order = np.lexsort((there, np.concatenate([squared, squared]), here))
        ends = np.searchsorted(here[order], np.arange(n + 1)).tolist()
        sorted_there = there[order].tolist()
        nearest = [sorted_there[a : min(b, a + MOST)] for a, b in pairwise(ends)]
        lack: Sequence[Row] = [self.lacks.setdefault(k, _Lacks()) for k in range(n)]
        return Candidates(rows, lack, nearest, [near[:NEAREST] for near in nearest])

    def _straightened(self, parents: Indices, among: Candidates) -> Indices:
        root = int(np.flatnonzero(parents < 0)[0])
        new = [c for c in among.nearest[root] if (root, c) not in self.odds]
        if new:
            self._weigh(np.full(len(new), root), np.array(new, dtype=np.intp))
        return straighten(parents, among)

    def _edges(self, parents: Indices) -> tuple[Array, Array, Array, Array]:
        """Of each model c and its parent p, (n,): |p - c|^2, <p - c, p>, <c - p, c>, and the
        variance of the second in a step that knows nothing of p; 0 at the roots."""
        out = np.zeros((4, len(parents)))
        child = np.flatnonzero(parents >= 0)
        pp, cc, pc = self.samples.products(parents[child], child)
        gap = np.maximum(pp + cc - 2 * pc, 0.0)
        noise = self.view.weight**2 * (COSINE**2 + 1 / self.samples.seen)
        out[0, child] = squared_distances(self.points, parents[child], child)
        out[1, child] = self.view.weight @ (pp - pc)
        out[2, child] = self.view.weight @ (cc - pc)
        out[3, child] = noise @ (pp * gap)
        return out[0], out[1], out[2], out[3]

    def _turns(self, parents: Indices) -> Array:
        """As `turns`."""
        above = np.where(parents >= 0, parents[parents], -1)
        c = np.flatnonzero(above >= 0)
        p, g = parents[c], above[c]
        out = np.full(len(parents), np.nan)
        sides = [squared_distances(self.points, *pair) for pair in ((g, c), (p, c), (g, p))]
        out[c] = turn_of(*sides)
        return out
