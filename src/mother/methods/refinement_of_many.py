"""More bytes where a decision about a family too large for matrices lies within its error.

As in refinement.py, and only of the models concerned: what larger sketches say of pairs that are
near to each other takes the place of what the first said. Where the largest leave a doubt, the
models that it is between are read in full, a part of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mother.evidence.characters import Look
from mother.evidence.ways import WaysOfMany
from mother.layouts import Group
from mother.measures import Measures
from mother.methods.refinement import REPLICATES, ROUNDS, Refinement, Whole
from mother.methods.unsettled import unsettled
from mother.sketches.levels import Doubt, Doubts, Levels
from mother.sketches.near import Near
from mother.sketches.replicates import offsets
from mother.sketches.samples import Samples, samples_of
from mother.trees.forest import Forest

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
AT_ONCE = 256  # models that are read in full in one pass


def refined(
    refinement: Refinement,
    group: Group,
    samples: Samples,
    recover: Callable[[Near | None, Sequence[Look]], Forest],
) -> tuple[Near | None, list[Look], Forest, Doubts]:
    """What larger sketches say of pairs of a group, of the layers that all have, where that may
    matter to its forest; all looks at models; the forest; and the decisions that are within their
    error still."""
    off, closer, near = offsets(group, REPLICATES), _Pairs(group), None
    looks, left = [Look.of(group)], refinement.read
    forest = recover(near, looks)
    for _ in range(ROUNDS):
        doubts = [Doubt((c,), models) for c, models in unsettled(samples, forest, off, near)]
        doubts += _by_ranks(forest, looks, samples)
        if not closer.asked(doubts, refinement.more):
            some = closer.next_in_full(doubts, left)
            if refinement.whole is None or not some or not closer.take_full(some, refinement.whole):
                break
            left -= closer.bytes_of(some)
        closer.note(doubts)
        near, looks = closer.near(), [looks[0], *closer.looks()]
        forest = recover(near, looks)
    refinement.asked |= closer.counted()
    return near, looks, forest, doubts


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
        self._whole: list[tuple[list[int], Measures]] = []

    def note(self, doubts: Doubts) -> None:
        """Remember what pairs there are doubts between."""
        self._pairs |= {pair for d in doubts for pair in combinations(sorted(d.models), 2)}

    def next_in_full(self, doubts: Doubts, most: int) -> list[int]:
        """Some models to be looked at in full, of no more than so many bytes together: those of
        doubts that were not between models seen so."""
        some: frozenset[int] = frozenset()
        for models in (doubt.models for doubt in doubts if doubt.in_full):
            told = any(models <= set(seen) for seen, _ in self._whole)
            told = told or all(map(self.at_hand, models)) or bool(models & self.lost)
            both = some | models
            if not told and len(both) <= AT_ONCE and self.bytes_of(both) <= most:
                some = both
        return sorted(some)

    def take_full(self, models: list[int], whole: Whole) -> bool:
        """Look at some models in full, if all their layers can be had."""
        fine = whole(self.among(models, self.group.checkpoints)[0])
        if fine is None or len(fine.names) < len(self.group.layers):
            return False
        self._whole.append((models, fine))
        self.full |= set(models)
        return True

    def looks(self) -> list[Look]:
        """The larger sketches that are held."""
        parts = (self.reached(level) for level in self._each_level())
        return [
            Look(tuple(models), self.among(models, self.larger)[0])
            for models in parts
            if len(models) > 1
        ]

    def near(self) -> Near | None:
        """What the larger sketches, or the weights, say of them."""
        left, parts = set(self._pairs), []
        for models, fine in self._whole:
            if pairs := sorted(pair for pair in left if set(pair) <= set(models)):
                parts.append((*_ends(pairs), *_in_full(fine, *_places(pairs, models))))
                left -= set(pairs)
        for level in self._each_level():
            models = self.reached(level)
            pairs = sorted(p for p in left if min(self.levels.get(k, 0) for k in p) == level)
            if pairs:
                samples = samples_of(self.among(models, self.larger)[0])
                chance = np.broadcast_to(samples.chance, (len(samples.names), len(pairs)))
                products = samples.products(*_places(pairs, models))
                parts.append((*_ends(pairs), *products, chance))
        if not parts:
            return None
        return Near(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))

    def _each_level(self) -> range:
        return range(1, max(self.levels.values(), default=0) + 1)


def _ends(pairs: list[tuple[int, int]]) -> Indices:
    return np.array(pairs, dtype=np.intp).T


def _places(pairs: list[tuple[int, int]], models: list[int]) -> Indices:
    place = {k: at for at, k in enumerate(models)}
    return _ends([(place[i], place[j]) for i, j in pairs])


def _in_full(m: Measures, i: Indices, j: Indices) -> tuple[Array, Array, Array, Array]:
    """|w_i|^2, |w_j|^2, <w_i, w_j> and the variance of a cosine, of pairs, each (L, E)."""
    chance = np.broadcast_to(m.chance, m.gram.shape)
    return m.norms[:, i, j], m.norms[:, j, i], m.gram[:, i, j], chance[:, i, j]
