"""Units that were taken out: what writes them and what reads them is zero in one of two models.

Structured pruning sets the row of a unit to zero, and the column of the next matrix that reads it.
Training does neither to the last weight. Rows alone tell nothing: those that no data reached may
have begun as zeros. So a model without some units was made from one that has them all, not the
other way round.
"""

from __future__ import annotations

import numpy as np

from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.evidence.looks import Look
from mother.evidence.untouched import picked
from mother.layouts import Layer
from mother.measures import is_matrix
from mother.measures.products import Array, Bools, Indices
from mother.measures.shapes import as_matrix, spans
from mother.thresholds import STRONG

UNITS_SEEN = 64  # of a matrix that are looked at
LOST_UNITS = 2  # units that are no chance, between two matrices


class Zeroed(Evidence):
    """zeros: of the units between two matrices which are taken out of which models, (n, units).

    >>> two = Zeroed([np.array([[False] * 4, [True, True, False, False]])])
    >>> two.log_odds(np.array([0, 1]), np.array([1, 0])).tolist()
    [3.0, -3.0]
    """

    def __init__(self, zeros: list[Bools]) -> None:
        self.taken = [np.where(z.all(axis=1), 0, z.sum(axis=1)) for z in zeros]

    def lost(self, i: Indices, j: Indices) -> Array:
        """How many units j has lost of i, (E,), below 0 where i has of j; 0 where both have."""
        out, both = np.zeros(len(i)), np.zeros(len(i), dtype=bool)
        for taken in self.taken:
            here = np.where(taken[i] == 0, taken[j], np.where(taken[j] == 0, -taken[i], 0))
            here = np.where(np.abs(here) < LOST_UNITS, 0, here)
            both |= out * here < 0
            out += here
        return np.where(both, 0.0, out)

    def log_odds(self, i: Indices, j: Indices) -> Array:
        return STRONG * np.sign(self.lost(i, j))

    def descended(self, parents: Indices) -> Bools:
        out = np.zeros(len(parents), dtype=bool)
        c = np.flatnonzero(parents >= 0)
        out[c] = self.lost(parents[c], c) > 0
        return out

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        return [(float(np.copysign(STRONG, k)), said(k)) if k else None for k in self.lost(p, c)]


def said(units: float) -> str:
    """What units say that only one of two models lacks, in a sentence.

    >>> said(20.0)
    '20 of the units looked at are taken out of the child alone: all their weights are zero'
    """
    one = "child" if units > 0 else "parent"
    many = f"{abs(units):.0f} of the units looked at"
    return f"{many} are taken out of the {one} alone: all their weights are zero"


def _of(family: Family) -> Evidence | None:
    if not family.looks or family.members is None:
        return None
    zeros = [z[family.members] for z in family.looks[0].kept(_taken_out)]
    return Zeroed(zeros) if zeros else None


def _taken_out(look: Look) -> list[Bools]:
    """The units that any model lacks, (n, units) each, between matrices that all models hold."""
    many = len(look.models)
    layers = [x for x in look.group.layers if len(x.members) == many and _whole(x)]
    chosen = picked([as_matrix(x.tensors[0].shape)[0] for x in layers])
    seen = [_zeros(layers[k]) for k in chosen]
    found = []
    for number, (rows, height, zero, _) in enumerate(seen):
        read = [columns for k, (*_, columns) in enumerate(seen) if k != number]
        units = [_unread(c, height)[:, rows] & zero for c in read if c.shape[1] % height == 0]
        found += next(([u] for u in units if u.any()), [])
    return found


def _whole(layer: Layer) -> bool:
    shape, *others = {tensor.shape for tensor in layer.tensors}
    return not others and is_matrix(shape) and as_matrix(shape)[0] > LOST_UNITS


def _zeros(layer: Layer) -> tuple[Indices, int, Bools, Bools]:
    """The rows of a matrix that are looked at, of how many, which of these are zeros, (n, rows),
    and which columns, as far as these rows go, (n, columns)."""
    shape = layer.tensors[0].shape
    height = as_matrix(shape)[0]
    rows = np.unique(np.linspace(0, height - 1, min(height, UNITS_SEEN)).astype(np.intp))
    held = (tensor.parts(spans(shape, rows)) != 0 for tensor in layer.tensors)
    each = [(~x.any(axis=1), ~x.any(axis=0)) for x in held]
    return rows, height, np.stack([r for r, _ in each]), np.stack([c for _, c in each])


def _unread(columns: Bools, units: int) -> Bools:
    """Which units are not read by a matrix, (n, units): kernels have several columns for each."""
    return np.asarray(columns.reshape(len(columns), units, -1).all(axis=2))


ZEROED = Kind("zeroed", "structured pruning: Li and others 2017", _of)
