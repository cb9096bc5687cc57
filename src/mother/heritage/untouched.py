"""Rows of matrices that training did not touch, and what they say of who is whose parent.

Where nothing in the data reaches a row of a matrix, it has no gradient: tokens of an embedding that
never occur, layers that are frozen, weights that a step too small for their number format leaves.
Such a row stays as it was, bit for bit, or shrinks by weight decay and keeps its direction; one
that training touched never comes back to what it was. So rows are characters as phylogenetics knows
them (each state arises once: Kimura and Crow's infinite alleles, 1964), and they know nothing of
how far training went nor where to: neither steps that undo one another nor twins that two trainings
on the same data make can fool them.

The tree on which the fewest rows change is a minimum spanning tree on the numbers of rows in which
two models differ. No edge of such a tree can be gone round by a way of smaller steps (the cycle
property), which rules pairs out one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import squareform

from mother.checkpoints import Group, Layer
from mother.measures import as_matrix, is_matrix
from mother.measures.compression import SPARSE
from mother.measures.formats import rounding, roundings

Array = NDArray[np.float64]
LAYERS = 16  # matrices looked at: a quarter of them those with the most rows
ROWS = 512  # of each, evenly spread
COLUMNS = 64  # of each row, the first
PROBED = 16  # rows of each that are looked at first, for whether any are shared
TOLERANCE = 1e-5  # of a row's direction: rounding of a thousand shrinks is below it, a step above
ROUNDED = 2.4  # root mean squares of rounding by which rows differ at most for it
BACK = 0.0005  # of rows, where models were rounded, that two short steps move alike
ALIKE = 0.03  # of a row's direction: more than rounding to bfloat16 or to 8 bits takes
CLEAR = 2.0  # times as far apart as that are rows that differ; between, nothing is said of the row
UNCLEAR = 0.1  # of a matrix's rows that may be between
FEWEST = 3  # rows that show a shrink
SURELY = 4  # times as many, where models were rounded
EVEN = 0.05  # of a shrink, by which rows of one matrix stray from it at most
SHRUNK = 10.0  # log-odds of who shrank being the child: without a gradient nothing grows
DEVIATIONS = 3.0
BLOCK = 1 << 18  # numbers of rows that are worked on at once


@dataclass(frozen=True)
class Rows:
    """Rows of n models that some of them share.

    state  (n, C)  equal numbers where models hold the same row, but for its length
    length (n, C)  of the row, its norm
    told   (n,)    models that tell: those that were not pruned
    tolerance      by how much of its direction a row may differ and be the same
    first          of each matrix, in order, where its rows begin
    """

    state: NDArray[np.intp]
    length: Array
    told: NDArray[np.bool_]
    tolerance: float = TOLERANCE
    first: tuple[int, ...] = (0,)

    @classmethod
    def joined(
        cls,
        parts: Sequence[tuple[NDArray[np.intp], Array]],
        told: NDArray[np.bool_],
        tolerance: float,
    ) -> Rows:
        """State and length, (n, C) each, of matrices by matrix."""
        n = len(told)
        nothing = np.zeros((n, 0), dtype=np.intp), np.ones((n, 0))
        both = zip(nothing, *parts, strict=True)
        state, length = (np.concatenate(matrices, axis=1) for matrices in both)
        ends = np.cumsum([part.shape[1] for part, _ in parts]).tolist()
        return cls(state, length, told, tolerance, (0, *ends[:-1]))

    @cached_property
    def matrices(self) -> list[Rows]:
        """The rows of each matrix."""
        state = np.split(self.state, self.first[1:], axis=1)
        length = np.split(self.length, self.first[1:], axis=1)
        each = zip(state, length, strict=True)
        return [Rows(*matrix, self.told, self.tolerance) for matrix in each]

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
        apart = [_differing(one.state[told]) for one in self.matrices]
        each = zip(self.matrices, apart, strict=True)
        by_one = np.any([one._longer_than_round(rows) for one, rows in each], axis=0)
        by_all = self._longer_than_round(np.sum(apart, axis=0))
        out[np.ix_(told, told)] = by_one & by_all
        return out

    def _longer_than_round(self, apart: Array) -> NDArray[np.bool_]:
        """Pairs of the models that tell, `apart` rows from one another, as in `gone_round`."""
        joined = linkage(squareform(apart), "single")
        least = squareform(cophenet(joined))
        return self.fewer(apart, least, float(joined[:, 2].sum()))

    def fewer(self, apart: Array, least: Array, changes: float) -> NDArray[np.bool_]:
        """Where `least` rows are fewer than `apart` by more than what comes back by chance.
        changes: of the smallest tree."""
        needed = np.count_nonzero(np.diff(np.sort(self.state[self.told], axis=0), axis=0))
        back = max(BACK if self.coarse else 0.0, 1 - float(needed) / max(changes, 1.0))
        return np.asarray(apart >= least + 1 + DEVIATIONS * np.sqrt(back * apart))

    def shrunk(self) -> Array:
        """Log-odds of the row being the column's parent, (n, n), antisymmetric, from the rows that
        both hold but for their length: weight decay shrinks them, and nothing makes them grow.
        All of one matrix alike: what was scaled row by row, as by a norm that was folded into the
        matrix, says nothing.

        >>> rows = Rows(np.zeros((2, 3), int), np.array([[1.0] * 3, [0.99] * 3]), np.ones(2, bool))
        >>> rows.shrunk()
        array([[  0.,  10.],
               [-10.,   0.]])
        """
        every = np.arange(len(self.state))
        return np.stack([self.shrunk_of(np.full_like(every, i), every) for i in every])

    def shrunk_of(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Array:
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

    def inherited(self, parents: NDArray[np.intp]) -> NDArray[np.bool_]:
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

    def parts(self, p: int, models: NDArray[np.intp]) -> bool:
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

    def _shared(self, p: int, models: NDArray[np.intp]) -> NDArray[np.bool_]:
        """In which rows each of some models is as another one of them, and not as p, (k, C)."""
        ranked = np.argsort(self.state[models], axis=0, kind="stable")
        state = np.take_along_axis(self.state[models], ranked, axis=0)
        alike = np.zeros((len(models) + 1, state.shape[1]), dtype=bool)
        alike[1:-1] = (state[1:] == state[:-1]) & (state[1:] != self.state[p])
        out = np.empty_like(alike[1:])
        np.put_along_axis(out, ranked, alike[1:] | alike[:-1], axis=0)
        return out


def _differing(state: NDArray[np.intp]) -> Array:
    """In how many of the rows models differ, (n, n).

    >>> _differing(np.array([[0, 0], [0, 1]]))
    array([[0., 1.],
           [1., 0.]])
    """
    few = state.astype(np.int32)
    return np.stack([np.count_nonzero(few != own, axis=1) for own in few]).astype(np.float64)


def _longer(gaps: Array) -> NDArray[np.intp]:
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

    def same(self, i: NDArray[np.intp], j: NDArray[np.intp]) -> Array:
        """In how many rows, of those looked at, models do not differ, (E,)."""
        return np.asarray((self.rows.state[i] == self.rows.state[j]).sum(axis=1, dtype=np.float64))


def nothing_told(n: int) -> Told:
    """Of n models of which no rows were looked at."""
    rows = Rows(np.zeros((n, 0), dtype=np.intp), np.ones((n, 0)), np.ones(n, dtype=bool))
    return Told(rows, rows.gone_round(), rows.shrunk())


def told_by_rows(group: Group) -> Told:
    """Of a family: of all models, and where some were rounded, of the others by themselves, for
    their rows tell more."""
    rows = shared_rows(group)
    apart, shrunk = rows.gone_round(), rows.shrunk()
    precise = np.flatnonzero(roundings(group) < TOLERANCE)
    if rows.coarse and len(precise) > 1:
        own, pairs = shared_rows(group.among(precise.tolist())), np.ix_(precise, precise)
        apart[pairs] |= own.gone_round()
        shrunk[pairs] = own.shrunk()
    return Told(rows, apart, shrunk)


def shared_rows(group: Group) -> Rows:
    """The rows that some models of a family share, of LAYERS matrices that all have.

    Sketches are looked at as they are. Matrices of which no models share any of the first PROBED
    rows are left out.
    """
    n = len(group.checkpoints)
    layers = _picked([layer for layer in group.layers if len(layer.members) == n])
    parts, most, zeros = list[tuple[NDArray[np.intp], Array]](), TOLERANCE, np.zeros(n)
    for layer in layers:
        probed = _values(layer, PROBED)
        zeros += (probed == 0).mean(axis=(1, 2)) if probed.size else 0.0
        if not _alike(probed, ALIKE):
            continue
        tolerance = max(TOLERANCE, *(ROUNDED * rounding(tensor) for tensor in layer.tensors))
        most = max(most, tolerance)
        if same_rows(probed, tolerance)[0].size:
            parts.append(same_rows(_values(layer, ROWS), tolerance))
    return Rows.joined(parts, zeros <= SPARSE * len(layers), most)


def _picked(layers: Sequence[Layer]) -> list[Layer]:
    """LAYERS of the matrices whose rows can be compared."""
    matrices = [layer for layer in layers if _comparable(layer)]
    return [matrices[k] for k in picked([as_matrix(x.tensors[0].shape)[0] for x in matrices])]


def picked(rows: Sequence[int]) -> list[int]:
    """Which of some matrices are looked at, by their numbers of rows: a quarter of LAYERS those
    with the most, then others evenly spread.

    >>> picked([4, 4, 9])
    [2, 0, 1]
    """
    by_rows = sorted(range(len(rows)), key=lambda k: -rows[k])
    most, others = by_rows[: LAYERS // 4], sorted(by_rows[LAYERS // 4 :])
    spread = np.linspace(0, len(others) - 1, LAYERS - len(most)).astype(int).tolist()
    return [*most, *(others[k] for k in dict.fromkeys(spread) if others)]


def _comparable(layer: Layer) -> bool:
    shape, *others = {tensor.shape for tensor in layer.tensors}
    return not others and is_matrix(shape) and as_matrix(shape)[1] >= COLUMNS // 16


def _values(layer: Layer, count: int) -> NDArray[np.float32]:
    """The first columns of some of the rows, (n, rows, columns), those that are numbers and not
    all one number in every model."""
    height, width = as_matrix(layer.tensors[0].shape)
    rows = np.unique(np.linspace(0, height - 1, min(height, count)).astype(int))
    columns = min(width, COLUMNS)
    out = np.empty((len(layer.tensors), len(rows), columns), dtype=np.float32)
    for member, tensor in zip(layer.members, layer.tensors, strict=True):
        out[member] = tensor.read().reshape(height, width)[rows, :columns]
    return varied(out)


def varied(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of rows, (n, rows, columns), those that are numbers and not all one number in any model."""
    told = np.isfinite(values).all(axis=(0, 2)) & (np.ptp(values, axis=2) > 0).all(axis=0)
    return values[:, told]


def same_rows(values: NDArray[np.float32], tolerance: float) -> tuple[NDArray[np.intp], Array]:
    """State and length of the rows of one matrix that some models share, (n, C) each; none where
    steps are so short that many rows are neither surely the same nor surely not."""
    several = max(1, BLOCK // (len(values) * values.shape[2]))
    blocks = [
        _states(values[:, at : at + several], tolerance)
        for at in range(0, values.shape[1], several)
    ]
    if not blocks:
        return np.zeros((len(values), 0), dtype=np.intp), np.ones((len(values), 0))
    state, length, clear = (np.concatenate(part, axis=-1) for part in zip(*blocks, strict=True))
    shared = clear & (state.max(axis=0) + 1 < len(values))
    shared &= clear.sum() >= (1 - UNCLEAR) * len(clear)
    return state[:, shared], length[:, shared]


def _alike(values: NDArray[np.float32], tolerance: float) -> bool:
    """Whether some models hold the same of any row, so far as that is told."""
    return bool(values.size) and bool(
        (_states(values, tolerance)[0].max(axis=0) + 1 < len(values)).any()
    )


def _states(
    values: NDArray[np.float32], tolerance: float
) -> tuple[NDArray[np.intp], Array, NDArray[np.bool_]]:
    """State and length of rows, (n, rows) each, and whether models surely hold the same of them, or
    surely not, (rows,)."""
    wide = values.astype(np.float64)
    length = np.linalg.norm(wide, axis=2)
    unit = wide / length[:, :, None]
    first = np.abs(unit).mean(axis=0).argmax(axis=1)
    key = np.take_along_axis(unit, first[None, :, None], axis=2)[:, :, 0]
    order = np.argsort(key, axis=0, kind="stable")
    ordered = np.take_along_axis(unit, order[:, :, None], axis=0)
    gap = np.linalg.norm(np.diff(ordered, axis=0), axis=2)
    new = gap > tolerance
    ranked = np.concatenate([np.zeros((1, new.shape[1]), dtype=np.intp), new.cumsum(axis=0)])
    state = np.empty_like(ranked)
    np.put_along_axis(state, order, ranked, axis=0)
    return state, length, ~(new & (gap < CLEAR * tolerance)).any(axis=0)
