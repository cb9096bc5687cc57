"""Ids of the checkpoints that were found: unique, and with no more folders than tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mother.checkpoints.stores import Called
from mother.checkpoints.tensor import Checkpoint, clean
from mother.names import counted


@dataclass
class Found:
    """A checkpoint with the names that its id is made of."""

    checkpoint: Checkpoint
    called: Called
    also: list[str] = field(default_factory=list)


def identified(found: Iterable[Found]) -> list[Checkpoint]:
    """The checkpoints with unique ids, in their order, and that of the numbers in them: a run's by
    steps."""
    found = sorted(found, key=lambda f: clean(str(f.checkpoint.path)))
    one_run = len({each.called.run for each in found if each.called.step}) == 1
    clashes: dict[str, list[Found]] = {}
    for each in found:
        name = (one_run and each.called.step) or each.called.short
        clashes.setdefault(name, []).append(each)
    named: dict[str, Checkpoint] = {}
    for name, group in clashes.items():
        labels = _labels(group) if len(group) > 1 else [name]
        for label, each in zip(labels, group, strict=True):
            unique, count = label, 1
            while unique in named:
                count += 1
                unique = f"{label}#{count}"
            named[unique] = _finished(each, unique)
    return [named[label] for label in sorted(named, key=counted)]


def by_address(found: Found, root: Path, address: str) -> Called:
    """The names of a checkpoint in a mirror of what lies at an address: its folders are those of
    the address, and its full name has what chooses a version there."""
    own, where = found.called, tuple(address.partition(":")[2].strip("/").split("/"))
    above, base = own.above, root.parts[1:]
    if above[: len(base)] == base:
        above = (*where, *above[len(base) :])
    elif above == base[:-1]:
        above = where[:-1]
    query = found.checkpoint.shown.partition("?")[2] if address.startswith("http") else ""
    return replace(own, above=above, full=f"{own.full}?{query}" if query else own.full)


def _finished(found: Found, label: str) -> Checkpoint:
    told = (found.called.note,) if found.called.note else ()
    return replace(found.checkpoint, id=label, notes=(*found.checkpoint.notes, *told, *found.also))


def _labels(group: Sequence[Found]) -> list[str]:
    """Names for checkpoints of one short name: with as many parent folders as tell them apart."""
    most = max(len(f.called.above) for f in group)
    for way in ("short", "exact", "full"):
        names = [getattr(f.called, way) for f in group]
        for depth in range(most + 1):
            labels = [
                "/".join([*map(clean, f.called.above[::-1][:depth][::-1]), name])
                for f, name in zip(group, names, strict=True)
            ]
            if len(set(labels)) == len(labels):
                return labels
    return [f.called.full for f in group]
