"""Relatives of which no layer is in all: a whole model, and what was trained from each half of it.

A tree is searched among models that have layers in common. So a family without such a layer is
searched in parts: the models that have one layer, then those of the others that have another,
beside all that have that one, and so on. Of a part whose root is none of the models before it, it
is open which of two came first.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mother.evidence.kinship import kinship, told_by
from mother.measures import Measures
from mother.measures.products import Array, Indices
from mother.trees.forest import Forest


class Part(NamedTuple):
    """Some models of a family, their numbers ascending. members: all that have a layer. own: those
    of them that have none of the layers of the parts before."""

    members: Indices
    own: Indices


def parts_of(m: Measures, members: Indices) -> list[Part]:
    """One family in parts of which all have some layer, the largest first.

    >>> gram = np.full((2, 3, 3), 1.0)
    >>> gram[0, 2], gram[0, :, 2], gram[1, 1], gram[1, :, 1] = [np.nan] * 4
    >>> m = Measures(("u", "v"), ((2, 3), (2, 9)), np.array([6, 18]), gram)
    >>> [(part.members.tolist(), part.own.tolist()) for part in parts_of(m, np.arange(3))]
    [([0, 2], [0, 2]), ([0, 1], [1])]
    """
    told = told_by(m.shapes)
    sizes, held = m.sizes[told], np.isfinite(np.diagonal(m.gram, axis1=1, axis2=2))[told]
    held, left = held[:, members], np.ones(len(members), dtype=bool)
    found = list[Part]()
    while left.any():
        most = (held & left).sum(axis=1)
        if not most.any():
            break
        layer = held[np.lexsort((-sizes, -most))[0]]
        found.append(Part(members[layer], members[layer & left]))
        left &= ~layer
    return found or [Part(members, members)]


def hang_parts(m: Measures, forest: Forest, parts: list[Part]) -> None:
    """Hang each part but the first that has one root from the model before that this is nearest
    to."""
    for at, part in enumerate(parts[1:], 1):
        tops = part.own[forest.parents[part.own] < 0]
        before = np.concatenate([other.own for other in parts[:at]])
        if len(tops) != 1:
            continue
        near = kinship(m.among(np.append(tops, before)))[0, 1:] > 1
        if near.any():
            far = _distances(m, tops[0], before)
            nearest = int(np.where(near, far, np.inf).argmin())
            forest.parents[tops] = before[nearest]
            forest.distance[tops], forest.direction[tops] = far[nearest], 0.5


def _distances(m: Measures, one: int, others: Indices) -> Array:
    """Between one model and others, (k,), by the matrices that both have, each in units of the
    norm that the others have there; inf where that is nothing."""
    of = m.over(told_by(m.shapes)).pairs(others, np.full_like(others, one))
    norm = np.nansum(np.where(np.isfinite(of.ij), of.ii, np.nan), axis=0)
    squared = np.nansum(np.maximum(of.ii + of.jj - 2 * of.ij, 0.0), axis=0)
    return np.sqrt(np.where(norm > 0, squared / np.where(norm > 0, norm, 1.0), np.inf))
