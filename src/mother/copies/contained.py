"""Models whose tensors are all among another's, whatever they are called there: buffers that one
program keeps and another drops, parts of a larger model."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.duplicates import (
    Duplicate,
    agree,
    chunks,
    equal,
    few_of,
    flushed,
    rest_agrees,
    rounded,
    without,
)
from mother.evidence.sums import KIN_COSINE
from mother.layouts import Group, Layer
from mother.measures import is_matrix
from mother.thresholds import TRACE

#: different values that must be seen of a model: constant and near-constant ones agree by chance
TELLING_VALUES = 16
WINDOW = 1 << 14  # weights of a matrix that are looked at for it

_NESTED = re.compile(r"\.\d+\..*\.\d+\.")
#: tensors by what equal ones have in common
Keyed = Mapping[Hashable, Sequence[Tensor]]


def find_contained(group: Group, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """Models of a group whose tensors are all among another one's, each pair as original and copy.

    Two that hold each other's are a "duplicate", or "converted" where one holds the other's rounded
    to a coarser type. Otherwise the larger one "contains" the smaller one, and is its copy; unless
    that is but a part of it (`is_part`): then it may have a family of its own. copies: those known
    before, which are left out.
    """
    models = sorted(without(group, copies), key=lambda c: c.id)
    held = _held(group)
    keyed = [by_values(held[c]) for c in models]
    inside = {(i, k) for i, k in included(keyed, equal) if _tells(keyed[i])}
    pairs = [
        pair_of(models[i], models[k], mutual=(k, i) in inside, mutually="duplicate")
        for i, k in sorted(inside)
    ]
    found = [_as_others(group, d) for d in pairs if d is not None]
    return stars([*found, *_rounded_copies(models, held)])


def _held(group: Group) -> dict[Checkpoint, list[Tensor]]:
    """The weights of each model; of sketches, of one number type or another, what all hold of each
    layer."""
    common = {
        (member, tensor.name): tensor
        for layer in group.layers
        for member, tensor in zip(layer.members, layer.tensors, strict=True)
    }
    held = {}
    for k, c in enumerate(group.checkpoints):
        weights = [t for t in c.tensors.values() if t.is_weight]
        if c.is_sketch:
            weights = [replace(t, sample=common.get((k, t.name), t.sample)) for t in weights]
        held[c] = weights
    return held


def _rounded_copies(
    models: Sequence[Checkpoint], held: Mapping[Checkpoint, Sequence[Tensor]]
) -> Iterator[Duplicate]:
    """Pairs of models of which one stores, by the type of most of its weights, all tensors of the
    other rounded to it, some perhaps as they were; what one of them holds beside is a TRACE."""
    stored = [{t.dtype for t in held[c] if t.size > 1} for c in models]
    kinds = {t for c, s in zip(models, stored, strict=True) for t in s if str(t) == c.dtype}
    for kind in sorted(kinds, key=str):
        narrow = [str(kind) == c.dtype for c in models]
        wide = [kind not in s and _widest(s) > _widest({kind}) for s in stored]
        if not any(wide):
            continue
        keyed = [by_values(held[c], kind) for c in models]

        def same(a: Tensor, b: Tensor, kind: np.dtype[np.generic] = kind) -> bool:
            if kind not in (a.dtype, b.dtype) and equal(a, b):
                return True
            one, other = (b, a) if a.dtype == kind else (a, b)
            return all(agree(x, y, kind) for x, y in chunks(one, other))

        def asked(i: int, k: int, narrow: list[bool] = narrow, wide: list[bool] = wide) -> bool:
            return (narrow[i] and wide[k]) or (narrow[k] and wide[i])

        inside = included(keyed, same, asked)
        for i, k in sorted({(i, k) if wide[i] else (k, i) for i, k in inside}):
            one, other = models[i], models[k]
            beside = 0 if {(i, k), (k, i)} <= inside else abs(one.parameters - other.parameters)
            if beside <= TRACE * one.parameters and rest_agrees(one, other):
                yield Duplicate(one, other, "converted")


def _widest(dtypes: Iterable[np.dtype[np.generic]]) -> int:
    return max((dtype.itemsize for dtype in dtypes), default=0)


def _of_experts(d: Duplicate) -> Duplicate:
    """A model of which the larger one holds what it holds once in numbered parts of its blocks, a
    mixture of experts (Komatsuzaki and others 2022). It was made from it where each part is the
    same; else it may have been taken out of it."""
    one, other = (nested(c) for c in (d.original, d.copy))
    shapes = {t.shape for t in d.original.tensors.values() if is_matrix(t.shape)}
    if one or len(other) < 2 or not {t.shape for t in other} <= shapes:
        return d
    many = Counter((t.shape, few_of(t.kept).tobytes()) for t in other)
    return replace(d, relation="upcycled", undirected=min(many.values()) < 2)


def nested(checkpoint: Checkpoint) -> list[Tensor]:
    """Matrices with two numbers in their names, of a block and of a part of it."""
    tensors = checkpoint.tensors.values()
    return [t for t in tensors if is_matrix(t.shape) and _NESTED.search(t.name)]


def _as_others(group: Group, d: Duplicate) -> Duplicate:
    """The other way round where most of its kin have, too, what the larger one has more, or another
    has that and nothing else: a body without its head, an actor without its critic is the copy
    then, and what it lacks is compared."""
    if d.relation != "contains" or is_part(d):
        return d
    inner, outer = (group.checkpoints.index(c) for c in (d.original, d.copy))
    own = [x for x in group.layers if inner in x.members and is_matrix(x.shape)]
    kin = {k for k in range(len(group.checkpoints)) if _alike(own, inner, k)} - {inner, outer}
    both = {k for x in own for k in x.members}
    more = [x.members for x in group.layers if outer in x.members and inner not in x.members]
    # one that has none of the smaller one's layers is a relative of the larger one alone
    alone = any(k not in both for members in more for k in members)
    if alone or any(2 * len(kin.intersection(members)) > len(kin) for members in more):
        return replace(d, original=d.copy, copy=d.original)
    return d


def _alike(layers: Sequence[Layer], one: int, other: int) -> bool:
    """Whether two models of a group are kin, by most of the layers that both have."""
    pairs = [
        [x.tensors[x.members.index(k)] for k in (one, other)] for x in layers if other in x.members
    ]
    return bool(pairs) and float(np.median([cosine(*pair) for pair in pairs])) > KIN_COSINE


def cosine(one: Tensor, other: Tensor) -> float:
    """Between the first weights of two tensors; 0 where one of them is 0."""
    a, b = (t.read(0, min(t.size, WINDOW)).astype(np.float64) for t in (one, other))
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def pair_of(
    inner: Checkpoint, outer: Checkpoint, *, mutual: bool, mutually: str
) -> Duplicate | None:
    """Two models of which one holds all of the other's tensors, or each the other's: then by the
    relation `mutually`, from the first by id, if what is no weight agrees."""
    if mutual:
        original, copy = sorted((inner, outer), key=lambda c: c.id)
        return Duplicate(original, copy, mutually) if rest_agrees(inner, outer) else None
    if inner.unread:  # which may not be among the other's
        return None
    return _of_experts(Duplicate(inner, outer, "contains", undirected=True))


def is_part(d: Duplicate) -> bool:
    """Whether one model is but a part of another that contains it, less than half."""
    return d.relation == "contains" and 2 * d.original.parameters < d.copy.parameters


def rebuilt(d: Duplicate) -> Duplicate:
    """A copy that has fewer, more or moved blocks, as that."""
    if d.relation not in ("duplicate", "contains") or d.original.blocks == d.copy.blocks:
        return d
    one, other = (d.original, d.copy) if d.copy.blocks else (d.copy, d.original)
    return Duplicate(one, other, "reshaped")


def stars(pairs: Iterable[Duplicate]) -> list[Duplicate]:
    """One original for each copy, which is no copy itself: the first that is found. Then each part
    with the models that contain it and are no copies."""
    copies: dict[Checkpoint, Duplicate] = {}
    originals: set[Checkpoint] = set()
    every = list(pairs)
    for d in (d for d in every if not is_part(d)):
        if d.copy not in copies and d.original not in copies and d.copy not in originals:
            copies[d.copy] = d
            originals.add(d.original)
    held = (
        d
        for d in filter(is_part, every)
        if not {d.original, d.copy} & copies.keys() and d.original not in originals
    )
    return [*copies.values(), *held]


def included(
    models: Sequence[Keyed],
    same: Callable[[Tensor, Tensor], bool],
    asked: Callable[[int, int], bool] = lambda i, k: True,
) -> set[tuple[int, int]]:
    """Pairs (i, k) of models of which every tensor of i has its `same` in k, under the same key; of
    those pairs that are `asked` for.

    Only those that hold the rarest key of a model are looked at.

    >>> from mother.checkpoints.tensor import constant
    >>> u, v = constant("u", np.ones(3)), constant("v", np.zeros(3))
    >>> sorted(included([{"a": [u]}, {"a": [u], "b": [v]}, {"b": [v]}], lambda s, t: s is t))
    [(0, 1), (2, 1)]
    """
    holders: dict[Hashable, set[int]] = defaultdict(set)
    for k, keyed in enumerate(models):
        for key in keyed:
            holders[key].add(k)
    found = set()
    for i, keyed in enumerate(models):
        rarest = min((holders[key] for key in keyed), key=len, default=set[int]())
        for k in sorted(rarest - {i}):
            if (
                asked(i, k)
                and keyed.keys() <= models[k].keys()
                and all(
                    any(same(t, u) for u in models[k][key])
                    for key, some in keyed.items()
                    for t in some
                )
            ):
                found.add((i, k))
    return found


def by_values(
    weights: Iterable[Tensor], kind: np.dtype[np.generic] | None = None
) -> dict[Hashable, list[Tensor]]:
    """Weights by shape, without sides of one, and a few values, rounded to a type. Single
    numbers are left out: an exporter adds them as it likes."""
    keyed: dict[Hashable, list[Tensor]] = defaultdict(list)
    for tensor in weights:
        if tensor.kept.size > 1:
            few = rounded(few_of(tensor.kept), kind) + 0.0
            few = flushed(few) if kind == np.float16 else few
            shape = tuple(n for n in tensor.shape if n != 1)
            keyed[shape, few.tobytes()].append(tensor.kept)
    return keyed


def _tells(keyed: Keyed) -> bool:
    few = (few_of(t) for some in keyed.values() for t in some)
    return len(np.unique(np.concatenate([x.astype(np.float64) for x in few]))) >= TELLING_VALUES
