"""Where a newcomer hangs among a great many models, without recovering anything again.

What is held in memory is 256 numbers a model and the leaders of families; the samples stay where
they are, and some hundred of them are read for one newcomer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import Products, telling, weigh_products
from mother.evidence.leaders import cut, directions, related
from mother.evidence.view import View, view_of
from mother.methods.gram import NEAREST as SETTLED
from mother.sketches.samples import Samples
from mother.trees.neighbours import projected, squared_distances
from mother.trees.turns import Candidates, hung

Array = NDArray[np.float64]
Points = NDArray[np.float32]
Indices = NDArray[np.intp]
NEAREST = 64  # of a family that a newcomer is compared with by all that was sampled
LEADERS = 8  # families that it is compared with


@dataclass(frozen=True)
class Placed:
    """parent: -1 for a stranger to all. distance: |p - c| / |p|. log_odds: of the parent being the
    parent of the newcomer rather than its child."""

    parent: int
    distance: float = np.nan
    log_odds: float = np.nan


@dataclass(frozen=True)
class _Kin:
    """One family: its members, how it is looked at, its members as they are scanned, and their
    squared norms."""

    members: Indices
    view: View
    points: Points
    norms: NDArray[np.float32]


class Known:
    """The models of one architecture among those of a collection. parents: (n,) of all of it, -1
    for roots. families: those of the architecture, as of `leaders.families`, by number in all."""

    def __init__(self, samples: Samples, parents: Indices, families: Sequence[Indices]) -> None:
        self._samples, self._parents = samples, parents
        self._matrices = telling(samples)
        self._first = np.array([members[0] for members in families], dtype=np.intp)
        leading = samples.among(self._first).over(self._matrices)
        self._leading, self._cut = directions(leading), cut(leading)
        self._kin = [_kin(samples, x) if len(x) > 1 else None for x in families]

    def place(self, row: NDArray[np.float32]) -> Placed:
        """Where a newcomer, (d,), would hang."""
        samples = self._samples
        alone = Samples(samples.names, samples.shapes, samples.columns, row[None])
        cosine = (self._leading @ directions(alone.over(self._matrices))[0]).ravel()
        near = np.flatnonzero(cosine > self._cut)
        near = near[np.argsort(-cosine[near], kind="stable")[:LEADERS]]
        for family in near.tolist():
            both = _stacked(samples.among(self._first[[family]]), alone)
            if related(both.over(self._matrices), np.array([0]), np.array([1]))[0]:
                kin = self._kin[family]
                return self._among(alone, kin) if kin else self._beside(both, family)
        return Placed(-1)

    def _among(self, alone: Samples, kin: _Kin) -> Placed:
        view = kin.view
        if not view.layers.any():
            return Placed(int(kin.members[0]), 0.0, 0.0)
        query = projected(view.points(alone.over(view.layers)))[0]
        far = kin.norms - 2 * (kin.points @ query)
        if len(far) > NEAREST:
            near = np.argpartition(far, NEAREST - 1)[:NEAREST]
        else:
            near = np.arange(len(far))
        ids = kin.members[near]
        above = self._parents[ids]
        ids = np.union1d(ids, above[above >= 0])
        grand = self._parents[ids]
        every = np.union1d(ids, grand[grand >= 0])
        local = _stacked(self._samples.among(every), alone).over(view.layers)
        points = view.points(local)
        up = self._parents[every]
        at = np.minimum(np.searchsorted(every, up), len(every) - 1)
        parents = np.where(every[at] == up, at, -1)
        return self._hung(every, points, parents, np.searchsorted(every, ids), local, view)

    def _beside(self, both: Samples, family: int) -> Placed:
        """The newcomer is the second of two."""
        view, only = view_of(both), self._first[[family]]
        if not view.layers.any():
            return Placed(int(only[0]), 0.0, 0.0)
        local = both.over(view.layers)
        return self._hung(only, view.points(local), np.array([-1]), np.array([0]), local, view)

    def _hung(
        self,
        every: Indices,
        points: Points,
        parents: Indices,
        chosen: Indices,
        local: Samples,
        view: View,
    ) -> Placed:
        n = len(every)
        i, j = np.triu_indices(n + 1, 1)
        table = np.zeros((n + 1, n + 1))
        table[i, j] = table[j, i] = squared_distances(points, i, j)
        near = chosen[np.lexsort((chosen, table[n, chosen]))].tolist()
        squared = table.tolist()
        beside = [near[:SETTLED]] * (n + 1)
        among = Candidates(squared, [near] * (n + 1), beside, view.chance)
        parent = hung(n, np.append(parents, near[0]), among)
        p, c = np.array([parent]), np.array([n])
        tells = local.over(view.tells)
        evidence = weigh_products(
            p, c, Products(*tells.products(p, c), tells.chance), by_layer=False
        )
        norm = float(view.weight @ local.among(p).squared_norms()[:, 0])
        distance = float(np.sqrt(table[parent, n] / norm)) if norm > 0 else 0.0
        return Placed(int(every[parent]), distance, float(evidence.log_odds[0]))


def _kin(samples: Samples, members: Indices) -> _Kin:
    family = samples.among(members)
    view = view_of(family)
    points = projected(view.points(family.over(view.layers)))
    return _Kin(members, view, points, np.square(points).sum(axis=1))


def _stacked(one: Samples, other: Samples) -> Samples:
    return Samples(one.names, one.shapes, one.columns, np.concatenate([one.rows, other.rows]))
