"""Files of DVC's that stand in the place of weights: NAME.dvc, and dvc.lock of a pipeline.

Format: https://dvc.org/doc/user-guide/project-structure. As a card's, the YAML is read as a stream
of events: nothing is constructed, no alias is followed, nothing recurses. (Pointers of Git LFS have
the name of the weights themselves and are told by their first bytes, in `formats`.)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mother.checkpoints.formats import ending
from mother.checkpoints.front_matter import MAX_DEPTH, first_document
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import printable
from mother.errors import InputError
from mother.hub.addresses import is_inside

MAX_POINTER = 1 << 20
LOCK, POINTER = "dvc.lock", ".dvc"


def pointed(path: Path) -> str | None:
    """Of a pointer of DVC's what it stands for and how to get that, where that is weights, or a
    folder, and not there; None for all else."""
    if path.name != LOCK and not path.name.endswith(POINTER):
        return None
    try:
        file = File(path)
        if file.size > MAX_POINTER:
            return None
        absent = [out for out in _outs(file.read(0, file.size)) if _is_absent(path.parent, out)]
    except InputError:
        return None
    if not absent:
        return None
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    kind = "the folder " if absent[0].get("nfiles") else ""
    name = printable(absent[0]["path"], 100)
    there = "are" if more else "is"
    return f"a DVC pointer: {kind}{name}{more} {there} not here; `dvc pull` fetches it"


def _is_absent(folder: Path, out: dict[str, str]) -> bool:
    place = out.get("path", "")
    if not is_inside(place) or not (ending(place) or out.get("nfiles")):
        return False
    return not os.path.lexists(folder / out.get("wdir", ".") / place)


@dataclass
class _Open:
    """A mapping or a sequence that has begun. under: the key that it stands under; key: of the
    mapping, the one whose value comes next; told: names and values, of an output."""

    is_mapping: bool
    under: str | None
    key: str | None = None
    told: dict[str, str] = field(default_factory=dict)


def _outs(data: bytes) -> Iterator[dict[str, str]]:
    """The mappings in all lists that are called outs; as many as can be read."""
    import yaml

    stack = [_Open(False, None)]
    try:
        for event in first_document(data.decode("utf-8")):
            top = stack[-1]
            if isinstance(event, yaml.CollectionStartEvent):
                if len(stack) > MAX_DEPTH:
                    return
                stack.append(_Open(isinstance(event, yaml.MappingStartEvent), top.key))
            elif isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
                if top.is_mapping and stack[-1].under == "outs":
                    yield top.told
                stack[-1].key = None
            elif isinstance(event, yaml.ScalarEvent) and top.is_mapping and top.key is None:
                top.key = event.value
            elif isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                if isinstance(event, yaml.ScalarEvent) and top.key is not None:
                    top.told[top.key] = event.value
                top.key = None
    except (ValueError, yaml.YAMLError):
        return
