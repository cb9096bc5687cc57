"""Most of whom a newcomer is compared with are surely relatives or surely strangers, which a glance
tells: cosines in single precision, of a corner of each window, and where that leaves it open, of
all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isqrt
from sys import intern
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Tensor
from mother.evidence.kinship import IN_DOUBT, told_at_a_glance, told_by
from mother.measures import as_if_drawn

HELD = 1 << 30  # bytes of glances in memory
CORNERS = 3 << 12  # weights that are looked at first: they tell strangers of 40 layers
BEYOND = 3.0  # standard errors of a cosine of these, within which the others are looked at, too


@dataclass(frozen=True)
class Glance:
    """Weights of a sketch by which kinship is told, layers of mean 0 and norm 1 after one another,
    in single precision, (S,); NaN where a layer's weights are equal.

    layout: what must be equal for two to be compared. ends: where layers begin, and where the last
    one ends, (L + 1,). sizes, seen: weights in each, and looked at, (L,), as in `Measures`. among:
    of how many that the sketch holds, likewise.
    """

    layout: str
    ends: tuple[int, ...]
    sizes: NDArray[np.int64]
    seen: NDArray[np.int64]
    among: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def whole(self) -> bool:
        """Whether these are all that the sketch holds."""
        return bool((self.seen == self.among).all())

    @classmethod
    def at(cls, sketch: Checkpoint, most: int | None = None) -> Glance:
        """most: weights in all, about; all that are there if None."""
        tensors = [t for _, t in sorted(sketch.tensors.items()) if t.is_weight and t.kept.size]
        told = told_by([t.shape for t in tensors])
        chosen = [t for t, ok in zip(tensors, told, strict=True) if ok]
        share = None if most is None else most // max(1, len(chosen))
        layers = [_about_mean(_corner(t.kept, share)) for t in chosen]
        sizes, kept, held = (
            np.array(of, dtype=np.int64)
            for of in ([t.size for t in chosen], [t.kept.size for t in chosen], [*map(len, layers)])
        )
        return cls(
            intern(repr([(n, t.shape, t.kept.shape) for n, t in sorted(sketch.tensors.items())])),
            tuple(np.cumsum([0, *held]).tolist()),
            sizes,
            as_if_drawn(sizes, held),
            as_if_drawn(sizes, kept),
            np.concatenate([np.zeros(0, np.float32), *layers]),
        )

    def told(self, others: Sequence[Glance]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of the others are surely its relatives, and which surely not, (n,)."""
        relatives, strangers = np.zeros((2, len(others)), dtype=bool)
        like = [k for k, other in enumerate(others) if other.layout == self.layout]
        if like and len(self.sizes):
            weights = np.stack([others[k].weights for k in like])
            parts = [weights[:, a:b] @ self.weights[a:b] for a, b in pairwise(self.ends)]
            cosine = np.stack(parts).astype(np.float64)
            sure = IN_DOUBT if self.whole else BEYOND
            found = told_at_a_glance(cosine, self.sizes, self.seen, self.among, sure)
            relatives[like], strangers[like] = found
        return relatives, strangers


def _corner(window: Tensor, most: int | None) -> NDArray[Any]:
    """The first rows and columns of a window, about so many weights; all of it if None."""
    values = window.read()
    if most is None or window.size <= most:
        return values
    if len(window.shape) < 2:
        return values[: max(1, most)]
    rows, columns = window.shape
    across = min(columns, max(1, most // min(rows, max(1, isqrt(most)))))
    return values.reshape(rows, columns)[: max(1, most // across), :across].reshape(-1)


def _about_mean(values: NDArray[Any]) -> NDArray[np.float32]:
    wide = values.astype(np.float64)
    wide -= wide.mean() if wide.size else 0.0
    with np.errstate(all="ignore"):
        return np.asarray(wide / np.sqrt(np.square(wide).sum()), dtype=np.float32)


@dataclass
class Glances:
    """Those at models by number, held as long as they are no more than HELD. sketch: from a number
    to that of the model."""

    sketch: Callable[[int], Checkpoint]
    _held: dict[tuple[int, bool], Glance] = field(default_factory=dict)
    _bytes: int = 0

    def told(
        self, new: Glance, sketch: Checkpoint, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of these models are surely relatives of a newcomer, and which surely not, (n,).
        new: the first glance at its sketch."""
        relatives, strangers = new.told([self.at(n) for n in numbers.tolist()])
        left = np.flatnonzero(~relatives & ~strangers)
        if len(left) and not new.whole:
            others = [self.at(n, whole=True) for n in numbers[left].tolist()]
            relatives[left], strangers[left] = Glance.at(sketch).told(others)
        return relatives, strangers

    def at(self, number: int, *, whole: bool = False) -> Glance:
        """The one at a model, or at all of its sketch."""
        if (number, whole) not in self._held:
            found = Glance.at(self.sketch(number), None if whole else CORNERS)
            self._keep(number, found, whole)
            return found
        return self._held[number, whole]

    def keep(self, number: int, first: Glance) -> None:
        """Hold the first glance at a model."""
        if (number, False) not in self._held:
            self._keep(number, first, False)

    def _keep(self, number: int, glance: Glance, whole: bool) -> None:
        if self._bytes + glance.weights.nbytes > HELD:
            self.clear()
        self._held[number, whole] = glance
        self._bytes += glance.weights.nbytes

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
        self._bytes = 0
