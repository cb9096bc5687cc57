"""Models in an unknown layout, seen in that of their relatives: by content where names say nothing.

Of every two groups of models that names do not join, a model of the one is looked for in the other
row by row (rows.py). Where at least half of its weights are found, all that are stored as it is are
given the names, shapes and order of rows of the other group, as views of what they store.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.checkpoints.decoded import Reordered
from mother.checkpoints.views import Tile, permuted, reshaped, rows, tiled
from mother.layouts.alignment import Group, align
from mother.layouts.rows import RowMap, match_rows
from mother.layouts.unfolding import unstacked
from mother.layouts.vectors import vectors_of

#: models of a group that another one's are looked for in, looks in all, and how often as much as
#: all models hold may be read for them
MAX_MODELS, MAX_LOOKS, READINGS = 8, 256, 4
#: tensors that decide whether a model is looked for in full, and elements of each at most
_DECIDE, _DECIDING = 6, 1 << 24
#: share of a model's weights that must be left by names to be looked for by content
_LEFT = 0.05
#: runs of neighbouring rows up to which they are read run by run
_MAX_RUNS = 64
#: formats whose layout is taken where two groups are as large
_PLAIN = ("safetensors", "pytorch", "gguf", "diffusers")


def in_one_layout(checkpoints: Sequence[Checkpoint]) -> tuple[list[Checkpoint], set[str]]:
    """The checkpoints, those in another layout than their relatives seen in theirs, and the ids of
    these. Reads weights only where names leave more than one group. Sketches stay as they are.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> w = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
    >>> a = Checkpoint("a", Path("a"), "pytorch", {"fc.weight": constant("fc.weight", w)})
    >>> b = Checkpoint("b", Path("b"), "flax", {"D_0.kernel": constant("D_0.kernel", w.T + 0.01)})
    >>> seen, ids = in_one_layout([a, b])
    >>> ids, seen[1].tensors["fc.weight"].shape
    ({'b'}, (64, 96))
    """
    groups = align(checkpoints)
    changed: dict[int, Checkpoint] = {}
    look = _Look(MAX_LOOKS, READINGS * sum(c.parameters for c in checkpoints))
    groups.sort(key=_rank)
    kept = set[int]()  # models in whose layout others are seen
    for k, group in enumerate(groups):
        for layout in _by_layout(group):
            for other in groups[:k]:
                if not may_be_seen(layout[0], other.checkpoints[0]):
                    continue
                ways: list[tuple[Sequence[Checkpoint], Sequence[Checkpoint]]]
                ways = [(layout, other.checkpoints)]
                if _may_turn(layout, other, kept | changed.keys()):
                    ways.append((other.checkpoints, layout))
                if found := look.best(ways):
                    plan, models, relatives = found
                    changed |= {id(c): plan.seen(c) for c in models}
                    kept |= {id(c) for c in relatives}
                    break
    for group in groups:
        for own, seen in _partly(group, look):
            changed |= {id(own): seen}
    out = [changed.get(id(checkpoint), checkpoint) for checkpoint in checkpoints]
    return out, {c.id for c in checkpoints if id(c) in changed}


def _may_turn(layout: Sequence[Checkpoint], other: Group, fixed: Set[int]) -> bool:
    """Whether the models of another group may be seen in this layout instead. A converter that
    folds norms into matrices multiplies their rows, which are rows still where they are stored as
    such, and not where they are columns."""
    return (
        layout[0].format != other.checkpoints[0].format
        and len(_by_layout(other)) == 1
        and fixed.isdisjoint(id(c) for c in other.checkpoints)
    )


@dataclass
class _Look:
    """What may still be read to find models in others."""

    times: int
    weights: int

    def best(
        self, ways: Sequence[tuple[Sequence[Checkpoint], Sequence[Checkpoint]]]
    ) -> tuple[Plan, Sequence[Checkpoint], Sequence[Checkpoint]] | None:
        """Of models to be seen in the layout of others, those of which most is found."""
        plans = [
            (self.among(models[:1], _spread(others)), models, others) for models, others in ways
        ]
        found = [(plan, models, others) for plan, models, others in plans if plan]
        return max(found, key=lambda each: each[0].weights, default=None)

    def among(self, models: Sequence[Checkpoint], relatives: Sequence[Checkpoint]) -> Plan | None:
        """How the first of the models that is found in a relative is stored in its layout."""
        for own in models:
            for relative in relatives:
                if self.times <= 0 or self.weights < own.parameters:
                    return None
                self.times -= 1
                self.weights -= own.parameters
                if plan := plan_of(own, relative):
                    return plan
        return None


def _partly(group: Group, look: _Look) -> Iterator[tuple[Checkpoint, Checkpoint]]:
    """Checkpoints of which names pair up only a part with the group's most frequent layout, each
    with what it is when the rest is found by content. A layer of the same name and another shape
    was turned, or resized and is left as it is."""
    most, *others = sorted(_by_layout(group), key=len, reverse=True) or [[]]
    for layout in others:
        own, relative = layout[0], most[0]
        pair = align([relative, own])
        if len(pair) > 1:
            continue
        if turned := _turned(own, relative):
            for each in layout:
                views = {n: permuted(each.tensors[n], (1, 0)) for n in turned}
                yield each, replace(each, tensors={**each.tensors, **views})
            continue
        ours, rest = left_over(pair[0])
        if _only(own, rest).parameters < _LEFT * own.parameters:
            continue
        candidates = [_only(c, ours) for c in _spread(most)]
        if plan := look.among([_only(own, rest)], candidates):
            for each in layout:
                seen = plan.seen(_only(each, rest))
                kept = _only(each, set(each.tensors) - rest).tensors
                yield each, replace(seen, tensors={**seen.tensors, **kept})


def left_over(pair: Group) -> tuple[set[str], set[str]]:
    """Of a group of two models, the tensors of each that names leave, but for those that end alike
    in both and are of other shapes."""
    paired = [{layer.tensors[k].name for layer in pair.layers} for k in (0, 1)]
    left = [set(c.tensors) - p for c, p in zip(pair.checkpoints, paired, strict=True)]
    ends = [{_end(name) for name in names} for names in left]
    first, second = ({name for name in left[k] if _end(name) not in ends[1 - k]} for k in (0, 1))
    return first, second


def _turned(own: Checkpoint, relative: Checkpoint) -> list[str]:
    """The matrices that are stored the other way round under the same name."""
    both = own.tensors.keys() & relative.tensors.keys()
    shapes = {n: (own.tensors[n].shape, relative.tensors[n].shape) for n in sorted(both)}
    return [n for n, (a, b) in shapes.items() if len(a) == 2 and a != b and a == b[::-1]]


def _end(name: str) -> str:
    """The last two components of a name, which no prefix changes."""
    return ".".join(name.replace("/", ".").split(".")[-2:])


def _only(checkpoint: Checkpoint, names: set[str]) -> Checkpoint:
    held = {name: tensor for name, tensor in checkpoint.tensors.items() if name in names}
    return replace(checkpoint, tensors=held)


def _rank(group: Group) -> tuple[bool, int, bool]:
    """Groups in whose layout others are seen come first: not stacked, large, of a plain format."""
    stacked, foreign = plainness(group.checkpoints[0])
    return stacked, -len(group.checkpoints), foreign


def plainness(checkpoint: Checkpoint) -> tuple[bool, bool]:
    """Less of those in whose layout others are rather seen: whether it is stacked, and of a format
    that has names of its own."""
    stacked = len(unstacked(checkpoint.tensors)) > len(checkpoint.tensors)
    return stacked, checkpoint.format not in _PLAIN


def _by_layout(group: Group) -> list[list[Checkpoint]]:
    """The group's checkpoints, together those with tensors of the same names and shapes."""
    alike: dict[tuple[tuple[str, tuple[int, ...]], ...], list[Checkpoint]] = defaultdict(list)
    for checkpoint in group.checkpoints:
        if not checkpoint.is_sketch:
            held = tuple(sorted((n, t.shape) for n, t in checkpoint.tensors.items()))
            alike[held].append(checkpoint)
    return list(alike.values())


def may_be_seen(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether half of the smaller one's weights may lie in rows as long as some of the other's, by
    their shapes."""
    sizes = [_row_lengths(each) for each in (a, b)]
    shared = [
        sum(size for side, size in own.items() if side in other)
        for own, other in (sizes, sizes[::-1])
    ]
    return 2 * max(shared) >= min(a.parameters, b.parameters) > 0


def _row_lengths(checkpoint: Checkpoint) -> dict[int, int]:
    """Weights by the sides of the matrices that they lie in."""
    found: dict[int, int] = defaultdict(int)
    for tensor in checkpoint.tensors.values():
        if tensor.is_weight and len(tensor.shape) >= 2:
            for side in set(tensor.shape) - {1}:
                found[side] += tensor.size
    return found


def _spread(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    whole = [c for c in checkpoints if not c.is_sketch]
    step = max(1, -(-len(whole) // MAX_MODELS))
    return whole[::step]


@dataclass(frozen=True)
class Plan:
    """How models of one layout are seen in another: for each tensor there its shape, and where its
    rows lie here; vectors are mapped whole, by name."""

    shapes: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, RowMap]
    vectors: Mapping[str, RowMap]
    layout_of: str

    @property
    def weights(self) -> int:
        """How many are found."""
        return sum(math.prod(self.shapes[name]) for name in self.rows)

    def seen(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint in the other layout; what has no place there keeps its name."""
        apart = unstacked(checkpoint.tensors)
        maps = {**self.rows, **self.vectors}
        tensors = {name: self._tensor(name, maps[name], apart) for name in maps}
        used = {source.name for each in maps.values() for source in each.sources}
        for name, tensor in apart.items():
            if name not in used and name not in tensors:
                tensors[name] = tensor
        note = f"compared in the layout of {self.layout_of!r}, found by content"
        return replace(checkpoint, tensors=tensors, notes=(*checkpoint.notes, note))

    def _tensor(self, name: str, rowmap: RowMap, apart: Mapping[str, Tensor]) -> Tensor:
        views = [source.unfolding.view(apart[source.name]) for source in rowmap.sources]
        length = views[0].shape[1]
        runs = _runs(rowmap)
        count = len(rowmap.row)
        shape = self.shapes[name]
        if len(runs) == 1 and views[0].shape[0] == count:
            return reshaped(views[runs[0][0]], shape, name)
        dtype = views[0].dtype
        if len(runs) <= _MAX_RUNS:
            tiles, at = [], 0
            for which, start, stop in runs:
                tiles.append(Tile((at, 0), rows(views[which], start, stop)))
                at += stop - start
            return reshaped(tiled(name, dtype, (count, length), tiles), shape, name)
        starts = np.cumsum([0, *(view.shape[0] for view in views)])
        tiles = [Tile((int(s), 0), v) for s, v in zip(starts[:-1], views, strict=True)]
        pile = tiled(name, dtype, (int(starts[-1]), length), tiles)
        order = starts[rowmap.which] + rowmap.row
        return Tensor(name, dtype, shape, Reordered(pile, length, order), scheme=pile.scheme)


def _runs(rowmap: RowMap) -> list[tuple[int, int, int]]:
    """The map as runs of neighbouring rows: source, first row, last row and one."""
    breaks = np.flatnonzero((np.diff(rowmap.which) != 0) | (np.diff(rowmap.row) != 1)) + 1
    starts = [0, *breaks.tolist()]
    stops = [*breaks.tolist(), len(rowmap.row)]
    return [
        (int(rowmap.which[s]), int(rowmap.row[s]), int(rowmap.row[e - 1]) + 1)
        for s, e in zip(starts, stops, strict=True)
    ]


def plan_of(own: Checkpoint, relative: Checkpoint) -> Plan | None:
    """How `own` is stored in the layout of `relative`; None where half of the smaller one's weights
    are not found in it."""
    ours = {n: t for n, t in relative.tensors.items() if t.is_weight}
    theirs = {n: t for n, t in unstacked(own.tensors).items() if t.is_weight}
    order = sorted(
        (n for n, t in ours.items() if len(t.shape) > 1 and t.size <= _DECIDING),
        key=lambda n: (-ours[n].size, n),
    )
    deciding = order[:_DECIDE]
    if 2 * len(match_rows(ours, theirs, deciding)) < len(deciding) or not deciding:
        return None
    found = {
        name: rowmap
        for name, rowmap in match_rows(ours, theirs).items()
        if len({theirs[source.name].dtype for source in rowmap.sources}) == 1
    }
    held = sum(ours[name].size for name in found)
    if 2 * held < min(own.parameters, relative.parameters):
        return None
    vectors = vectors_of(ours, theirs, found)
    shapes = {name: ours[name].shape for name in (*found, *vectors)}
    return Plan(shapes, found, vectors, relative.id)
