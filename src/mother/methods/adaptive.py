"""Large models by windows of their layers first, and by more only where a decision lies within its
error.

An index keeps such windows; here they are read for one recovery, of all matrices that some models
share; vectors are read whole. What is within its error is told by the same machinery
(refinement.py). Then larger windows of all models are read, as long as these are a small part of
them, at last the models in full that doubts are about, and where these are most of them, all. What
windows suggest of copies is confirmed on all weights of the two models. Small models are read
whole: that is as fast, and leaves no doubt.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.duplicates import Duplicate
from mother.copies.registry import Find, Models
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix, measure
from mother.methods.refinement import Refinement
from mother.sketches.levels import TIMES
from mother.sketches.sketch import runs, sampled
from mother.sketches.windows import Window, windows
from mother.thresholds import MOST

LARGE = 1 << 28  # bytes of each of some models, from which on windows are read first
SQUARE = 1 << 10  # bytes; those that the first windows hold are the root of it times the model's
PAYS = 0.25  # of the bytes, that reading these takes at most: a deflated layer is read whole
LARGER_WINDOWS = 1  # times that larger windows of all models are read
#: which part of each layer is read, None for all of it
Windows = list[Window | None]


def pays(group: Group) -> bool:
    """Whether windows of a group are read before all of it: its models are large, lie on a disk of
    this machine, and in their files a part of a layer can be read alone."""
    models = group.checkpoints
    if len(models) < 2 or not group.layers or any(c.is_sketch for c in models):
        return False
    if any(file.remote for c in models for file in c.files):
        return False
    if min(map(stored, models)) < LARGE:
        return False
    return _pay(group, _windows(group))


def _pay(group: Group, at: Windows) -> bool:
    """Whether reading windows takes PAYS at most of the bytes of each model."""
    models = group.checkpoints
    kinds = {(c.format, c.scheme, group.architecture[k]): k for k, c in enumerate(models)}
    return all(_planned(group, at, k) <= PAYS * stored(models[k]) for k in kinds.values())


def _weighs(checkpoint: Checkpoint) -> int:
    return sum(tensor.nbytes for tensor in checkpoint.tensors.values())


def stored(checkpoint: Checkpoint) -> int:
    """Bytes of the files that its weights lie in, its base's included."""
    base = 0 if checkpoint.base is None else stored(checkpoint.base)
    return base + sum(file.size for file in checkpoint.files)


def share_read(checkpoint: Checkpoint) -> float:
    """Which share of these was read since they were opened, 1.0 at the most."""
    every = stored(checkpoint)
    return min(1.0, float(f"{_taken(checkpoint) / every:.4g}")) if every else 1.0


def _taken(checkpoint: Checkpoint) -> int:
    base = 0 if checkpoint.base is None else _taken(checkpoint.base)
    return base + sum(min(file.size, file.taken.bytes) for file in checkpoint.files)


@dataclass
class Adaptive:
    """A group of models that are looked at by windows. stored: as it is stored; whole: in the rows
    that all have. bytes: of models
    that were read in full. settled: whether that was worth it: where doubts are between most of the
    models, all are better read at once."""

    stored: Group
    whole: Group
    threads: int
    bytes: int = 0
    settled: bool = True

    @property
    def levels(self) -> list[Windows]:
        """The first windows, and larger ones as long as these pay. Those of all models: what a
        window happens to hold moves all distances in its layer alike."""
        larger = (_windows(self.whole, level) for level in range(1, LARGER_WINDOWS + 1))
        return [_windows(self.whole), *(at for at in larger if _pay(self.whole, at))]

    def seen(self, at: Windows) -> Group:
        """The group with sketches for models, and the windows of these for layers."""
        many = range(len(self.whole.checkpoints))
        with ThreadPoolExecutor(max(1, self.threads)) as pool:
            held = list(pool.map(lambda k: self._sketched(k, at), many))
        layers = (
            replace(
                x,
                tensors=tuple(
                    held[k].tensors[t.name].kept for k, t in zip(x.members, x.tensors, strict=True)
                ),
            )
            for x in self.whole.layers
        )
        return replace(self.whole, checkpoints=tuple(held), layers=tuple(layers))

    def _sketched(self, k: int, at: Windows) -> Checkpoint:
        """A model with windows for its layers; of what is no layer, its counters alone."""
        whole = self.whole.checkpoints[k]
        tensors = {n: t for n, t in whole.tensors.items() if not t.is_weight and t.size == 1}
        for tensor, window in _of(self.whole, at, k):
            tensors[tensor.name] = tensor if window is None else sampled(tensor, window)
        return replace(whole, tensors=tensors)

    def refinement(self, *, last: bool = True) -> Refinement:
        """Tells what is in doubt; last: and reads the models in full that it is about."""
        whole = self._in_full if last else None
        return Refinement(lambda model, level: None, whole, sys.maxsize, levels=0)

    def _in_full(self, group: Group) -> Measures | None:
        """What all weights say of a group of sketches, in its layers that are finite; None where
        these are more than MOST of all models."""
        place = {c.id: k for k, c in enumerate(self.whole.checkpoints)}
        self.bytes += sum(map(_weighs, group.checkpoints))
        if self.bytes > MOST * sum(map(_weighs, self.whole.checkpoints)):
            self.settled = False
            return None
        wanted = {(x.name, x.shape) for x in group.layers}
        whole = self.whole.among([place[c.id] for c in group.checkpoints])
        whole = whole.over((x.name, x.shape) in wanted for x in whole.layers)
        m = measure(whole, moments=True, threads=self.threads)
        rows = [np.ix_(x.members, x.members) for x in whole.layers]
        finite = [bool(np.isfinite(g[r]).all()) for g, r in zip(m.gram, rows, strict=True)]
        return m.over(np.array(finite, dtype=bool))

    def held(self, find: Find, found: Sequence[Duplicate]) -> list[Duplicate]:
        """Of the copies that windows show, those that all weights of the two models show, too."""
        return [d for d in found if self._holds(find, d)]

    def _holds(self, find: Find, d: Duplicate) -> bool:
        both = sorted(self.whole.checkpoints.index(c) for c in (d.original, d.copy))
        pair = self.whole.among(both)
        pair = pair.over(len(layer.members) == 2 for layer in pair.layers)
        m = measure(pair, moments=True, threads=self.threads)
        models = Models(self.stored.among(both), pair, m)
        return any(same.relation == d.relation for same in find(models, []))


def _windows(group: Group, level: int = 0) -> Windows:
    """Which part of each layer is read on a level, None for all of it: of what is no matrix, and of
    small ones, on every level."""
    many = Counter(layer.name for layer in group.layers)
    named = {_key(x, many): x.tensors[0] for x in group.layers if is_matrix(x.shape)}
    budget = math.isqrt(SQUARE * min(map(stored, group.checkpoints)))
    first = windows(named, budget, matrices=None)
    found = windows(named, budget * TIMES**level, matrices=None) if level else first
    cut = {n for n, w in first.items() if w.rows * w.columns < named[n].size}
    keys = (_key(layer, many) for layer in group.layers)
    return [found[key] if key in cut else None for key in keys]


def _key(layer: Layer, many: Counter[str]) -> str:
    """What a layer is called among those of its group: by its shape, too, where others have its
    name."""
    return layer.name if many[layer.name] == 1 else f"{layer.name}.{layer.shape}"


def _of(group: Group, at: Windows, k: int) -> list[tuple[Tensor, Window | None]]:
    """The tensors of a model, each with its window."""
    return [
        (layer.tensors[layer.members.index(k)], window)
        for layer, window in zip(group.layers, at, strict=True)
        if k in layer.members
    ]


def _planned(group: Group, at: Windows, k: int) -> int:
    """Bytes of files that windows of a model take."""
    return sum(
        part.stop - part.start
        for tensor, window in _of(group, at, k)
        for run in (runs(tensor, window) if window else [(0, tensor.size)])
        for part in tensor.slices(*run)
    )
