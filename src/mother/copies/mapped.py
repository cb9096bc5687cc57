"""Copies in which each weight is a function of the original's: clipped, shrunk towards zero, raised
to a power, rounded to a few values, rows brought to a mean or a length.

A function that never falls keeps the order of a tensor's weights, or that of each of its rows or
columns. Training does not: what it adds to a weight knows little of how large that is, so wherever
it adds more than lies between one weight and the next the order is lost. The share of neighbours in
order that changed places says which it was, beside the share that would have if each weight got the
step of another.

The one in which several weights became one is the copy; where none did, which was first is open,
and the one that others are nearer to stands for both. Copies are leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Tensor
from mother.copies.duplicates import Duplicate, originals
from mother.copies.edited import projected
from mother.copies.nearer import ORIGINALS_TRIED, distances, nearer
from mother.evidence.kinship import kinship
from mother.evidence.ranks import unchanged
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix
from mother.measures.formats import COARSE, number_format, roundings
from mother.measures.shapes import as_matrix, spans
from mother.thresholds import ROUNDED_AGAIN, TRACE

Array = NDArray[np.float64]
KEPT_ROWS = 256  # matrices of which rows are held
WEIGHTS_OF_MATRIX = 1 << 12  # of a matrix that are looked at
TURNED_NEIGHBOURS = 64  # neighbours that the steps of others would turn, at least
FEWER = 8  # weights that became one, at least
FEWER_VALUES = 0.25  # of the original's different values, that one rounded to codes has at most


def find_mapped(
    group: Group, m: Measures, copies: Sequence[Duplicate], whole: Group | None = None
) -> list[Duplicate]:
    """Models of a group whose weights are a function of another one's. copies: those known before.
    whole: the same layers whole, where the group has windows of them."""
    n = len(group.checkpoints)
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    if n < 2 or not matrices.any():
        return []
    layers = [x for x in (whole or group).layers if is_matrix(x.shape)]
    taken = originals(whole or group, copies) >= 0
    found, related = list[Duplicate](), kinship(m) > 1
    part = m.over(matrices)
    same = unchanged(part, roundings(group))
    models = (whole or group).checkpoints
    rows = lru_cache(KEPT_ROWS)(some_rows)  # a model is near to several
    for i, k in near_pairs(m, ~taken, related):
        if taken[i] or taken[k]:
            continue
        moved = np.flatnonzero(part.two(i, k).squared_distance[:, 0, 1] > 0).tolist()
        if (pair := _Pair.of([layers[x] for x in moved], i, k, rows)) is None:
            continue
        kin = [x for x in range(n) if x not in (i, k) and related[x, i] and not taken[x]]
        first = next((o for o, x in ((i, k), (k, i)) if projected(part, o, x, same)), None)
        if pair.first is not None:
            first = (i, k)[pair.first]
        told = first is not None
        if first is None:
            first = nearer(m, matrices, i, k, kin)[0]
        original = i if first is None else first
        copy = i + k - original
        taken[copy] = True
        relation = pair.relation
        if relation == "converted" and not _rest_is(whole or group, original, copy):
            relation = "edited"
        both = models[original], models[copy]
        found.append(Duplicate(*both, relation, undirected=not told))
    return found


def near_pairs(
    m: Measures, of: NDArray[np.bool_], related: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Pairs of related models of which one is among the ORIGINALS_TRIED nearest of the other,
    nearest first. of: those that take part, (n,)."""
    apart = distances(m)
    apart[apart == 0] = np.inf
    near = {
        (min(k, o), max(k, o))
        for k in np.flatnonzero(of).tolist()
        for o in np.argsort(apart[k], kind="stable")[:ORIGINALS_TRIED].tolist()
        if of[o] and np.isfinite(apart[k, o]) and related[k, o]
    }
    return sorted(near, key=lambda pair: (float(apart[pair]), pair))


@dataclass(frozen=True)
class _Pair:
    """Two models of which one is a function of the other. first: which of the two is the original
    by what became one, 0 or 1; None where nothing did."""

    first: int | None
    relation: str

    @classmethod
    def of(
        cls, layers: Sequence[Layer], i: int, k: int, rows: Callable[[Tensor], Array]
    ) -> _Pair | None:
        """None where neither is a function of the other."""
        expected, one = 0, np.zeros(2, dtype=np.intp)
        differ = list[tuple[Array, Array]]()
        for a, b in both(layers, i, k, rows):
            if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
                return None
            if (a == b).all():
                continue
            if _rounded(a, b) or _pruned(a, b):
                (here, there), way = (0, int((a != b).sum())), (a.reshape(1, -1), b.reshape(1, -1))
            else:
                (here, there), way = _best_kept(a, b)
            if here > TRACE * there:
                return None
            expected += there
            one += _became_one(*way)
            differ.append((a, b))
        if expected < TURNED_NEIGHBOURS:
            return None
        few, many = sorted(one.tolist())
        # where weights became one in both, both are functions of a third
        first = None if many < FEWER or few >= FEWER else int(one.argmax())
        return cls(first, _relation(differ, 0 if first is None else first))


def _relation(differ: Sequence[tuple[Array, Array]], first: int) -> str:
    """What was done to the copy, by the matrices in which it differs."""
    pairs = [(pair[first], pair[1 - first]) for pair in differ]
    if all((b[a != b] == 0).all() for a, b in pairs):
        return "pruned"
    if all(number_format(b.astype(np.float32)) != np.float32 for _, b in pairs):
        return "converted"
    if all(len(np.unique(b)) <= FEWER_VALUES * len(np.unique(a)) for a, b in pairs):
        return "quantized"
    return "edited"


def _rest_is(group: Group, original: int, copy: int) -> bool:
    """Whether what is no matrix was rounded, too, and nothing is left over."""
    pair = {original, copy}
    rest = [x for x in group.layers if not is_matrix(x.shape) and pair & set(x.members)]
    if group.unaligned[original] or group.unaligned[copy]:
        return False
    return all(pair <= set(x.members) for x in rest) and all(
        np.array_equal(a, b) or _rounded(a, b) for a, b in both(rest, original, copy, some_rows)
    )


def both(
    layers: Sequence[Layer], i: int, k: int, rows: Callable[[Tensor], Array]
) -> Iterator[tuple[Array, Array]]:
    """Some rows of each layer that both have, (rows, columns). rows: `some_rows`, or one that keeps
    what was read."""
    for layer in layers:
        if {i, k} <= set(layer.members):
            pair = [layer.tensors[layer.members.index(x)] for x in (i, k)]
            yield rows(pair[0]), rows(pair[1])


def some_rows(tensor: Tensor) -> Array:
    """From the middle of a matrix, WEIGHTS_OF_MATRIX or a row at the least, (rows, columns)."""
    height, width = as_matrix(tensor.shape)
    rows = min(height, max(1, -(-WEIGHTS_OF_MATRIX // width)))
    start = (height - rows) // 2
    every = [tensor.read(*span) for span in spans(tensor.shape, range(start, start + rows))]
    return np.stack(every).astype(np.float64)


def _rounded(a: Array, b: Array) -> bool:
    """Whether one holds the other's weights as a coarser number type has them."""
    with np.errstate(over="ignore"):
        return any(
            np.array_equal(x.astype(np.float32).astype(kind).astype(np.float64), y)
            for x, y in ((a, b), (b, a))
            for kind in COARSE
        )


def _pruned(a: Array, b: Array) -> bool:
    """Whether one is the other without some weights."""
    differ = a != b
    return not (b[differ].any() and a[differ].any())


def turns(a: Array, b: Array) -> tuple[int, int]:
    """How many neighbours in the order of a are not in order in b, and how many would not be if
    steps were mixed; of all weights, or those of each row, or of each column: the least.

    >>> a = np.random.default_rng(0).standard_normal((20, 30))
    >>> turns(a, np.clip(a, -1, 1))[0], turns(a, a + 0.1 * a[::-1])[0] > 100
    (0, True)
    """
    return _best_kept(a, b)[0]


def _best_kept(a: Array, b: Array) -> tuple[tuple[int, int], tuple[Array, Array]]:
    """The same, and what keeps its order best: all weights as one row, the rows, or the columns."""
    ways = ((a.reshape(1, -1), b.reshape(1, -1)), (a, b), (a.T, b.T))
    # a single row, all that is looked at of a wide matrix, has no neighbours in its columns
    some = [way for way in ways if way[0].shape[1] > 1] or [ways[0]]
    turned = [_turns(*way) for way in some]
    share = [here / max(there, 1) for here, there in turned]
    best = share.index(min(share))
    return turned[best], some[best]


def _turns(a: Array, b: Array) -> tuple[int, int]:
    order = in_order(a)
    ordered, moved = (np.take_along_axis(x, order, axis=1) for x in (a, b))
    slack = ROUNDED_AGAIN * float(ml_dtypes.finfo(np.float32).eps) * np.abs(moved).max(initial=0.0)
    places, signs = _mixing(a.size)
    mixed = (b - a).reshape(-1)[places] * signs
    strict = np.diff(ordered, axis=1) > 0
    each = moved, ordered + mixed.reshape(a.shape)
    here, there = (int((strict & (np.diff(x, axis=1) < -slack)).sum()) for x in each)
    return here, there


def in_order(rows: Array) -> NDArray[np.intp]:
    """The places of each row's values in their order, (r, c), equal ones as they stand."""
    order = np.argsort(rows, axis=1)  # several times as fast as a stable one
    ordered = np.take_along_axis(rows, order, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        return np.argsort(rows, axis=1, kind="stable")
    return order


@lru_cache(maxsize=64)
def _mixing(size: int) -> tuple[NDArray[np.intp], Array]:
    """An order of so many steps, and signs of these, drawn at random."""
    draws = np.random.default_rng(0)
    return draws.permuted(np.arange(size)), draws.choice([-1.0, 1.0], size)


def _became_one(a: Array, b: Array) -> NDArray[np.intp]:
    """How many neighbours in order differ in one and are the same in the other: in the second, and
    in the first. Of rows (r, c)."""
    return np.array([_ties(b, a), _ties(a, b)], dtype=np.intp)


def _ties(one: Array, other: Array) -> int:
    """How many neighbours in the order of one are the same there, and not in the other."""
    order = np.lexsort((other, one), axis=1)
    same, differ = (np.diff(np.take_along_axis(x, order, axis=1), axis=1) for x in (one, other))
    return int(((same == 0) & (differ != 0)).sum())
