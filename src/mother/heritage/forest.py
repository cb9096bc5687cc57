"""What a method finds among n models, before names are put to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hidden:
    """A common ancestor that is not among the models; `parent` is what it hangs from, or -1."""

    children: tuple[int, ...]
    parent: int
    polarity: float

    def renumbered(self, index: NDArray[np.intp]) -> Hidden:
        """The same where model k is called index[k]."""
        parent = int(index[self.parent]) if self.parent >= 0 else -1
        return Hidden(tuple(int(index[c]) for c in self.children), parent, self.polarity)


@dataclass(frozen=True)
class Forest:
    """Parents (n,), -1 for a root and for a child of a hidden ancestor, with figures per model's
    own edge: NaN where there is no edge or no figure. direction: probability that it points the
    right way."""

    parents: NDArray[np.intp]
    hidden: tuple[Hidden, ...] = ()
    distance: Array = field(default_factory=lambda: np.zeros(0))
    polarity: Array = field(default_factory=lambda: np.zeros(0))
    direction: Array = field(default_factory=lambda: np.zeros(0))
    support: Array = field(default_factory=lambda: np.zeros(0))

    def labels(self) -> NDArray[np.intp]:
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
    figures = (np.full(n, np.nan) for _ in range(4))
    return Forest(np.full(n, -1, dtype=np.intp), (), *figures)
