"""What the turns of a tree's ways tell of its root.

Three models on a way turn where the middle one is: cos(m - a, b - m). Where the way goes straight
on, it leads through the middle one, which is not what both ends were made from. Over the population
of trainings the log-odds of that are about five times the cosine, in both halves
(docs/research/wild.md). Ways that turn back are of steps that were undone, or of siblings in each
other's place, and say nothing here.
"""

from __future__ import annotations

from operator import itemgetter

import numpy as np

from mother.evidence.family import Family
from mother.measures.products import Array, Indices

THROUGH = 5.0  # log-odds of a way that goes straight on leading through a model, and not from it
TURN_NEIGHBOURS = 4  # nearest neighbours of an edge's end that are looked at

Pair = tuple[Indices, Indices]


def beside(family: Family, parents: Indices, one: Indices, other: Indices) -> Pair:
    """The nearest few neighbours in the tree of one end of edges, without the other: of which
    edge, and which models."""
    joined: list[list[tuple[float, int]]] = [[] for _ in parents]
    c = np.flatnonzero(parents >= 0)
    lengths = family.squared(c, parents[c])
    for v, u, length in zip(c.tolist(), parents[c].tolist(), lengths.tolist(), strict=True):
        joined[v].append((length, u))
        joined[u].append((length, v))
    near = [[k for _, k in sorted(own, key=itemgetter(0))[: TURN_NEIGHBOURS + 1]] for own in joined]
    at, third = list[int](), list[int]()
    for e, (a, b) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
        some = [k for k in near[a] if k != b][:TURN_NEIGHBOURS]
        at += [e] * len(some)
        third += some
    return np.array(at, dtype=np.intp), np.array(third, dtype=np.intp)


def turn_of(whole: Array, last: Array, first: Array) -> Array:
    """cos(c - p, p - g) from |c - g|^2, |c - p|^2 and |p - g|^2; NaN where one is 0."""
    length = np.sqrt(last * first)
    return np.asarray((whole - last - first) / 2 / np.where(length > 0, length, np.nan))


def turning(family: Family, parents: Indices) -> Array:
    """Log-odds of each model's own edge, (n,), from turns at both of its ends; 0 at the root.

    Args:
        parents: (n,) intp, a tree, -1 at its root; directions do not count.
    """
    c = np.flatnonzero(parents >= 0)
    p = parents[c]
    mid, end = np.append(c, p), np.append(p, c)
    at, third = beside(family, parents, mid, end)
    m, e, squared = mid[at], end[at], family.squared
    turn = turn_of(squared(e, third), squared(m, third), squared(m, e))
    straight = np.bincount(at, np.nan_to_num(turn).clip(0), len(mid))
    passed = THROUGH * straight / np.maximum(np.bincount(at, minlength=len(mid)), 1)
    out = np.zeros(len(parents))
    out[c] = passed[: len(c)] - passed[len(c) :]
    return out
