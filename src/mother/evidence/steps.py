"""Models that hold a part of the step from one model to another, and nothing else: its largest
weights, its largest singular values (a LoRA that was extracted and merged again), some of its rows.

A part that a projection leaves, t - o = P (s - o), has a right angle to what it leaves out:

    <t - o, s - t> = 0, exactly, in every matrix,

where trainings leave a cosine of chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mother.evidence.sums import SEEN_APART, Products
from mother.thresholds import NEARLY_ALL

PROJECTED = 0.002  # of a cosine's chance, that a projection leaves at most
PROJECTED_LAYERS = 3  # in which it is one, at least


@dataclass(frozen=True)
class Part:
    """Model `child` holds a part of the step between two models, the parents."""

    child: int
    parents: tuple[int, int]


def projected(of: Products, t: int, near: Sequence[int]) -> Part | None:
    """Model t as what a projection left of a step between two of those `near`; None where it is
    none.

    >>> from mother.measures import Measures
    >>> rng = np.random.default_rng(0)
    >>> o, s = rng.standard_normal((3, 900)), rng.standard_normal((3, 900))
    >>> t = np.where(np.abs(s) > 1, o + s, o)
    >>> w = np.stack([o, o + s, t, o + s[::-1]])
    >>> gram = np.einsum("ila,jla->lij", w, w)
    >>> m = Measures(tuple("uvw"), ((30, 30),) * 3, np.full(3, 900), gram)
    >>> products = Products.of(m, np.zeros(4), np.arange(4))
    >>> projected(products, 2, [0, 1, 3]), projected(products, 0, [1, 2, 3])
    (Part(child=2, parents=(0, 1)), None)
    """
    g, norm = of.gram, of.gram[:, t, t]
    found: list[tuple[float, tuple[int, int]]] = []
    for o, s in combinations(sorted(near), 2):
        one = norm + g[:, o, o] - 2 * g[:, t, o]
        other = norm + g[:, s, s] - 2 * g[:, t, s]
        hidden = (of.noise[t] + of.noise[o] + of.noise[s]) * norm + 1e-15 * norm
        moved = (one > SEEN_APART * hidden) & (other > SEEN_APART * hidden)
        if moved.sum() < PROJECTED_LAYERS:
            continue
        angle = (g[:, t, s] - norm - g[:, o, s] + g[:, t, o])[moved]
        cosine = np.abs(angle) / np.sqrt(one[moved] * other[moved])
        strays = cosine * np.sqrt(of.sizes[moved])
        if (strays < PROJECTED).mean() >= NEARLY_ALL:
            found.append((float((one * of.weight).sum() + (other * of.weight).sum()), (o, s)))
    return Part(t, min(found)[1]) if found else None
