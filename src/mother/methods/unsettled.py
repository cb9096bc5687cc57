"""What a sample leaves open about a large family, at a cost that is linear in its models.

Replicates of a whole recovery, as small families have them, cost as much again each. So what is
decided is held against its own error alone: the parent of each model against the next best one, and
the directions of the tree as it is, all of them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import Products, weigh_products
from mother.evidence.view import View, view_of
from mother.sketches.near import Near
from mother.sketches.samples import Samples
from mother.trees.forest import Forest
from mother.trees.rooting import orient_edges

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
HELD = 1 << 22  # numbers of pairs worked on at once


def unsettled(
    samples: Samples, forest: Forest, off: Array, near: Near | None = None
) -> list[tuple[int, frozenset[int]]]:
    """Each model whose parent would be another one in a replicate, with itself and these parents.

    off: (d, R), how much more than once each sampled weight counts in a replicate. near: as of
    `sparse.recover`; what it says strays less, by how much more was looked at.
    """
    found: list[tuple[int, frozenset[int]]] = []
    labels = forest.labels()
    order = np.argsort(labels, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(members) > 1 and (forest.parents[members] >= 0).any():
            found += _Replicated(samples, forest, off, near, members).doubts()
    return found


@dataclass(frozen=True)
class _Replicated:
    samples: Samples
    forest: Forest
    off: Array
    near: Near | None
    members: Indices

    def doubts(self) -> list[tuple[int, frozenset[int]]]:
        """As `unsettled`, of one tree."""
        view = view_of(self.samples.among(self.members))
        if not view.layers.any():
            return []
        others: dict[int, set[int]] = {}
        for c, p in [*self._by_distance(view), *self._by_direction(view)]:
            others.setdefault(c, {c, int(self.forest.parents[c])}).add(p)
        return [(c, frozenset(k for k in few if k >= 0)) for c, few in sorted(others.items())]

    def _by_distance(self, view: View) -> list[tuple[int, int]]:
        """Models and their next best parents, where these may be better ones."""
        c = self.members[self.forest.rival[self.members] >= 0]
        c = c[np.isfinite(self.forest.rival_factor[c])]
        p, q = self.forest.parents[c], self.forest.rival[c]
        counts = np.zeros(len(self.off))
        kept = np.repeat(view.layers, self.samples.held)
        weight = view.weight * (self.samples.sizes / self.samples.held)[view.layers]
        counts[kept] = np.repeat(weight, self.samples.held[view.layers])
        own, ours = self._lengths(p, c, counts)
        _, theirs = self._lengths(q, c, counts)
        stray = (theirs - ours) * np.maximum(self._shrunk(p, c), self._shrunk(q, c))[:, None]
        open_ = ((self.forest.rival_factor[c] - 1) * own)[:, None] + stray < 0
        some = open_.any(axis=1)
        return list(zip(c[some].tolist(), q[some].tolist(), strict=True))

    def _lengths(self, i: Indices, j: Indices, counts: Array) -> tuple[Array, Array]:
        """|i - j|^2 of pairs, (E,), and by how much it is off in each replicate, (E, R)."""
        length, stray = np.empty(len(i)), np.empty((len(i), self.off.shape[1]))
        weights = np.column_stack([counts, self.off * counts[:, None]])
        step = max(1, HELD // len(counts))
        for at in range(0, len(i), step):
            some = slice(at, at + step)
            gap = self.samples.rows[i[some]].astype(np.float64) - self.samples.rows[j[some]]
            sums = np.square(gap) @ weights
            length[some], stray[some] = sums[:, 0], sums[:, 1:]
        return length, stray

    def _by_direction(self, view: View) -> list[tuple[int, int]]:
        """Models and what would be their parents if the tree had another root."""
        layers = view.layers.copy()
        layers[layers] = view.tells
        parents = np.full(len(self.members), -1, dtype=np.intp)
        place = {int(m): k for k, m in enumerate(self.members)}
        c = self.members[self.forest.parents[self.members] >= 0]
        p = self.forest.parents[c]
        parents[[place[int(m)] for m in c]] = [place[int(m)] for m in p]
        shrunk = self._shrunk(p, c)
        told = self.samples.over(layers)
        exact = self._odds(told, p, c)
        out = set[tuple[int, int]]()
        at = np.repeat(layers, self.samples.held)
        for column in self.off[at].T:
            heavier = np.sqrt(1 + column).astype(np.float32)
            odds = np.zeros(len(parents))
            drawn = self._odds(told, p, c, heavier)
            odds[[place[int(m)] for m in c]] = self.forest.odds[c] + (drawn - exact) * shrunk
            out |= self._turned(parents, odds)
        return sorted((int(self.members[k]), int(self.members[q])) for k, q in out)

    def _odds(
        self, told: Samples, p: Indices, c: Indices, heavier: NDArray[np.float32] | None = None
    ) -> Array:
        """Log-odds of edges, where weights count so many times, squared."""
        out = np.empty(len(c))
        step = max(1, HELD // told.rows.shape[1])
        for at in range(0, len(c), step):
            ends = np.concatenate([p[at : at + step], c[at : at + step]])
            some = told.among(ends)
            if heavier is not None:
                some.rows[:] *= heavier
            i = np.arange(len(ends) // 2)
            j = i + len(i)
            products = Products(*some.products(i, j), told.chance)
            out[at : at + step] = weigh_products(i, j, products, by_layer=False).log_odds
        return out

    def _turned(self, parents: Indices, odds: Array) -> set[tuple[int, int]]:
        """Edges of a replicate's trees that the trees don't have, as child and parent."""
        out = set[tuple[int, int]]()
        for part in _parts(parents):
            place = np.full(len(parents), -1, dtype=np.intp)
            place[part] = np.arange(len(part))
            own = np.where(parents[part] >= 0, place[parents[part]], -1)
            turned, _ = orient_edges(own, odds[part])
            for k in np.flatnonzero((turned != own) & (turned >= 0)).tolist():
                out.add((int(part[k]), int(part[turned[k]])))
        return out

    def _shrunk(self, i: Indices, j: Indices) -> Array:
        """How much less what is said of pairs strays, for more was looked at of them, (E,)."""
        out = np.ones(len(i))
        if self.near is not None:
            share = np.sqrt(self.near.chance.sum(axis=0) / self.samples.chance.sum())
            pairs = zip(self.near.i.tolist(), self.near.j.tolist(), strict=True)
            known = dict(zip(pairs, share.tolist(), strict=True))
            ends = zip(np.minimum(i, j).tolist(), np.maximum(i, j).tolist(), strict=True)
            out = np.array([known.get(pair, 1.0) for pair in ends])
        return out


def _parts(parents: Indices) -> list[Indices]:
    """The trees of several models, each by its members ascending."""
    labels = Forest(parents).labels()
    order = np.argsort(labels, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [part for part in parts if len(part) > 1]
