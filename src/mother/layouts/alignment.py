"""Which checkpoints can be compared, and which of their tensors pair up.

Two tensors pair up when they have the same canonical name and shape: the stored name without the
prefix that one program puts before the names and another does not (`prefixes`), and without the
running numbers that tell when in a session a layer was made (`numbered`).
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mother.checkpoints.factors import is_adapter_alone
from mother.checkpoints.tensor import Checkpoint, Tensor, constant
from mother.layouts.numbered import under_one_numbering
from mother.layouts.prefixes import Key, Shape, Signature, connect


@dataclass(frozen=True)
class Layer:
    """One weight tensor across checkpoints; `members` are indices into the group, ascending.

    `shape` is that of the whole tensor. `tensors` are of that shape, or, where checkpoints are
    sketches, samples at the same positions of it.
    """

    name: str
    shape: Shape
    members: tuple[int, ...]
    tensors: tuple[Tensor, ...]

    @property
    def size(self) -> int:
        """Elements in one of the tensors."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Group:
    """Checkpoints that can be compared, with the layers in which they can be.

    `unaligned` names, for each checkpoint, the weight tensors that found no partner and why;
    `architecture` is, for each checkpoint, 12 hex digits over its canonical names and shapes.
    """

    checkpoints: tuple[Checkpoint, ...]
    layers: tuple[Layer, ...]
    unaligned: tuple[tuple[str, ...], ...]
    architecture: tuple[str, ...]

    def over(self, chosen: Iterable[bool]) -> Group:
        """The same group, with some of its layers."""
        layers = tuple(layer for layer, ok in zip(self.layers, chosen, strict=True) if ok)
        return Group(self.checkpoints, layers, self.unaligned, self.architecture)

    def among(self, models: Sequence[int]) -> Group:
        """The same group, with some of its checkpoints, each of them once."""
        place = {model: k for k, model in enumerate(models)}

        def of(layer: Layer) -> Layer:
            if len(layer.members) == len(self.checkpoints):  # at a cost of those alone
                tensors = tuple(layer.tensors[m] for m in models)
                return Layer(layer.name, layer.shape, tuple(range(len(models))), tensors)
            held = zip(layer.members, layer.tensors, strict=True)
            kept = sorted(((place[m], t) for m, t in held if m in place), key=lambda pair: pair[0])
            members = tuple(k for k, _ in kept)
            return Layer(layer.name, layer.shape, members, tuple(t for _, t in kept))

        return Group(
            tuple(self.checkpoints[m] for m in models),
            tuple(of(layer) for layer in self.layers),
            tuple(self.unaligned[m] for m in models),
            tuple(self.architecture[m] for m in models),
        )


def align(checkpoints: Sequence[Checkpoint]) -> list[Group]:
    """Groups of comparable checkpoints, in the order of their first members.

    Two checkpoints are comparable when the tensors that pair up hold at least half of the
    smaller one's parameters; a group is all that is connected by such pairs. Only weight tensors
    with elements count. A layer has two members or more, unless the group has one alone. Adapters,
    which may hold a whole head beside their factors, are compared with adapters alone.

    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> def model(id, **weights):
    ...     tensors = {n: constant(n, np.ones(s, np.float32)) for n, s in weights.items()}
    ...     return Checkpoint(id, Path(id), "npz", tensors)
    >>> from pathlib import Path
    >>> a = model("a", **{"fc.weight": (8, 8), "head.weight": (2, 8)})
    >>> b = model("b", **{"module.fc.weight": (8, 8), "module.head.weight": (3, 8)})
    >>> (group,) = align([a, b])
    >>> [(layer.name, layer.members) for layer in group.layers]
    [('fc.weight', (0, 1))]
    >>> group.unaligned
    (('head.weight: of shape (2, 8) here, (3, 8) elsewhere',),
     ('head.weight: of shape (3, 8) here, (2, 8) elsewhere',))
    """
    alone = [is_adapter_alone(c) for c in checkpoints]
    if any(alone) and not all(alone):
        place = {id(c): k for k, c in enumerate(checkpoints)}
        parts = [
            [c for c, is_one in zip(checkpoints, alone, strict=True) if is_one == side]
            for side in (False, True)
        ]
        groups = [group for part in parts for group in align(part)]
        return sorted(groups, key=lambda group: place[id(group.checkpoints[0])])
    every: dict[tuple[Key, ...], int] = {}
    own: list[int] = []
    for checkpoint in checkpoints:
        keys = tuple(
            sorted((n, t.shape) for n, t in checkpoint.tensors.items() if t.is_weight and t.size)
        )
        own.append(every.setdefault(keys, len(every)))
    # an index compares many models of a few architectures, two at a time
    component, names = (_named if len(every) > 2 else _named_before)(tuple(every))
    members: dict[int, list[int]] = defaultdict(list)
    for index, signature in enumerate(own):
        members[component[signature]].append(index)
    return [
        _group([checkpoints[i] for i in indices], [names[own[i]] for i in indices])
        for indices in members.values()
    ]


def _named(every: tuple[tuple[Key, ...], ...]) -> tuple[list[int], list[dict[str, str]]]:
    """Of each architecture its component, and by stored name that of the layer."""
    numbered = under_one_numbering(list(every))
    signatures = [
        Signature(k, {(names[n], shape): math.prod(shape) for n, shape in keys})
        for k, (keys, names) in enumerate(zip(every, numbered, strict=True))
    ]
    component = connect(signatures)
    canonical = [signature.canonical() for signature in signatures]
    names = [{n: canonical[k][x] for n, x in held.items()} for k, held in enumerate(numbered)]
    return component, names


_named_before = lru_cache(maxsize=1024)(_named)


def _group(checkpoints: list[Checkpoint], names: list[dict[str, str]]) -> Group:
    rows: dict[Key, list[tuple[int, Tensor]]] = defaultdict(list)
    unseen: set[Key] = set()  # a sketch holds nothing of them, which does not say that they differ
    for index, (checkpoint, canonical) in enumerate(zip(checkpoints, names, strict=True)):
        for stored, name in canonical.items():
            tensor = checkpoint.tensors[stored]
            rows[name, tensor.shape].append((index, tensor))
            if not tensor.kept.size:
                unseen.add((name, tensor.shape))
    rows = {key: row for key, row in rows.items() if key not in unseen}
    least = min(2, len(checkpoints))
    layers = tuple(
        Layer(name, shape, tuple(i for i, _ in row), common_part([t.kept for _, t in row]))
        for (name, shape), row in sorted(rows.items(), key=lambda item: item[0])
        if len(row) >= least
    )
    return Group(
        tuple(checkpoints),
        layers,
        _unaligned(len(checkpoints), {k: row for k, row in rows.items() if len(row) < least}, rows),
        _digests(checkpoints, names),
    )


def common_part(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors, or where samples differ in size, the corner (rows, columns) that all have."""
    shapes = {tensor.shape for tensor in tensors}
    if len(shapes) == 1:
        return tuple(tensors)
    corner = tuple(min(sides) for sides in zip(*shapes, strict=True))
    cut = tuple(slice(side) for side in corner)
    held = (constant(t.name, t.read().reshape(t.shape)[cut]) for t in tensors)
    return tuple(
        replace(part, scheme=t.scheme, cell=t.cell) for part, t in zip(held, tensors, strict=True)
    )


def _unaligned(
    count: int,
    alone: dict[Key, list[tuple[int, Tensor]]],
    rows: dict[Key, list[tuple[int, Tensor]]],
) -> tuple[tuple[str, ...], ...]:
    shapes: dict[str, set[Shape]] = defaultdict(set)
    for name, shape in rows:
        shapes[name].add(shape)
    lines: list[list[str]] = [[] for _ in range(count)]
    for (name, shape), row in sorted(alone.items(), key=lambda item: item[0]):
        others = ", ".join(str(s) for s in sorted(shapes[name] - {shape})[:3])
        why = f"of shape {shape} here, {others} elsewhere" if others else "in no other checkpoint"
        for index, _ in row:
            lines[index].append(f"{name}: {why}")
    return tuple(map(tuple, lines))


def _digests(checkpoints: list[Checkpoint], names: list[dict[str, str]]) -> tuple[str, ...]:
    # checkpoints of one signature share their dict of names
    known: dict[int, str] = {}
    for checkpoint, canonical in zip(checkpoints, names, strict=True):
        if id(canonical) not in known:
            rows = sorted((n, checkpoint.tensors[stored].shape) for stored, n in canonical.items())
            known[id(canonical)] = hashlib.sha256(repr(rows).encode()).hexdigest()[:12]
    return tuple(known[id(canonical)] for canonical in names)
