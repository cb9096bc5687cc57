"""Models of another width than their relatives: channels of the stream, heads, neurons or filters
that were left out, blocks, too, all at once, and trained on (Muralidharan and others 2024).

In a matrix of which one axis is known each unit of the other is like one unit of the larger
model's, and no other. What starts it are axes of one size, or of labels that one model has more of:
a vocabulary, pixels, classes. A map of N units to n, once found, is tried wherever N stands beside
n: the stream is one axis in all matrices, and in a chain what one layer writes the next one reads.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import le

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Tensor
from mother.layouts.rows import least_cosine
from mother.layouts.wiring import natural
from mother.thresholds import MOST, NEARLY_ALL

Array = NDArray[np.float32]
Units = NDArray[np.intp]
Size = tuple[int, int]  # of an axis, in the larger model and in the narrower one
KNOWN_UNITS = 256  # units of the known axis that are looked at
MATRIX_LARGEST = 1 << 26  # weights of a matrix that are read: of a larger one rows of labels alone
MATRICES_READ = 48  # that are looked at
MAPS = 8  # of one size, that are tried
_NUMBER = re.compile(r"\d+")
_BLOCK = re.compile(r"(?P<before>.*?)\b(?P<number>\d+)\b(?P<after>.*)")


@dataclass(frozen=True)
class Cut:
    """A matrix of the narrower model, and its counterpart: which rows and columns of that one it
    has, the first ones of its own first."""

    own: str
    name: str
    rows: Units
    columns: Units

    def of_own(self, model: Checkpoint) -> Array:
        """What the narrower model has, (rows, columns, rest)."""
        values = _matrix(model.tensors[self.own])
        return values[: len(self.rows), : len(self.columns)]

    def of(self, model: Checkpoint) -> Array:
        """The same of the larger one."""
        return _matrix(model.tensors[self.name])[np.ix_(self.rows, self.columns)]


@dataclass(frozen=True)
class Narrowing:
    """What of a larger model a narrower one has. sizes: of the axes that differ, (N, n). blocks: by
    the number of its blocks, those of the larger one, where they differ. cosine: of units that are
    alike, in the middle."""

    cuts: tuple[Cut, ...]
    sizes: tuple[Size, ...]
    blocks: Mapping[int, int]
    cosine: float


def narrowed(own: Checkpoint, other: Checkpoint) -> Narrowing | None:
    """How a model is a narrower one of another; None where it is not.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> rng = np.random.default_rng(0)
    >>> w = {"embed": (90, 40), "h.0.up": (70, 40), "h.0.down": (40, 70)}
    >>> w = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in w.items()}
    >>> kept, few = np.sort(rng.permutation(40)[:30]), np.arange(50)
    >>> less = {"embed": w["embed"][:, kept], "h.0.up": w["h.0.up"][few][:, kept],
    ...         "h.0.down": w["h.0.down"][kept][:, few]}
    >>> def of(id, held):
    ...     return Checkpoint(id, Path(id), "npz", {n: constant(n, x) for n, x in held.items()})
    >>> found = narrowed(of("x", less), of("a", w))
    >>> found.sizes, all((cut.of_own(of("x", less)) == cut.of(of("a", w))).all()
    ...                  for cut in found.cuts)
    (((40, 30), (70, 50)), True)
    """
    ours, theirs = _matrices(own), _matrices(other)
    if not namesakes(own, other):
        return None
    search = _Search(own, other)
    outside = [n for n in ours if n in theirs and not _BLOCK.fullmatch(n)]
    search.look([(n, n) for n in outside])
    if outside and not search.cuts:  # no label has a row in common with the other's
        return None
    blocks = _blocks(search, ours, theirs)
    inside = [(n, m) for n in ours if (m := _renamed(n, blocks)) in theirs and n not in outside]
    picked = {int(k) for k in np.linspace(0, max(len(inside) - 1, 0), MATRICES_READ)}
    search.look([pair for k, pair in enumerate(inside) if k in picked])
    held = sum(ours[n].size for n in search.looked)
    found = sum(ours[cut.own].size for cut in search.cuts)
    sizes = {s for cut in search.cuts for s in _sizes(ours[cut.own], theirs[cut.name])}
    changed = tuple(sorted(s for s in sizes if s[0] != s[1]))
    moved = {k: j for k, j in blocks.items() if k != j} or len(blocks) != _count(theirs)
    if not search.cuts or found < MOST * held or not (changed or moved):
        return None
    cosine = float(np.median(search.cosines))
    return Narrowing(tuple(search.cuts), changed, blocks if moved else {}, cosine)


def namesakes(own: Checkpoint, other: Checkpoint) -> bool:
    """Whether most matrices of one have a namesake in the other, but for numbers of blocks, and
    shapes of some differ."""
    ours, theirs = _matrices(own), _matrices(other)
    kinds: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for name, tensor in theirs.items():
        kinds[_NUMBER.sub("#", name)].add(tensor.shape)
    named = [n for n in ours if _NUMBER.sub("#", n) in kinds]
    differ = any(ours[n].shape not in kinds[_NUMBER.sub("#", n)] for n in named)
    return bool(named) and len(named) >= MOST * len(ours) and differ


def under_names(own: Checkpoint, other: Checkpoint) -> Iterator[Checkpoint]:
    """A model under names that another one may know it by: its own where most are namesakes; and
    those of the other one, one after the other in natural order, where each tensor has its
    counterpart there and none is larger. It says nothing of kinship.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> def of(id, **shapes):
    ...     held = {name: constant(name, np.ones(shape)) for name, shape in shapes.items()}
    ...     return Checkpoint(id, Path(id), "npz", held)
    >>> wide = of("a", first=(9, 8), second=(8, 5), third=(5, 2))
    >>> few = of("x", t10=(4, 2), t8=(9, 6), t9=(6, 4))
    >>> (seen,) = under_names(few, wide)
    >>> {name: tensor.shape for name, tensor in seen.tensors.items()}
    {'first': (9, 6), 'second': (6, 4), 'third': (4, 2)}
    """
    if namesakes(own, other):
        yield own
    ours, theirs = (
        sorted((n for n, t in c.tensors.items() if t.is_weight), key=natural) for c in (own, other)
    )
    if len(ours) != len(theirs) or ours == theirs:
        return
    pairs = list(zip(ours, theirs, strict=True))
    shapes = [(own.tensors[n].shape, other.tensors[m].shape) for n, m in pairs]
    fits = all(len(a) == len(b) and a[2:] == b[2:] and all(map(le, a, b)) for a, b in shapes)
    if fits and any(a != b for a, b in shapes):
        yield replace(own, tensors={m: replace(own.tensors[n], name=m) for n, m in pairs})


class _Search:
    """Matrices whose units were found, and maps of axes known by now."""

    def __init__(self, own: Checkpoint, other: Checkpoint) -> None:
        self.own, self.other = own, other
        self.maps: dict[Size, list[Units]] = defaultdict(list)
        self.cuts: list[Cut] = []
        self.cosines: list[float] = []
        self.looked: list[str] = []

    def look(self, pairs: Sequence[tuple[str, str]]) -> None:
        """For the units of these matrices, again as long as maps are found."""
        waiting, before = list(pairs), -1
        self.looked += [own for own, _ in pairs]
        while waiting and len(self.cuts) != before:
            before, left = len(self.cuts), []
            for own, name in waiting:
                cut = self.cut(own, name)
                if cut is None:
                    left.append((own, name))
                else:
                    self.cuts.append(cut)
            waiting = left

    def cut(self, own: str, name: str) -> Cut | None:
        """The units of one matrix; maps that were found are kept."""
        a, b = self.own.tensors[own], self.other.tensors[name]
        found = self.best(a, b, a.shape[0] + a.shape[1])
        if found is None:
            return None
        cosine, rows, columns = found
        self.cosines.append(cosine)
        for size, units in zip(_sizes(a, b), (rows, columns), strict=True):
            known = self.maps[size]
            if size[0] != size[1] and not any(np.array_equal(units, x) for x in known):
                known.append(units)
                del known[MAPS // 2 : -(MAPS // 2)]
        return Cut(own, name, rows, columns)

    def best(self, a: Tensor, b: Tensor, most: int) -> tuple[float, Units, Units] | None:
        """The map of one axis by the other that makes units most alike, of `most` units; None where
        none does."""
        if a.shape[2:] != b.shape[2:]:
            return None
        one, other = _matrix(a), _matrix(b)
        whole = max(a.size, b.size) <= MATRIX_LARGEST
        found: list[tuple[float, Units, Units]] = []
        for turned in (False, True)[: 1 + whole]:
            x, y = (w.swapaxes(0, 1) if turned else w for w in (one, other))
            for units in self._known((y.shape[0], x.shape[0]), labels=not whole):
                if (match := matched(x[: len(units)], y, units, most)) is not None:
                    cosine, told = match
                    found.append((cosine, told, units) if turned else (cosine, units, told))
        return max(found, key=lambda x: x[0], default=None)

    def _known(self, size: Size, *, labels: bool) -> Iterator[Units]:
        """Maps that an axis may have: labels are the same, the first ones of more."""
        yield np.arange(min(size))
        if size[0] != size[1] and not labels:
            yield from self.maps[size]


def matched(x: Array, y: Array, units: Units, most: int) -> tuple[float, Units] | None:
    """Of units along the second axis of x, (a, n, k), which of y, (b, N, k), they are like, where
    the rows of x are those `units` of y: the cosine in the middle, and (n,) units; None where they
    are like none.

    >>> w = np.random.default_rng(0).standard_normal((60, 20, 1))
    >>> matched(w[:, [3, 1, 7]], w, np.arange(60), 9)[1]
    array([3, 1, 7])
    """
    n, many = x.shape[1], y.shape[1]
    if n > many or not len(units):
        return None
    some = np.unique(np.linspace(0, len(units) - 1, min(KNOWN_UNITS, len(units))).astype(np.intp))
    picked = np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))
    p = _unit(x[some][:, picked].swapaxes(0, 1).reshape(len(picked), -1))
    q = _unit(y[units[some]].swapaxes(0, 1).reshape(many, -1))
    cosine = p @ q.T
    told = cosine.argmax(axis=1)
    alike = float(np.median(cosine[np.arange(len(told)), told]))
    if alike < least_cosine(p.shape[1], many) or len(np.unique(told)) < NEARLY_ALL * len(told):
        return None
    return alike, told


def _blocks(
    search: _Search, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> dict[int, int]:
    """By number of its blocks, which of the larger model's each is."""
    own, other = _by_block(ours), _by_block(theirs)
    if own.keys() == other.keys() or not own or not other:
        return {k: k for k in own}
    found: dict[int, int] = {}
    kinds = sorted(set.intersection(*(set(b) for b in (*own.values(), *other.values()))))
    for k, block in own.items():
        scores = [
            (match[0], -j)
            for j, more in other.items()
            for kind in kinds[:1] + kinds[-1:]
            if (match := search.best(block[kind], more[kind], 32)) is not None
        ]
        if scores:
            found[k] = -max(scores)[1]
    return found


def _by_block(held: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Matrices by the number of their block, and what they are called there."""
    out: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in held.items():
        if part := _BLOCK.fullmatch(name):
            out[int(part["number"])][part["before"] + "#" + part["after"]] = tensor
    return dict(out)


def _count(held: Mapping[str, Tensor]) -> int:
    return len(_by_block(held))


def _renamed(name: str, blocks: Mapping[int, int]) -> str:
    """A matrix' name in the larger model."""
    part = _BLOCK.fullmatch(name)
    if part is None:
        return name
    number = blocks.get(int(part["number"]))
    return "" if number is None else f"{part['before']}{number}{part['after']}"


def _matrices(model: Checkpoint) -> dict[str, Tensor]:
    return {n: t for n, t in model.tensors.items() if t.is_weight and len(t.shape) > 1 and t.size}


def _sizes(own: Tensor, other: Tensor) -> tuple[Size, Size]:
    return (other.shape[0], own.shape[0]), (other.shape[1], own.shape[1])


def _matrix(tensor: Tensor) -> Array:
    """(rows, columns, rest), the first rows of a large one."""
    width = tensor.size // tensor.shape[0]
    rows = min(tensor.shape[0], max(1, MATRIX_LARGEST // width))
    values = tensor.read(0, rows * width).astype(np.float32)
    return np.nan_to_num(values, posinf=0.0, neginf=0.0).reshape(rows, tensor.shape[1], -1)


def _unit(rows: Array) -> Array:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, np.inf), dtype=np.float32)
