"""Units that were taken out: rows of zeros that only one of two models has.

Structured pruning sets whole rows to zero, where what is trained on has masks or no gradients
left. Training makes no row zero to the last weight. So a model with such rows in a matrix, beside
rows that hold weights, was made from one that has none there, not the other way round.
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

ZEROED = 3.0  # log-odds of the child, where rows of zeros are its alone
ROWS = 64  # of a matrix that are looked at
SEVERAL = 2  # rows of zeros that are no chance, in one matrix


class Zeroed(Evidence):
    """zeros: of each matrix which rows hold nothing in which models, (n, rows).

    >>> two = Zeroed([np.array([[False] * 4, [True, True, False, False]])])
    >>> two.log_odds(np.array([0, 1]), np.array([1, 0])).tolist()
    [3.0, -3.0]
    """

    def __init__(self, zeros: list[Bools]) -> None:
        self.taken = [np.where(z.all(axis=1), 0, z.sum(axis=1)) for z in zeros]

    def lost(self, i: Indices, j: Indices) -> Array:
        """How many rows j has lost of i, (E,), below 0 where i has of j; 0 where both have."""
        out, both = np.zeros(len(i)), np.zeros(len(i), dtype=bool)
        for taken in self.taken:
            here = np.where(taken[i] == 0, taken[j], np.where(taken[j] == 0, -taken[i], 0))
            here = np.where(np.abs(here) < SEVERAL, 0, here)
            both |= out * here < 0
            out += here
        return np.where(both, 0.0, out)

    def log_odds(self, i: Indices, j: Indices) -> Array:
        return ZEROED * np.sign(self.lost(i, j))

    def descended(self, parents: Indices) -> Bools:
        out = np.zeros(len(parents), dtype=bool)
        c = np.flatnonzero(parents >= 0)
        out[c] = self.lost(parents[c], c) > 0
        return out

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        return [(float(np.copysign(ZEROED, k)), said(k)) if k else None for k in self.lost(p, c)]


def said(rows: float) -> str:
    """What rows of zeros say, in a sentence.

    >>> said(20.0)
    '20 of the rows looked at are zeros in the child alone: they were pruned'
    """
    one = "child" if rows > 0 else "parent"
    return f"{abs(rows):.0f} of the rows looked at are zeros in the {one} alone: they were pruned"


def _of(family: Family) -> Evidence | None:
    if not family.looks or family.members is None:
        return None
    zeros = [z[family.members] for z in family.looks[0].kept(_zeros)]
    return Zeroed(zeros) if any(z.any() for z in zeros) else None


def _zeros(look: Look) -> list[Bools]:
    """The rows of zeros, (n, rows), of some matrices that all models of a look hold."""
    many = len(look.models)
    layers = [x for x in look.group.layers if len(x.members) == many and _whole(x)]
    chosen = picked([as_matrix(x.tensors[0].shape)[0] for x in layers])
    return [z for k in chosen if (z := _of_layer(layers[k])).any()]


def _whole(layer: Layer) -> bool:
    shape, *others = {tensor.shape for tensor in layer.tensors}
    return not others and is_matrix(shape) and as_matrix(shape)[0] > SEVERAL


def _of_layer(layer: Layer) -> Bools:
    shape = layer.tensors[0].shape
    height = as_matrix(shape)[0]
    looked = spans(shape, np.unique(np.linspace(0, height - 1, min(height, ROWS)).astype(int)))
    return np.stack([~tensor.parts(looked).any(axis=1) for tensor in layer.tensors])


ZEROED_ROWS = Kind("zeroed", "structured pruning: Li and others 2017", _of)
