"""Guesses at one attribute of every model, from all that its relatives state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from mother.attributes import categories, numbers
from mother.attributes.columns import Column
from mother.attributes.pedigree import Array, Indices, Mask, Pedigree

INTERVAL = 0.9  # how probable it is that a number lies in its interval
FITTED = 15_000  # rows that rates are fitted to; of larger graphs families drawn at random
FITTED_SETS = 60_000  # the same, rows of all elements together
AT_ONCE = 300_000  # rows in work
BY_CHANCE = 2.0  # standard errors that relatives must narrow an attribute down by
_SEED = 0
_POWERS, _TRUSTS = (0.0, 1.5), (0.01, 0.99)  # see `_Sure`
DOUBTED = 2.0  # beliefs that are taken to have been wrong before any was tried


@dataclass(frozen=True)
class Guesses:
    """Of each model, stated or not, what all others let expect of it.

    heard: (models,) whether any relative states something. Categories: best and chance, (models,),
    the most probable value and its probability. Sets: held, (models, elements), probabilities.
    Numbers: ends, (3, models): the middle of the interval, its low and its high end.
    bits, error: by how much relatives narrow down what is stated over what is stated altogether, in
    bits a model, and the standard error. Where they do not, guesses are what is stated altogether.
    """

    heard: Mask
    bits: float
    error: float
    best: Indices | None = None
    chance: Array | None = None
    held: Array | None = None
    ends: Array | None = None

    @property
    def follows(self) -> bool:
        """Whether the attribute follows the graph by more than chance."""
        return _follows(self.bits, self.error)


def _follows(bits: float, error: float) -> bool:
    return bits > BY_CHANCE * error


def guessed(whole: Pedigree, values: Column) -> Guesses | None:
    """Guesses; None where there is nothing to tell apart."""
    if values.numbers is not None:
        return _number(whole, values.numbers)
    if values.held is not None:
        return _set(whole, values.held) if values.held.shape[1] and len(values.told) else None
    if values.kind == "text" or len(values.names) < 2:
        return None
    assert values.codes is not None
    return _category(whole, values.codes, len(values.names))


def _category(whole: Pedigree, codes: Indices, values: int) -> Guesses:
    codes = _rows(whole, codes, -1)
    part, rows = whole.part(_drawn(whole, codes >= 0, FITTED))
    fit = _fitted(part, codes[rows], values, np.zeros(part.families, dtype=np.intp))
    best, chance = np.zeros(whole.models, dtype=np.intp), np.zeros(whole.models)
    right = np.full(whole.models, np.nan)
    for part, rows in _parts(whole):
        one = np.zeros(part.families, dtype=np.intp)
        states, expected = _expected(part, codes[rows], values, fit, one)
        outside = expected[: part.models]
        models, family = rows[: part.models], part.family[: part.models]
        top, surely = states.likeliest(part, expected, fit.shares[0])
        best[models], chance[models] = top[: part.models], surely[: part.models]
        place = _place(states.states[family], codes[models], values)
        right[models] = np.where(place >= 0, outside[np.arange(len(place)), place], np.nan)
    told = np.flatnonzero(codes >= 0)
    bits = _bits(right[told], codes[told], values)
    if not _follows(*bits):
        share = np.bincount(codes[told], minlength=values) / len(told)
        best[:], chance[:] = share.argmax(), share.max()
    return Guesses(_heard(whole, codes >= 0), *bits, best=best, chance=chance)


def _set(whole: Pedigree, held: NDArray[np.int8]) -> Guesses:
    """Each element is a character of its own, there or not; all change at the same rates."""
    elements = held.shape[1]
    told = _rows(whole, held.max(1), -1) >= 0
    part, rows = whole.part(_drawn(whole, told, FITTED_SETS // elements))
    codes = _rows(whole, held, -1)[rows].T.ravel().astype(np.intp)
    many = part.times(elements)
    which = np.repeat(np.arange(elements), part.families)
    fit = _fitted(many, codes, 2, which)
    found = np.zeros(held.shape)
    right = np.full(held.shape, np.nan)
    for part, rows in _parts(whole):
        models = rows[: part.models]
        for k in range(elements):
            codes = _rows(part, held[models, k], -1)
            which = np.full(part.families, k, dtype=np.intp)
            _, outside = _expected(part, codes, 2, fit, which)
            outside = outside[: part.models]
            found[models, k] = outside[:, 1]
            right[models, k] = outside[np.arange(len(models)), codes[: part.models]]
    some = told[: whole.models]
    gained = [_gained(right[some, k], held[some, k], 2) for k in range(elements)]
    gain = np.sum(gained, axis=0)
    bits = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
    if not _follows(*bits):
        found[:] = (held[some] == 1).mean(0)
    return Guesses(_heard(whole, told), *bits, held=found)


@dataclass(frozen=True)
class _Fit:
    """Rates; shares: (characters, values), of what is stated."""

    rates: categories.Rates
    shares: Array
    sure: _Sure


@dataclass(frozen=True)
class _Sure:
    """What makes beliefs as sure as they are right: to a power, and mixed with what is stated
    altogether. The power 0 says no more than that, the trust is how often a belief tells at all."""

    power: float
    trust: float

    def of(self, beliefs: Array, base: Array) -> Array:
        """Probabilities, (n, K); base: the shares of what is stated, likewise."""
        told = np.maximum(beliefs, 1e-12) ** self.power * base ** (1 - self.power)
        told *= self.trust / told.sum(1, keepdims=True)
        return np.asarray(told + (1 - self.trust) * base / base.sum(1, keepdims=True))


def _fitted(part: Pedigree, codes: Indices, values: int, character: Indices) -> _Fit:
    """The rates, with lengths or without, that foretell better what is stated, each from all
    others, and what makes their beliefs as sure as they are right."""
    told = np.flatnonzero(codes >= 0)
    found = []
    for of_length in (0.0, 1.0) if (part.length != 1).any() else (0.0,):
        rates = categories.fitted(part, codes, values, of_length, character)
        states, outside = _outside(part, codes, values, rates, character)
        share = categories.shares(states, part, codes)
        family = part.family[told]
        every, base = outside[told], states.shares(share)[family]
        place = _place(states.states[family], codes[told], values)

        def cost(
            at: Array, every: Array = every, base: Array = base, place: Indices = place
        ) -> float:
            sure = _Sure(*at).of(every, base)[np.arange(len(place)), place]
            right = float(np.log(sure).sum()) + DOUBTED * float(np.log(1 - at[1]))
            return -right / max(len(place), 1)

        best = minimize(cost, (1.0, 0.9), bounds=(_POWERS, _TRUSTS))
        found.append((float(best.fun), of_length, _Fit(rates, share, _Sure(*best.x.tolist()))))
    return min(found, key=lambda fit: fit[:2])[2]


def _expected(
    part: Pedigree, codes: Indices, values: int, fit: _Fit, character: Indices
) -> tuple[categories.States, Array]:
    """(rows, K) what all others let expect of each row, as sure as it is right."""
    states, outside = _outside(part, codes, values, fit.rates, character)
    base = states.shares(fit.shares)[part.family]
    return states, fit.sure.of(outside, base)


def _outside(
    part: Pedigree, codes: Indices, values: int, rates: categories.Rates, character: Indices
) -> tuple[categories.States, Array]:
    """The same, as sure as the rates have it."""
    states = categories.States.of(part, codes, values, character)
    evidence, stay = states.evidence(part, codes), rates.staying(part)
    target, root = states.shares(rates.target), states.shares(rates.root)
    return states, categories.beliefs(part, evidence, stay, target, root).outside


def _place(states: Indices, codes: Indices, values: int) -> Indices:
    """Which of (n, K) states stands for each of n codes; -1 for none."""
    fits = np.where(states == codes[:, None], 2, states == values)
    return np.where(codes >= 0, fits.argmax(1), -1)


def _gained(right: Array, codes: Indices, values: int) -> Array:
    """In bits, how much more probable what is stated is to relatives than by the shares of what all
    other models state."""
    share = np.bincount(codes, minlength=values) - 1 + 1 / values
    return np.asarray(np.log2(right) - np.log2(share[codes] / share.sum()))


def _bits(right: Array, codes: Indices, values: int) -> tuple[float, float]:
    gain = _gained(right, codes, values)
    return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))


def _number(whole: Pedigree, values: Array) -> Guesses | None:
    """On the scale, as they are or their logarithms, on which relatives foretell them better. The
    intervals are as wide as holds the numbers that are stated, each foretold from all others."""
    told = np.flatnonzero(np.isfinite(values))
    if len(told) < 2 or np.ptp(values[told]) == 0:
        return None
    padded = _rows(whole, values, np.nan)
    part, rows = whole.part(_drawn(whole, np.isfinite(padded), FITTED))
    scales = [_Scale(values[told], of_logarithms=False)]
    if values[told].min() > 0:
        scales.append(_Scale(values[told], of_logarithms=True))
    lengths = (0.0, 1.0) if (part.length != 1).any() else (0.0,)
    fits = []
    for scale in scales:
        own = scale.to(padded[rows])
        at = np.isfinite(own)
        for of_length in lengths:
            drift = numbers.fitted(part, own, of_length)
            found = numbers.estimates(part, own, drift)
            density = _density(own[at], found.mean[at], found.variance[at])
            fits.append((scale.cost(padded[rows][at]) - float(density.mean()), drift, scale))
    _, drift, scale = min(fits, key=lambda fit: fit[0])
    mean, variance = np.zeros((2, whole.models))
    own = scale.to(padded)
    for part, rows in _parts(whole):
        found = numbers.estimates(part, own[rows], drift)
        models = rows[: part.models]
        mean[models] = found.mean[: part.models]
        variance[models] = found.variance[: part.models]
    own = own[told]
    gain = _density(own, mean[told], variance[told]) - _density(own, 0.0, 1.0)
    gain /= np.log(2)
    bits = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
    if not _follows(*bits):
        mean[:], variance[:] = 0.0, 1.0
    off = np.sort(np.abs(own - mean[told]) / np.sqrt(variance[told]))
    reach = off[min(len(off), int(np.ceil(INTERVAL * (len(off) + 1)))) - 1] * np.sqrt(variance)
    return Guesses(
        _heard(whole, np.isfinite(padded)),
        *bits,
        ends=scale.back(np.stack([mean, mean - reach, mean + reach])),
    )


class _Scale:
    """Numbers, or their logarithms, as multiples of their spread around their mean."""

    def __init__(self, values: Array, *, of_logarithms: bool) -> None:
        self.of_logarithms = of_logarithms
        moved = np.log(values) if of_logarithms else values
        self.mean, self.spread = float(moved.mean()), float(moved.std())

    def to(self, values: Array) -> Array:
        moved = np.log(values) if self.of_logarithms else values
        return np.asarray((moved - self.mean) / self.spread)

    def back(self, values: Array) -> Array:
        moved = values * self.spread + self.mean
        return np.asarray(np.exp(np.minimum(moved, 700)) if self.of_logarithms else moved)

    def cost(self, values: Array) -> float:
        """What the scale itself takes from the logarithm of a density, on average."""
        return float(np.log(self.spread) + (np.log(values).mean() if self.of_logarithms else 0.0))


def _density(x: Array, mean: Array | float, variance: Array | float) -> Array:
    """The logarithm of a normal density."""
    return np.asarray(-0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance))


def _rows(whole: Pedigree, of_models: Any, fill: float) -> Any:
    """(rows, …) of (models, …), with nothing for hidden ancestors and broods."""
    out = np.full((whole.rows, *of_models.shape[1:]), fill, dtype=of_models.dtype)
    out[: whole.models] = of_models
    return out


def _heard(whole: Pedigree, told: Mask) -> Mask:
    """(models,) whether another row of the family states something."""
    many = np.bincount(whole.family[told], minlength=whole.families)
    return np.asarray((many[whole.family] - told)[: whole.models] > 0)


def _drawn(whole: Pedigree, told: Mask, most: int) -> Mask:
    """(families,) those in which something is stated; of more rows than `most` some, drawn by
    size."""
    size = np.bincount(whole.family, minlength=whole.families)
    some = np.bincount(whole.family[told], minlength=whole.families) > 0
    order = np.argsort(np.random.default_rng(_SEED).random(len(size)) ** (1 / size))[::-1]
    order = order[some[order]]
    fits = np.cumsum(size[order]) <= max(most, size[order[:1]].sum())
    chosen = np.zeros(whole.families, dtype=bool)
    chosen[order[fits]] = True
    return chosen


def _parts(whole: Pedigree) -> Iterator[tuple[Pedigree, Indices]]:
    """All of it, some families at a time."""
    size = np.bincount(whole.family, minlength=whole.families)
    group = np.cumsum(size) // AT_ONCE
    for k in np.unique(group).tolist():
        yield whole.part(group == k)
