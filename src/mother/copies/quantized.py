"""Quantized copies: models whose weights are another's, rounded to few values a block.

They are leaves and take no part in the search, whatever the scheme: a quantized copy is as far from
its original as from its relatives, in which it has no part. Its original is the model that leaves
least of it, layer by layer: what rounding added is noise to all others, and what training changed
is not. It need not say that it is quantized: weights that were decoded and stored as floats again
still take few values (measures/cells.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.duplicates import Duplicate, without
from mother.evidence.kinship import RELATED, weighted_median
from mother.layouts import Group
from mother.measures import is_matrix
from mother.measures.cells import Cells, cells_of
from mother.measures.shapes import WIDEST, as_matrix, spans
from mother.sketches.sketch import CODED_GLANCE
from mother.thresholds import DECISIVE, LARGELY, MOST

Array = NDArray[np.float64]
Key = tuple[str, tuple[int, ...]]  # of a layer: heads of other sizes share a name
Matrices = dict[Key, Array]  # some rows of each
WEIGHTS_LOOKED_AT = 1 << 20, 1 << 26  # weights that are looked at, of a model and of all
QUANTIZED_ROWS = 2, 64  # of a matrix, at least and at most
QUANTIZED_MATRICES = 64  # of a model, by a hash of their names, which are of a few kinds
EQUAL = 1e-5  # of the squared norm, by which layers differ that were but stored in another type
CELLS_OFF = 0.12, 1.5  # of a cell's width, root mean square, that the original lies off its copy
STEPS_OFF = 0.55, 0.005  # of a step, further than rounding moves weights; the share that may lie so


def find_quantized(group: Group, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """The quantized copies in a group, each with its original, which is none.

    Where no model of the group is the original of several copies, the most precise of them stands
    for it. One whose original is not among them, for what was not quantized differs, too, hangs as
    a fine-tune from the model that it is nearest to. copies: those known before, left out.
    """
    models = without(group, copies)
    if len(models) < 2:
        return []
    index = {c: k for k, c in enumerate(group.checkpoints)}
    rows = _Rows(group)
    looked = {c: rows.of(index[c]) for c in models if c.scheme}
    maybe = [c for c in models if c not in looked and _may_be_coded(group, index[c])]
    looked |= {c: seen for c in maybe if (seen := rows.of(index[c])).coarse}
    if not looked:
        return []
    whole = [c for c in models if c not in looked]
    samples = {c: rows.of(index[c]) for c in whole}
    found: list[Duplicate] = []
    for copy in sorted(looked, key=lambda c: (looked[c].noise, c.id)):
        own = looked[copy]
        likely = [m for m in (own.against(other, c) for c, other in samples.items()) if m.related]
        likely.sort(key=lambda m: (-m.log_likelihood, index[m.model]))
        # one that is nearer and does not fit was trained from the copy, which then has children
        fits = [m for m in likely if m.is_copy or (copy.scheme and (m.rounds or m.far))]
        best = fits[0] if fits and (fits[0].is_copy or fits[0] is likely[0]) else None
        if best is None or (best.model in looked and not best.is_copy):
            samples[copy] = own  # stands for an original that is not there
            continue
        told = own.by_row or copy.is_sketch  # which does not know whether by rows
        beside = (x.matrices for c, x in samples.items() if c is not best.model)
        original = samples[best.model].matrices
        if not copy.scheme and told and marked(own.matrices, original, beside):
            continue  # models descend from it: not left out of the search (compressed.py)
        relation = "quantized" if best.is_copy else "fine-tune"
        second = max((m.log_likelihood for m in fits if m is not best), default=-np.inf)
        found.append(
            Duplicate(
                best.model,
                copy,
                relation,
                copy.scheme or own.scheme,
                undirected=best.log_likelihood - second < DECISIVE,
                distance=best.distance,
            )
        )
    return found


def childless(group: Group, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """Those of the copies that no model of a group descends from, which may be left out of it."""
    index = {c: k for k, c in enumerate(group.checkpoints)}
    if not copies:
        return []
    rows = _Rows(group)
    others = {c: rows.matrices(index[c]) for c in without(group, copies)}
    seen = others | {d.copy: rows.matrices(index[d.copy]) for d in copies}
    return [
        d
        for d in copies
        if not marked(
            seen[d.copy], seen[d.original], (x for c, x in others.items() if c is not d.original)
        )
    ]


def marked(copy: Matrices, original: Matrices, others: Iterable[Matrices]) -> bool:
    """Whether another model holds what rounding did to a copy: trained from it, not from its
    original. In a layer of P weights, whose steps are normal, the log-odds are P log(a / b) of one
    at the sine a from the original and b from the copy: to strangers, a shorter one is nearer."""
    keys = [key for key in original if key in copy and not np.array_equal(original[key], copy[key])]
    for other in others:
        odds = 0.0
        for key in (key for key in keys if key in other):
            w = other[key]
            here, there = (_beside(w, m[key]) for m in (original, copy))
            odds += w.size / 2 * float(np.log(max(here, 1e-30) / max(there, 1e-30)))
        if odds > DECISIVE:
            return True
    return False


def _beside(w: Array, other: Array) -> float:
    """Squared length of what w has at right angles to another one."""
    along = (w * other).sum() / max(np.square(other).sum(), 1e-30)
    return float(np.square(w - along * other).sum())


@dataclass(frozen=True)
class _Match:
    """What one model is to a quantized one. related: whether at all. rounds: whether the latter can
    be it, rounded; far: it is further away than that. kept: share of the layers that were not
    quantized that both have alike."""

    model: Checkpoint
    related: bool
    rounds: bool
    far: bool
    kept: float
    log_likelihood: float
    distance: float

    @property
    def is_copy(self) -> bool:
        return self.rounds and self.kept >= LARGELY


class _Rows:
    """Some rows of every layer of a group, the same of each model; of sketches what they hold."""

    def __init__(self, group: Group) -> None:
        self.group = group
        every = [layer for layer in group.layers if is_matrix(layer.shape)]
        matrices = sorted(every, key=lambda layer: _hash(layer.name))[:QUANTIZED_MATRICES]
        most = min(WEIGHTS_LOOKED_AT[0], WEIGHTS_LOOKED_AT[1] // max(1, len(group.checkpoints)))
        self.rows = {}
        for layer in matrices:
            height, width = as_matrix(layer.shape)
            fair = most // max(1, len(matrices)) // min(width, WIDEST)
            many = min(height, max(QUANTIZED_ROWS[0], min(QUANTIZED_ROWS[1], fair)))
            self.rows[layer.name, layer.shape] = np.unique(
                np.linspace(0, height - 1, many).astype(int)
            )

    def matrices(self, model: int) -> Matrices:
        """Those rows of one model, by layer."""
        found = {}
        for layer in self.group.layers:
            rows = self.rows.get((layer.name, layer.shape))
            if rows is None or model not in layer.members:
                continue
            tensor = layer.tensors[layer.members.index(model)]
            if not self.group.checkpoints[model].is_sketch:
                parts = tensor.parts(spans(layer.shape, rows.tolist()))
                found[layer.name, layer.shape] = parts.astype(np.float64)
            elif tensor.size:
                held = tensor.read().reshape(tensor.shape)
                found[layer.name, layer.shape] = held.astype(np.float64)
        return found

    def of(self, model: int) -> _Seen:
        checkpoint = self.group.checkpoints[model]
        matrices = self.matrices(model)
        vectors, codes = {}, set()
        heights, cells = {}, {}
        for layer in self.group.layers:
            key = layer.name, layer.shape
            heights[key] = as_matrix(layer.shape)[0]
            if model not in layer.members:
                continue
            tensor = layer.tensors[layer.members.index(model)]
            if checkpoint.is_sketch and key in matrices:
                cells[key] = Cells(tensor.cell > 0, tensor.cell, 0.0)
            elif tensor.size > 1 and not is_matrix(layer.shape):
                vectors[key] = tensor.read().astype(np.float64)
            if _is_coded(tensor):
                codes.add(key)
        cells |= {key: cells_of(w) for key, w in matrices.items() if key not in cells}
        return _Seen(checkpoint, matrices, vectors, codes, heights, cells)


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _may_be_coded(group: Group, model: int) -> bool:
    """Whether the weights of a model repeat, at a glance."""
    own = [
        layer.tensors[layer.members.index(model)]
        for layer in group.layers
        if model in layer.members and is_matrix(layer.shape)
    ]
    if group.checkpoints[model].is_sketch:  # which has looked at whole rows
        return any(tensor.cell > 0 for tensor in own)
    largest = sorted(own, key=lambda tensor: -tensor.size)[: CODED_GLANCE[0]]
    few = 0
    for tensor in largest:
        height, _ = as_matrix(tensor.shape)
        many = min(height, CODED_GLANCE[1])
        at = np.unique(np.linspace(0, height - 1, many).astype(int)).tolist()
        few += cells_of(tensor.parts(spans(tensor.shape, at)).astype(np.float64)).few
    return few > 0


def _is_coded(tensor: Tensor) -> bool:
    return bool(tensor.scheme)


class _Seen:
    """What was looked at of one model: rows of matrices, and vectors. codes: the layers that say
    that they are quantized. heights: rows of all layers. cells: of the matrices."""

    def __init__(
        self,
        model: Checkpoint,
        matrices: Matrices,
        vectors: dict[Key, Array],
        codes: set[Key],
        heights: dict[Key, int],
        cells: dict[Key, Cells],
    ) -> None:
        self.model, self.matrices, self.vectors = model, matrices, vectors
        self.heights = heights
        self.cells = cells
        # one value everywhere is no code
        few = {k for k, cells in self.cells.items() if cells.few and np.ptp(matrices[k]) > 0}
        self.quantized = codes | few
        sizes = {key: w.size for key, w in matrices.items()}
        self.coarse = 2 * sum(sizes[n] for n in few) > sum(sizes.values())
        #: squared norms, of what is not finite neither
        self.power = {key: float(np.square(w).sum()) for key, w in matrices.items()}
        power = sum(self.power.values())
        widths = sum(self.cells[n].squared / 12 * sizes[n] for n in few)
        self.by_row = all(self.cells[key].by_row for key in few)
        #: of the weights' squared norm, what rounding added
        self.noise = widths / power if power > 0 else 0.0

    @property
    def scheme(self) -> str:
        """Of one that doesn't say: how many values a block has, as bits."""
        levels = [c.levels for c in self.cells.values() if c.few and c.levels]
        bits = round(float(np.log2(max(np.median(levels), 2)))) if levels else 0
        return f"about {bits} bit" if bits else ""

    def against(self, other: _Seen, model: Checkpoint) -> _Match:
        cosines, weights, off, log = [], [], [], 0.0
        kept = held = 0.0
        outside = False  # of the steps of uniform grids
        folded: set[int] = set()  # sizes of the vectors that took up what was moved out of matrices
        apart = whole = 0.0
        for key in (key for key in self.matrices if key in other.matrices):
            a, b = other.matrices[key], self.matrices[key]
            start, end = other.power[key], self.power[key]
            if not (start > 0 and end > 0 and np.isfinite(start + end)):
                continue
            left, moved = _unfolded(a, b)
            if moved:
                folded |= {a.shape[1], self.heights[key]}
            near = 1 - left / (2 * min(start, end)) if left < min(start, end) else 0.0
            # of very few codes the size is off, and not the direction
            cosines.append(max(near, float((a * b).sum()) / np.sqrt(start * end)))
            weights.append(np.sqrt(a.size))
            log -= a.size / 2 * np.log(max(left / end, EQUAL))
            apart, whole = apart + left * b.size / start, whole + b.size
            cells = self.cells[key]
            if key in self.quantized:
                noise = cells.squared + other.cells[key].squared
                rounded = int(np.count_nonzero((a != 0) | (b != 0)))  # pruned weights are exact
                if cells.few and cells.squared > 0 and rounded:
                    off.append(np.sqrt(left / rounded / noise))
                if cells.steps is not None and not other.cells[key].few:
                    limit, share = STEPS_OFF
                    strays = (np.abs(a - b) > limit * cells.steps[:, None]).mean() > share
                    outside = outside or bool(strays)
            else:
                held += b.size
                kept += b.size * (left <= EQUAL * end)
        for key in (key for key in self.vectors if key in other.vectors):
            v, w = other.vectors[key], self.vectors[key]
            if w.size in folded:
                continue
            scale = max(float(np.square(w).sum()), 1e-30)
            if not np.isfinite(v).all() or not np.isfinite(w).all():
                continue
            left = float(np.square(v - w).sum())
            log -= v.size / 2 * np.log(max(left / scale, EQUAL))
            if key not in self.quantized:
                held += w.size
                kept += w.size * (left <= EQUAL * scale)
        order = np.array(cosines)[:, None]
        related = bool(len(cosines)) and bool(
            weighted_median(order, np.array(weights))[0] > RELATED
        )
        middle = float(np.median(off)) if off else np.nan
        least, most = CELLS_OFF
        return _Match(
            model,
            related,
            not off or (least <= middle <= most and not (outside and not self.model.scheme)),
            bool(off) and middle > most,
            kept / held if held else 1.0,
            float(log),
            float(np.sqrt(apart / whole)) if whole else 0.0,
        )


def _unfolded(a: Array, b: Array) -> tuple[float, bool]:
    """|a - b|^2, or what is left of it where rows and columns of b were multiplied by numbers, as
    by schemes that move scales into the layers beside; if that explains most of it, and whether."""
    plain = float(np.square(a - b).sum())
    if plain <= EQUAL * float(np.square(b).sum()):
        return plain, False
    both, own = a * b, np.square(a)
    rows = np.ones(len(a))
    for _ in range(4):  # least squares of the one, then of the other
        columns = (rows @ both) / np.maximum(np.square(rows) @ own, 1e-30)
        rows = (both @ columns) / np.maximum(own @ np.square(columns), 1e-30)
    # a scale that is not one for all; and what so many numbers explain by chance is given back
    free = a.size / max(a.size - len(a) - a.shape[1], 1)
    left = float(np.square(a * rows[:, None] * columns - b).sum()) * free
    return (left, True) if left < MOST * plain else (plain, False)
