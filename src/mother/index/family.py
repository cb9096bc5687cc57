"""Families of an index, recovered here or by the workers of an executor.

A family goes with all that is known of its models, so that it is recovered where there is no index;
its forest comes back, with what larger sketches it wants and has not. Small families go together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import mother
from mother.checkpoints import Checkpoint, Problem
from mother.errors import InputError, MotherError
from mother.graph import ModelGraph
from mother.index.catalogue import Catalogue, Model
from mother.index.closer import Stored
from mother.index.executors import Lost, in_order
from mother.index.readings import Kept
from mother.index.unit import same_version
from mother.methods.refinement import Refinement
from mother.options import Options
from mother.recovery import recover_checkpoints

TOGETHER = 1 << 22  # bytes of sketches of which families go together: a quarter of a second
AHEAD = 64  # such parts out at workers at once


@dataclass(frozen=True)
class Family:
    """models: by id. sketches: the first ones, likewise. kept: what else was read of them.
    options, read: as of `recover_checkpoints` and `Refinement`."""

    models: tuple[Model, ...]
    sketches: tuple[Checkpoint, ...]
    kept: Kept
    options: Options
    read: int
    version: str = mother.__version__

    @classmethod
    def of(
        cls, catalogue: Catalogue, models: Sequence[Model], options: Options, read: int
    ) -> Family:
        """One as an index holds it."""
        sketches = (replace(catalogue.sketch(m.number), id=m.id) for m in models)
        kept = catalogue.readings.of([m.number for m in models])
        return cls(tuple(models), tuple(sketches), kept, options, read)

    @property
    def nbytes(self) -> int:
        """Of its sketches, and of what else was read of its models."""
        tensors = (t for sketch in self.sketches for t in sketch.tensors.values())
        return self.kept.nbytes + sum(t.kept.nbytes for t in tensors)


@dataclass(frozen=True)
class Recovered:
    """graph: of a family's models alone. wanted: what larger sketches were and are not there, the
    level by the number of the model; unmeasured: sets of models, by number, that should be looked
    at in full and were not."""

    graph: ModelGraph
    wanted: dict[int, int]
    unmeasured: set[tuple[int, ...]]


def recovered(families: Iterable[Family], executor: Executor | None) -> Iterator[Recovered]:
    """Each of them, in their order. InputError where what is kept is damaged, MotherError where the
    workers are gone."""
    if executor is None:
        yield from map(_alone, families)
        return
    parts = _together(families)
    some = list(islice(parts, 2))
    if len(some) < 2:  # one part is sooner recovered than sent
        yield from map(_alone, chain.from_iterable(some))
        return
    for found in in_order(executor, _recovered, chain(some, parts), AHEAD):
        if isinstance(found, Problem):
            raise InputError(found.path, found.fault)
        if isinstance(found, Lost):
            raise MotherError(f"a family was not recovered: {found.fault}")
        yield from found


def _together(families: Iterable[Family]) -> Iterator[list[Family]]:
    """Parts of TOGETHER bytes, or one family."""
    part, held = list[Family](), 0
    for family in families:
        more = family.nbytes
        if part and held + more > TOGETHER:
            yield part
            part, held = [], 0
        part.append(family)
        held += more
    if part:
        yield part


def _recovered(families: list[Family]) -> list[Recovered] | Problem:
    """What a worker does."""
    try:
        same_version(families[0].version, families[0].models[0].path)
        return list(map(_alone, families))
    except InputError as fault:
        return Problem(Path(fault.path), fault.fault)


def _alone(family: Family) -> Recovered:
    stored = Stored(family.kept, {m.id: m for m in family.models})
    refinement = Refinement(stored, stored.whole, family.read)
    graph = recover_checkpoints(family.sketches, family.options, refinement=refinement)
    return Recovered(graph, stored.wanted, stored.unmeasured)
