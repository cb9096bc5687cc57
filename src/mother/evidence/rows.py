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
from numpy.typing import NDArray

from mother.sketches.replicates import halves

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
TOLERANCE = 1e-5  # of a row's direction: rounding of a thousand shrinks is below it, a step above
BACK = 0.0005  # of rows, where models were rounded, that two short steps move alike
FEWEST = 3  # rows that show a shrink
SURELY = 4  # times as many, where models were rounded
EVEN = 0.05  # of a shrink, by which rows of one matrix stray from it at most
SHRUNK = 10.0  # log-odds of who shrank being the child: without a gradient nothing grows
DEVIATIONS = 3.0
EXACT = 1 << 16


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
    told: NDArray[np.bool_]
    tolerance: float = TOLERANCE
    first: tuple[int, ...] = (0,)
    looked: tuple[float, ...] = ()
    weight: Array | None = None

    @classmethod
    def joined(
        cls,
        parts: Sequence[tuple[Indices, Array]],
        told: NDArray[np.bool_],
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
        EXACT, of which sums are exact in any order. As they are without a seed."""
        if seed is None:
            return self
        rng = np.random.default_rng(seed)
        off = np.zeros(self.state.shape[1])
        for (start, stop), share in zip(self._bounds, self.looked, strict=False):
            if stop > start:
                off[start:stop] = np.sqrt(1 - share) * halves(stop - start, rng)
        return replace(self, weight=1 + np.rint(EXACT * off) / EXACT)

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
        return self.tolerance > TOLERANCE

    def gone_round(self) -> NDArray[np.bool_]:
        """Pairs of which neither is the other's parent, (n, n): a way over other models changes
        fewer rows in each of its steps.

        Fewer by more than what comes back by chance: where models were rounded a row may, which
        shows in the changes of the smallest tree beyond one for each new state. And not by rows of
        several matrices that know of different trees: one that was put back, or comes from another
        model, is one event, so a single matrix has to tell it, too.

        >>> state = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
        >>> Rows(state, np.ones((4, 3)), np.ones(4, bool)).gone_round().astype(int)
        array([[0, 0, 1, 0],
               [0, 0, 0, 1],
               [1, 0, 0, 1],
               [0, 1, 1, 0]])
        """
        n = len(self.state)
        out = np.zeros((n, n), dtype=bool)
        told = np.flatnonzero(self.told)
        if len(told) < 3 or not self.state.shape[1]:
            return out
        apart = [_differing(one.state[told], one.weight) for one in self.matrices]
        each = zip(self.matrices, apart, strict=True)
        by_one = np.any([one._longer_than_round(rows) for one, rows in each], axis=0)
        by_all = self._longer_than_round(np.sum(apart, axis=0))
        out[np.ix_(told, told)] = by_one & by_all
        return out

    def _longer_than_round(self, apart: Array) -> NDArray[np.bool_]:
        """Pairs of the models that tell, `apart` rows from one another, as in `gone_round`."""
        from scipy.cluster.hierarchy import cophenet, linkage
        from scipy.spatial.distance import squareform

        joined = linkage(squareform(apart), "single")
        least = squareform(cophenet(joined))
        return self.fewer(apart, least, float(joined[:, 2].sum()))

    def fewer(self, apart: Array, least: Array, changes: float) -> NDArray[np.bool_]:
        """Where `least` rows are fewer than `apart` by more than what comes back by chance.
        changes: of the smallest tree."""
        new = np.count_nonzero(np.diff(np.sort(self.state[self.told], axis=0), axis=0), axis=0)
        needed = float(new.sum() if self.weight is None else new @ self.weight)
        back = max(BACK if self.coarse else 0.0, 1 - needed / max(changes, 1.0))
        return np.asarray(apart >= least + 1 + DEVIATIONS * np.sqrt(back * apart))

    @cached_property
    def shrunk(self) -> Array:
        """Log-odds of the row being the column's parent, (n, n), antisymmetric, from the rows that
        both hold but for their length: weight decay shrinks them, and nothing makes them grow.
        All of one matrix alike: what was scaled row by row, as by a norm that was folded into the
        matrix, says nothing.

        >>> rows = Rows(np.zeros((2, 3), int), np.array([[1.0] * 3, [0.99] * 3]), np.ones(2, bool))
        >>> rows.shrunk
        array([[  0.,  10.],
               [-10.,   0.]])
        """
        every = np.arange(len(self.state))
        return np.stack([self.shrunk_of(np.full_like(every, i), every) for i in every])

    def shrunk_of(self, i: Indices, j: Indices) -> Array:
        """The same of pairs, i being the parent of j, (E,)."""
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
        return np.where(np.maximum(longer, shorter) >= FEWEST, SHRUNK * share, 0.0)

    def inherited(self, parents: Indices) -> NDArray[np.bool_]:
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
        most = FEWEST if self.coarse else 0
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
            out[c] = min(kept, new) >= FEWEST and back <= most
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
        return bool((own >= FEWEST).all() and (shared < self._many).all())

    @property
    def _many(self) -> int:
        """Rows that are no chance."""
        return SURELY * FEWEST if self.coarse else FEWEST

    def _shared(self, p: int, models: Indices) -> NDArray[np.bool_]:
        """In which rows each of some models is as another one of them, and not as p, (k, C)."""
        ranked = np.argsort(self.state[models], axis=0, kind="stable")
        state = np.take_along_axis(self.state[models], ranked, axis=0)
        alike = np.zeros((len(models) + 1, state.shape[1]), dtype=bool)
        alike[1:-1] = (state[1:] == state[:-1]) & (state[1:] != self.state[p])
        out = np.empty_like(alike[1:])
        np.put_along_axis(out, ranked, alike[1:] | alike[:-1], axis=0)
        return out


def _differing(state: Indices, weight: Array | None = None) -> Array:
    """In how many of the rows models differ, (n, n), each counted so many times.

    >>> _differing(np.array([[0, 0], [0, 1]]))
    array([[0., 1.],
           [1., 0.]])
    """
    few = state.astype(np.int32)
    if weight is None:
        return np.stack([np.count_nonzero(few != own, axis=1) for own in few]).astype(np.float64)
    return np.stack([(few != own) @ weight for own in few])


def _longer(gaps: Array) -> Indices:
    """How many rows of one matrix are longer, by logarithms (n, C), below 0 how many are shorter;
    none where they are not so evenly. (n,)

    >>> _longer(np.array([[0.1, 0.1, 0.0], [-0.1, -0.1, -0.1], [0.1, 0.2, 0.3]]))
    array([ 2, -3,  0])
    """
    changed = np.abs(gaps) > TOLERANCE
    many = changed.sum(axis=1, dtype=np.intp)
    mean = (gaps * changed).sum(axis=1) / np.maximum(many, 1)
    strays = np.abs(np.where(changed, gaps - mean[:, None], 0.0)).max(axis=1, initial=0.0)
    even = strays <= EVEN * np.abs(mean)
    return np.asarray(even * np.sign(mean) * many, dtype=np.intp)


@dataclass(frozen=True)
class Told:
    """What rows say of pairs of n models.

    rows: those looked at. apart (n, n): neither is the other's parent. shrunk (n, n): log-odds of
    the row being the column's parent.
    """

    rows: Rows
    apart: NDArray[np.bool_]
    shrunk: Array

    @classmethod
    def of(
        cls,
        rows: Rows,
        closer: Sequence[tuple[Indices, Rows]] = (),
        seed: int | None = None,
    ) -> Told:
        """closer: more rows, or rows known more precisely, of some of the models, (k,) their
        numbers; what they say of these goes before what was said till then. seed: of the error that
        numbers of rows are off by; None for none."""
        apart, shrunk = rows.replicate(seed).gone_round(), rows.shrunk.copy()
        for models, own in closer:
            pairs = np.ix_(models, models)
            apart[pairs] |= own.replicate(seed).gone_round()
            shrunk[pairs] = own.shrunk
        return cls(rows, apart, shrunk)

    def same(self, i: Indices, j: Indices) -> Array:
        """In how many rows, of those looked at, models do not differ, (E,)."""
        return np.asarray((self.rows.state[i] == self.rows.state[j]).sum(axis=1, dtype=np.float64))


def nothing_told(n: int) -> Told:
    """Of n models of which no rows were looked at."""
    return Told.of(Rows(np.zeros((n, 0), dtype=np.intp), np.ones((n, 0)), np.ones(n, dtype=bool)))
