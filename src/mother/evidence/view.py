"""How a large family is looked at: which of its layers tell, and how much each counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import telling
from mother.evidence.kinship import inherited
from mother.methods.gram import VECTORS, heavy
from mother.sketches.samples import Samples

Array = NDArray[np.float64]
Points = NDArray[np.float32]
LOOKED_AT = 256  # models of a family that tell which layers are inherited


@dataclass(frozen=True)
class View:
    """How a family is looked at: its layers that tell, (L,) of all, and of these how much each
    counts, which are matrices, and the family's middle. norm: (n,) |w|^2 of models, so counted.
    chance: of the cosine of two steps, as of `Candidates`."""

    layers: NDArray[np.bool_]
    weight: Array
    tells: NDArray[np.bool_]
    middle: NDArray[np.float32]
    norm: Array
    chance: float

    def points(self, samples: Samples) -> Points:
        """Points whose squared distances are the sum over layers of weight times |i - j|^2, about
        the family's middle, so that float32 loses little of them. samples: over `layers`."""
        column = np.repeat(np.sqrt(self.weight * samples.sizes / samples.held), samples.held)
        points = samples.rows - self.middle
        points *= column.astype(np.float32)
        return points


def view_of(family: Samples) -> View:
    """Layers that are inherited, as some of the models tell, and that changed."""
    n = len(family.rows)
    some = np.unique(np.linspace(0, n - 1, min(n, LOOKED_AT)).astype(np.intp))
    chosen = inherited(family.among(some).measures())
    moved = chosen & _changed(family)
    told = moved & heavy(moved, family.sizes) if moved.any() else moved
    norms = family.squared_norms()
    mean = norms.mean(axis=1)
    weight = family.sizes / family.sizes[chosen].sum() / np.where(mean > 0, mean, 1.0)
    norm = weight[chosen] @ norms[chosen]
    family, weight = family.over(told), weight[told]
    tells = telling(family)
    weight = np.where(tells, weight, VECTORS * weight)
    middle = family.rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return View(told, weight, tells, middle, norm, float(max(1, family.seen.sum()) ** -0.5))


def _changed(family: Samples) -> NDArray[np.bool_]:
    """The layers that differ between some models, (L,)."""
    differs = np.zeros(family.rows.shape[1], dtype=bool)
    for at in range(0, len(family.rows), 4096):
        differs |= (family.rows[at : at + 4096] != family.rows[0]).any(axis=0)
    return np.logical_or.reduceat(differs, family.columns[:-1])
