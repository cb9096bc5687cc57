"""Larger sketches of models in an index, where decisions about them lie within their error.

What is decided about a family asks for them (methods/refinement.py). Those that are stored are at
hand; the others are noted as wanted, and read once the change is committed: nobody waits for a hub
to write, and whoever is stopped finds them noted. Then the families concerned are recovered again,
which may ask for more. A sketch that can't be had, because the files are gone or others by now, is
not looked for again until `recover` is asked for. What comes must agree with the first sketch: a
disk tells by times that a file was written to, a Hub need not tell the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import mother
from mother.checkpoints import Checkpoint, Problem
from mother.errors import InputError
from mother.hub import is_address
from mother.index.catalogue import Catalogue, Model
from mother.index.executors import Lost, in_order
from mother.index.measured import measured, of_group
from mother.index.newcomer import Newcomer, base_in, like_in, stamp
from mother.index.readings import Kept, Readings
from mother.index.settings import Settings
from mother.index.unit import Unit, laid_out, opened, seen, sketched
from mother.layouts import Group
from mother.measures import Measures
from mother.sketches.levels import TIMES
from mother.sketches.sketch import agree, sketch
from mother.sketches.sketch_bytes import load

MOST = 1 << 30  # bytes of a sketch
AHEAD = 16  # models of which larger sketches are being read at once
Wanted = tuple[Model, int]
Lying = Model | Newcomer  # a model of an index, or one to come, as it lies somewhere
OTHERS = "holds other bytes than those that its sketch was made of"


@dataclass(frozen=True)
class Reader:
    """Reads more of models where they lie: larger sketches, and at last all of them.

    problems: what could not be read of that, and why; not what is gone from a disk, or was changed
    there. withheld: what lies on the Hub and was to be read in full, which the settings do not
    allow; bytes by address.
    """

    settings: Settings
    catalogue: Catalogue
    problems: list[Problem] = field(default_factory=list)
    withheld: dict[str, int] = field(default_factory=dict)

    def read(
        self, wanted: Sequence[Wanted], executor: Executor | None = None
    ) -> Iterator[tuple[Model, int, bytes | None]]:
        """Each of them, or None where it can't be had."""
        units = [self._unit(model, level) for model, level in wanted]
        sent = [unit for unit in units if unit is not None]
        done = iter(in_order(executor, sketched, sent, AHEAD) if executor else map(sketched, sent))
        for (model, level), unit in zip(wanted, units, strict=True):
            yield model, level, self._sound(model, next(done)) if unit else None

    def one(self, of: Lying, level: int) -> Checkpoint | None:
        """The larger sketch of one model, or None where it can't be had."""
        unit = self._unit(of, level)
        content = self._sound(of, sketched(unit)) if unit else None
        return load(content, Path(of.path), seed=self.settings.seed) if content else None

    def measured(self, models: Sequence[Lying]) -> bytes | None:
        """The inner products of models in full, or None where these can't be had. What lies on the
        Hub is fetched whole, into its library's cache, so that it need not come again for the next
        newcomer; where the settings don't allow that, nothing is."""
        remote = {at: model for model in models if (at := self._on_the_hub(model)) is not None}
        if remote and not self.settings.download:
            self.withheld.update({at: self._bytes(model) for at, model in remote.items()})
            return None
        units = [unit for model in models if (unit := self._unit(model, 0)) is not None]
        if len(units) < len(models):
            return None
        try:
            return measured([self._whole(*x) for x in zip(models, units, strict=True)])
        except InputError as fault:
            self._refuse(fault.path, fault.fault)
            return None

    def _whole(self, of: Lying, unit: Unit) -> Checkpoint:
        """A model opened to be read in full. InputError where it holds other bytes than it did."""
        whole = laid_out(unit, opened(unit, download=self.settings.download))
        known = self._known(of)
        first = sketch(whole, unit.budget, seed=unit.seed, matrices=unit.matrices)
        if known is not None and not agree(known, first):
            raise InputError(of.path, OTHERS)
        return whole

    def _unit(self, of: Lying, level: int) -> Unit | None:
        """What a worker must know to sketch a model again; None where that is gone from the disk,
        or was changed there. Of the Hub's files, whoever opens them looks at the sizes."""
        with self.catalogue.store.sound("models"):
            base, files = base_in(of.facts), seen(of.path, of.stamp)
            like = like_in(of.facts)
        s = self.settings
        budget = min(s.budget * TIMES**level, MOST)
        unit = Unit(of.path, base, files, budget, s.seed, s.matrices, mother.__version__, like)
        try:
            return unit if is_address(of.path) or stamp(opened(unit)) == of.stamp else None
        except InputError:
            return None

    def _sound(self, of: Lying, content: bytes | Problem | Lost) -> bytes | None:
        """What came as a larger sketch of a model, if it is one."""
        if isinstance(content, bytes):
            known = self._known(of)
            larger = load(content, Path(of.path), seed=self.settings.seed)
            if known is None or agree(known, larger):
                return content
            self._refuse(of.path, OTHERS)
        elif isinstance(content, Problem):
            self._refuse(content.shown, content.fault)
        else:
            self._refuse(of.path, content.fault)
        return None

    def _refuse(self, path: str, fault: str) -> None:
        if (problem := Problem(Path(path), fault)) not in self.problems:
            self.problems.append(problem)

    def _known(self, of: Lying) -> Checkpoint | None:
        """The first sketch of a model, None where another process has taken it out meanwhile."""
        if isinstance(of, Newcomer):
            return of.sketch
        try:
            return self.catalogue.sketch(of.number)
        except InputError:
            return None

    def _on_the_hub(self, of: Lying) -> str | None:
        """Where the weights of a model lie on the Hub: its base's, if it is merged into one."""
        with self.catalogue.store.sound("models"):
            places = base_in(of.facts), of.path
        return next((place for place in places if place is not None and is_address(place)), None)

    def _bytes(self, of: Lying) -> int:
        known = self._known(of)
        weights = known.tensors.values() if known is not None else ()
        return sum(t.nbytes for t in weights if t.is_weight)


@dataclass
class Stored:
    """Larger sketches as they are asked for. models: by id, those of the index. wanted: those that
    were and are not there, the level by the number of the model; unmeasured: sets of models, by
    number, that should be looked at in full and were not."""

    readings: Readings | Kept
    models: Mapping[str, Model]
    wanted: dict[int, int] = field(default_factory=dict)
    unmeasured: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def waiting(self) -> bool:
        """Whether some of what is wanted was not looked for in vain."""
        return bool(self.unmeasured) or any(
            not self.readings.tried(n, level) for n, level in self.wanted.items()
        )

    def whole(self, group: Group) -> Measures | None:
        """What was measured of a group's models in full, if it was."""
        numbers = self._numbers(group)
        if content := self.readings.measured(numbers):
            return of_group(content, group)
        if not self.waiting and not self.in_vain(group):
            self.unmeasured.add(numbers)
        return None

    def in_vain(self, group: Group) -> bool:
        """Whether a group's models were to be measured in full and could not be."""
        return self.readings.measured_in_vain(self._numbers(group))

    def _numbers(self, group: Group) -> tuple[int, ...]:
        return tuple(self.models[c.id].number for c in group.checkpoints)

    def __call__(self, checkpoint: Checkpoint, level: int) -> Checkpoint | None:
        number = self.models[checkpoint.id].number
        found = self.readings.larger(number, level)
        if found is None:
            self.wanted[number] = level
        return found


@dataclass
class Read:
    """The same, and what is not stored, and was not looked for in vain, is read from where the
    model lies. reader: None where nothing is to be read; newcomers: by id, those that are not in
    the index."""

    stored: Stored
    reader: Reader | None
    newcomers: Mapping[str, Lying]

    def __call__(self, checkpoint: Checkpoint, level: int) -> Checkpoint | None:
        if (new := self.newcomers.get(checkpoint.id)) is not None:
            return self.reader.one(new, level) if self.reader else None
        known = self.stored.models[checkpoint.id]
        if (found := self.stored(checkpoint, level)) is not None or self.reader is None:
            return found
        tried = self.stored.readings.tried(known.number, level)
        return None if tried else self.reader.one(known, level)

    def whole(self, group: Group) -> Measures | None:
        """The same of a group's models in full."""
        ids = [c.id for c in group.checkpoints]
        if not self.newcomers.keys() & ids:
            found = self.stored.whole(group)
            if found is not None or self.stored.in_vain(group):
                return found
        if self.reader is None:
            return None
        lying: dict[str, Lying] = {**self.stored.models, **self.newcomers}
        content = self.reader.measured([lying[id] for id in ids])
        return of_group(content, group) if content else None
