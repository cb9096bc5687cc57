"""Which rows of one model are which rows of another, by their content alone.

A row of a weight matrix keeps its direction when a model is trained on, renamed, fused, split or
transposed: the best cosine of a row among all rows of its parent is 1.000, of a sibling .998, of a
stranger what chance gives. So rows are matched one by one, and a tensor is found again where
nearly all of its rows are.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints import Tensor
from mother.checkpoints.tensor import Array
from mother.layouts.unfolding import Unfolding, unfoldings
from mother.thresholds import TRACE

#: elements of a row that are looked at, the first ones
ROW_ELEMENTS = 256
#: rows of a tensor that are looked for at first, and the share of all its rows that must be found
ROWS_FIRST, ROWS_FOUND = 8, 0.95
#: rows shorter than this agree by chance
MIN_WIDTH = 8
#: products of rows that one tensor may take
MAX_PRODUCTS = 1 << 31
_LEAST, _ABOVE_CHANCE, _MOST = 0.5, 1.3, 0.9
_BLOCK = 1 << 12


@dataclass(frozen=True)
class Source:
    """A tensor of the other model, seen as a matrix."""

    name: str
    unfolding: Unfolding


@dataclass(frozen=True)
class RowMap:
    """Where each row of a tensor lies in another model: in which of the sources, and which row."""

    sources: tuple[Source, ...]
    which: Array
    row: Array


def least_cosine(width: int, many: int) -> float:
    """A cosine that the best of so many random rows of that width does not reach.

    >>> round(least_cosine(256, 1000), 2), least_cosine(8, 1000)
    (0.5, 0.9)
    """
    chance = math.sqrt(2 * math.log(max(many, 2)) / max(width, 1))
    return min(max(_LEAST, _ABOVE_CHANCE * chance), _MOST)


def match_rows(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], only: Sequence[str] | None = None
) -> dict[str, RowMap]:
    """For tensors of `ours`, seen as they are stored, where their rows lie in `theirs`.

    only: the names of those that are looked for. Tensors of one axis are left out, and those of
    which not nearly all rows are found, each of them once. Reads all weights of `theirs` whose rows
    are as long, one tensor at a time.
    """
    names = list(ours) if only is None else list(only)
    wanted = {name: own for name in names if (own := _as_stored(ours[name])) is not None}
    found = {}
    with np.errstate(all="ignore"):  # weights that are no numbers are found nowhere
        hits = _first_look(ours, wanted, theirs)
        for name, own in wanted.items():
            if name in hits and (rowmap := _in_full(ours[name], own, theirs, hits[name])):
                found[name] = rowmap
    return found


def _as_stored(tensor: Tensor) -> Unfolding | None:
    if not tensor.is_weight or not tensor.size:
        return None
    ways = unfoldings(tensor.shape)
    return ways[0] if ways and ways[0].length >= MIN_WIDTH else None


def _first_look(
    ours: Mapping[str, Tensor], wanted: Mapping[str, Unfolding], theirs: Mapping[str, Tensor]
) -> dict[str, tuple[Source, ...]]:
    """The sources in which the sampled rows of each wanted tensor are found."""
    owners: dict[int, list[str]] = defaultdict(list)
    samples: dict[int, list[Array]] = defaultdict(list)
    for name, own in wanted.items():
        places = np.unique(np.linspace(0, own.rows - 1, ROWS_FIRST).astype(int))
        width = min(own.length, ROW_ELEMENTS)
        starts = (place * own.length for place in places.tolist())
        some = _directions(np.stack([ours[name].read(at, at + width) for at in starts]))
        told = some[some.any(axis=1)]
        if len(told):
            owners[own.length] += [name] * len(told)
            samples[own.length] += [*told]
    stacked = {length: np.stack(each) for length, each in samples.items()}
    best = {length: np.zeros(len(each)) for length, each in stacked.items()}
    where: dict[int, list[Source | None]] = {n: [None] * len(e) for n, e in stacked.items()}
    for source, matrix in _matrices(theirs, set(stacked)):
        length = source.unfolding.length
        cosines = stacked[length] @ matrix.T
        least = least_cosine(matrix.shape[1], matrix.shape[0])
        top = cosines.max(axis=1)
        for k in np.flatnonzero((top > best[length]) & (top >= least)).tolist():
            best[length][k], where[length][k] = top[k], source
    votes: dict[str, list[Source | None]] = defaultdict(list)
    for length, names in owners.items():
        for name, voted in zip(names, where[length], strict=True):
            votes[name].append(voted)
    return {
        name: tuple(dict.fromkeys(each for each in cast if each is not None))
        for name, cast in votes.items()
        if 4 * sum(each is not None for each in cast) >= 3 * len(cast)
    }


def _matrices(theirs: Mapping[str, Tensor], lengths: set[int]) -> Iterator[tuple[Source, Array]]:
    """All matrices that the tensors can be seen as with rows of these lengths, their first
    elements, of norm 1."""
    for name, tensor in theirs.items():
        ways = [u for u in unfoldings(tensor.shape) if u.length in lengths]
        if not ways or not tensor.is_weight:
            continue
        values = tensor.read()
        for way in ways:
            yield Source(name, way), _directions(way.of(values))


def _directions(matrix: Array) -> Array:
    """The first elements of rows, of norm 1; zeros of those that tell nothing: constant ones, and
    those next to nothing beside the longest, as decay leaves units that died.

    >>> _directions(np.array([[3.0, 4.0], [1.0, 1.0], [1e-30, 2e-30]])).round(1)
    array([[0.6, 0.8],
           [0. , 0. ],
           [0. , 0. ]], dtype=float32)
    """
    part = matrix[:, :ROW_ELEMENTS].astype(np.float32)
    norms = np.linalg.norm(part, axis=1, keepdims=True)
    norms[~np.isfinite(norms)] = 0
    told = (np.ptp(part, axis=1, keepdims=True) > 0) & (norms > TRACE * norms.max(initial=0.0))
    directions: Array = np.where(told, part / np.where(norms > 0, norms, 1), np.float32(0))
    return directions


def _in_full(
    tensor: Tensor, own: Unfolding, theirs: Mapping[str, Tensor], sources: tuple[Source, ...]
) -> RowMap | None:
    """Where all rows lie, if nearly all of them are found, each of theirs for one of ours."""
    rows = _directions(own.of(tensor.read()))
    held = [_directions(s.unfolding.of(theirs[s.name].read())) for s in sources]
    least = max(least_cosine(rows.shape[1], len(each)) for each in held)
    for k, matrix in enumerate(held):
        # first whether they lie as they do here
        if len(matrix) == len(rows):
            along = np.einsum("ij,ij->i", rows, matrix)
            silent = ~rows.any(axis=1)
            if ((along >= least) | silent).mean() >= ROWS_FOUND:
                return RowMap((sources[k],), np.zeros(len(rows), int), np.arange(len(rows)))
    many = sum(map(len, held))
    if many * len(rows) > MAX_PRODUCTS:
        return None
    which = np.concatenate([np.full(len(each), k) for k, each in enumerate(held)])
    row = np.concatenate([np.arange(len(each)) for each in held])
    pile = np.concatenate(held)
    best, top = np.zeros(len(rows), int), np.zeros(len(rows))
    for start in range(0, len(rows), _BLOCK):
        cosines = rows[start : start + _BLOCK] @ pile.T
        best[start : start + _BLOCK] = cosines.argmax(axis=1)
        top[start : start + _BLOCK] = cosines.max(axis=1)
    sure = top >= least
    if sure.mean() < ROWS_FOUND or len(np.unique(best[sure])) < ROWS_FOUND * sure.sum():
        return None
    whole = _filled(best, sure, len(pile))
    return None if whole is None else RowMap(sources, which[whole], row[whole])


def _filled(best: Array, sure: Array, many: int) -> Array | None:
    """The map with rows that were not found, or found twice, where their neighbours tell."""
    best = best.copy()
    _, first = np.unique(best, return_index=True)
    known = np.zeros(len(best), bool)
    known[first] = True
    known &= sure
    taken = set(best[known].tolist())
    for k in np.flatnonzero(~known).tolist():
        before = best[k - 1] + 1 if k else best[k + 1] - 1 if len(best) > 1 else 0
        if before in taken or not 0 <= before < many:
            free = next((n for n in range(many) if n not in taken), None)
            if free is None:
                return None
            before = free
        best[k] = before
        taken.add(int(before))
    return best
