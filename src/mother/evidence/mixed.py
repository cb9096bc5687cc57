"""Models that hold of two others what these don't hold of each other: no tree has a place for them.

Of a start o and what was trained from it, the length that two ways from o share is

    s(x, y) = <x - o, y - o>, without what lies along o, for models shrink,

and on a tree the least two of s(x, a), s(x, b) and s(a, b) are equal (the four-point condition;
Buneman 1974). What was put together from a and b weight by weight, and rounded so coarsely
that multiples of steps tell nothing, has more in common with both than they have with each other.
What goes the way that all trainings go has so, too; but of what was put together some weights are
as they were, see `left_alone`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.evidence.sums import Products
from mother.thresholds import LITTLE, MOST

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
KIN_MIXED = 12  # of a model, among which a start and two parents are looked for
TOO_MUCH = 0.15  # of the shorter of two steps, that a model has in common with both beyond a tree
OF_EACH = 0.3  # shares of the two steps in what comes nearest to a model, at least
OF_OTHER = 0.4  # of the larger share, that the smaller one is at least
WHOLLY = 1.1  # the larger share, up to which a model was not trained on from that step


@dataclass(frozen=True)
class Mixed:
    """parents: those of whose steps from the start a model has too much."""

    child: int
    parents: tuple[int, int]
    start: int
    excess: float


def mixed(of: Products, t: int, near: Sequence[int], some: Sequence[int]) -> Mixed | None:
    """Of a model and those near to it, the start and the parents of whose steps it has most beyond
    a tree; None where a tree has a place for it. some: those of which one is among these three.

    >>> from mother.measures import Measures
    >>> x = np.random.default_rng(0).standard_normal((5, 20000))
    >>> keep = np.random.default_rng(1).random((2, 20000)) < 0.5
    >>> base, a, b = x[0], x[0] + 0.1 * x[1], x[0] + 0.1 * x[2]
    >>> dare = base + 0.1 * keep[0] * x[1] + 0.1 * keep[1] * x[2]
    >>> w = np.stack([base, a, b, dare, a + 0.1 * x[4]])
    >>> m = Measures(("u",), ((100, 200),), np.array([20000]), (w @ w.T)[None])
    >>> of = Products.of(m, np.zeros(5), np.arange(5))
    >>> mixed(of, 3, [0, 1, 2, 4], [0]).parents, mixed(of, 4, [0, 1, 2], [0])
    ((1, 2), None)
    """
    k = np.array([t, *near])
    inner = of.total[np.ix_(k, k)].copy()
    inner[0, 0] -= of.noise[t] * inner[0, 0]  # what rounding added to it is nobody's
    best: Mixed | None = None
    for o in range(1, len(k)):
        if not _holds(inner, o, 0):
            continue
        s = inner - np.outer(inner[o], inner[o]) / inner[o, o]  # what o shrank by aside
        after = [i for i in range(1, len(k)) if i != o and s[i, i] > 0 and _holds(inner, o, i)]
        for i, a in enumerate(after):
            for b in after[i + 1 :]:
                if not {int(k[o]), int(k[a]), int(k[b])}.intersection(some):
                    continue
                excess = _excess(s[np.ix_([0, a, b], [0, a, b])])
                if excess > max(TOO_MUCH, best.excess if best else 0.0):
                    trio = np.array([k[a], k[b], k[o]])
                    if not _of_both(s, a, b) or not _evenly(of, t, trio):
                        continue
                    best = Mixed(t, (int(k[a]), int(k[b])), int(k[o]), excess)
    return best


def _holds(inner: Array, o: int, c: int) -> bool:
    """Whether c holds all of o or more, see `Products.polarity`: norms may grow."""
    squared = inner[o, o] + inner[c, c] - 2 * inner[o, c]
    return bool(inner[o, o] - inner[o, c] < 2 * LITTLE * squared)


def _of_both(s: Array, a: int, b: int) -> bool:
    shares: Array = np.linalg.solve(s[np.ix_([a, b], [a, b])], s[[a, b], 0]).astype(np.float64)
    return _alike(shares)


def _evenly(of: Products, t: int, trio: Indices) -> bool:
    """Whether that is so of the mean over layers, too."""
    shares, _, _ = of.solved(t, trio)
    norm = of.weight * of.gram[:, t, t]
    whole: Array = norm @ shares / norm.sum()
    return _alike(whole[:2])


def _alike(shares: Array) -> bool:
    """Whether what comes nearest to a model is a sum of two steps of the same order, and of no more
    than all of one. shares: (2,) of these."""
    return bool(max(OF_EACH, OF_OTHER * shares.max()) < shares.min() and shares.max() < WHOLLY)


def _excess(s: Array) -> float:
    """How much of the shorter of two steps a model has beyond what a tree and kin's common way
    allow. s: (3, 3) what it, a and b share of their ways from the start."""
    apart = s[1, 2] / np.sqrt(s[1, 1] * s[2, 2])
    if not -LITTLE < apart < MOST + LITTLE:  # points of one run, or of one branch
        return 0.0
    more = min(s[0, 1], s[0, 2]) - s[1, 2]
    return float(more / min(s[1, 1], s[2, 2]))
