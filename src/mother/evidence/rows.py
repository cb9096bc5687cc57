"""Rows of matrices as characters, and what they say of who is whose parent.

A row that training left untouched stays as it was, bit for bit, or shrinks by weight decay and
keeps its direction; one that training touched never comes back to what it was. So rows are
characters as phylogenetics knows them (each state arises once: Kimura and Crow's infinite alleles,
1964), and they know nothing of how far training went nor where to: neither steps that undo one
another nor twins that two trainings on the same data make can fool them.

The tree on which the fewest rows change is a minimum spanning tree on the numbers of rows in which
two models differ. No edge of such a tree can be gone round by a way of smaller steps (the cycle
property), which rules pairs out one by one.

Where some of a matrix's rows were looked at, their numbers have an error: a replicate counts a
random half of them more than the other, as in sketches/replicates.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from mother.measures.products import Array, Bools, Indices
from mother.sketches.replicates import halves
from mother.thresholds import DECISIVE, DEVIATIONS, PRECISE, SLIGHT

FEWEST_ROWS = 3  # rows that show a shrink
SURELY = 4  # times as many, where models were rounded
WEIGHT_PARTS = 1 << 16


@dataclass(frozen=True)
class Rows:
    """Rows of n models that some of them share.

    state  (n, C)  equal numbers where models hold the same row, but for its length
    length (n, C)  of the row, its norm
    told   (n,)    models that tell: those that were not pruned
    tolerance      by how much of its direction a row may differ and be the same
    first          of each matrix, in order, where its rows begin
    looked         of each matrix, the share of its rows that was looked at; () for all of all
    weight (C,)    how often each row counts in the numbers of those that differ; None for once
    """

    state: Indices
    length: Array
    told: Bools
    tolerance: float = PRECISE
    first: tuple[int, ...] = (0,)
    looked: tuple[float, ...] = ()
    weight: Array | None = None

    @classmethod
    def joined(
        cls,
        parts: Sequence[tuple[Indices, Array]],
        told: Bools,
        tolerance: float,
        looked: Sequence[float] = (),
    ) -> Rows:
        """State and length, (n, C) each, of matrices by matrix."""
        n = len(told)
        nothing = np.zeros((n, 0), dtype=np.intp), np.ones((n, 0))
        both = zip(nothing, *parts, strict=True)
        state, length = (np.concatenate(matrices, axis=1) for matrices in both)
        ends = np.cumsum([part.shape[1] for part, _ in parts]).tolist()
        return cls(state, length, told, tolerance, (0, *ends[:-1]), tuple(looked))

    def replicate(self, seed: int | None) -> Rows:
        """The same, counted so that their numbers are off by their standard error: in parts of
        WEIGHT_PARTS, of which sums are exact in any order. As they are without a seed."""
        if seed is None:
            return self
        rng = np.random.default_rng(seed)
        off = np.zeros(self.state.shape[1])
        for (start, stop), share in zip(self._bounds, self.looked, strict=False):
            if stop > start:
                off[start:stop] = np.sqrt(1 - share) * halves(stop - start, rng)
        return replace(self, weight=1 + np.rint(WEIGHT_PARTS * off) / WEIGHT_PARTS)

    @property
    def _bounds(self) -> list[tuple[int, int]]:
        return list(pairwise([*self.first, self.state.shape[1]]))

    @cached_property
    def matrices(self) -> list[Rows]:
        """The rows of each matrix."""
        return [
            replace(
                self,
                state=self.state[:, a:b],
                length=self.length[:, a:b],
                first=(0,),
                looked=self.looked[k : k + 1],
                weight=None if self.weight is None else self.weight[a:b],
            )
            for k, (a, b) in enumerate(self._bounds)
        ]

    @cached_property
    def log_length(self) -> Array:
        return np.log(self.length)

    @property
    def coarse(self) -> bool:
        """Whether some of the models were rounded."""
        return self.tolerance > PRECISE

    def gone_round(self, i: Indices, j: Indices) -> Bools:
        """Pairs, i < j in ascending order, of which neither is the other's parent, (E,): a way over
        other models, along the pairs given, changes fewer rows in each of its steps.

        Fewer by more than what comes back by chance: where models were rounded a row may, which
        shows in the changes of the smallest tree beyond one for each new state. And not by rows of
        several matrices that know of different trees: one that was put back, or comes from another
        model, is one event, so a single matrix has to tell it, too.

        >>> state = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
        >>> i, j = np.triu_indices(4, 1)
        >>> Rows(state, np.ones((4, 3)), np.ones(4, bool)).gone_round(i, j)
        array([False,  True, False, False,  True,  True])
        """
        out = np.zeros(len(i), dtype=bool)
        both = np.flatnonzero(self.told[i] & self.told[j])
        if len(both) < 3 or not self.state.shape[1]:
            return out
        pairs = i[both], j[both]
        apart = [one._apart(*pairs) for one in self.matrices]
        found = self._longer_than_round(*pairs, np.sum(apart, axis=0))
        by_one = np.zeros(len(both), dtype=bool)
        for one, rows in zip(self.matrices, apart, strict=True):
            if len(apart) == 1 or by_one[found].all():
                break
            by_one |= one._longer_than_round(*pairs, rows)
        out[both] = found & by_one if len(apart) > 1 else found
        return out

    def _apart(self, i: Indices, j: Indices) -> Array:
        """In how many rows pairs differ, each row counted as often as it weighs, (E,)."""
        out = np.zeros(len(i))
        weight = np.ones(self.state.shape[1]) if self.weight is None else self.weight
        for row, times in zip(np.ascontiguousarray(self.state.T), weight.tolist(), strict=True):
            out += times * (row[i] != row[j])
        return out

    def _longer_than_round(self, i: Indices, j: Indices, apart: Array) -> Bools:
        """Of pairs of the models that tell, `apart` rows from one another."""
        least, changes = bottlenecks(len(self.state), i, j, apart)
        return self.fewer(apart, least, changes)

    def fewer(self, apart: Array, least: Array, changes: float) -> Bools:
        """Where `least` rows are fewer than `apart` by more than what comes back by chance.
        changes: of the smallest tree."""
        new = np.count_nonzero(np.diff(np.sort(self.state[self.told], axis=0), axis=0), axis=0)
        needed = float(new.sum() if self.weight is None else new @ self.weight)
        back = max(0.0, 1 - needed / max(changes, 1.0))
        return np.asarray(apart >= least + 1 + DEVIATIONS * np.sqrt(back * apart))

    def shrunk_of(self, i: Indices, j: Indices) -> Array:
        """Log-odds of i being the parent of j, (E,), from the rows that both hold but for their
        length: weight decay shrinks them, and nothing makes them grow. All of one matrix alike:
        what was scaled row by row, as by a norm that was folded into the matrix, says nothing.

        >>> rows = Rows(np.zeros((2, 3), int), np.array([[1.0] * 3, [0.99] * 3]), np.ones(2, bool))
        >>> rows.shrunk_of(np.array([0, 1]), np.array([1, 0]))
        array([ 10., -10.])
        """
        longer, shorter = np.zeros((2, len(i)))
        if self.coarse:
            return longer
        both = (self.told[i] & self.told[j])[:, None]
        for one in self.matrices:
            same = (one.state[i] == one.state[j]) & both
            found = _longer(np.where(same, one.log_length[i] - one.log_length[j], 0.0))
            longer += np.maximum(found, 0)
            shorter -= np.minimum(found, 0)
        share = (longer - shorter) / np.maximum(longer + shorter, 1)
        return np.where(np.maximum(longer, shorter) >= FEWEST_ROWS, DECISIVE * share, 0.0)

    def inherited(self, parents: Indices) -> Bools:
        """Which models have what made their parent of its own, (n,): the parent lies between the
        two. Its rows that training changed there are in the child, but for those that changed
        again, and no row is in the child as it was before. A sibling of the parent has none of
        the former and many of the latter.

        parents: (n,), -1 at a root.

        >>> state = np.array([[0] * 6, [1] * 3 + [0] * 3, [1] * 3 + [2] * 3, [0] * 3 + [3] * 3])
        >>> rows = Rows(state, np.ones((4, 6)), np.ones(4, bool))
        >>> rows.inherited(np.array([-1, 0, 1, 1]))
        array([False, False,  True, False])
        """
        out = np.zeros(len(parents), dtype=bool)
        most = FEWEST_ROWS if self.coarse else 0
        for c, p in enumerate(parents.tolist()):
            g = int(parents[p]) if p >= 0 else -1
            if g < 0 or not self.told[[g, p, c]].all():
                continue
            before, at, after = self.state[[g, p, c]]
            kept, new = (
                ((at == after) & (before != at)).sum(),
                ((before == at) & (at != after)).sum(),
            )
            back = ((before == after) & (before != at)).sum()
            out[c] = min(kept, new) >= FEWEST_ROWS and back <= most
        return out

    def parts(self, p: int, models: Indices) -> bool:
        """Whether model p lies between every two of some models, (k,): each has rows that others
        of them have as p, and none that others have and p has not.

        >>> state = np.array([[0] * 6, [1] * 3 + [0] * 3, [0] * 3 + [2] * 3])
        >>> rows = Rows(state, np.ones((3, 6)), np.ones(3, bool))
        >>> rows.parts(0, np.array([1, 2])), rows.parts(1, np.array([0, 2]))
        (True, False)
        """
        if len(models) < 2 or not self.told[models].all() or not self.told[p]:
            return False
        differs = self.state[models] != self.state[p]
        others_have = (~differs).sum(axis=0) > 0
        own = (differs & others_have).sum(axis=1)
        shared = self._shared(p, models).sum(axis=1)
        return bool((own >= FEWEST_ROWS).all() and (shared < self._many).all())

    @property
    def _many(self) -> int:
        """Rows that are no chance."""
        return SURELY * FEWEST_ROWS if self.coarse else FEWEST_ROWS

    def _shared(self, p: int, models: Indices) -> Bools:
        """In which rows each of some models is as another one of them, and not as p, (k, C)."""
        ranked = np.argsort(self.state[models], axis=0, kind="stable")
        state = np.take_along_axis(self.state[models], ranked, axis=0)
        alike = np.zeros((len(models) + 1, state.shape[1]), dtype=bool)
        alike[1:-1] = (state[1:] == state[:-1]) & (state[1:] != self.state[p])
        out = np.empty_like(alike[1:])
        np.put_along_axis(out, ranked, alike[1:] | alike[:-1], axis=0)
        return out


def bottlenecks(n: int, i: Indices, j: Indices, weight: Array) -> tuple[Array, float]:
    """Of each pair of n points, (E,), the largest weight on the way between the two, over pairs,
    on which that is smallest; and the sum of the weights of a smallest spanning forest.

    Pairs are joined from the lightest on (Kruskal); what is joined first at a weight is its
    bottleneck. Of two parts that are joined the smaller one's pairs are gone through.

    >>> bottlenecks(3, np.array([0, 1]), np.array([1, 2]), np.array([1.0, 2.0]))
    (array([1., 2.]), 3.0)
    """
    points = len(np.union1d(i, j))
    if len(i) == points * (points - 1) // 2:  # all pairs: single linkage
        from scipy.cluster.hierarchy import cophenet, linkage

        merges = linkage(weight, "single")
        return cophenet(merges), float(merges[:, 2].sum())
    part = list(range(n))
    members: list[list[int]] = [[k] for k in range(n)]
    pairs: list[list[int]] = [[] for _ in range(n)]
    one, two = i.tolist(), j.tolist()
    for e, (a, b) in enumerate(zip(one, two, strict=True)):
        pairs[a].append(e)
        pairs[b].append(e)
    least, total = np.full(len(one), np.nan), 0.0
    for e in np.argsort(weight, kind="stable").tolist():
        large, small = part[one[e]], part[two[e]]
        if large == small:
            continue
        if len(members[large]) < len(members[small]):
            large, small = small, large
        total += float(weight[e])
        for k in members[small]:
            for other in pairs[k]:
                if part[one[other] if two[other] == k else two[other]] == large:
                    least[other] = weight[e]
        for k in members[small]:
            part[k] = large
        members[large] += members[small]
        members[small] = []
    return least, total


def _longer(gaps: Array) -> Indices:
    """How many rows of one matrix are longer, by logarithms (n, C), below 0 how many are shorter;
    none where they are not so evenly. (n,)

    >>> _longer(np.array([[0.1, 0.1, 0.0], [-0.1, -0.1, -0.1], [0.1, 0.2, 0.3]]))
    array([ 2, -3,  0])
    """
    changed = np.abs(gaps) > PRECISE
    many = changed.sum(axis=1, dtype=np.intp)
    mean = (gaps * changed).sum(axis=1) / np.maximum(many, 1)
    strays = np.abs(np.where(changed, gaps - mean[:, None], 0.0)).max(axis=1, initial=0.0)
    even = strays <= SLIGHT * np.abs(mean)
    return np.asarray(even * np.sign(mean) * many, dtype=np.intp)
