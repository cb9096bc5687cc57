"""Guesses at one attribute of every model, from all that its relatives state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.attributes import categories, numbers, trials
from mother.attributes.columns import Column
from mother.attributes.pedigree import Array, Indices, Mask, Pedigree

INTERVAL = 0.9  # how probable it is that a number lies in its interval
FITTED = 15_000  # rows that rates are fitted to; of larger graphs families drawn at random
FITTED_SETS = 20_000  # the same, rows of all elements together
NOBODYS = 1e-6  # a smaller share is of a value that is stated elsewhere
AT_ONCE = 300_000  # rows in work
BY_CHANCE = 2.0  # standard errors that relatives must narrow an attribute down by
_SEED = 0


@dataclass(frozen=True)
class Guesses:
    """Of each model that states nothing, what all others let expect of it.

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
    fit = _fitted(whole, codes[:, None], values, FITTED)
    best, chance = np.zeros(whole.models, dtype=np.intp), np.zeros(whole.models)
    for part, rows in _parts(whole):
        one = np.zeros(part.families, dtype=np.intp)
        states, expected = _expected(part, codes[rows], values, fit, one)
        top, surely = states.likeliest(part, expected, fit.shares[0])
        models = rows[: part.models]
        best[models], chance[models] = top[: part.models], surely[: part.models]
    return Guesses(_heard(whole, codes >= 0), *fit.gained, best=best, chance=chance)


def _set(whole: Pedigree, held: NDArray[np.int8]) -> Guesses:
    """Each element is a character of its own, there or not; all change at the same rates."""
    elements = held.shape[1]
    padded = _rows(whole, held, -1)
    fit = _fitted(whole, padded, 2, FITTED_SETS // elements, closed=True)
    found = np.zeros(held.shape)
    for part, rows in _parts(whole):
        models = rows[: part.models]
        for k in range(elements):
            which = np.full(part.families, k, dtype=np.intp)
            _, outside = _expected(part, padded[rows, k], 2, fit, which)
            found[models, k] = outside[: part.models, 1]
    return Guesses(_heard(whole, padded.max(1) >= 0), *fit.gained, held=found)


@dataclass(frozen=True)
class _Fit:
    """Rates; shares: (characters, values), of what is stated; gained: bits a model, and the
    standard error. closed: see `categories.States`."""

    rates: categories.Rates
    shares: Array
    sure: trials.Sure
    gained: tuple[float, float]
    closed: bool


def _fitted(whole: Pedigree, codes: Any, values: int, most: int, *, closed: bool = False) -> _Fit:
    """The rates, with lengths or without, that foretell better what is stated, and what makes their
    beliefs as sure as they are right. codes: (rows,
    characters); most: rows that are looked at."""
    told = codes.max(1) >= 0
    part, own, which = _several(whole, codes, _drawn(whole, told, most))
    wanted = _wanted(whole, told)
    fits: list[categories.Rates] = []
    for power in (0.0, 1.0) if (part.length != 1).any() else (0.0,):
        near = fits[0] if fits else None
        rates = categories.fitted(part, own, values, power, which, closed=closed, near=near)
        fits.append(rates)
    best = max(fits, key=lambda r: _likelihood(part, own, values, r, which, closed))
    trial = _tried(part, own, which, values, best, closed, wanted)
    states = categories.States.of(part, own, values, which, closed=closed)
    share = categories.shares(states, part, own, closed=closed)
    return _Fit(best, share, trial.sure, trial.gained, closed)


def _wanted(whole: Pedigree, told: Mask) -> Indices:
    """Of models that state nothing, how far away what is stated is."""
    return trials.nearest(whole, told)[: whole.models][~told[: whole.models]]


def _likelihood(
    part: Pedigree,
    codes: Indices,
    values: int,
    rates: categories.Rates,
    which: Indices,
    closed: bool,
) -> float:
    """The logarithm of how likely what is stated is, each from all others."""
    told = np.flatnonzero(codes >= 0)
    states, outside = _outside(part, codes, values, rates, which, closed)
    place = states.places(part.family[told], codes[told])
    return float(np.log(np.maximum(outside[told, place], 1e-12)).sum())


def _several(whole: Pedigree, codes: Any, families: Mask) -> tuple[Pedigree, Indices, Indices]:
    """Some families once for each character: the pedigree, its rows' codes, and the character of
    each of its families."""
    part, rows = whole.part(families)
    many = codes.shape[1]
    which = np.repeat(np.arange(many), part.families)
    own = codes[rows].T.ravel().astype(np.intp)
    return (part if many == 1 else part.times(many)), own, which


@dataclass(frozen=True)
class _Trial:
    """How well rates foretell what is hidden from them, and how sure they may be."""

    sure: trials.Sure
    gained: tuple[float, float]


def _tried(
    part: Pedigree,
    codes: Indices,
    which: Indices,
    values: int,
    near: categories.Rates,
    closed: bool,
    wanted: Indices,
) -> _Trial:
    """Parts of what is stated, each foretold by rates that are fitted to the others. which: the
    character of each family. wanted: how far what is stated is from what is to be told."""
    rows = part.rows // (int(which.max(initial=0)) + 1)
    fold = np.resize(trials.folds(part)[:rows], part.rows)  # one model's characters together
    beliefs, habits, base, place, of, far = [], [], [], [], [], []
    for k in range(trials.FOLDS):
        kept = np.where(fold == k, -1, codes)
        rates = categories.fitted(part, kept, values, near.power, which, closed=closed, near=near)
        states, outside = _outside(part, kept, values, rates, which, closed)
        share = categories.shares(states, part, kept, closed=closed)
        held = np.flatnonzero((fold == k) & (codes >= 0))
        family = part.family[held]
        narrow = ((0, 0), (0, categories.MOST + 1 - states.states.shape[1]))
        beliefs.append(np.pad(outside[held], narrow))
        every = states.shares(share)
        base.append(np.pad(every[family], narrow, constant_values=1e-12))
        habits.append(np.pad(states.habits(part, kept, every)[family], narrow))
        own = np.where(share[which[family], codes[held]] > NOBODYS, codes[held], values)
        of.append(held % rows)
        place.append(states.places(family, own))
        far.append(trials.nearest(part, kept >= 0)[held])
    outside, habit = np.concatenate(beliefs), np.concatenate(habits)
    shares, at = np.concatenate(base), np.concatenate(place)
    weight = trials.weights(np.concatenate(far), wanted)
    sure = trials.Sure.of_those(outside, habit, shares, at, weight)
    here = np.arange(len(at))
    gain = np.log2(sure.of(outside, habit, shares)[here, at] / shares[here, at])
    _, first, model = np.unique(np.concatenate(of), return_index=True, return_inverse=True)
    gained = np.bincount(model, gain).astype(np.float64)
    return _Trial(sure, trials.mean(gained, weight[first]))


def _expected(
    part: Pedigree, codes: Indices, values: int, fit: _Fit, character: Indices
) -> tuple[categories.States, Array]:
    """(rows, K) what all others let expect of each row, as sure as it is right."""
    states, outside = _outside(part, codes, values, fit.rates, character, fit.closed)
    every = states.shares(fit.shares)
    habit = states.habits(part, codes, every)[part.family]
    return states, fit.sure.of(outside, habit, every[part.family])


def _outside(
    part: Pedigree,
    codes: Indices,
    values: int,
    rates: categories.Rates,
    character: Indices,
    closed: bool,
) -> tuple[categories.States, Array]:
    """The same, as sure as the rates have it."""
    states = categories.States.of(part, codes, values, character, closed=closed)
    evidence, stay = states.evidence(part, codes), rates.staying(part)
    target, root = states.shares(rates.target), states.shares(rates.root)
    return states, categories.beliefs(part, evidence, stay, target, root).outside


def _number(whole: Pedigree, values: Array) -> Guesses | None:
    """On the scale, as they are or their logarithms, on which relatives foretell them better. The
    intervals are as wide as holds the numbers that are stated, each foretold from all others."""
    told = np.flatnonzero(np.isfinite(values))
    if len(told) < 2 or np.ptp(values[told]) == 0:
        return None
    padded = _rows(whole, values, np.nan)
    stated = np.isfinite(padded)
    part, rows = whole.part(_drawn(whole, stated, FITTED))
    wanted = _wanted(whole, stated)
    scales = [_Scale(values[told], of_logarithms=False)]
    if values[told].min() > 0:
        scales.append(_Scale(values[told], of_logarithms=True))
    lengths = (0.0, 1.0) if (part.length != 1).any() else (0.0,)
    fits = []
    for scale in scales:
        own = scale.to(padded[rows])
        for of_length in lengths:
            drift = numbers.fitted(part, own, of_length)
            held, mean, variance, far = _foretold(part, own, drift)
            weight = trials.weights(far, wanted)
            gain = (_density(held, mean, variance) - _density(held, 0.0, 1.0)) / np.log(2)
            cost = scale.cost(values[told]) - float(
                np.average(_density(held, mean, variance), weights=weight)
            )
            off = np.abs(held - mean) / np.sqrt(variance)
            fits.append((cost, drift, scale, trials.mean(gain, weight), off, weight))
    _, drift, scale, bits, off, weight = min(fits, key=lambda fit: fit[0])
    if len(off) < INTERVAL / (1 - INTERVAL):  # of so few no interval is known
        bits = bits[0], np.inf
    mean, variance = np.zeros((2, whole.models))
    own = scale.to(padded)
    for part, rows in _parts(whole):
        found = numbers.estimates(part, own[rows], drift)
        models = rows[: part.models]
        mean[models] = found.mean[: part.models]
        variance[models] = found.variance[: part.models]
    if not _follows(*bits):
        mean[:], variance[:] = 0.0, 1.0
        off, weight = np.abs(own[told]), np.ones(len(told))
    reach = trials.quantile(off, weight, INTERVAL) * np.sqrt(variance)
    return Guesses(
        _heard(whole, stated),
        *bits,
        ends=scale.back(np.stack([mean, mean - reach, mean + reach])),
    )


def _foretold(
    part: Pedigree, own: Array, near: numbers.Drift
) -> tuple[Array, Array, Array, Indices]:
    """What is stated, the means and variances that it is foretold to have, each part from the
    others, and how far away what is stated was then."""
    fold = trials.folds(part)
    found, far = [], []
    for k in range(trials.FOLDS):
        kept = np.where(fold == k, np.nan, own)
        drift = numbers.fitted(part, kept, near.power, near)
        held = np.flatnonzero((fold == k) & np.isfinite(own))
        by = numbers.estimates(part, kept, drift)
        found.append(np.stack([own[held], by.mean[held], by.variance[held]]))
        far.append(trials.nearest(part, np.isfinite(kept))[held])
    held, mean, variance = np.concatenate(found, axis=1)
    return held, mean, variance, np.concatenate(far)


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
    """(families,) those in which something is stated; of more rows than `most` some, drawn so that
    each row is as likely to be among them as any other. Larger ones only where there are no
    others."""
    size = np.bincount(whole.family, minlength=whole.families)
    some = np.bincount(whole.family[told], minlength=whole.families) > 0
    order = np.random.default_rng(_SEED).permutation(len(size))
    order = order[some[order]]
    few = order[size[order] <= most]
    order = few if len(few) else order[:1]
    chosen = np.zeros(whole.families, dtype=bool)
    chosen[order[np.cumsum(size[order]) <= max(most, size[order[:1]].sum())]] = True
    return chosen


def _parts(whole: Pedigree) -> Iterator[tuple[Pedigree, Indices]]:
    """All of it, some families at a time."""
    size = np.bincount(whole.family, minlength=whole.families)
    group = np.cumsum(size) // AT_ONCE
    for k in np.unique(group).tolist():
        yield whole.part(group == k)
