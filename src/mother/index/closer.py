"""Larger sketches of models in an index, where decisions about them lie within their error.

What is decided about a family asks for them (refinement.py). Those that are stored are at hand; the
others are noted as wanted, and read once the change is committed: nobody waits for a hub to write,
and whoever is stopped finds them noted. Then the families concerned are recovered again, which may
ask for more. A sketch that can't be had, because the files are gone or others by now, is not looked
for again until `recover` is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import mother
from mother.checkpoints import Checkpoint, Group
from mother.errors import InputError
from mother.executors import in_order
from mother.hub import is_address
from mother.index.catalogue import Catalogue, Model
from mother.index.measured import measured, of_group
from mother.index.newcomer import stamp
from mother.index.unit import Unit, opened, sketched
from mother.levels import TIMES
from mother.measures import Measures
from mother.measures.sketch_bytes import load

MOST = 1 << 30  # bytes of a sketch
AHEAD = 16  # models of which larger sketches are being read at once
Wanted = tuple[Model, int]


class Lying(Protocol):
    """A model of an index, or one to come, as it lies somewhere."""

    @property
    def path(self) -> str: ...
    @property
    def stamp(self) -> str: ...
    @property
    def facts(self) -> str: ...


@dataclass(frozen=True)
class Reader:
    """Reads larger sketches where models lie. Arguments as those of `sketch`."""

    budget: int
    seed: int
    matrices: int

    def read(
        self, wanted: Sequence[Wanted], executor: Executor | None = None
    ) -> Iterator[tuple[Model, int, bytes | None]]:
        """Each of them, or None where it can't be had."""
        units = [self._unit(model, level) for model, level in wanted]
        sent = [unit for unit in units if unit is not None]
        done = iter(in_order(executor, sketched, sent, AHEAD) if executor else map(sketched, sent))
        for (model, level), unit in zip(wanted, units, strict=True):
            content = next(done) if unit else None
            yield model, level, content if isinstance(content, bytes) else None

    def one(self, of: Lying, level: int) -> Checkpoint | None:
        """The larger sketch of one model, or None where it can't be had."""
        unit = self._unit(of, level)
        content = sketched(unit) if unit else None
        return load(content, Path(of.path), seed=self.seed) if isinstance(content, bytes) else None

    def measured(self, models: Sequence[Lying]) -> bytes | None:
        """The inner products of models in full, or None where these can't be had: of what lies on
        the Hub nothing is read whole."""
        if any(is_address(model.path) for model in models):
            return None
        units = [unit for model in models if (unit := self._unit(model, 0)) is not None]
        try:
            return measured([opened(unit) for unit in units]) if len(units) == len(models) else None
        except InputError:
            return None

    def _unit(self, of: Lying, level: int) -> Unit | None:
        """What a worker must know to sketch a model again; None where it does not lie where it lay,
        with the files of then."""
        base = json.loads(of.facts)["base"]
        files = tuple((name, size) for name, size, *_ in json.loads(of.stamp))
        budget = min(self.budget * TIMES**level, MOST)
        unit = Unit(of.path, base, files, budget, self.seed, self.matrices, mother.__version__)
        try:
            return unit if stamp(opened(unit)) == of.stamp else None
        except InputError:
            return None


@dataclass
class Stored:
    """Larger sketches as they are asked for. models: by id, those of the index. wanted: those that
    were and are not there, the level by the number of the model; unmeasured: sets of models, by
    number, that should be looked at in full and were not."""

    catalogue: Catalogue
    models: Mapping[str, Model]
    wanted: dict[int, int] = field(default_factory=dict)
    unmeasured: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def waiting(self) -> bool:
        """Whether some of what is wanted was not looked for in vain."""
        return bool(self.unmeasured) or any(
            not self.catalogue.tried(n, level) for n, level in self.wanted.items()
        )

    def whole(self, group: Group) -> Measures | None:
        """What was measured of a group's models in full, if it was."""
        numbers = tuple(self.models[c.id].number for c in group.checkpoints)
        if content := self.catalogue.measured(numbers):
            return of_group(content, group)
        if not self.waiting and not self.catalogue.measured_in_vain(numbers):
            self.unmeasured.add(numbers)
        return None

    def __call__(self, checkpoint: Checkpoint, level: int) -> Checkpoint | None:
        number = self.models[checkpoint.id].number
        found = self.catalogue.larger(number, level)
        if found is None:
            self.wanted[number] = level
        return found


@dataclass
class Read:
    """The same, and what is not stored is read from where the model lies. newcomers: by id, those
    that are not in the index."""

    stored: Stored
    reader: Reader
    newcomers: Mapping[str, Lying]

    def __call__(self, checkpoint: Checkpoint, level: int) -> Checkpoint | None:
        if (new := self.newcomers.get(checkpoint.id)) is not None:
            return self.reader.one(new, level)
        known = self.stored.models[checkpoint.id]
        return self.stored(checkpoint, level) or self.reader.one(known, level)

    def whole(self, group: Group) -> Measures | None:
        """The same of a group's models in full."""
        ids = [c.id for c in group.checkpoints]
        if not self.newcomers.keys() & ids and (found := self.stored.whole(group)) is not None:
            return found
        lying: dict[str, Lying] = {**self.stored.models, **self.newcomers}
        content = self.reader.measured([lying[id] for id in ids])
        return of_group(content, group) if content else None
