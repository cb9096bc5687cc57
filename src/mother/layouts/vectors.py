"""Which vectors of two models in unlike layouts are the same, once their matrices are known."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mother.checkpoints import Tensor
from mother.checkpoints.tensor import Array
from mother.layouts.rows import RowMap, Source
from mother.layouts.unfolding import Unfolding

#: correlation of a vector with its counterpart, or standard errors of it if these are less; how far
#: behind all others are, or how many times as far from 1
_ALIKE, _TOLD, _AHEAD, _CLOSER = 0.9, 6.0, 0.05, 4.0


def vectors_of(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], found: Mapping[str, RowMap]
) -> dict[str, RowMap]:
    """Where the vectors lie: beside the matrix that they belong to, by name, else the one that is
    alike and no other is."""
    beside = {_stem(name): rowmap for name, rowmap in found.items()}
    flat: dict[str, list[str]] = defaultdict(list)
    for name, tensor in theirs.items():
        if _is_vector(tensor):
            flat[_stem(name)].append(name)
    mapped: dict[str, RowMap] = {}
    left: dict[int, list[str]] = defaultdict(list)
    for name, tensor in ours.items():
        if not _is_vector(tensor):
            continue
        rowmap = _of_its_matrix(tensor, beside.get(_stem(name)), flat, theirs)
        if rowmap is None:
            left[tensor.size].append(name)
        else:
            mapped[name] = rowmap
    taken = {source.name for rowmap in mapped.values() for source in rowmap.sources}
    for size, names in left.items():
        free = [n for each in flat.values() for n in each if theirs[n].size == size]
        pairs = _alike(
            {n: ours[n].read().astype(np.float64) for n in names},
            {n: theirs[n].read().astype(np.float64) for n in free if n not in taken},
        )
        for name, other in pairs.items():
            mapped[name] = RowMap((_whole(other, size),), np.zeros(size, int), np.arange(size))
    return mapped


def _is_vector(tensor: Tensor) -> bool:
    return tensor.size > 1 and max(tensor.shape) == tensor.size


def _stem(name: str) -> str:
    """A tensor's name without its last component: that of its module."""
    return name[: max(name.rfind("."), name.rfind("/"), 0)]


def _whole(name: str, size: int) -> Source:
    return Source(name, Unfolding((size, 1), (0, 1)))


def _of_its_matrix(
    tensor: Tensor,
    matrix: RowMap | None,
    flat: Mapping[str, Sequence[str]],
    theirs: Mapping[str, Tensor],
) -> RowMap | None:
    """A vector's place where the matrix of its module was found, and each module that this lies in
    holds one vector of as many places."""
    if matrix is None or len(matrix.row) != tensor.size:
        return None
    sources = []
    for source in matrix.sources:
        many = source.unfolding.rows
        beside = [n for n in flat.get(_stem(source.name), ()) if theirs[n].size == many]
        if len(beside) != 1:
            return None
        sources.append(_whole(beside[0], many))
    return RowMap(tuple(sources), matrix.which, matrix.row)


def _alike(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, str]:
    """Vectors of one size and those that they are, by name: equal ones, then those of which each is
    the other's likest, where no other is nearly so.

    >>> draw = np.random.default_rng(0).normal(size=(3, 400))
    >>> ours = {"a": draw[0], "b": draw[1], "ones": np.ones(400)}
    >>> _alike(ours, {"c": draw[1] + draw[2] / 2, "d": np.ones(400), "e": draw[2]})
    {'ones': 'd', 'b': 'c'}
    """
    found: dict[str, str] = {}
    held: dict[bytes, list[str]] = defaultdict(list)
    for name, values in theirs.items():
        held[values.tobytes()].append(name)
    for name, values in ours.items():
        if equal := held[values.tobytes()]:
            found[name] = equal.pop(0)
    own, other = (
        [n for n in side if n not in {*found, *found.values()}] for side in (ours, theirs)
    )
    if not own or not other:
        return found
    cosines = (
        np.stack([_centred(ours[n]) for n in own])
        @ np.stack([_centred(theirs[n]) for n in other]).T
    )
    noise = 1 / math.sqrt(len(ours[own[0]]))
    for k, m in zip(*np.nonzero(cosines >= min(_ALIKE, _TOLD * noise)), strict=True):
        best, rest = cosines[k, m], [*np.delete(cosines[k], m), *np.delete(cosines[:, m], k)]
        second = max(rest, default=-1.0)
        if best - second >= max(_AHEAD, 2 * noise) or (
            best >= _ALIKE and _CLOSER * (1 - best) <= 1 - second
        ):
            found[own[k]] = other[m]
    return found


def _centred(values: Array) -> Array:
    with np.errstate(all="ignore"):
        values = values - values.mean()
        norm = float(np.linalg.norm(values))
    centred: Array = values / norm if 0 < norm < np.inf else np.zeros_like(values)
    return centred
