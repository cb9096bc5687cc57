"""What is told of models by characters, which are there or not, beside lengths of steps: rows that
training left untouched, and ranks of low-rank steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mother.evidence.ranks import update_rank
from mother.evidence.rows import Rows, Told
from mother.evidence.untouched import looked_at
from mother.evidence.ways import Matrices, passed_over
from mother.layouts import Group
from mother.measures import Measures

Indices = NDArray[np.intp]
Parts = list[tuple[Indices, Rows]]


@dataclass(frozen=True)
class Look:
    """Some models of a group, by their numbers in it, ascending, and what of these is looked at;
    their rows once."""

    models: tuple[int, ...]
    group: Group
    _known: dict[bytes, Parts] = field(default_factory=dict)

    @classmethod
    def of(cls, group: Group) -> Look:
        """At all of a group."""
        return cls(tuple(range(len(group.checkpoints))), group)

    @cached_property
    def place(self) -> dict[int, int]:
        """Of models among these."""
        return {k: at for at, k in enumerate(self.models)}

    def rows(self, models: Indices) -> Parts:
        """Those of some of the models: which of these are looked at, and their rows; first of all
        that are, then of some of which more is known."""
        place = self.place
        both = np.flatnonzero([k in place for k in models.tolist()])
        if len(both) < 2:
            return []
        inside = np.array([place[k] for k in models[both].tolist()], dtype=np.intp)
        key = inside.tobytes()
        if key not in self._known:
            rows, closer = looked_at(self.group.among(inside.tolist()))
            self._known[key] = [(np.arange(len(inside)), rows), *closer]
        return [(both[some], rows) for some, rows in self._known[key]]

    @property
    def known(self) -> Iterable[Parts]:
        """Those of all models that were asked for."""
        return self._known.values()


@dataclass(frozen=True)
class Characters:
    """Those of a group's models.

    looks: at all models, then at ever fewer of them ever more closely. seed: of the error that
    their rows are off by, where some were looked at of many; None for none.
    """

    looks: tuple[Look, ...]
    seed: int | None = None
    _matrices: list[Matrices] = field(default_factory=list)  # one, once it is asked for

    @classmethod
    def of(cls, group: Group) -> Characters:
        return cls((Look.of(group),))

    def closer(self, looks: Sequence[Look]) -> Characters:
        """The same, where some were looked at more closely."""
        return replace(self, looks=(self.looks[0], *looks), _matrices=[])

    def rows(self, models: Indices) -> Told:
        """What rows say of some of the models, which must be relatives."""
        (_, rows), *closer = [part for look in self.looks for part in look.rows(models)]
        return Told.of(rows, closer, self.seed)

    @property
    def exact(self) -> bool:
        """Whether all of the rows that were asked for were looked at: then they have no error."""
        parts = (part for look in self.looks for parts in look.known for part in parts)
        return all(share == 1 for _, rows in parts for share in rows.looked)

    def passed_over(
        self, m: Measures, parents: Indices, doubting: bool = False
    ) -> NDArray[np.bool_]:
        """Edges of a tree that by their ranks lead over another model, (n, n), symmetric.
        doubting: those that may, as far as windows show ranks."""
        if not self._matrices:
            self._matrices.append(Matrices.of([(x.models, x.group) for x in self.looks]))
        return passed_over(self._matrices[0], m, parents, doubting)

    def update_rank(
        self, frozen: NDArray[np.bool_], kept: NDArray[np.bool_], i: int, j: int
    ) -> int | None:
        """As `lora.update_rank`, by the closest look at both."""
        both = zip(self.looks, self._layers, strict=True)
        closest, at = next(x for x in reversed([*both]) if i in x[0].place and j in x[0].place)
        return update_rank(closest.group, frozen[at], kept[at], closest.place[i], closest.place[j])

    @cached_property
    def _layers(self) -> list[list[int]]:
        """The layers of each look, by their numbers in the first."""
        known = {(x.name, x.shape): k for k, x in enumerate(self.looks[0].group.layers)}
        return [[known[x.name, x.shape] for x in look.group.layers] for look in self.looks]
