"""The kinds of children, each with who its parents are and what may be said of it.

A kind is a function from the family's folder to a checkpoint, registered with `kind`. The first
ones were looked at while rules were made, so they are for fitting; of the others a third is, and
two thirds are for judging, which follows from the name alone. The last ones were made when all
rules were there, and judged before any was mended.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from experiments.lab.models import load

Weights = dict[str, Tensor]
Make = Callable[[Path, Path], None]
BESIDE = "beside"  # a folder in a kind's own: models that are given, too


@dataclass(frozen=True)
class Kind:
    """parents: those that are right, all of them for a merge; none where nothing of them is left.
    relations: that may be said. make: writes the model into a folder, from that of the family.
    source: the tool that made it. when: "first", "last", or "" of those between."""

    name: str
    parents: tuple[str, ...]
    relations: tuple[str, ...]
    source: str
    when: str
    make: Make

    @property
    def half(self) -> str:
        """fits, judges or last: of the latter two, nothing was chosen by it when it was judged."""
        if self.when:
            return {"first": "fits", "last": "last"}[self.when]
        return "judges" if hashlib.sha256(self.name.encode()).digest()[0] % 3 > 0 else "fits"


KINDS: dict[str, Kind] = {}


def kind(
    name: str,
    parents: str,
    relations: str,
    source: str = "torch",
    *,
    first: bool = False,
    last: bool = False,
) -> Callable[[Make], Make]:
    """Register a kind. parents, relations: words, apart by spaces."""

    def register(make: Make) -> Make:
        assert name not in KINDS
        of, said = tuple(parents.split()), tuple(relations.split())
        when = "first" if first else "last" if last else ""
        KINDS[name] = Kind(name, of, said, source, when, make)
        return make

    return register


def weights(path: Path) -> Weights:
    """All tensors of a model of the family."""
    return {name: w.clone() for name, w in load(path).state_dict().items()}


def stored(path: Path, like: Path, values: Weights, dtype: torch.dtype = torch.float32) -> None:
    """A model of the family's layout with these weights."""
    model = load(like)
    model.load_state_dict(values)
    model.to(dtype).save_pretrained(path)


def matrices(values: Weights) -> list[str]:
    """The names of matrices."""
    return [name for name, w in values.items() if w.ndim == 2]
