"""Most of whom a newcomer is compared with are surely relatives or surely strangers, which a glance
tells: cosines in single precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.heritage.relatedness import told_at_a_glance, told_by
from mother.measures import as_if_drawn

HELD = 1 << 28  # bytes of glances in memory


@dataclass(frozen=True)
class Glance:
    """The weights of a sketch by which kinship is told, layers of norm 1 after one another, in
    single precision, (S,); NaN where a layer is 0.

    layout: what must be equal for two to be compared. ends: where layers begin, and where the last
    one ends, (L + 1,). sizes, seen: weights in each, and looked at, (L,), as in `Measures`.
    """

    layout: str
    ends: tuple[int, ...]
    sizes: NDArray[np.int64]
    seen: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def at(cls, sketch: Checkpoint) -> Glance:
        tensors = [t for _, t in sorted(sketch.tensors.items()) if t.is_weight and t.kept.size]
        told = told_by([t.shape for t in tensors])
        chosen = [t for t, ok in zip(tensors, told, strict=True) if ok]
        sizes = np.array([t.size for t in chosen], dtype=np.int64)
        held = np.array([t.kept.size for t in chosen], dtype=np.int64)
        layers = [_of_norm_1(t.kept.read()) for t in chosen]
        return cls(
            repr([(n, t.shape, t.kept.shape) for n, t in sorted(sketch.tensors.items())]),
            tuple(np.cumsum([0, *held]).tolist()),
            sizes,
            as_if_drawn(sizes, held),
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
            relatives[like], strangers[like] = told_at_a_glance(cosine, self.sizes, self.seen)
        return relatives, strangers


def _of_norm_1(values: NDArray[Any]) -> NDArray[np.float32]:
    wide = values.astype(np.float64)
    with np.errstate(all="ignore"):
        return np.asarray(wide / np.sqrt(np.square(wide).sum()), dtype=np.float32)


@dataclass
class Glances:
    """Those at models by number, held as long as they are no more than HELD. sketch: from a number
    to that of the model."""

    sketch: Callable[[int], Checkpoint]
    _held: dict[int, Glance] = field(default_factory=dict)
    _bytes: int = 0

    def at(self, number: int) -> Glance:
        """The one at a model."""
        if number not in self._held:
            self.keep(number, Glance.at(self.sketch(number)))
        return self._held[number]

    def keep(self, number: int, glance: Glance) -> None:
        """Hold the one at a model."""
        if number in self._held:
            return
        if self._bytes + glance.weights.nbytes > HELD:
            self.clear()
        self._held[number] = glance
        self._bytes += glance.weights.nbytes

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
        self._bytes = 0
