"""Moves of the units along one axis, as what was hidden by them is undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from mother.layouts.units import Array, Order, assigned, cosines, directions

TAKEN = 0.8  # likeness of units, or heads, from which on they are taken for found
BEYOND_HEADS = 0.98  # likeness from which on no heads are looked for, which would have to be
#: times as far from 1 as single units are; where these are found as well
LESS, MUCH_LESS = 0.5, 0.2
SHORTEST = 8  # weights of a unit whose length tells a scale
SAMPLED_UNITS = 48  # units that decide whether a move fits
#: mean deviation of the logarithms of scales, or their middle, beyond which units were scaled one
#: by one, or all of them, and not trained
SPREAD, FACTOR = 0.1, 0.25
ASSIGNED = 4096  # units that are assigned by all pairs; of more the likeliest is taken
MOVED_AT_MOST = 1 << 15  # units that moved, of which none is looked for if there are more
MIXED = 1 << 13  # units that may be mixed within heads


@dataclass(frozen=True)
class Move:
    """Unit k of the one model is unit order[k] of the other times scale[k]; or, where units were
    mixed, head k is head order[k] turned by mixed[k], (heads, width, width)."""

    order: Order
    scale: Array
    mixed: Array | None = None

    @property
    def size(self) -> int:
        width = 1 if self.mixed is None else self.mixed.shape[1]
        return len(self.order) * width

    @property
    def is_none(self) -> bool:
        """Whether all stays where it is."""
        return not list(self.kinds)

    @property
    def moves(self) -> bool:
        """Whether any unit lies elsewhere, is flipped or mixed with others."""
        away = self.order != np.arange(len(self.order))
        return self.mixed is not None or bool((away | (self.scale < 0)).any())

    @property
    def scaled(self) -> bool:
        """Whether units, or heads, are longer or shorter than they were."""
        return bool((np.abs(self._scales - 1) > 1e-6).any())

    @property
    def _scales(self) -> Array:
        if self.mixed is None:
            return np.abs(self.scale)
        return np.asarray(np.linalg.norm(self.mixed, axis=(1, 2)) / np.sqrt(self.mixed.shape[1]))

    @property
    def keeps(self) -> bool:
        """Whether values stay what they are, but for their signs."""
        return self.mixed is None and not self.scaled

    @property
    def kinds(self) -> Iterator[str]:
        """What it does, in words."""
        if self.mixed is not None:
            one = len(self.order) == 1
            yield "stream rotated" if one else "units mixed within heads"
        if (self.order != np.arange(len(self.order))).any():
            yield "units permuted" if self.mixed is None else "heads permuted"
        if (self.scale < 0).any():
            yield "signs flipped"
        if self.scaled:
            yield "units scaled"

    def of(self, values: Array, axis: int = 0) -> Array:
        """The other model's values, (..., size, ...), with the units as the one has them."""
        moved = np.moveaxis(values, axis, 0)
        if self.mixed is None:
            scale = self.scale.reshape(-1, *(1,) * (moved.ndim - 1))
            moved = moved[self.order] * scale.astype(moved.dtype)
        else:
            heads = moved.reshape(len(self.order), -1, *moved.shape[1:])[self.order]
            turned = np.einsum("hij,hj...->hi...", self.mixed, heads, optimize=True)
            moved = turned.reshape(moved.shape).astype(moved.dtype)
        return np.moveaxis(moved, 0, axis)

    def back(self) -> Move:
        """The same with scales inverted."""
        if self.mixed is None:
            return Move(self.order, np.sign(self.scale) / np.abs(self.scale))
        return Move(self.order, self.scale, self.mixed / np.square(self._scales)[:, None, None])

    def unsigned(self) -> Move:
        """The same without its signs: what a scale of normalisation goes through."""
        return Move(self.order, np.abs(self.scale), self.mixed)


@cache
def still(size: int) -> Move:
    """Of units that stay."""
    return Move(np.arange(size), np.ones(size))


def turned(spin: Array) -> Move:
    """Of a whole axis: one's rows are the other's times `spin`, (d, d)."""
    order = np.abs(spin).argmax(axis=0)
    scale = spin[order, np.arange(len(order))]
    if (np.abs(scale) == 1).all():
        return Move(order, scale)
    return Move(np.zeros(1, np.intp), np.ones(1), spin.T[None])


def found(one: Array, other: Array) -> tuple[float, Move]:
    """The move that brings the other's units, (n, k), to the one's, and how alike they are then:
    none, one to one with signs and scales, or heads one to one, each turned in itself."""
    best = scaled(one, other, _paired(one, other))
    for width in _widths(*one.shape):
        if best[0] >= BEYOND_HEADS:
            break
        turned = _by_heads(one, other, width)
        if 1 - turned[0] < (MUCH_LESS if best[0] >= TAKEN else LESS) * (1 - best[0]):
            best = turned
    return best


def glance(one: Array, other: Array) -> float:
    """How alike a sample of the one's units is to the likeliest of the other's."""
    some = np.unique(np.linspace(0, len(one) - 1, min(len(one), SAMPLED_UNITS)).astype(int))
    return float(np.median(np.abs(cosines(one[some], other)).max(axis=1)))


def nearest(units: int, length: int) -> float:
    """The cosine, of either sign, of a random direction and the likeliest of so many: the share of
    a sphere that lies as near is one in so many.

    >>> round(nearest(16, 9), 2), round(nearest(512, 4096), 2)
    (0.76, 0.06)
    """
    if length < 2:
        return 1.0
    return float(np.sqrt(1 - (2.0 * units) ** (-2 / (length - 1))))


def _paired(one: Array, other: Array) -> Order:
    """Units that are alike where they are stay there, the others are assigned."""
    order = np.arange(len(one))
    off = np.flatnonzero(np.einsum("ij,ij->i", directions(one), directions(other)) < TAKEN)
    if len(off) <= ASSIGNED:
        order[off] = off[assigned(cosines(one[off], other[off]))]
        return order
    if len(off) > MOVED_AT_MOST:
        return order
    step = ASSIGNED * ASSIGNED // len(off)
    for k in range(0, len(off), step):
        some = off[k : k + step]
        order[some] = off[np.abs(cosines(one[some], other[off])).argmax(axis=1)]
    again = np.ones(len(order), bool)
    again[np.unique(order, return_index=True)[1]] = False
    order[again] = np.setdiff1d(np.arange(len(one)), order)
    return order


def scaled(one: Array, other: Array, order: Order) -> tuple[float, Move]:
    """The move to an order, with signs and scales, and how alike units are then."""
    a, b = one, other[order]
    inner = np.einsum("ij,ij->i", a, b, dtype=np.float64)
    length = np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)
    sign = np.where(inner < 0, -1.0, 1.0)
    scale = np.ones(len(a))
    if a.shape[1] >= SHORTEST:
        scale = _scales(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    return float(np.abs(inner).sum() / length.sum()), Move(order, sign * scale)


def _scales(a: Array, b: Array) -> Array:
    """Ratios of lengths where they were scaled one by one, else ones: training changes lengths as
    well, and what it changed must stay."""
    live = (a > 0) & (b > 0)
    if not are_scaled(a, b):
        return np.ones(len(a))
    return np.asarray(np.where(live, a / np.where(live, b, 1), 1.0))


def are_scaled(a: Array, b: Array) -> bool:
    """Whether units of these lengths were scaled: their ratios spread, or are all far from 1.

    >>> lengths = np.arange(1.0, 9.0)
    >>> are_scaled(lengths, 1.1 * lengths), are_scaled(lengths, lengths[::-1])
    (False, True)
    """
    live = (a > 0) & (b > 0)
    if not live.any():
        return False
    ratio = np.log(a[live] / b[live])
    middle = float(np.median(ratio))
    return bool(np.mean(np.abs(ratio - middle)) >= SPREAD or abs(middle) >= FACTOR)


def _widths(units: int, length: int) -> list[int]:
    """Of heads that many units may be made of, and whose space is told from chance."""
    if units > MIXED:
        return []
    return [w for w in range(2, units + 1) if units % w == 0 and 2 * w <= length]


def _by_heads(one: Array, other: Array, width: int) -> tuple[float, Move]:
    a, b = (np.asarray(x, np.float64).reshape(-1, width, x.shape[1]) for x in (one, other))
    spaces = [np.linalg.qr(x.transpose(0, 2, 1))[0] for x in (a, b)]
    alike = np.einsum("hkw,gkv->hgwv", *spaces, optimize=True)
    shared = np.square(alike).sum(axis=(2, 3)) / width
    order = assigned(shared)
    product = np.einsum("hwk,hvk->hwv", a, b[order])
    left, values, right = np.linalg.svd(product)
    mixed = left @ right
    lengths = [np.linalg.norm(x, axis=(1, 2)) for x in (a, b[order])]
    likeness = values.sum() / max(float((lengths[0] * lengths[1]).sum()), 1e-300)
    mixed *= _scales(*lengths)[:, None, None]
    return float(likeness), Move(order, np.ones(len(order)), mixed)
