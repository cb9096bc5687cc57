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
from functools import cached_property
from itertools import combinations
from typing import Protocol

import numpy as np

from mother.checkpoints import Checkpoint
from mother.evidence.family import Family
from mother.evidence.kinship import kinship, unsure
from mother.evidence.looks import Look
from mother.evidence.untouched import RowsOf
from mother.layouts import Group, align
from mother.measures import Measures, measure
from mother.measures.clustering import groups
from mother.measures.products import Array, Products, Source
from mother.methods.gram import evidence
from mother.methods.unsettled import unsettled
from mother.sketches.levels import Doubt, Doubts, Levels, More
from mother.sketches.mixed import mixed
from mother.sketches.near import Near
from mother.sketches.replicates import exact, offsets, replicates
from mother.sketches.samples import Samples, samples_of
from mother.trees.engine import Pair
from mother.trees.forest import Forest

REPLICATES = 8
REPLICATES_AT_ONCE = 1 << 23  # inner products of replicates that are held at once
TOGETHER = 256  # models of a large family that are read in full in one pass
ASKING_ROUNDS = 12  # of asking, at the most
READ = 1 << 34  # bytes of models of one family that are read in full
#: the measures of a group of sketches from all weights, of those of its layers where these can be
#: had; None where they can't
Whole = Callable[[Group], Measures | None]


class Decide(Protocol):
    """The forest of models, without some edges, and by a replicate of their rows; figures: whether
    those of its edges are wanted."""

    def __call__(
        self,
        source: Source,
        looks: Sequence[Look],
        *,
        apart: Pair | None = None,
        off: int | None = None,
        figures: bool = True,
    ) -> Forest: ...


@dataclass(frozen=True)
class Decided:
    """What was decided in the end, by which source and looks, and what is within its error yet."""

    source: Source
    looks: Sequence[Look]
    forest: Forest
    doubts: Doubts


@dataclass
class Refinement:
    """Larger sketches, as they are asked for while forests are recovered, and at last the weights.

    read: bytes of models of one family that may be read in full, each time counted. levels: how
    often a larger sketch of one model is asked for, as of `Levels`. asked: by id, how often more
    bytes of a model were looked at.
    """

    more: More
    whole: Whole | None = None
    read: int = READ
    levels: int | None = None
    asked: dict[str, int] = field(default_factory=dict)

    def refined(
        self,
        group: Group,
        coarse: Source,
        decide: Decide,
        threads: int = 1,
        *,
        families: bool = True,
        tied: Sequence[frozenset[int]] = (),
        beside: Sequence[Look] = (),
    ) -> Decided:
        """What is decided of a group of sketches, which are looked at more closely where that may
        matter. families: whether kinship decides how many trees there are. tied: copies and their
        originals, which are looked at alike, or what is near to one would seem nearer. beside:
        looks that are closer than any of sketches."""
        closer = _Closer(group, coarse, threads, self.levels, beside)
        decided: list[Decided] = []

        def doubts(closer: _Closer) -> Doubts:
            source, looks = closer.source(), closer.looks
            forest = decide(source, looks)
            if isinstance(source, Samples):
                found = [Doubt((c,), k) for c, k in unsettled(source, forest, closer.offsets)]
            else:
                whole = exact(group) and all(look.kept(RowsOf).exact for look in looks)
                off = () if whole else enumerate(closer.replicates())
                others = [decide(m, looks, off=seed, figures=False) for seed, m in off]
                found = [closer.widened(doubt, forest) for doubt in in_doubt(forest, others)]
            found += _by_evidence(source, looks, forest, decide)
            if families and isinstance(source, Measures):
                found += _of_kinship(source)
            found = [replace(x, models=x.models.union(*_with(x.models, tied))) for x in found]
            decided[:] = [Decided(source, looks, forest, found)]
            return found

        self._settled(closer, doubts)
        return decided[0]

    def related(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Whether two models are relatives, from sketches as large as it takes."""
        groups = align([one, other])
        if len(groups) > 1:
            return False
        closer = _Closer(groups[0], measure(groups[0], moments=True), 1, self.levels)
        self._settled(closer, lambda c: _of_kinship(c.measures()))
        return bool(kinship(closer.measures())[0, 1] > 1)

    def _settled(self, closer: _Closer, doubted: Callable[[_Closer], Doubts]) -> None:
        left, doubts = self.read, doubted(closer)
        for _ in range(ASKING_ROUNDS):
            closer.note(doubts)
            if closer.asked(doubts, self.more):
                closer.measure()
            elif (some := closer.next_in_full(doubts, left)) and self.whole is not None:
                fine = self.whole(closer.among(some, closer.group.checkpoints)[0])
                if fine is None or not closer.take_full(some, fine):
                    break
                left -= closer.bytes_of(some)
            else:
                break
            doubts = doubted(closer)
        self.asked |= closer.counted()


def _with(models: frozenset[int], tied: Sequence[frozenset[int]]) -> Iterator[frozenset[int]]:
    """Those that some of the models are tied to."""
    return (some for some in tied if some & models)


def _by_evidence(source: Source, looks: Sequence[Look], forest: Forest, decide: Decide) -> Doubts:
    """Models whose edges evidence may object to, as far as windows show it: in a small family those
    that hang elsewhere without such edges, in a large one between them and their next best."""
    many = isinstance(source, Samples)
    pairs = doubtful(source, looks, forest, rivals=many)
    if not pairs:
        return []
    if many:
        trios = [(c, p, int(forest.rival[c])) for p, c in pairs]
        return [Doubt(t[:1], frozenset(k for k in t if k >= 0), in_full=False) for t in trios]
    p, c = np.array(pairs, dtype=np.intp).T
    found = in_doubt(forest, [decide(source, looks, apart=(p, c), figures=False)])
    return [replace(doubt, in_full=False) for doubt in found]


def doubtful(
    source: Source, looks: Sequence[Look], forest: Forest, *, rivals: bool
) -> list[tuple[int, int]]:
    """Edges, parent and child, that evidence may object to. rivals: whether each model's next best
    parent alone may lie between."""
    found = []
    for tree in groups(forest.labels()):
        members = np.array(tree, dtype=np.intp)
        family = Family.of(source.among(members), looks, members) if len(members) > 2 else None
        if family is None:
            continue
        place = {k: at for at, k in enumerate(tree)}
        up = [place.get(int(p), -1) for p in forest.parents[members]]
        if rivals:
            beside = [place.get(int(k), -1) for k in forest.rival[members]]
            near = [[k] if k >= 0 else [] for k in beside]
        else:
            table = np.zeros((len(members),) * 2)
            i, j = np.triu_indices(len(members), 1)
            table[i, j] = table[j, i] = family.length(i, j)
            np.fill_diagonal(table, np.inf)
            near = np.argsort(table, axis=1, kind="stable")[:, :-1].tolist()
        parents, against = np.array(up, dtype=np.intp), np.zeros(len(members), dtype=bool)
        for one in evidence(family).values():
            against |= one.objections(parents, near.__getitem__, doubting=True)
        found += [(tree[up[c]], tree[c]) for c in np.flatnonzero(against).tolist()]
    return found


def _of_kinship(m: Measures) -> Doubts:
    return [Doubt(pair, frozenset(pair)) for pair in unsure(m)]


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
    """What is known of a group of sketches, closer where larger ones are held, or more. Of a large
    family, by samples, only of pairs that there were doubts between."""

    def __init__(
        self,
        group: Group,
        coarse: Source,
        threads: int,
        most: int | None,
        beside: Sequence[Look] = (),
    ) -> None:
        super().__init__(group, most)
        self._beside = beside
        self._coarse, self._threads = coarse, threads
        self._parts: list[tuple[Look, Source, list[int]]] = []
        self._full: list[tuple[list[int], Measures, list[int]]] = []
        self._pairs: set[tuple[int, int]] = set()

    @property
    def looks(self) -> list[Look]:
        """All looks at models, at ever fewer of them ever more closely."""
        return [self._first, *(look for look, *_ in self._parts), *self._beside]

    @cached_property
    def _first(self) -> Look:
        return Look.of(self.group)

    @cached_property
    def offsets(self) -> Array:
        """How much more than once each sampled weight counts in replicates, (d, REPLICATES)."""
        return offsets(self.group, REPLICATES)

    def note(self, doubts: Doubts) -> None:
        """Remember what pairs there are doubts between."""
        if isinstance(self._coarse, Samples):
            self._pairs |= {pair for d in doubts for pair in combinations(sorted(d.models), 2)}

    def source(self) -> Source:
        """Of all models, of each pair as closely as both were looked at."""
        if isinstance(self._coarse, Samples):
            return replace(self._coarse, near=self._near())
        return self.measures()

    def measures(self) -> Measures:
        """The same of measures."""
        out = self._coarse
        assert isinstance(out, Measures)
        for look, fine, layers in self._parts:
            assert isinstance(fine, Measures)
            out = mixed(out, fine, layers, look.models)
        for models, whole, layers in self._full:
            out = mixed(out, whole, layers, models)
        return out

    def _near(self) -> Near | None:
        left, found = set(self._pairs), list[Near]()
        every = [(models, fine) for models, fine, _ in self._full]
        closer = [(list(look.models), fine) for look, fine, _ in reversed(self._parts)]
        for models, fine in [*every, *closer]:
            place = {k: at for at, k in enumerate(models)}
            pairs = sorted(p for p in left if p[0] in place and p[1] in place)
            if pairs:
                i, j = np.array(pairs, dtype=np.intp).T
                at = np.array([[place[k] for k in pair] for pair in pairs], dtype=np.intp)
                of = fine.pairs(at[:, 0], at[:, 1])
                chance = np.broadcast_to(of.chance, of.ij.shape)
                found.append(Near(i, j, Products(of.ii, of.jj, of.ij, chance)))
                left -= set(pairs)
        if not found:
            return None
        i, j = (np.concatenate([getattr(x, side) for x in found]) for side in "ij")
        parts = (
            np.concatenate([getattr(x.of, part) for x in found], axis=1)
            for part in ("ii", "jj", "ij", "chance")
        )
        return Near(i, j, Products(*parts))

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
        coarse = self._coarse
        assert isinstance(coarse, Measures)
        many = max(1, REPLICATES_AT_ONCE // max(1, coarse.gram.size))
        for at in range(0, REPLICATES, many):
            seeds = range(at, min(at + many, REPLICATES))
            out = replicates(self.group, coarse, seeds)
            for look, fine, layers in self._parts:
                assert isinstance(fine, Measures)
                off = replicates(look.group, fine, seeds)
                out = [mixed(m, f, layers, look.models) for m, f in zip(out, off, strict=True)]
            for models, whole, layers in self._full:
                out = [mixed(m, whole, layers, models) for m in out]
            yield from out

    def measure(self) -> None:
        """Look at the larger sketches that are held."""
        self._parts = []
        for level in range(1, max(self.levels.values()) + 1):
            models = self.reached(level)
            if len(models) > 1:
                group, layers = self.among(models, self.larger)
                if isinstance(self._coarse, Samples):
                    fine: Source = samples_of(group)
                else:
                    fine = measure(group, moments=True, threads=self._threads)
                self._parts.append((Look(models, group), fine, layers))

    def next_in_full(self, doubts: Doubts, most: int) -> list[int]:
        """Models to be looked at in full, of no more than so many bytes together: of a small
        family all that any doubt is between, of a large one those of doubts that were not between
        models seen so."""
        if not isinstance(self._coarse, Samples):
            return self.in_full(doubts, most)
        some: frozenset[int] = frozenset()
        for models in (doubt.models for doubt in doubts if doubt.in_full):
            told = any(models <= set(seen) for seen, *_ in self._full)
            told = told or all(map(self.at_hand, models)) or bool(models & self.lost)
            both = some | models
            if not told and len(both) <= TOGETHER and self.bytes_of(both) <= most:
                some = both
        return sorted(some)

    def take_full(self, models: list[int], fine: Measures) -> bool:
        """Look at some models in full, by measures of layers of theirs; whether that can be done:
        of a large family all layers are needed."""
        place = {(x.name, x.shape): k for k, x in enumerate(self.group.layers)}
        layers = [place[key] for key in zip(fine.names, fine.shapes, strict=True)]
        if not isinstance(self._coarse, Samples):
            self._full, self.full = [(models, fine, layers)], frozenset(models)
            return True
        if len(layers) < len(self.group.layers):
            return False
        self._full.append((models, fine, layers))
        self.full |= set(models)
        return True
