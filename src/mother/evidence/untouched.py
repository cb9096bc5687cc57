"""Rows of matrices that training did not touch, found in weights.

Where nothing in the data reaches a row of a matrix, it has no gradient: tokens of an embedding that
never occur, layers that are frozen, weights that a step too small for their number format leaves.
What such rows tell is in rows.py; here they are looked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.evidence.looks import Look
from mother.evidence.rows import Rows
from mother.layouts import Group, Layer
from mother.measures import as_matrix, is_matrix
from mother.measures.formats import rounding, roundings
from mother.measures.products import Array, Bools, Indices
from mother.thresholds import LITTLE, PRECISE

ROW_MATRICES = 8  # matrices looked at: a quarter of them those with the most rows
ROWS_OF_EACH = 512  # of each, evenly spread; in families of thousands fewer
MAX_FAMILY = 1 << 14  # models of a family
ROWS_TOGETHER = 1 << 19  # rows of all models that are looked at together
ROW_COLUMNS = 64  # of each row, the first
PROBED = 16  # rows of each that are looked at first, for whether any are shared
ROUNDED_ROWS = 2.4  # root mean squares of rounding by which rows differ at most for it
ROWS_ALIKE = 0.03  # of a row's direction: more than rounding to bfloat16 or to 8 bits takes
CLEAR = 2.0  # times as far apart as that are rows that differ; between, nothing is said of the row
ROW_NUMBERS_AT_ONCE = 1 << 18  # numbers of rows that are worked on at once


class Untouched(Evidence):
    """What rows say of a family's models.

    parts: rows of some of the models, (k,) their numbers, and first those of all; what later ones
    say goes before what earlier ones do: more rows, or rows known more precisely. seed: of the
    error that numbers of rows are off by; None for none.
    """

    overruled = True

    def __init__(self, parts: Sequence[tuple[Indices, Rows]], seed: int | None = None) -> None:
        (_, self.rows), *self.closer = parts
        self._seed = seed

    def excluded(self, i: Indices, j: Indices) -> Bools:
        out = self.rows.replicate(self._seed).gone_round(i, j)
        for models, own in self.closer:
            at, some = _among(models, i, j)
            out[at] |= own.replicate(self._seed).gone_round(*some)
        return out

    def log_odds(self, i: Indices, j: Indices) -> Array:
        out = self.rows.shrunk_of(i, j)
        for models, own in self.closer:
            at, some = _among(models, i, j)
            out[at] = own.shrunk_of(*some)
        return out

    def descended(self, parents: Indices) -> Bools:
        return self.rows.inherited(parents)

    def between(self, p: int, models: Indices) -> bool:
        return self.rows.parts(p, models)

    def same(self, i: Indices, j: Indices) -> Indices:
        """In how many rows, of those looked at, pairs do not differ, (E,)."""
        return np.asarray((self.rows.state[i] == self.rows.state[j]).sum(axis=1, dtype=np.intp))

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        each = zip(self.log_odds(p, c).tolist(), self.same(p, c).tolist(), strict=True)
        return [(odds, said(odds, same)) if same else None for odds, same in each]


def said(odds: float, same: int) -> str:
    """What some rows that are the same say, in a sentence. odds: log-odds from their length.

    >>> said(0.0, 12)
    '12 of the rows looked at are the same in both: training never touched them'
    """
    says = f"{same} of the rows looked at are the same in both"
    if not odds:
        return f"{says}: training never touched them"
    longer = "longer" if odds > 0 else "shorter"
    return (
        f"{says} but for their length: training never touched them, and they are {longer} in the "
        "parent; weight decay shrinks, nothing lets them grow"
    )


def _among(models: Indices, i: Indices, j: Indices) -> tuple[Indices, tuple[Indices, Indices]]:
    """Which pairs are of some of the models, (k,) ascending, and these by their place there."""
    one, two = np.searchsorted(models, i), np.searchsorted(models, j)
    last = len(models) - 1
    here = (models[np.minimum(one, last)] == i) & (models[np.minimum(two, last)] == j)
    at = np.flatnonzero(here)
    return at, (one[at], two[at])


class RowsOf:
    """The rows of the models of a look, of each family looked at once."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._known: dict[bytes, list[tuple[Indices, Rows]]] = {}

    def among(self, inside: Indices) -> list[tuple[Indices, Rows]]:
        """Of some of the models, by their place in the look: as of `Untouched`."""
        key = inside.tobytes()
        if key not in self._known:
            rows, closer = looked_at(self._look.group.among(inside.tolist()))
            self._known[key] = [(np.arange(len(inside)), rows), *closer]
        return self._known[key]

    @property
    def exact(self) -> bool:
        """Whether all of the rows that were asked for were looked at: then they have no error."""
        parts = (part for parts in self._known.values() for part in parts)
        return all(share == 1 for _, rows in parts for share in rows.looked)


def untouched(family: Family) -> Untouched | None:
    """What the rows of a family say; None of thousands of models, or where none are held."""
    if not family.looks or family.members is None or len(family) > MAX_FAMILY:
        return None
    parts = []
    for look in (look for look in family.looks if not look.ranks):
        both = np.flatnonzero([k in look.place for k in family.members.tolist()])
        inside = np.array([look.place[k] for k in family.members[both].tolist()], dtype=np.intp)
        if len(both) > 1:
            parts += [(both[some], rows) for some, rows in look.kept(RowsOf).among(inside)]
    return Untouched(parts, family.seed)


UNTOUCHED = Kind(
    "rows", "infinite alleles: Kimura and Crow 1964; the cycle property of trees", untouched
)


def looked_at(group: Group) -> tuple[Rows, list[tuple[Indices, Rows]]]:
    """The rows of all models of a family, and where some were rounded, those of the others by
    themselves, for they tell more; as of `Untouched`."""
    rows = shared_rows(group)
    precise = np.flatnonzero(roundings(group) < PRECISE)
    if rows.coarse and len(precise) > 1:
        return rows, [(precise, shared_rows(group.among(precise.tolist())))]
    return rows, []


def shared_rows(group: Group) -> Rows:
    """The rows that some models of a family share, of ROW_MATRICES matrices that all have.

    Sketches are looked at as they are. Matrices of which no models share any of the first PROBED
    rows are left out.
    """
    n = len(group.checkpoints)
    count = max(PROBED, min(ROWS_OF_EACH, ROWS_TOGETHER // max(n, 1)))
    layers = _picked([layer for layer in group.layers if len(layer.members) == n])
    parts, most, zeros = list[tuple[Indices, Array]](), PRECISE, np.zeros(n)
    looked = list[float]()
    for layer in layers:
        probed = _values(layer, PROBED)
        zeros += (probed == 0).mean(axis=(1, 2)) if probed.size else 0.0
        if not _alike(probed, ROWS_ALIKE):
            continue
        tolerance = max(PRECISE, *(ROUNDED_ROWS * rounding(tensor) for tensor in layer.tensors))
        most = max(most, tolerance)
        if same_rows(probed, tolerance)[0].size:
            values = _values(layer, count)
            parts.append(same_rows(values, tolerance))
            looked.append(values.shape[1] / as_matrix(layer.shape)[0])
    return Rows.joined(parts, zeros <= LITTLE * len(layers), most, looked)


def _picked(layers: Sequence[Layer]) -> list[Layer]:
    """ROW_MATRICES of the matrices whose rows can be compared."""
    matrices = [layer for layer in layers if _comparable(layer)]
    return [matrices[k] for k in picked([as_matrix(x.tensors[0].shape)[0] for x in matrices])]


def picked(rows: Sequence[int]) -> list[int]:
    """Which of some matrices are looked at, by their numbers of rows: a quarter of ROW_MATRICES
    those with the most, then others evenly spread.

    >>> picked([4, 4, 9])
    [2, 0, 1]
    """
    by_rows = sorted(range(len(rows)), key=lambda k: -rows[k])
    most, others = by_rows[: ROW_MATRICES // 4], sorted(by_rows[ROW_MATRICES // 4 :])
    spread = np.linspace(0, len(others) - 1, ROW_MATRICES - len(most)).astype(int).tolist()
    return [*most, *(others[k] for k in dict.fromkeys(spread) if others)]


def _comparable(layer: Layer) -> bool:
    shape, *others = {tensor.shape for tensor in layer.tensors}
    return not others and is_matrix(shape) and as_matrix(shape)[1] >= ROW_COLUMNS // 16


def _values(layer: Layer, count: int) -> NDArray[np.float32]:
    """The first columns of some of the rows, (n, rows, columns), those that are numbers and not
    all one number in every model."""
    height, width = as_matrix(layer.tensors[0].shape)
    rows = np.unique(np.linspace(0, height - 1, min(height, count)).astype(int))
    columns = min(width, ROW_COLUMNS)
    out = np.empty((len(layer.tensors), len(rows), columns), dtype=np.float32)
    for member, tensor in zip(layer.members, layer.tensors, strict=True):
        out[member] = tensor.read().reshape(height, width)[rows, :columns]
    told = np.isfinite(out).all(axis=(0, 2)) & (np.ptp(out, axis=2) > 0).all(axis=0)
    return out[:, told]


def same_rows(values: NDArray[np.float32], tolerance: float) -> tuple[Indices, Array]:
    """State and length of the rows of one matrix that some models share, (n, C) each; none where
    steps are so short that many rows are neither surely the same nor surely not."""
    several = max(1, ROW_NUMBERS_AT_ONCE // (len(values) * values.shape[2]))
    blocks = [
        _states(values[:, at : at + several], tolerance)
        for at in range(0, values.shape[1], several)
    ]
    if not blocks:
        return np.zeros((len(values), 0), dtype=np.intp), np.ones((len(values), 0))
    state, length, clear = (np.concatenate(part, axis=-1) for part in zip(*blocks, strict=True))
    shared = clear & (state.max(axis=0) + 1 < len(values))
    shared &= clear.sum() >= (1 - LITTLE) * len(clear)
    return state[:, shared], length[:, shared]


def _alike(values: NDArray[np.float32], tolerance: float) -> bool:
    """Whether some models hold the same of any row, so far as that is told."""
    return bool(values.size) and bool(
        (_states(values, tolerance)[0].max(axis=0) + 1 < len(values)).any()
    )


def _states(values: NDArray[np.float32], tolerance: float) -> tuple[Indices, Array, Bools]:
    """State and length of rows, (n, rows) each, and whether models surely hold the same of them, or
    surely not, (rows,)."""
    wide = values.astype(np.float64)
    length = np.linalg.norm(wide, axis=2)
    unit = wide / length[:, :, None]
    first = np.abs(unit).mean(axis=0).argmax(axis=1)
    key = np.take_along_axis(unit, first[None, :, None], axis=2)[:, :, 0]
    order = np.argsort(key, axis=0, kind="stable")
    ordered = np.take_along_axis(unit, order[:, :, None], axis=0)
    gap = np.linalg.norm(np.diff(ordered, axis=0), axis=2)
    new = gap > tolerance
    ranked = np.concatenate([np.zeros((1, new.shape[1]), dtype=np.intp), new.cumsum(axis=0)])
    state = np.empty_like(ranked)
    np.put_along_axis(state, order, ranked, axis=0)
    return state, length, ~(new & (gap < CLEAR * tolerance)).any(axis=0)
