"""Models under the names of another one, where neither names nor content tell which tensor is
which: by shapes, and by singular values, which no order, sign or rotation of units changes.

It says nothing of kinship: strangers of one architecture are paired as well.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.checkpoints.views import permuted
from mother.layouts.units import Array, assigned, values_of
from mother.layouts.wiring import natural

SIDE = 1024  # the smaller one of a matrix whose singular values are computed
MODEL_LARGEST = 1 << 24  # weights of a model that is looked at: above, singular values take minutes
MAX_OF_SHAPE = 1 << 11  # tensors of one shape
FARTHEST_WEIGHT = 1e30  # a weight beyond which all are alike
Shape = tuple[int, ...]
Tensors = Mapping[str, Tensor]
#: how often a model holds each shape, whichever way matrices are turned
Shapes = frozenset[tuple[Shape, int]]


@dataclass(frozen=True)
class Renaming:
    """The names that tensors have in another model, by those they are stored under, and which of
    them are turned there."""

    like: Checkpoint
    names: Mapping[str, str]
    turned: frozenset[str]

    def seen(self, own: Checkpoint) -> Checkpoint:
        """A model that is stored as the one that was looked at, under the other's names."""
        tensors = {}
        for stored, tensor in own.tensors.items():
            name = self.names.get(stored, stored)
            turned = permuted(tensor, (1, 0)) if stored in self.turned else tensor
            tensors[name] = replace(turned, name=name)
        note = f"compared under the names of {self.like.id!r}, found by shapes and singular values"
        return replace(own, tensors=tensors, notes=(*own.notes, note))


def shapes_of(checkpoint: Checkpoint) -> Shapes:
    """Those of its weights; none of a model that is too large to be looked at, or a sketch."""
    kinds = _by_shape(checkpoint)
    sides = [min(shape[0], math.prod(shape[1:])) for shape in kinds if len(shape) > 1]
    most = max((len(tensors) for tensors in kinds.values()), default=0)
    large = checkpoint.parameters > MODEL_LARGEST or max(sides, default=0) > SIDE
    if checkpoint.is_sketch or large or most > MAX_OF_SHAPE:
        return frozenset()
    return frozenset((shape, len(tensors)) for shape, tensors in kinds.items())


def by_spectra(own: Checkpoint, like: Checkpoint) -> Renaming | None:
    """The names that a model's tensors have in another one that holds as many of each shape; None
    where it does not, or they are too large.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> draw = np.random.default_rng(0)
    >>> def net(*named):
    ...     return Checkpoint("a", Path("a"), "npz", {n: constant(n, w) for n, w in named})
    >>> a, b = draw.normal(size=(2, 8, 4))
    >>> by_spectra(net(("x", b[::-1].T), ("y", a[:, ::-1].T)), net(("u", a), ("v", b))).names
    {'y': 'u', 'x': 'v'}
    """
    if not shapes_of(own) or shapes_of(own) != shapes_of(like):
        return None
    ours, theirs = _by_shape(like), _by_shape(own)
    pairs = [pair for shape, some in ours.items() for pair in _paired(some, theirs[shape])]
    names = {theirs: ours for (ours, _), (theirs, _) in pairs}
    turned = frozenset(n for (_, a), (n, b) in pairs if a.shape != b.shape)
    return Renaming(like, names, turned)


def swaps(one: Tensors, other: Tensors, names: Sequence[str]) -> dict[str, str]:
    """For those of some matrices of two models that lie under the name of another one of their
    shape in the other, its name; and for vectors of their modules. None of what is too large."""
    alike: dict[Shape, list[str]] = defaultdict(list)
    for name in names:
        shape = one[name].shape
        if min(shape[0], math.prod(shape[1:])) <= SIDE:
            alike[shape].append(name)
    found: dict[str, str] = {}
    for some in alike.values():
        if 1 < len(some) <= MAX_OF_SHAPE and len(some) * one[some[0]].size <= MODEL_LARGEST:
            pairs = _paired(*([(name, side[name]) for name in some] for side in (one, other)))
            found |= {ours: theirs for (ours, _), (theirs, _) in pairs if ours != theirs}
    for ours, theirs in list(found.items()):
        at, there = (name[: name.rfind(".") + 1] for name in (ours, theirs))
        for name in (n for n in one if at and n.startswith(at) and n not in names):
            if (moved := there + name[len(at) :]) in other and other[moved].shape == one[
                name
            ].shape:
                found[name] = moved
    return found


_Named = tuple[str, Tensor]


def _by_shape(checkpoint: Checkpoint) -> dict[Shape, list[_Named]]:
    """Its weights by shape, matrices that may be turned together."""
    found: dict[Shape, list[_Named]] = defaultdict(list)
    for name in sorted(checkpoint.tensors, key=natural):
        tensor = checkpoint.tensors[name]
        shape = tensor.shape
        if tensor.is_weight and tensor.size:
            found[min(shape, shape[::-1]) if len(shape) == 2 else shape].append((name, tensor))
    return dict(found)


def _paired(ours: Sequence[_Named], theirs: Sequence[_Named]) -> list[tuple[_Named, _Named]]:
    """Tensors of one shape, each with the one that it is most like; none is turned, if as many are
    stored either way."""
    a, b = (np.stack([_spectrum(tensor) for _, tensor in side]) for side in (ours, theirs))
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    apart = np.sqrt(np.maximum(squared, 0))
    if Counter(t.shape for _, t in ours) == Counter(t.shape for _, t in theirs):
        turned = np.array([[a.shape != b.shape for _, b in theirs] for _, a in ours])
        apart += turned * (1 + 2 * apart.sum())
    order = assigned(apart.max(initial=0.0) - apart)
    return [(one, theirs[k]) for one, k in zip(ours, order, strict=True)]


def _spectrum(tensor: Tensor) -> Array:
    """Singular values of a matrix, or of a kernel's rows; of a vector its sizes in order."""
    values = values_of(tensor).astype(np.float64).clip(-FARTHEST_WEIGHT, FARTHEST_WEIGHT)
    if values.ndim < 2:
        return np.asarray(np.sort(np.abs(values.ravel())))
    return np.asarray(np.linalg.svd(values.reshape(len(values), -1), compute_uv=False))
