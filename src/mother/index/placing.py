"""Where a newcomer would hang in an index: as if it were added, and nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.graph.placement import Placement, placement
from mother.index.catalogue import Catalogue, Model
from mother.index.closer import Read, Stored
from mother.index.families import Families
from mother.index.kin import nearest, related
from mother.index.newcomer import Newcomer
from mother.index.relatives import Pool
from mother.methods.refinement import Refinement
from mother.options import Options
from mother.recovery import recover_checkpoints

LARGE = 256  # models in a family, beyond which a checkpoint is placed
MOST = 64  # with so many of its relatives
NEW = 1 << 62  # number of a newcomer: it comes after all that are there


def place(new: Newcomer, families: Families, options: Options, closer: bool) -> Placement:
    """Recovered together with the families that it is related to, or, where they hold more than
    LARGE models, with its MOST nearest relatives and their parents. closer: more is read of some of
    them, as when it is added."""
    catalogue = families.catalogue
    pool = catalogue.pool()
    if not catalogue.knows(new.architecture):
        comparable = catalogue.comparable(new.architecture, new.sketch)
        pool = replace(pool, comparable=lambda _: comparable)
    known = catalogue.models("path = ?", new.path)
    id = known[0].id if known else catalogue.free_id(new.id, new.path)
    sure, doubtful = families.of(new, pool)
    arrival = Arrival(families, new, id, frozenset(sure), closer)
    kin = arrival.relatives(pool.family(number) for number in doubtful)
    rows = catalogue.numbered(_nearest(new, pool, catalogue, kin))
    others = [replace(catalogue.sketch(m.number), id=m.id) for m in rows]
    together = sorted([replace(new.sketch, id=id), *others], key=lambda c: c.id)
    more = arrival.larger({m.id: m for m in rows}, id)
    refined = Refinement(more, more.whole, families.read) if closer else None
    graph = recover_checkpoints(together, options, refinement=refined)
    return placement(graph, id, int(pool.comparable_to(new.architecture).sum()))


def _nearest(new: Newcomer, pool: Pool, catalogue: Catalogue, kin: list[int]) -> list[int]:
    """The relatives that it is recovered with, by number."""
    if len(kin) <= LARGE:
        return sorted(kin)
    near = pool.numbers[pool.nearest(new.architecture, new.signature, MOST)]
    numbers = near[np.isin(near, kin)].tolist()
    above = {up for number in numbers for up in catalogue.forest.parents(number)}
    return sorted(above.intersection(kin).union(numbers))


@dataclass(frozen=True)
class Arrival:
    """An index as it would be with a newcomer in it, in place of what lies at its path.

    id: what it would be called. sure: the sure families that it is surely related to, which are one
    with it then. closer: larger sketches are read where these are asked for.
    """

    families: Families
    new: Newcomer
    id: str
    sure: frozenset[int]
    closer: bool

    def members(self, sure: int) -> list[Model]:
        """Of a sure family, by id; the newcomer's is NEW."""
        catalogue, new = self.families.catalogue, self.new
        own = sorted(self.sure) if sure == NEW else [sure]
        found = [m for s in own for m in catalogue.members(s) if m.path != new.path]
        if sure == NEW:
            words = self.id, new.path, new.architecture
            found.append(Model(NEW, *words, NEW, NEW, new.stamp, b"", new.facts))
        return sorted(found, key=lambda model: model.id)

    def sketch(self, number: int) -> Checkpoint:
        """Of a model, or of the newcomer."""
        return self.new.sketch if number == NEW else self.families.catalogue.sketch(number)

    def signature(self, number: int) -> NDArray[np.float32]:
        """Of a model, or of the newcomer."""
        return self.new.signature if number == NEW else self.families.catalogue.signature(number)

    def relatives(self, doubtful: Iterable[int]) -> list[int]:
        """The models of the family that it would be in, by number. doubtful: the sure families of
        those that it may be related to."""
        found, pairs = [NEW], {(NEW, sure) for sure in doubtful}
        for pair in self.families.catalogue.doubts():
            one, other = (NEW if sure in self.sure else sure for sure in pair)
            pairs.add((one, other))
        for sure in found:
            beside = {s for pair in pairs if sure in pair for s in pair} - set(found)
            found += [other for other in sorted(beside) if self._are_one(sure, other)]
        return [m.number for sure in found for m in self.members(sure) if m.number != NEW]

    def _are_one(self, sure: int, other: int) -> bool:
        if not (self.members(sure) and self.members(other)):
            return False
        pair = nearest(self, sure, other)
        known = {number: model for number, model in pair.items() if model.number != NEW}
        return related(self, pair, self.larger(known, str(NEW)), self.families.read)

    def larger(self, models: dict[str, Model], id: str) -> Read:
        """Larger sketches of models, and of the newcomer, which has that id among them."""
        reader = self.families.reader if self.closer else None
        return Read(Stored(self.families.catalogue.readings, models), reader, {id: self.new})
