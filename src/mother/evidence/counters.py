"""What the steps that a program counted beside the weights say.

A batch norm keeps how many batches it has seen, and some programs their steps. What is trained on
goes on counting, so a model that has counted further than another is no parent of it. Counters may
be set back, or copied, by who loads a model: in thirteen real families that have any they rose
along 98 documented steps and fell along one (docs/research/wild.md).
"""

from __future__ import annotations

import numpy as np

from mother.checkpoints import Checkpoint
from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.measures.products import Array, Indices
from mother.thresholds import STRONG

MAX_COUNTERS = 4096  # counters of a model that are looked at


class Counted(Evidence):
    """counters: (C, n) what each model's integers of one number hold, NaN where it has none.

    >>> two = Counted(np.array([[5.0, 9.0, 9.0], [5.0, 9.0, 8.0]]))
    >>> two.log_odds(np.array([0, 1, 0]), np.array([1, 0, 2])).tolist()
    [3.0, -3.0, 0.0]
    """

    def __init__(self, counters: Array) -> None:
        self.counters = counters

    def log_odds(self, i: Indices, j: Indices) -> Array:
        return STRONG * np.sign(self.more(i, j))

    def more(self, i: Indices, j: Indices) -> Array:
        """By how much j has counted further than i, (E,): 0 where some counters rose and others
        fell, and where no two moved together, as what counts the same does and codes do not."""
        gap = np.nan_to_num(self.counters[:, j] - self.counters[:, i])
        ranked = np.sort(gap, axis=0)
        alike = (np.diff(ranked, axis=0) == 0) & (ranked[1:] != 0)
        moved = (gap != 0).sum(axis=0)
        together = 2 * alike.sum(axis=0) >= moved
        one_way = (gap >= 0).all(axis=0) | (gap <= 0).all(axis=0)
        largest = np.where(np.abs(ranked[0]) > np.abs(ranked[-1]), ranked[0], ranked[-1])
        return np.where(one_way & together & (moved > 1), largest, 0.0)

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        more = self.more(p, c).tolist()
        return [(float(np.copysign(STRONG, m)), said(m)) if m else None for m in more]


def said(steps: float) -> str:
    """What counters say, in a sentence.

    >>> said(80.0)
    'the child has counted 80 batches more'
    """
    return f"the {'child' if steps > 0 else 'parent'} has counted {abs(steps):.0f} batches more"


def _of(family: Family) -> Evidence | None:
    if not family.looks or family.members is None:
        return None
    models = family.looks[0].group.checkpoints
    held = [_counters(models[k]) for k in family.members.tolist()]
    names = sorted(set().union(*held))
    if len(names) < 2:
        return None
    return Counted(np.array([[own.get(name, np.nan) for own in held] for name in names]))


def _counters(checkpoint: Checkpoint) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, tensor in checkpoint.tensors.items():
        if tensor.dtype.kind in "iu" and tensor.size == 1 and tensor.kept.size:  # not of a sketch
            found[name] = float(tensor.read()[0])
            if len(found) == MAX_COUNTERS:
                break
    return found


COUNTERS = Kind("counters", "running statistics: Ioffe and Szegedy 2015, sec. 3.1", _of)
