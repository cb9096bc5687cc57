"""The families of an index: models joined by kinship.

Whom a newcomer is surely related to, its sketch says: sure families are joined by that. Of two of
these between which it lies within the error of some sketches, the nearest two models decide, by
sketches as large as it takes. So what is decided depends on who is there, not on who came first.
While larger sketches are still to be read, the two families pass for strangers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mother.index.catalogue import Catalogue, Model
from mother.index.closer import Reader, Stored
from mother.index.kin import nearest, related
from mother.index.newcomer import Newcomer
from mother.index.relatives import HOLDERS, Pool, kinships

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
        places = pool.candidates(new.architecture, new.signature, new.contents)
        places = places[~np.isin(pool.numbers[places], itself)]
        home, numbers = pool.families[places], pool.numbers[places]
        sure, strange = self.catalogue.glances.told(new.glance, new.sketch, numbers)
        families = {int(family) for family in home[sure]}
        left = np.flatnonzero(~strange & ~np.isin(home, home[sure]))
        kin, unsure = kinships(new.sketch, [self.catalogue.sketch(int(n)) for n in numbers[left]])
        families |= {int(family) for family in home[left[(kin > 1) & ~unsure]]}
        doubtful = left[unsure & ~np.isin(home[left], list(families))]
        return families, [int(n) for n in numbers[doubtful]]

    def partition(self, models: Sequence[Model]) -> tuple[list[int], Pairs]:
        """The sure family of each, as if they had come in this order, and the pairs of models, by
        number, whose kinship is within its error."""
        held: dict[int, list[int]] = {}
        pool = Pool(self.catalogue.compared, lambda content: held.get(content, [])[:HOLDERS])
        doubtful = Pairs()
        for model in models:
            sketch = self.catalogue.sketch(model.number)
            mark = self.catalogue.signature(model.number)
            shared = self.catalogue.shared(model.number)
            new = Newcomer("", "", "", model.architecture, sketch, b"", mark, b"", shared, "")
            families, others = self.of(new, pool)
            doubtful |= {(model.number, other) for other in others}
            family = min((model.number, *families))
            pool.join(families, family)
            pool.extend([model.number], [family], [model.architecture], mark[None])
            self.catalogue.glances.keep(model.number, new.glance)
            for content in shared:
                held.setdefault(content, []).append(model.number)
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
                self.catalogue.forest.clear(family)
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
        pair = nearest(self.catalogue, one, other)
        stored = Stored(self.catalogue.readings, pair)
        found = related(self.catalogue, pair, stored, self.read)
        if not stored.waiting:
            return found
        self.waiting.add((one, other))
        self.wanted |= stored.wanted
        self.unmeasured |= stored.unmeasured
        return False
