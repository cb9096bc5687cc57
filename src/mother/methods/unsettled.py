"""What a sample leaves open about a large family, at a cost that is linear in its models.

Replicates of a whole recovery, as small families have them, cost as much again each. So what is
decided is held against its own error alone: the parent of each model against the next best one, and
the directions of the tree as it is, all of them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import weigh
from mother.evidence.family import Family
from mother.measures.clustering import joined
from mother.measures.products import Array, Indices, Products
from mother.sketches.points import PAIRS_AT_ONCE
from mother.sketches.samples import Samples
from mother.trees.forest import Forest
from mother.trees.rooting import orient


def unsettled(samples: Samples, forest: Forest, off: Array) -> list[tuple[int, frozenset[int]]]:
    """Each model whose parent would be another one in a replicate, with itself and these parents.

    off: (d, R), how much more than once each sampled weight counts in a replicate. What was looked
    at more closely strays less, by how much more it was.
    """
    found: list[tuple[int, frozenset[int]]] = []
    labels = forest.labels()
    order = np.argsort(labels, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(members) > 1 and (forest.parents[members] >= 0).any():
            family = Family.of(samples.among(members))
            if family is not None:
                found += _Replicated(samples, forest, off, members, family).doubts()
    return found


@dataclass(frozen=True)
class _Replicated:
    samples: Samples
    forest: Forest
    off: Array
    members: Indices
    family: Family

    @cached_property
    def columns(self) -> Array:
        """How often each sampled weight counts in the family's distances, (d,)."""
        of = dict(
            zip(
                zip(self.family.source.names, self.family.source.shapes, strict=True),
                self.family.weight.tolist(),
                strict=True,
            )
        )
        s = self.samples
        layers = zip(s.names, s.shapes, strict=True)
        weight = np.array([of.get(layer, 0.0) for layer in layers]) * s.sizes / s.held
        return np.repeat(weight, s.held)

    @cached_property
    def tells(self) -> NDArray[np.bool_]:
        """The layers that direction is read from, (L,) of all."""
        told = self.family.source.over(self.family.tells)
        names = set(zip(told.names, told.shapes, strict=True))
        layers = zip(self.samples.names, self.samples.shapes, strict=True)
        return np.array([layer in names for layer in layers])

    def doubts(self) -> list[tuple[int, frozenset[int]]]:
        """As `unsettled`, of one tree."""
        others: dict[int, set[int]] = {}
        for c, p in [*self._by_distance(), *self._by_direction()]:
            others.setdefault(c, {c, int(self.forest.parents[c])}).add(p)
        return [(c, frozenset(k for k in few if k >= 0)) for c, few in sorted(others.items())]

    def _by_distance(self) -> list[tuple[int, int]]:
        """Models and their next best parents, where these may be better ones."""
        c = self.members[self.forest.rival[self.members] >= 0]
        c = c[np.isfinite(self.forest.rival_factor[c])]
        p, q = self.forest.parents[c], self.forest.rival[c]
        own, ours = self._lengths(p, c)
        _, theirs = self._lengths(q, c)
        stray = (theirs - ours) * np.maximum(self._shrunk(p, c), self._shrunk(q, c))[:, None]
        open_ = ((self.forest.rival_factor[c] - 1) * own)[:, None] + stray < 0
        some = open_.any(axis=1)
        return list(zip(c[some].tolist(), q[some].tolist(), strict=True))

    def _lengths(self, i: Indices, j: Indices) -> tuple[Array, Array]:
        """|i - j|^2 of pairs, (E,), and by how much it is off in each replicate, (E, R)."""
        length, stray = np.empty(len(i)), np.empty((len(i), self.off.shape[1]))
        weights = np.column_stack([self.columns, self.off * self.columns[:, None]])
        step = max(1, PAIRS_AT_ONCE // len(weights))
        for at in range(0, len(i), step):
            some = slice(at, at + step)
            gap = self.samples.rows[i[some]].astype(np.float64) - self.samples.rows[j[some]]
            sums = np.square(gap) @ weights
            length[some], stray[some] = sums[:, 0], sums[:, 1:]
        return length, stray

    def _by_direction(self) -> list[tuple[int, int]]:
        """Models and what would be their parents if the tree had another root."""
        c = self.members[self.forest.parents[self.members] >= 0]
        p = self.forest.parents[c]
        shrunk, exact = self._shrunk(p, c), self._odds(p, c, None)
        out = set[tuple[int, int]]()
        for column in self.off.T:
            odds = np.zeros(len(self.forest.parents))
            odds[c] = self.forest.odds[c] + (self._odds(p, c, 1 + column) - exact) * shrunk
            out |= self._turned(odds)
        return sorted(out)

    def _odds(self, p: Indices, c: Indices, heavier: Array | None) -> Array:
        """Log-odds of edges, where weights count so many times."""
        s = self.samples.over(self.tells)
        out = np.empty(len(c))
        step = max(1, PAIRS_AT_ONCE // s.rows.shape[1])
        times = np.ones(s.rows.shape[1]) if heavier is None else heavier[self._told_columns]
        for at in range(0, len(c), step):
            one, other = (s.rows[k[at : at + step]].astype(np.float64) for k in (p, c))
            scale = (s.sizes / s.held)[:, None]
            ii, jj, ij = (
                np.add.reduceat(a * b * times, s.columns[:-1], axis=1).T * scale
                for a, b in ((one, one), (other, other), (one, other))
            )
            every = np.arange(len(one))
            said = weigh(every, every, Products(ii, jj, ij, s.chance), by_layer=False)
            out[at : at + step] = said.log_odds
        return out

    @cached_property
    def _told_columns(self) -> NDArray[np.bool_]:
        return np.repeat(self.tells, self.samples.held)

    def _turned(self, odds: Array) -> set[tuple[int, int]]:
        """Edges of a replicate's trees that the trees don't have, as child and parent."""
        parents = self.forest.parents[self.members]
        here = np.flatnonzero(parents >= 0)
        place = np.full(len(self.forest.parents), -1, dtype=np.intp)
        place[self.members] = np.arange(len(self.members))
        labels = joined(len(self.members), here, place[parents[here]])
        out = set[tuple[int, int]]()
        for label in np.unique(labels[here]):
            part = self.members[labels == label]
            place[part] = np.arange(len(part))
            above = self.forest.parents[part]
            own = np.where(above >= 0, place[above], -1)
            turned, _ = orient(own, odds[part])
            for k in np.flatnonzero((turned != own) & (turned >= 0)).tolist():
                out.add((int(part[k]), int(part[turned[k]])))
        return out

    def _shrunk(self, i: Indices, j: Indices) -> Array:
        """How much less what is said of pairs strays, for more was looked at of them, (E,)."""
        out, near = np.ones(len(i)), self.samples.near
        if near is not None:
            at = near.at(i, j)
            share = np.sqrt(near.of.chance.sum(axis=0) / self.samples.chance.sum())
            out[at >= 0] = share[at[at >= 0]]
        return out
