"""Copies whose files are equal byte for byte, and how many bytes they take.

Equal weights are not enough to delete one of two models: a header, the split into files or the
format may be what somebody needs. Nor are equal files of weights, where what lies beside them says
how they are used: a scale of an adapter, a tokenizer, the state of a training. A copy can go where
all of it but its card is in the other one, too, in the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mother.checkpoints import Checkpoint, File
from mother.checkpoints.folders import is_folder, listing, shard_set
from mother.checkpoints.storage import reason
from mother.checkpoints.stores.place import USUAL
from mother.errors import InputError
from mother.graph import ModelGraph

_BLOCK = 1 << 22  # bytes that are compared at a time
_CARDS = ("readme", "license")


def with_identical(graph: ModelGraph, checkpoints: Sequence[Checkpoint]) -> ModelGraph:
    """The graph, its nodes with what they are identical to and what could be freed. checkpoints:
    what it was recovered from. Reads copies of this disk, as far as they are equal. Raises
    InputError where one can't be read."""
    here = (c for c in checkpoints if c.files and not c.is_sketch)
    held = {c.id: c for c in here if not any(file.remote for file in c.files)}
    same: dict[str, str] = {}
    for copies in _copies(graph):
        kept: list[Checkpoint] = []
        beside = {id_: _beside(held[id_]) for id_ in copies if id_ in held}
        for copy in (held[id_] for id_ in sorted(beside, key=lambda k: (-len(beside[k]), k))):
            own = beside[copy.id]
            same_files = (c for c in kept if _are_equal(c, copy))
            first = next((c for c in same_files if _has_all(beside[c.id], own)), None)
            if first is None:
                kept.append(copy)
            else:
                same[copy.id] = first.id
    if not same:
        return graph
    freed = _freed(held, same)
    nodes = (
        replace(n, identical_to=same[n.id], freed=freed[n.id]) if n.id in same else n
        for n in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def _copies(graph: ModelGraph) -> Iterator[list[str]]:
    """Ids of models of the very same weights."""
    found: dict[str, list[str]] = {}
    for edge in graph.edges:
        if edge.relation == "duplicate":
            found.setdefault(edge.parent, [edge.parent]).append(edge.child)
    return map(sorted, found.values())


def _are_equal(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether all files of two are the same in every byte, and not all of them the very same file:
    a folder that is mounted twice holds one model, and no copy of it."""
    a, b = one.named_files, other.named_files
    if len(a) != len(b) or (len(a) > 1 and a.keys() != b.keys()):
        return False
    pairs = list(zip(a.values(), b.values(), strict=True))
    apart = [(x, y) for x, y in pairs if _key(x) != _key(y)]
    equal = all(x.size == y.size for x, y in apart) and all(_hold_the_same(*p) for p in apart)
    return bool(apart) and equal


def _beside(checkpoint: Checkpoint) -> dict[str, Path]:
    """What lies beside the weights of a model, by its path in the model's folder: nothing where a
    file has a name of its own, as that of a folder of many. Cards are left out."""
    top = checkpoint.path
    if not is_folder(top):
        if not _is_named_by_its_folder(top.name):
            return {}
        top = top.parent
    weights = {_key(file) for file in checkpoint.files}
    folders = {file.path.parent for file in checkpoint.files if file.path.is_relative_to(top)}
    found = {}
    for folder in sorted({top, *folders}):
        for name in listing(folder):
            path = folder / name
            if path.is_file() and not name.lower().startswith(_CARDS):
                status = path.stat()
                if (status.st_dev, status.st_ino) not in weights:
                    found[path.relative_to(top).as_posix()] = path
    return found


def _is_named_by_its_folder(name: str) -> bool:
    name = name.removesuffix(".index.json")
    shards = shard_set(name)
    return (shards[0] if shards else name.partition(".")[0]) in USUAL


def _has_all(kept: Mapping[str, Path], own: Mapping[str, Path]) -> bool:
    """Whether what lies beside a copy lies beside what is kept, too, in the same bytes."""
    if not own.keys() <= kept.keys():
        return False
    try:
        pairs = ((File(path), File(kept[name])) for name, path in own.items())
        return all(a.size == b.size and _hold_the_same(a, b) for a, b in pairs)
    except InputError:
        return False  # what can't be read is not called the same


def _hold_the_same(one: File, other: File) -> bool:
    steps = ((at, min(at + _BLOCK, one.size)) for at in range(0, one.size, _BLOCK))
    return all(np.array_equal(one.array(*s), other.array(*s)) for s in steps)


def _key(file: File) -> tuple[int, int]:
    status = _status(file)
    return status.st_dev, status.st_ino


def _status(file: File) -> os.stat_result:
    try:
        return file.path.stat()
    except OSError as error:
        raise file.fault(f"can't be read: {reason(error)}") from None


def _freed(held: Mapping[str, Checkpoint], same: Mapping[str, str]) -> dict[str, int]:
    """Bytes on disk that go with each copy when all of them are deleted: those of files that no
    other model has a part in, by a link to the same blob, and that no other hard link keeps."""
    holders: dict[tuple[int, int], set[str]] = {}
    sizes: dict[tuple[int, int], int] = {}
    for id_, checkpoint in held.items():
        for file in checkpoint.files:
            key = _key(file)
            holders.setdefault(key, set()).add(id_)
            sizes[key] = file.size if _status(file).st_nlink == 1 else 0
    freed = dict.fromkeys(same, 0)
    for key, ids in holders.items():
        if ids <= same.keys():
            freed[min(ids)] += sizes[key]
    return freed
