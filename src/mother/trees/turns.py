"""What the turns of a tree's ways tell of its root.

Three models on a way turn where the middle one is: cos(m - a, b - m). Where the way goes straight
on, it leads through the middle one, which is not what both ends were made from. Over the population
of trainings the log-odds of that are about five times the cosine, in both halves
(docs/research/wild.md). Ways that turn back are straightened by moves of subtrees (regraft.py), or
are of steps that were undone, and say nothing here.
"""

from __future__ import annotations

import numpy as np

from mother.evidence.family import Family
from mother.measures.products import Array, Indices
from mother.trees.regraft import turn_of

THROUGH = 5.0  # log-odds of a way that goes straight on leading through a model, and not from it
BESIDE = 4  # nearest neighbours of an edge's end that are looked at

Pair = tuple[Indices, Indices]


def beside(family: Family, parents: Indices, one: Indices, other: Indices) -> Pair:
    """The nearest few neighbours in the tree of one end of edges, without the other: of which
    edge, and which models."""
    joined: list[list[int]] = [[] for _ in parents]
    for v, u in enumerate(parents.tolist()):
        if u >= 0:
            joined[v].append(u)
            joined[u].append(v)
    at, third = list[int](), list[int]()
    far = dict[int, list[int]]()
    for e, (a, b) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
        if a not in far:
            near = np.array(joined[a], dtype=np.intp)
            order = np.argsort(family.squared(np.full_like(near, a), near), kind="stable")
            far[a] = near[order[: BESIDE + 1]].tolist()
        some = [q for q in far[a] if q != b][:BESIDE]
        at += [e] * len(some)
        third += some
    return np.array(at, dtype=np.intp), np.array(third, dtype=np.intp)


def turning(family: Family, parents: Indices) -> Array:
    """Log-odds of each model's own edge, (n,), from turns at both of its ends; 0 at the root.

    Args:
        parents: (n,) intp, a tree, -1 at its root; directions do not count.
    """
    out = np.zeros(len(parents))
    c = np.flatnonzero(parents >= 0)
    p = parents[c]
    out[c] = _passed(family, parents, c, p) - _passed(family, parents, p, c)
    return out


def _passed(family: Family, parents: Indices, mid: Indices, end: Indices) -> Array:
    """Log-odds of the way from `end` to other neighbours of `mid` leading through it, (E,)."""
    at, third = beside(family, parents, mid, end)
    m, e, squared = mid[at], end[at], family.squared
    turn = turn_of(squared(e, third), squared(m, third), squared(m, e))
    turn = np.nan_to_num(turn).clip(0)
    many = np.bincount(at, minlength=len(mid))
    return np.asarray(THROUGH * np.bincount(at, turn, len(mid)) / np.maximum(many, 1))
