"""More bytes where a decision about a family too large for matrices lies within its error.

As in refinement.py, and only of the models concerned: what larger sketches say of pairs that are
near to each other takes the place of what the first said. Nothing is read in full here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from mother.checkpoints import Group
from mother.heritage.characters import Look
from mother.heritage.forest import Forest
from mother.heritage.near import Near
from mother.heritage.unsettled import unsettled
from mother.heritage.ways import WaysOfMany
from mother.levels import Doubt, Doubts, Levels
from mother.measures.replicates import offsets
from mother.measures.samples import Samples, samples_of
from mother.refinement import REPLICATES, ROUNDS, Refinement


def refined(
    refinement: Refinement,
    group: Group,
    samples: Samples,
    recover: Callable[[Near | None, Sequence[Look]], Forest],
) -> tuple[Near | None, list[Look], Doubts]:
    """What larger sketches say of pairs of a group, of the layers that all have, where that may
    matter to its forest; all looks at models; and the decisions that are within their error
    still."""
    off, closer, near = offsets(group, REPLICATES), _Pairs(group), None
    looks = [Look(tuple(range(len(group.checkpoints))), group)]
    for _ in range(ROUNDS):
        forest = recover(near, looks)
        doubts = [Doubt((c,), models) for c, models in unsettled(samples, forest, off, near)]
        doubts += _by_ranks(forest, looks, samples)
        if not closer.asked(doubts, refinement.more):
            break
        closer.note(doubts)
        near, looks = closer.near(), [looks[0], *closer.looks()]
    refinement.asked |= closer.counted()
    return near, looks, doubts


def _by_ranks(forest: Forest, looks: Sequence[Look], samples: Samples) -> Doubts:
    """Models whose edges may lead over their next best parents, as far as windows show ranks."""
    ways = WaysOfMany.of([(look.models, look.group) for look in looks], samples)
    rivals, parents = forest.rival.tolist(), forest.parents.tolist()
    beside = [[k] if k >= 0 else [] for k in rivals]
    doubtful = ways.passed_over(forest.parents, beside.__getitem__, doubting=True)
    return [
        Doubt((c,), frozenset((c, parents[c], rivals[c])), in_full=False)
        for c in np.flatnonzero(doubtful).tolist()
    ]


class _Pairs(Levels):
    """Pairs that there were doubts between, looked at as closely as both models are."""

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        self._pairs: set[tuple[int, int]] = set()

    def note(self, doubts: Doubts) -> None:
        """Remember what pairs there are doubts between."""
        self._pairs |= {pair for d in doubts for pair in combinations(sorted(d.models), 2)}

    def looks(self) -> list[Look]:
        """The larger sketches that are held."""
        parts = (self.reached(level) for level in range(1, max(self.levels.values()) + 1))
        return [
            Look(tuple(models), self.among(models, self.larger)[0])
            for models in parts
            if len(models) > 1
        ]

    def near(self) -> Near | None:
        """What the larger sketches say of them."""
        parts = []
        for level in range(1, max(self.levels.values()) + 1):
            models = self.reached(level)
            place = {k: at for at, k in enumerate(models)}
            pairs = sorted(p for p in self._pairs if min(self.levels.get(k, 0) for k in p) == level)
            if pairs:
                samples = samples_of(self.among(models, self.larger)[0])
                i, j = np.array([[place[k] for k in pair] for pair in pairs], dtype=np.intp).T
                chance = np.broadcast_to(samples.chance, (len(samples.names), len(pairs)))
                own = np.array(pairs, dtype=np.intp).T
                parts.append((*own, *samples.products(i, j), chance))
        if not parts:
            return None
        return Near(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))
