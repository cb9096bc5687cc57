"""The forests of an index's families, kept up while models come and go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import tee

from mother.graph import ModelGraph, WeightFile
from mother.index.catalogue import Catalogue, Model
from mother.index.family import Family, Recovered, recovered
from mother.options import MANY, Options

GROWN = 2  # times as large a family is recovered again, and when all have come


@dataclass
class Forests:
    """Those of a catalogue. options, read: as of `Family`. executor: whose workers recover
    families; None for this process alone."""

    catalogue: Catalogue
    options: Options
    read: int
    executor: Executor | None = None

    @contextmanager
    def by(self, executor: Executor | None) -> Iterator[None]:
        """Let the workers of an executor recover families meanwhile, if there is one."""
        before, self.executor = self.executor, executor or self.executor
        try:
            yield
        finally:
            self.executor = before

    def every(self) -> list[ModelGraph]:
        """Of each family; of one that waits for its forest, afresh."""
        fresh = self.recovered(self.catalogue.waiting())
        return [*self.catalogue.forest.graphs(), *(found.graph for _, found in fresh)]

    def again(self, families: set[int], at_once: bool = False) -> None:
        """Recover families that have grown GROWN times, and those of more than MANY later, unless
        all at once; of whoever asks meanwhile for all that there is, the others are, too."""
        now = []
        for family in sorted(families):
            has, seen = self.catalogue.forest.sizes(family)
            if not has:
                self.catalogue.forest.clear(family)
            elif at_once or GROWN * seen <= has <= MANY:
                now.append(family)
            else:
                self.catalogue.forest.put_off(family)
        self._put(self.catalogue.models("family = ?", family) for family in now)

    def catch_up(self) -> None:
        """Recover the families that were left for later."""
        with self.catalogue.writing():
            self._put(self.catalogue.waiting())

    def _put(self, families: Iterable[Sequence[Model]]) -> None:
        for models, found in self.recovered(families):
            self.catalogue.put(models[0].family, found.graph, found.wanted, found.unmeasured)

    def recovered(
        self, families: Iterable[Sequence[Model]]
    ) -> Iterator[tuple[Sequence[Model], Recovered]]:
        """Each family, by its members, and what was recovered of these alone, from their
        sketches."""
        sent, known = tee(families)
        every = (Family.of(self.catalogue, models, self.options, self.read) for models in sent)
        for models, found in zip(known, recovered(every, self.executor), strict=True):
            yield models, replace(found, graph=self._with_facts(found.graph, models))

    def _with_facts(self, graph: ModelGraph, models: Sequence[Model]) -> ModelGraph:
        """A graph, with what else is known of its models."""
        with self.catalogue.store.sound("models"):
            facts = {m.id: json.loads(m.facts) for m in models}
            nodes = tuple(
                replace(
                    node,
                    notes=(*facts[node.id]["notes"], *node.notes),
                    files=tuple(WeightFile(**file) for file in facts[node.id]["files"]),
                )
                for node in graph.nodes
            )
        return replace(graph, nodes=nodes)
