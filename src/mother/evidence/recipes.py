"""What a merge was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mother.evidence.pieces import Piece

Array = NDArray[np.float64]
BY_WEIGHT = "by single weights"
PART_OF_A_STEP = "part of a step"
MIXED = "mixed"


@dataclass(frozen=True)
class Merge:
    """child = sum over parents of share times parent.

    parents: indices, the one with the largest share first; shares: (k,) over all layers. layers:
    (L, k) by layer, NaN where the parents don't differ. left: of the squared step from the nearest
    parent, what the sum does not explain; where it is put together weight by weight, of the
    weights. kind: "merge" or "average". sure: probability that it is the child that was made, and
    none of its parents. start, pieces: where it is put together weight by weight, what steps are
    from, -1 elsewhere, and which weights hold which.
    """

    child: int
    parents: tuple[int, ...]
    shares: Array
    layers: Array
    left: float
    method: str
    kind: str = "merge"
    sure: float = 0.99
    start: int = -1
    pieces: tuple[Piece, ...] = ()

    def renumbered(self, models: NDArray[np.intp]) -> Merge:
        """With the numbers that its models have among more."""

        def of(some: Sequence[int]) -> tuple[int, ...]:
            return tuple(int(models[k]) for k in some)

        (child,), parents = of([self.child]), of(self.parents)
        start = int(models[self.start]) if self.start >= 0 else -1
        pieces = tuple(replace(x, parents=of(x.parents)) for x in self.pieces)
        return replace(self, child=child, parents=parents, start=start, pieces=pieces)
