"""How each matrix of a model lies in another one, units permuted, flipped, scaled or turned.

A matrix of which one axis is known gives the other. So from the labels on (rows of a vocabulary,
pixels, classes) axis by axis becomes known, and no two matrices need be known to share one: each
move that fits is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from mother.checkpoints import Tensor
from mother.layouts.joint import settled, shared
from mother.layouts.moves import TAKEN, Move, found, glance, nearest, still, turned
from mother.layouts.spectra import swaps
from mother.layouts.unaided import MATCHED_LEAST, MATCHED_SIDE, signs, unaided
from mother.layouts.units import Array, stream_turns, values_of
from mother.layouts.wiring import block, matrices, natural, stream_of

#: times as much as where scales of a norm moved, or units were scaled one by one, may be left
#: where nothing of the kind was done; UNROTATED: of a squared norm, rounding
MOVED, RESCALED, UNROTATED = 1.1, 4.0, 1e-12
BOTH_TRIED = 0.1  # of likeness, by which samples of two ways may differ and both are tried
FIT_ROUNDS = 3  # of fitting a rotation to all matrices, and these to it
MOVES_TRIED = 6  # moves of one size that are tried, the latest
HEADS = 8  # ways that are tried where units may be mixed within heads, the likeliest
_NONE = ("", None, None)
#: a norm's name, the other model's scales and the one's
_Norm = tuple[str, Array | None, Array | None]


@dataclass(frozen=True)
class Fit:
    """A matrix (rows, columns, kernel) of the other model as it is in the one's coordinates. norm:
    whose scales had moved into it."""

    rows: Move
    columns: Move
    norm: str = ""

    def of(self, values: Array, into: Array | None = None, out_of: Array | None = None) -> Array:
        """into, out_of: the scales of the norm in the other model, which are put into it first, and
        in the one, which are taken out of it last."""
        sides = values.reshape(self.rows.size, self.columns.size, -1)
        if into is not None:
            sides = sides * into[None, :, None]
        moved = self.rows.of(self.columns.of(sides, 1), 0)
        if out_of is not None:
            moved = moved / out_of[None, :, None]
        return np.asarray(moved.reshape(values.shape))

    @property
    def is_none(self) -> bool:
        return self.rows.is_none and self.columns.is_none and not self.norm

    @property
    def moves(self) -> bool:
        """Whether units lie elsewhere, or are flipped or mixed; lengths alone may be trained."""
        return self.rows.moves or self.columns.moves


@dataclass(frozen=True)
class _Way:
    """Two matrices whose first axes hold the same units in some order, as a known move along the
    other axis has them; the fit that this and theirs make."""

    sides: Callable[[], tuple[Array, Array]]  # made anew each time: there may be many ways
    fit: Callable[[Move], Fit]
    first: bool = False  # whether the known move is the first of its size

    def tried(self) -> _Tried:
        one, other = self.sides()
        alike, move = found(one, other)
        fit = self.fit(move)
        off = float(np.square(one - move.of(other)).sum(dtype=np.float64))
        left = off + UNROTATED * float(np.square(one).sum(dtype=np.float64))
        left *= (MOVED if fit.norm else 1) * (RESCALED if move.scaled else 1)
        least = (1 + nearest(*one.shape)) / 2  # one, of single weights: any order fits these
        return _Tried(left, fit, alike >= TAKEN and alike > least and one.shape[1] > 1)


def _by_rows(one: Array, other: Array, move: Move, *scales: Array | None) -> tuple[Array, Array]:
    seen = Fit(still(len(one)), move).of(other, *scales)
    return one.reshape(len(one), -1), seen.reshape(len(one), -1)


class _Tried(NamedTuple):
    """What a fit leaves of the squared difference, more for what would be more of a coincidence;
    whether its units are more alike than chance has it."""

    left: float
    fit: Fit
    fits: bool


class Fitting:
    """Two models with tensors of the same names, and the moves found so far. stay: the names of
    matrices whose units did not move. spin: the orthogonal matrix that brings the other's stream to
    the one's, where it is known."""

    def __init__(
        self,
        one: Mapping[str, Tensor],
        other: Mapping[str, Tensor],
        stay: Collection[str] = (),
        spin: Array | None = None,
    ) -> None:
        self.one, self.other, self.stay = dict(one), dict(other), set(stay)
        self.spin = spin
        self.shapes = matrices({name: t.shape for name, t in one.items()})
        self.moves: dict[int, list[Move]] = {}
        self.fits: dict[str, Fit] = {}
        self.loose: set[str] = set()
        self._tried: set[str] = set()  # by themselves
        self.swapped = False
        self._vectors = {n: t.size for n, t in one.items() if 1 < max(t.shape, default=0) == t.size}

    def run(self) -> dict[str, Fit]:
        """The fits of all matrices that fit."""
        stream = stream_of(self.shapes)
        if stream is None or self.stay:
            self._fit(None)
        else:
            known = (
                stream_turns(stream, self.one, self.other)[0] if self.spin is None else self.spin
            )
            spin = turned(known)
            self._fit(spin)
            if spin.mixed is not None:
                self._fit(self._best(spin))
                for move in self.moves[spin.size][:1]:
                    self._best(move)
        self._settle()
        self._tie()
        return self.fits

    def _fit(self, spin: Move | None) -> None:
        """Matrix by matrix, until none of those left fits."""
        self.fits, self.moves, self._tried = {}, {}, set()
        if spin is not None:
            self._know(spin)
        for name in self.stay & self.shapes.keys():
            rows, length = self.shapes[name][:2]
            self.fits[name] = Fit(still(rows), still(length))
        left = sorted(self.shapes.keys() - self.stay, key=natural)
        steps = (self._by_known, self._by_itself, self._by_both, self._elsewhere)
        while left and any(step(left) for step in steps):
            left = [name for name in left if name not in self.fits]

    def _by_known(self, left: Sequence[str]) -> bool:
        """Whether any matrix fits by moves that are known."""
        return bool([name for name in left if self._fitted(name)])

    def _by_itself(self, left: Sequence[str]) -> bool:
        """Whether one fits with the help of no other."""
        for name in left:
            one, other = self._both(name)
            sides = one.shape[:2]
            if name in self._tried or max(sides) > MATCHED_SIDE or min(sides) < MATCHED_LEAST:
                continue
            self._tried.add(name)
            rows, columns = unaided(one, other)
            move = Move(columns, signs(one, other[rows][:, columns])[1])
            if self._taken(
                name, _Way(partial(_by_rows, one, other, move), partial(Fit, columns=move))
            ):
                return True
        return False

    def _by_both(self, left: Sequence[str]) -> bool:
        """Whether any fits by moves that are known of both of its axes: a few weights tell none."""
        before = len(self.fits)
        for name in left:
            one, other = self._both(name)
            rows, columns = one.shape[:2]
            fits = [Fit(x, y) for x in self._known(rows) for y in self._known(columns)]
            best = min(fits, key=lambda fit: float(np.square(one - fit.of(other)).sum()))
            a, b = one.ravel(), best.of(other).ravel()
            if a @ b >= TAKEN * np.linalg.norm(a) * np.linalg.norm(b) > 0:
                self.fits[name] = best
        return len(self.fits) > before

    def _elsewhere(self, left: Sequence[str]) -> bool:
        """Whether any of those left lies under the name of another one of its shape, as experts may
        do that stand in another order. They are paired by singular values, once."""
        swapped = {} if self.swapped else swaps(self.one, self.other, left)
        self.swapped |= bool(swapped)
        self.other |= {name: self.other[theirs] for name, theirs in swapped.items()}
        self._tried -= swapped.keys()
        return bool(swapped)

    def _know(self, move: Move) -> None:
        known = self.moves.setdefault(move.size, [])
        if not move.is_none and not any(move is each for each in known):
            known.append(move)
            if move.scaled:  # what is scaled where it is written is scaled back where it is read
                known.append(move.back())

    def _known(self, size: int) -> list[Move]:
        """The first, which is the stream's, the latest ones, and none."""
        known = self.moves.get(size, [])
        return [*known[:1], *reversed(known[1:][-MOVES_TRIED:]), still(size)]

    def _fitted(self, name: str) -> bool:
        ways = [(glance(*way.sides()), way) for way in self._ways(name)]
        ways.sort(key=lambda each: -each[0])
        sure = ways[0][0] >= TAKEN
        few = [
            way
            for k, (alike, way) in enumerate(ways)
            if way.first or (alike >= ways[0][0] - BOTH_TRIED if sure else k < HEADS)
        ]
        return self._taken(name, *few)

    def _taken(self, name: str, *ways: _Way) -> bool:
        """Whether the way that leaves least fits."""
        best = min((way.tried() for way in ways), key=lambda each: each.left)
        if best.fits:
            self.fits[name] = best.fit
            self._know(best.fit.rows)
            self._know(best.fit.columns)
        return best.fits

    def _both(self, name: str) -> tuple[Array, Array]:
        one, other = (values_of(side[name]) for side in (self.one, self.other))
        return one, other

    def _ways(self, name: str) -> Iterator[_Way]:
        """To compare units along one axis, a known move taken along the other."""
        one, other = self._both(name)
        rows, columns = one.shape[:2]
        length = one[0].size

        def by_columns(move: Move) -> tuple[Array, Array]:
            x, y = (np.swapaxes(z, 0, 1).reshape(columns, -1) for z in (one, move.of(other, 0)))
            return x, y

        inside = [size for size in self.moves if one.ndim == 2 and length % size == 0]
        for size in dict.fromkeys([columns, *inside]):
            for move in self._known(size):
                for norm, *scales in self._norms(name, size):
                    fit = partial(Fit, columns=move, norm=norm)
                    first = move is self._known(size)[0]
                    yield _Way(partial(_by_rows, one, other, move, *scales), fit, first)
        for move in self._known(rows):
            yield _Way(partial(by_columns, move), partial(Fit, move), move is self._known(rows)[0])

    def _norms(self, name: str, size: int) -> Iterator[_Norm]:
        """None, and those of the same block that differ."""
        yield _NONE
        for beside, own in self._vectors.items():
            if own == size and block(beside) == block(name):
                one, other = (x.ravel() for x in self._both(beside))
                if one.all() and not (one == other).all():
                    yield beside, other, one

    def _best(self, spin: Move) -> Move:
        """The rotation that fits all matrices, and the fits with it."""
        for _ in range(FIT_ROUNDS):
            spin = self._better(spin)
        return spin

    def _better(self, spin: Move) -> Move:
        """The orthogonal matrix that brings all that reads or writes the stream nearest."""
        total = np.zeros((spin.size, spin.size))
        for name, fit in self.fits.items():
            for axis, move, across in ((0, fit.rows, fit.columns), (1, fit.columns, fit.rows)):
                if move is spin and across.mixed is None:  # what is mixed was fitted to it
                    a, b = self._along(name, axis)
                    total += b @ a.T / max(float(np.square(a).sum()), 1e-300)
        left, _, right = np.linalg.svd(total)
        better = turned(np.asarray(left @ right))
        for name, fit in self.fits.items():
            both = [better if move is spin else move for move in (fit.rows, fit.columns)]
            self.fits[name] = Fit(both[0], both[1], fit.norm)
        return better

    def _along(self, name: str, axis: int) -> tuple[Array, Array]:
        """The units of both models along an axis of a matrix, all else undone, (n, k)."""
        fit = self.fits[name]
        one, other = self._both(name)
        into, out_of = (x.ravel() for x in self._both(fit.norm)[::-1]) if fit.norm else (None, None)
        rest = replace(fit, columns=still(fit.columns.size))
        if axis == 0:
            rest = replace(fit, rows=still(fit.rows.size))
        shape = (fit.rows.size, fit.columns.size, -1)
        seen = rest.of(other, into).reshape(shape).astype(np.float64)
        whole = one.reshape(shape).astype(np.float64)
        if out_of is not None:
            whole = whole * out_of[None, :, None]
        a, b = (np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1) for x in (whole, seen))
        return a, b

    def _settle(self) -> None:
        """Units that several matrices hold lie in the order that these tell together."""
        for _ in range(FIT_ROUNDS):
            moves = {
                (name, axis): move
                for name, fit in self.fits.items()
                for axis, move in enumerate((fit.rows, fit.columns))
                if name not in self.stay and move.mixed is None
            }
            before = dict(moves)
            orders = {key: move.order for key, move in moves.items()}
            done = [settled(moves, places, self._along) for places in shared(orders)]
            for (name, axis), move in moves.items():
                if move is not before[name, axis]:
                    fit = self.fits[name]
                    fit = replace(fit, columns=move) if axis else replace(fit, rows=move)
                    self.fits[name] = fit
            if all(done):
                return

    def _tie(self) -> None:
        """Units that are scaled where they are written are scaled back where they are read: one
        scale of both, lest what training changed in their lengths is undone with it. What is scaled
        and has no such counterpart is left out, if most else fits: its lengths say nothing."""
        stream = stream_of(self.shapes)
        if stream is None:
            return
        tied = set()
        for written, read in ((w, r) for h in stream.hidden for w in h.written for r in h.read):
            if {written, read} <= self.fits.keys():
                first, last = self.fits[written].rows, self.fits[read].columns
                if first.scaled and last.scaled and first.mixed is None and last.mixed is None:
                    scale = np.sqrt(np.abs(first.scale / last.scale))
                    one = replace(first, scale=np.sign(first.scale) * scale)
                    two = replace(last, scale=np.sign(last.scale) / scale)
                    self.fits[written] = replace(self.fits[written], rows=one)
                    self.fits[read] = replace(self.fits[read], columns=two)
                    tied |= {written, read}
        loose = {n for n, f in self.fits.items() if f.rows.scaled or f.columns.scaled} - tied
        size = {name: self.one[name].size for name in self.fits}
        if 2 * sum(size[name] for name in loose) <= sum(size.values()):
            self.fits = {name: fit for name, fit in self.fits.items() if name not in loose}
            self.loose = loose
