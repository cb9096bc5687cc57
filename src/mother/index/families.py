"""The families of an index: models joined by kinship.

Whom a newcomer is surely related to, its sketch says: sure families are joined by that. Of two of
these between which it lies within the error of some sketches, the nearest two models decide, by
sketches as large as it takes. So what is decided depends on who is there, not on who came first.
While larger sketches are still to be read, the two families pass for strangers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mother.index.catalogue import Catalogue, Model
from mother.index.closer import Read, Reader, Stored
from mother.index.newcomer import Newcomer
from mother.index.relatives import Pool, kinships
from mother.refinement import Refinement

NEAREST = 64  # members of a family among which the nearest to another family is looked for
Pairs = set[tuple[int, int]]


@dataclass(frozen=True)
class Families:
    """Those of a catalogue. reader: of larger sketches; read: as of `Refinement`."""

    catalogue: Catalogue
    reader: Reader
    read: int

    def of(self, new: Newcomer, pool: Pool) -> tuple[set[int], list[int]]:
        """The families in the pool that a newcomer is surely related to, but for itself as it was,
        and the numbers of those in others whose kinship is within its error."""
        itself = [m.number for m in self.catalogue.models("path = ?", new.path)]
        places = pool.candidates(new.architecture, new.signature)
        places = places[~np.isin(pool.numbers[places], itself)]
        home, numbers = pool.families[places], pool.numbers[places]
        sure, strange = new.glance.told([self.catalogue.glances.at(n) for n in numbers.tolist()])
        families = {int(family) for family in home[sure]}
        left = np.flatnonzero(~strange & ~np.isin(home, home[sure]))
        kin, unsure = kinships(new.sketch, [self.catalogue.sketch(int(n)) for n in numbers[left]])
        families |= {int(family) for family in home[left[(kin > 1) & ~unsure]]}
        doubtful = left[unsure & ~np.isin(home[left], list(families))]
        return families, [int(n) for n in numbers[doubtful]]

    def of_newcomer(self, new: Newcomer, pool: Pool, closer: bool) -> set[int]:
        """The families that a newcomer is related to. closer: larger sketches are read at once,
        where it takes these."""
        sure, doubtful = self.of(new, pool)
        for number in doubtful:
            models = {str(number): m for m in self.catalogue.models("number = ?", number)}
            more = Read(Stored(self.catalogue, models), self.reader, {"": new})
            refinement = Refinement(lambda *_: None)
            if closer:
                refinement = Refinement(more, more.whole, self.read)
            other = replace(self.catalogue.sketch(number), id=str(number))
            if refinement.related(replace(new.sketch, id=""), other):
                sure.add(pool.family(number))
        return {family for s in sure for family in self.catalogue.homes(s)}

    def partition(self, models: Sequence[Model]) -> tuple[list[int], Pairs]:
        """The sure family of each, as if they had come in this order, and the pairs of models, by
        number, whose kinship is within its error."""
        pool, doubtful = Pool(self.catalogue.compared), Pairs()
        for model in models:
            sketch = self.catalogue.sketch(model.number)
            mark = self.catalogue.signature(model.number)
            new = Newcomer("", "", "", model.architecture, sketch, b"", mark, "")
            families, others = self.of(new, pool)
            doubtful |= {(model.number, other) for other in others}
            family = min((model.number, *families))
            pool.join(families, family)
            pool.extend([model.number], [family], [model.architecture], mark[None])
            self.catalogue.glances.keep(model.number, new.glance)
        return [int(f) for f in pool.families[: pool.size]], doubtful

    def regroup(self, changed: set[int]) -> tuple[set[int], _Kin]:
        """Find the families around some sure families that changed, and forget the forests of those
        that are others now: all that have one to get, and what is still to be read to know them."""
        kin, pairs, around = _Kin(self.catalogue, self.read), self.catalogue.doubts(), set(changed)
        while more := self._beside(around, pairs) - around:
            around |= more
        before = [(s, family) for s in around for family in self.catalogue.homes(s)]
        found = self.joined(around, {pair for pair in pairs if around >= set(pair)}, kin)
        self.catalogue.regroup(found)
        self.catalogue.wait(kin.waiting, around)
        was, now = _parts(before), _parts(found.items())
        for family in was:
            if was[family] != now.get(family):
                self.catalogue.clear(family)
        return {f for f, sure in now.items() if sure & changed or was.get(f) != sure}, kin

    def _beside(self, sure: set[int], pairs: Pairs) -> set[int]:
        """Sure families that are in a family with some, or may be."""
        homes = {family for s in sure for family in self.catalogue.homes(s)}
        together = {s for family in homes for s in self.catalogue.parts(family)}
        return together | {s for pair in pairs if sure & set(pair) for s in pair}

    def afresh(self, sure: set[int]) -> dict[int, int]:
        """The family of each of all sure families."""
        doubts = {pair for pair in self.catalogue.doubts() if sure >= set(pair)}
        return self.joined(sure, doubts, _Kin(self.catalogue, self.read))

    def joined(self, sure: set[int], doubts: Pairs, kin: _Kin) -> dict[int, int]:
        """The family of each of some sure families: the smallest of those that it is joined to."""
        families = {s: s for s in sure}
        for one, other in sorted(doubts):
            if kin.of(one, other):
                pair = families[one], families[other]
                families = {s: min(pair) if f in pair else f for s, f in families.items()}
        return families


def _parts(homes: Iterable[tuple[int, int]]) -> dict[int, set[int]]:
    """The sure families in each family, from the family of each."""
    parts: dict[int, set[int]] = {}
    for sure, family in homes:
        parts.setdefault(family, set()).add(sure)
    return parts


@dataclass
class _Kin:
    """Whether two sure families of an index are one, where sketches leave it in doubt. read: as of
    `Refinement`. wanted, unmeasured: what is to be read for it, as of `Stored`; waiting: the
    families that wait for that."""

    catalogue: Catalogue
    read: int
    wanted: dict[int, int] = field(default_factory=dict)
    unmeasured: set[tuple[int, ...]] = field(default_factory=set)
    waiting: Pairs = field(default_factory=set)

    def of(self, one: int, other: int) -> bool:
        """As the nearest two say."""
        held = (self.catalogue.models("sure = ?", sure) for sure in (one, other))
        pair = sorted(self._nearest(*held), key=lambda model: model.number)
        stored = Stored(self.catalogue, {str(m.number): m for m in pair})
        sketches = (replace(self.catalogue.sketch(m.number), id=str(m.number)) for m in pair)
        found = Refinement(stored, stored.whole, self.read).related(*sketches)
        if not stored.waiting:
            return found
        self.waiting.add((one, other))
        self.wanted |= stored.wanted
        self.unmeasured |= stored.unmeasured
        return False

    def _nearest(self, one: Sequence[Model], other: Sequence[Model]) -> tuple[Model, Model]:
        """The two with the most kinship by first sketches, of equal ones the first by id."""
        if other[0].id < one[0].id:
            one, other = other, one
        one, other = self._facing(one, other), self._facing(other, one)
        sketches = [self.catalogue.sketch(m.number) for m in other]
        kin = np.array([kinships(self.catalogue.sketch(m.number), sketches)[0] for m in one])
        k, at = divmod(int(kin.argmax()), len(other))
        return one[k], other[at]

    def _facing(self, some: Sequence[Model], others: Sequence[Model]) -> Sequence[Model]:
        """The NEAREST to the middle of others, by signature."""
        if len(some) <= NEAREST:
            return some
        middle = np.mean([self.catalogue.signature(m.number) for m in others], axis=0)
        far = [np.square(self.catalogue.signature(m.number) - middle).sum() for m in some]
        return [some[k] for k in np.sort(np.argsort(far, kind="stable")[:NEAREST])]
