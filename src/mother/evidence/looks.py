"""What of models is held to be looked at: their layers, of some more than of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from mother.evidence.ranks import update_rank
from mother.layouts import Group
from mother.measures.products import Bools

T = TypeVar("T")


class Look:
    """Some models of a group, by their numbers in it, ascending, and what of these is held. ranks:
    whether it is looked at for ranks alone, of whole matrices where others are of windows."""

    def __init__(self, models: Sequence[int], group: Group, *, ranks: bool = False) -> None:
        self.models, self.group, self.ranks = tuple(models), group, ranks
        self.place = {k: at for at, k in enumerate(self.models)}
        self._kept: dict[Callable[[Look], Any], Any] = {}

    @classmethod
    def of(cls, group: Group, *, ranks: bool = False) -> Look:
        """At all of a group."""
        return cls(range(len(group.checkpoints)), group, ranks=ranks)

    def kept(self, make: Callable[[Look], T]) -> T:
        """What a kind of evidence has made of it, made once: decisions are taken many times."""
        if make not in self._kept:
            self._kept[make] = make(self)
        return cast(T, self._kept[make])


def closest_rank(looks: Sequence[Look], frozen: Bools, kept: Bools, i: int, j: int) -> int | None:
    """As `update_rank`, by the closest look at both. looks: the first is at all models."""
    known = {(x.name, x.shape): k for k, x in enumerate(looks[0].group.layers)}
    look = next(x for x in reversed(looks) if i in x.place and j in x.place)
    at = [known[x.name, x.shape] for x in look.group.layers]
    return update_rank(look.group, frozen[at], kept[at], look.place[i], look.place[j])
