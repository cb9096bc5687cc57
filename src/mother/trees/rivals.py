"""Who else may be a model's parent: those about as near to it, nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mother.measures.clustering import children_of
from mother.measures.products import Array, Bools, Indices

Pairs = tuple[Indices, Indices]


@dataclass(frozen=True)
class Candidates:
    """Who may be whose parent, of n models. nearest: by model, nearest first. lengths: of the ways
    to them, squared."""

    nearest: Sequence[Sequence[int]]
    lengths: Sequence[Sequence[float]]

    @classmethod
    def among(
        cls, n: int, pairs: Pairs, lengths: Array, possible: Bools, most: int | None = None
    ) -> Candidates:
        """Of pairs, (E,), those that are `possible`; at most so many of each model.

        >>> i, j = np.triu_indices(3, 1)
        >>> Candidates.among(3, (i, j), np.array([1.0, 9.0, 4.0]), np.ones(3, bool)).nearest
        [[1, 2], [0, 2], [1, 0]]
        """
        i, j = (side[possible] for side in pairs)
        here, there = np.concatenate([i, j]), np.concatenate([j, i])
        far = np.tile(lengths[possible], 2)
        order = np.lexsort((there, far, here))
        ends = pairwise(np.searchsorted(here[order], np.arange(n + 1)).tolist())
        ranked, sorted_ = there[order].tolist(), far[order].tolist()
        spans = [slice(a, b if most is None else min(b, a + most)) for a, b in ends]
        return cls([ranked[span] for span in spans], [sorted_[span] for span in spans])


def rivals(
    parents: Indices, own: Array, among: Candidates, most: int | None = None
) -> tuple[Indices, Array]:
    """Each model's next best parent, of the nearest `most` that don't descend from it, -1 if none,
    and how many times as far it is, NaN if none; both (n,).

    own: (n,) squared lengths of the ways to `parents`.

    >>> pairs, lengths = np.triu_indices(3, 1), np.array([1.0, 9.0, 4.0])
    >>> among = Candidates.among(3, pairs, lengths, np.ones(3, bool))
    >>> rivals(np.array([-1, 0, 1]), np.array([np.nan, 1.0, 4.0]), among)
    (array([-1, -1,  0]), array([ nan,  nan, 2.25]))
    """
    rival, factor = np.full(len(parents), -1, dtype=np.intp), np.full(len(parents), np.nan)
    below = children_of(parents)
    for c, p in enumerate(parents.tolist()):
        if p < 0:
            continue
        descended: set[int] | None = None
        for q, length in list(zip(among.nearest[c], among.lengths[c], strict=True))[:most]:
            if q == p:
                continue
            descended = _below(c, below) if descended is None else descended
            if q not in descended:
                rival[c] = q
                factor[c] = length / own[c] if own[c] > 0 else np.inf
                break
    return rival, factor


def _below(c: int, below: Sequence[Indices]) -> set[int]:
    """c and its descendants."""
    found = [c]
    for v in found:
        found += below[v].tolist()
    return set(found)
