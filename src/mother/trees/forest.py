"""What a method finds among n models, before names are put to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mother.evidence.kinds import Claim
from mother.measures.products import Array, Indices


@dataclass(frozen=True)
class Hidden:
    """A common ancestor that is not among the models; `parent` is what it hangs from, or -1."""

    children: tuple[int, ...]
    parent: int
    polarity: float

    def renumbered(self, index: Indices) -> Hidden:
        """The same where model k is called index[k]."""
        parent = int(index[self.parent]) if self.parent >= 0 else -1
        return Hidden(tuple(int(index[c]) for c in self.children), parent, self.polarity)


_FIGURES = (
    "distance",
    "polarity",
    "direction",
    "joined",
    "support",
    "odds",
    "turn",
    "rival_factor",
)


def _figures() -> Array:
    return np.zeros(0)


@dataclass(frozen=True)
class Forest:
    """Parents (n,), -1 for a root and for a child of a hidden ancestor, with figures per model's
    own edge, (n,): NaN where there is no edge or no figure.

    direction: probability that the edge points the right way, if one of the two was made from the
    other, and joined: that it was. odds: log-odds of that from the
    two models alone. claims: what kinds of evidence say of it, beside the layers' own. turn:
    cosine of the edge with the one above it. rival: the next best parent, -1 if none, and
    rival_factor: how many times as dear it is.
    """

    parents: Indices
    hidden: tuple[Hidden, ...] = ()
    distance: Array = field(default_factory=_figures)
    polarity: Array = field(default_factory=_figures)
    direction: Array = field(default_factory=_figures)
    joined: Array = field(default_factory=_figures)
    support: Array = field(default_factory=_figures)
    odds: Array = field(default_factory=_figures)
    turn: Array = field(default_factory=_figures)
    rival: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    rival_factor: Array = field(default_factory=_figures)
    claims: list[tuple[Claim, ...]] = field(default_factory=list)

    def place(self, part: Forest, members: Indices) -> None:
        """Write in what was found among some of the models."""
        for name in ("parents", "rival"):
            there, here = getattr(part, name), getattr(self, name)
            here[members] = np.where(there >= 0, members[there], -1)
        for name in _FIGURES:
            getattr(self, name)[members] = getattr(part, name)
        for member, claims in zip(members.tolist(), part.claims, strict=True):
            self.claims[member] = claims

    def labels(self) -> Indices:
        """The tree each model belongs to, (n,), numbered by first member.

        >>> Forest(np.array([-1, 0, -1, -1]), (Hidden((2, 3), -1, 0.5),)).labels()
        array([0, 0, 1, 1])
        """
        joined = list(range(len(self.parents)))

        def top(i: int) -> int:
            while joined[i] != i:
                joined[i] = joined[joined[i]]
                i = joined[i]
            return i

        for child, parent in enumerate(self.parents):
            if parent >= 0:
                joined[top(child)] = top(int(parent))
        for h in self.hidden:
            for child in (*h.children[1:], *((h.parent,) if h.parent >= 0 else ())):
                joined[top(child)] = top(h.children[0])
        _, first, labels = np.unique(
            [top(i) for i in range(len(joined))], return_index=True, return_inverse=True
        )
        return np.argsort(np.argsort(first))[labels].astype(np.intp)


def no_edges(n: int) -> Forest:
    """n trees of one model each.

    >>> no_edges(2).labels()
    array([0, 1])
    """

    def nothing() -> Array:
        return np.full(n, np.nan)

    return Forest(
        np.full(n, -1, dtype=np.intp),
        distance=nothing(),
        polarity=nothing(),
        direction=nothing(),
        joined=nothing(),
        support=nothing(),
        odds=nothing(),
        turn=nothing(),
        rival=np.full(n, -1, dtype=np.intp),
        rival_factor=nothing(),
        claims=[()] * n,
    )
