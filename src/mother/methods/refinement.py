"""More bytes where a decision lies within its error, and only of the models it concerns.

What a method decides from sketches is held against what it decides from replicates, the same
evidence off by its standard error. Where a model's parent is another one there, the model and all
that may be its parent are looked at again in sketches TIMES as large; so are two models whose
kinship parts a family or joins it, where that is within its error. Then everything is decided anew,
until nothing is in doubt or there is nothing larger to be had. Where the largest sketches leave
a doubt, the models are read in full, in one pass that holds a block of each at a time, as long as
that is no more than may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.evidence.characters import Characters, Look
from mother.evidence.kinship import kinship, unsure
from mother.layouts import Group, align
from mother.measures import Measures, measure
from mother.sketches.levels import Doubt, Doubts, Levels, More
from mother.sketches.mixed import mixed
from mother.sketches.replicates import exact, replicates
from mother.trees.forest import Forest, no_edges

REPLICATES = 8
AT_ONCE = 1 << 23  # inner products of replicates that are held at once
ROUNDS = 12  # of asking, at the most
READ = 1 << 34  # bytes of models of one family that are read in full
#: the forest of a group's models, measured, with their characters, without some edges (n, n)
Decide = Callable[[Measures, Characters, NDArray[np.bool_] | None], Forest]
#: the measures of a group of sketches from all weights, of those of its layers where these can be
#: had; None where they can't
Whole = Callable[[Group], Measures | None]


@dataclass
class Refinement:
    """Larger sketches, as they are asked for while forests are recovered, and at last the weights.

    read: bytes of models of one family that may be read in full, each time counted. asked: by id,
    how often more bytes of a model were looked at.
    """

    more: More
    whole: Whole | None = None
    read: int = READ
    asked: dict[str, int] = field(default_factory=dict)

    def refined(
        self,
        group: Group,
        coarse: Measures,
        decide: Decide,
        threads: int = 1,
        *,
        families: bool = True,
    ) -> tuple[Measures, Characters, Forest, Doubts]:
        """The measures of a group of sketches and its characters, closer where that may matter to
        what is decided, what is decided from them, and the decisions that are within their error
        still. families: whether kinship decides how many trees there are."""
        characters = Characters.of(group)
        forest = no_edges(len(group.checkpoints))

        def doubts(closer: _Closer) -> Doubts:
            nonlocal forest
            now, seen = closer.measures(), characters.closer(closer.looks)
            forest = decide(now, seen, None)
            off = [] if exact(group) and seen.exact else closer.replicates()
            others = [decide(m, replace(seen, seed=seed), None) for seed, m in enumerate(off)]
            found = [closer.widened(doubt, forest) for doubt in in_doubt(forest, others)]
            if (doubtful := seen.passed_over(now, forest.parents, doubting=True)).any():
                by_ranks = in_doubt(forest, [decide(now, seen, doubtful)])
                found += [replace(doubt, in_full=False) for doubt in by_ranks]
            return found + (_of_kinship(now) if families else [])

        closer = _Closer(group, coarse, threads)
        measures, found = self._settled(closer, doubts)
        return measures, characters.closer(closer.looks), forest, found

    def related(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Whether two models are relatives, from sketches as large as it takes."""
        groups = align([one, other])
        if len(groups) > 1:
            return False
        closer = _Closer(groups[0], measure(groups[0], l1=False), 1)
        found, _ = self._settled(closer, lambda c: _of_kinship(c.measures()))
        return bool(kinship(found)[0, 1] > 1)

    def _settled(
        self, closer: _Closer, doubted: Callable[[_Closer], Doubts]
    ) -> tuple[Measures, Doubts]:
        group, left, doubts = closer.group, self.read, doubted(closer)
        for _ in range(ROUNDS):
            if closer.asked(doubts, self.more):
                closer.measure()
            elif (some := closer.in_full(doubts, left)) and self.whole is not None:
                fine = self.whole(closer.among(some, group.checkpoints)[0])
                if fine is None:
                    break
                closer.take_full(some, fine)
                left -= closer.bytes_of(some)
            else:
                break
            doubts = doubted(closer)
        self.asked |= closer.counted()
        return closer.measures(), doubts


def _of_kinship(m: Measures) -> Doubts:
    return [Doubt(pair, frozenset(pair)) for pair in unsure(m)]


def in_full(group: Group, whole: Sequence[Checkpoint]) -> Group:
    """A group of sketches with the same models, opened, in their place."""
    layers = (
        replace(
            layer,
            tensors=tuple(
                whole[k].tensors[t.name] for k, t in zip(layer.members, layer.tensors, strict=True)
            ),
        )
        for layer in group.layers
    )
    return replace(group, checkpoints=tuple(whole), layers=tuple(layers))


def in_doubt(forest: Forest, others: Iterable[Forest]) -> Doubts:
    """Of each model whose parent is another one in any of the others: between all that would be its
    parent.

    >>> def of(*parents):
    ...     return Forest(np.array(parents))
    >>> in_doubt(of(-1, 0, 1), [of(-1, 0, 1), of(-1, 0, 0)])
    [Doubt(about=(2,), models=frozenset({0, 1, 2}), in_full=True)]
    """
    parents = np.stack([forest.parents, *(other.parents for other in others)])
    return [
        Doubt((c,), frozenset([c, *(p for p in parents[:, c].tolist() if p >= 0)]))
        for c in np.flatnonzero((parents != parents[0]).any(axis=0)).tolist()
    ]


class _Closer(Levels):
    """Measures of a group of sketches, closer where larger ones are held, or more."""

    def __init__(self, group: Group, coarse: Measures, threads: int) -> None:
        super().__init__(group)
        self._coarse, self._threads = coarse, threads
        self._parts: list[tuple[Group, Measures, list[int], list[int]]] = []
        self._full: list[tuple[None, Measures, list[int], list[int]]] = []

    @property
    def looks(self) -> list[Look]:
        """The larger sketches that were looked at."""
        return [Look(tuple(models), group) for group, _, _, models in self._parts]

    def measures(self) -> Measures:
        """Of all models, of each pair as closely as both were looked at."""
        out = self._coarse
        for _, fine, layers, models in [*self._parts, *self._full]:
            out = mixed(out, fine, layers, models)
        return out

    def widened(self, doubt: Doubt, forest: Forest) -> Doubt:
        """A doubt that all of its models leave, though nothing is left to be seen of them, is about
        the rest of their tree, which they are weighed with."""
        if not all(k in self.full or self.at_hand(k) for k in doubt.models):
            return doubt
        labels = forest.labels()
        own = labels == labels[doubt.about[0]]
        return Doubt(doubt.about, doubt.models | frozenset(np.flatnonzero(own).tolist()))

    def replicates(self) -> Iterator[Measures]:
        """The same, off by a standard error."""
        many = max(1, AT_ONCE // max(1, self._coarse.gram.size))
        for at in range(0, REPLICATES, many):
            seeds = range(at, min(at + many, REPLICATES))
            out = replicates(self.group, self._coarse, seeds)
            for group, fine, layers, models in [*self._parts, *self._full]:
                off = [fine] * len(seeds) if group is None else replicates(group, fine, seeds)
                out = [mixed(m, f, layers, models) for m, f in zip(out, off, strict=True)]
            yield from out

    def measure(self) -> None:
        """Look at the larger sketches that are held."""
        self._parts = []
        for level in range(1, max(self.levels.values()) + 1):
            models = self.reached(level)
            if len(models) > 1:
                group, layers = self.among(models, self.larger)
                fine = measure(group, l1=False, threads=self._threads)
                self._parts.append((group, fine, layers, models))

    def take_full(self, models: list[int], fine: Measures) -> None:
        """Look at some models in full. fine: measures of layers of theirs."""
        place = {(x.name, x.shape): k for k, x in enumerate(self.group.layers)}
        layers = [place[key] for key in zip(fine.names, fine.shapes, strict=True)]
        self._full, self.full = [(None, fine, layers, models)], frozenset(models)
