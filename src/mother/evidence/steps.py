"""Models that hold a part of the step from one model to another, and nothing else: its largest
weights, its largest singular values (a LoRA that was extracted and merged again), some of its rows,
its signs, or as much of each weight as a limit lets pass.

A part that a projection leaves, t - o = P (s - o), has a right angle to what it leaves out:

    <t - o, s - t> = 0, exactly, in every matrix,

where trainings leave a cosine of chance. And where each weight's step is a function of the other's,
one that never falls, the order of steps is kept, which no training does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from mother.evidence.sums import SEEN, Products

Array = NDArray[np.float64]
EXACT = 0.002  # of a cosine's chance, that a projection leaves at most
LAYERS = 3  # in which it is one, at least
MOST = 0.9  # of the layers that moved, likewise
KEPT = 0.01  # of the neighbours in order that chance would turn, that are turned at most
ENOUGH = 64  # of these, that chance would turn at least
SIGNS = 0.05  # of the weights of a matrix, whose steps have not one sign
FEWER = 8  # neighbours that became one, at least


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
        moved = (one > SEEN * hidden) & (other > SEEN * hidden)
        if moved.sum() < LAYERS:
            continue
        angle = (g[:, t, s] - norm - g[:, o, s] + g[:, t, o])[moved]
        cosine = np.abs(angle) / np.sqrt(one[moved] * other[moved])
        strays = cosine * np.sqrt(of.sizes[moved])
        if (strays < EXACT).mean() >= MOST:
            found.append((float((one * of.weight).sum() + (other * of.weight).sum()), (o, s)))
    return Part(t, min(found)[1]) if found else None


def curved(layers: Sequence[Array], error: Array, t: int, near: Sequence[int]) -> Part | None:
    """Model t as a start and a function of the step from there to another of those `near`, in which
    several steps became one; None where it is none.

    Args:
        layers: (n, W) weights of all models, of some matrices.
        error: (n,) relative error of rounding of each.

    >>> o, s, u = np.random.default_rng(0).standard_normal((3, 4000))
    >>> w = [np.stack([o, o + s, o + np.clip(s, -1, 1), o + u])]
    >>> curved(w, np.full(4, 1e-7), 2, [0, 1, 3]), curved(w, np.full(4, 1e-7), 1, [0, 2, 3])
    (Part(child=2, parents=(0, 1)), None)
    """
    for o, s in _alike(layers, t, near):
        if not all(_between(w, t, o, s) for w in layers):
            continue
        every = [_turns(w, error, t, o, s) for w in layers]
        here, there, became, other = np.sum(every, axis=0)
        if there >= ENOUGH and here <= KEPT * there and became >= max(FEWER, 4 * other):
            return Part(t, (min(o, s), max(o, s)))
    return None


def _alike(layers: Sequence[Array], t: int, near: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Those of two models, o and s, of which the steps to t and to s have one sign."""
    some = np.array(near)
    for w, (k, o) in product(layers[:1], enumerate(near)):
        turned = ((w[some] - w[o]) * (w[t] - w[o]) < 0).mean(axis=1)
        turned[k] = 1.0
        yield from ((o, int(s)) for s in some[turned < SIGNS])


def _between(w: Array, t: int, o: int, s: int) -> bool:
    """Whether t lies on the way from o to s, by what it holds of that step."""
    step = w[s] - w[o]
    return bool(0 <= (w[t] - w[o]) @ step <= step @ step)


def _turns(w: Array, error: Array, t: int, o: int, s: int) -> tuple[int, int, int, int]:
    """Of neighbours by their step from o to s: how many are in the other order by their step from o
    to t; how many would be if these were mixed; how many are one there, but not here, and the other
    way round."""
    step, own = w[s] - w[o], w[t] - w[o]
    slack = 4 * (error[[t, o, s], None] * np.abs(w[[t, o, s]])).sum(axis=0)
    by_step, by_own = np.argsort(step, kind="stable"), np.argsort(own, kind="stable")
    mixed = np.random.default_rng(0).permutation(own)
    near = np.maximum(slack[by_step][1:], slack[by_step][:-1])
    apart, after = np.diff(step[by_step]), np.diff(own[by_step])
    there = np.diff(mixed[by_step])
    close = np.maximum(slack[by_own][1:], slack[by_own][:-1])
    became = (np.abs(after) <= near) & (apart > near)
    other = (np.abs(np.diff(step[by_own])) <= close) & (np.diff(own[by_own]) > close)
    strict = apart > near
    turned = int((strict & (after < -near)).sum())
    return turned, int((strict & (there < -near)).sum()), int(became.sum()), int(other.sum())
