"""A model in another one's coordinates: what hid it undone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mother.checkpoints import Checkpoint, Slice, Tensor
from mother.layouts.alignment import align
from mother.layouts.fitting import Fit, Fitting
from mother.layouts.moves import SHORTEST, Move, are_scaled, still
from mother.layouts.units import Array, values_of
from mother.thresholds import MOST


@dataclass(frozen=True)
class Undone:
    """What hid a model, and its relatives with it, before another one.

    fits: of matrices, by name; vectors: of vectors, None of those not found; norms: scales of the
    one's norms, by name, which had moved into matrices. lost: what was not found. kinds: what was
    undone, in words. share: of the weights that were found. places: of tensors that stood in the
    place of others of their shape, by stored names.
    """

    like: Checkpoint
    names: Mapping[str, str]
    fits: Mapping[str, Fit]
    vectors: Mapping[str, Move]
    norms: Mapping[str, Tensor]
    lost: frozenset[str]
    kinds: tuple[str, ...]
    share: float
    places: Mapping[str, str]

    def seen(self, own: Checkpoint) -> Checkpoint:
        """A model that is stored as the one that was hidden, in the other's coordinates. What was
        not found keeps its values under another name."""
        tensors = {}
        for stored, tensor in own.tensors.items():
            name = self.names.get(stored)
            if name is None:
                tensors[stored] = tensor
            elif name in self.lost:
                tensors[f"{stored} (not found)"] = tensor
            else:
                place = self.places.get(stored, stored)
                tensors[place] = replace(self._tensor(name, tensor, own), name=place)
        note = f"compared in the coordinates of {self.like.id!r}; undone: {', '.join(self.kinds)}"
        return replace(own, tensors=tensors, notes=(*own.notes, note))

    def _tensor(self, name: str, tensor: Tensor, own: Checkpoint) -> Tensor:
        if name in self.norms:
            return replace(self.norms[name], name=tensor.name)
        fit = self.fits.get(name)
        if fit is None:
            move = self.vectors.get(name)
            fit = Fit(move, still(1)) if move is not None else None
        # a head of another size under the same name has units of its own
        if fit is None or fit.is_none or tensor.size % (fit.rows.size * fit.columns.size):
            return tensor
        scales: list[Tensor] = []
        if fit.norm:
            stored = next(s for s, n in self.names.items() if n == fit.norm)
            scales = [own.tensors[stored], self.norms[fit.norm]]
        kept = not scales and fit.rows.keeps and fit.columns.keeps
        dtype = tensor.dtype if kept or tensor.dtype == np.float64 else np.dtype(np.float32)
        return Tensor(tensor.name, dtype, tensor.shape, _Moved(tensor, fit, tuple(scales), dtype))


@dataclass(frozen=True, eq=False)
class _Moved:
    """A tensor with its units moved; whatever is read, all of it is."""

    tensor: Tensor
    fit: Fit
    scales: tuple[Tensor, ...]
    dtype: np.dtype[np.generic]

    def read(self, start: int, stop: int) -> Array:
        return _whole(self)[start:stop]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        for tensor in (self.tensor, *self.scales):
            yield from tensor.slices()


@lru_cache(maxsize=4)
def _whole(moved: _Moved) -> Array:
    values = moved.tensor.read()
    if moved.dtype != moved.tensor.dtype:
        values = values.astype(moved.dtype)
    scales = [values_of(t).ravel() for t in moved.scales]
    return np.ascontiguousarray(moved.fit.of(values, *scales).astype(moved.dtype, copy=False))


def undone(
    one: Checkpoint, other: Checkpoint, stay: Collection[str] = (), spin: Array | None = None
) -> Undone | None:
    """What hides `other` before `one`, if it is one of its relatives; None where names or shapes
    join too little, or nothing is found to have moved. stay: matrices that lie where they were.
    spin: what brings the stream of the other to the one's, (d, d), where that is known."""
    groups = align([one, other])
    if len(groups) > 1:
        return None
    layers = [x for x in groups[0].layers if len(x.members) == 2]
    both = [{x.name: x.tensors[k] for x in layers} for k in (0, 1)]
    fitting = Fitting(both[0], both[1], stay, spin)
    fits = fitting.run()
    places = {t.name: both[1][name].name for name, t in fitting.other.items()}
    both[1] = fitting.other
    norms = {fit.norm: both[0][fit.norm] for fit in fits.values() if fit.norm}
    vectors = _vectors(both[0], both[1], fitting, norms)
    named = {name: side.name for name, side in both[1].items()}
    lost = frozenset(n for n in named if n not in fits and n not in norms and n not in vectors)
    found = sum(both[1][name].size for name in named if name not in lost)
    kinds = sorted({kind for fit in fits.values() for kind in _kinds(fit)})
    kinds += ["scales of heads left out"] if fitting.loose else []
    kinds += ["matrices swapped"] if fitting.swapped else []
    if not kinds:
        return None
    names = {stored: name for name, stored in named.items()}
    share = found / max(other.parameters, 1)
    return Undone(one, names, fits, vectors, norms, lost, tuple(kinds), share, places)


def _kinds(fit: Fit) -> Iterator[str]:
    for move in (fit.rows, fit.columns):
        yield from move.kinds
    if fit.norm:
        yield "scales of norms moved"


def _vectors(
    one: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    fitting: Fitting,
    norms: Mapping[str, Tensor],
) -> dict[str, Move]:
    """Moves of vectors: that of the rows of the matrix beside them, or the one that fits best."""
    beside: dict[tuple[str, int], list[Move]] = defaultdict(list)
    for name, fit in fitting.fits.items():
        beside[_module(name), fit.rows.size].append(fit.rows)
    found = {}
    for name in one:
        if name in fitting.shapes or name in norms:
            continue
        a, b = (values_of(side[name]).ravel().astype(np.float64) for side in (one, other))
        known = beside[_module(name), a.size] or [still(a.size), *fitting.moves.get(a.size, [])]
        ways = [way for move in known for way in (move, move.unsigned())]
        best = min(ways, key=lambda move: float(np.square(a - move.of(b)).sum()))
        if len(known) == 1 or np.linalg.norm(a - best.of(b)) <= MOST * np.linalg.norm(a):
            found[name] = best
    return found


def _module(name: str) -> str:
    return name[: max(name.rfind("."), name.rfind("/"), 0)]


def scaled(one: Tensor, other: Tensor) -> bool:
    """Whether rows or columns of a matrix were scaled one by one between two models that are alike
    where they are."""
    a, b = (values_of(t) for t in (one, other))
    a, b = (x.reshape(len(x), -1) for x in (a, b))
    return min(a.shape) >= SHORTEST and any(
        are_scaled(*(np.linalg.norm(x, axis=axis) for x in (a, b))) for axis in (0, 1)
    )
