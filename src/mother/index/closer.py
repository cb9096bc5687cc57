"""Larger sketches of models in an index, where decisions about them lie within their error.

What is decided about a family asks for them (refinement.py). Those that are stored are at hand; the
others are noted as wanted, and read once the change is committed: nobody waits for a hub to write,
and whoever is stopped finds them noted. Then the families concerned are recovered again, which may
ask for more. A sketch that can't be had, because the files are gone or others by now, is not looked
for again until `recover` is asked for. Two models whose kinship waits for larger sketches pass for
strangers meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import mother
from mother.checkpoints import Checkpoint
from mother.errors import InputError
from mother.executors import in_order
from mother.index.catalogue import Catalogue, Model
from mother.index.newcomer import stamp
from mother.index.unit import Unit, opened, sketched
from mother.measures.sketch_bytes import load
from mother.refinement import TIMES, Refinement

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
    were and are not there, the level by the number of the model."""

    catalogue: Catalogue
    models: Mapping[str, Model]
    wanted: dict[int, int] = field(default_factory=dict)

    @property
    def waiting(self) -> dict[int, int]:
        """Those of the wanted that were not looked for in vain."""
        return {n: at for n, at in self.wanted.items() if not self.catalogue.tried(n, at)}

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


@dataclass
class Kin:
    """Whether two models of an index are relatives, where their first sketches leave it in doubt.
    wanted: the larger sketches that are to be read for it, the level by the number of the model."""

    catalogue: Catalogue
    wanted: dict[int, int] = field(default_factory=dict)

    def related(self, one: int, other: int) -> bool | None:
        """As larger sketches say; None where these are still to be read."""
        models = {str(n): m for n in (one, other) for m in self.catalogue.models("number = ?", n)}
        stored = Stored(self.catalogue, models)
        sketches = (replace(self.catalogue.sketch(n), id=str(n)) for n in (one, other))
        found = Refinement(stored).related(*sketches)
        self.wanted |= stored.waiting
        return None if stored.waiting else found
