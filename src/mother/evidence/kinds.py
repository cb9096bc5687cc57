"""Kinds of evidence: one file each, and one line that registers it.

A kind is asked once about each family, and answers with what it says of pairs of its models. The
engine adds up log-odds, leaves out what is excluded, and knows nothing else of kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mother.evidence.family import Family
from mother.measures.products import Array, Bools, Indices

#: those about as near to a model as its parent, by its number
Near = Callable[[int], Sequence[int]]


class Claim(NamedTuple):
    """What one kind of evidence says of one edge: log-odds of its direction, and a sentence."""

    kind: str
    log_odds: float
    says: str


class Evidence:
    """What one kind of evidence says of a family of n models: nothing, unless told otherwise.

    overruled: whether what a model holds of a step in all layers goes before what is excluded.
    """

    overruled = False

    def excluded(self, i: Indices, j: Indices) -> Bools:
        """Pairs of which neither is the other's parent, (E,). Asked once, of all candidates."""
        return np.zeros(len(i), dtype=bool)

    def log_odds(self, i: Indices, j: Indices) -> Array:
        """Of i being the parent of j rather than its child, (E,); antisymmetric."""
        return np.zeros(len(i))

    def objections(self, parents: Indices, near: Near, *, doubting: bool = False) -> Bools:
        """Models whose edge in a tree is none, (n,): what is too dear to be asked of all pairs.

        parents: (n,), -1 at a root. doubting: those, too, of which it may be so.
        """
        return np.zeros(len(parents), dtype=bool)

    def descended(self, parents: Indices) -> Bools:
        """Models that are surely no siblings of their parent, (n,)."""
        return np.zeros(len(parents), dtype=bool)

    def between(self, p: int, models: Indices) -> bool:
        """Whether model p surely lies between every two of some models, (k,)."""
        return False

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        """Of each edge, what is said of its direction, in log-odds and in a sentence; None where
        there is nothing to say. (E,)"""
        return [None] * len(p)


@dataclass(frozen=True)
class Kind:
    """A kind of evidence. of: what it says of a family; None where it can say nothing."""

    name: str
    reference: str
    of: Callable[[Family], Evidence | None]
