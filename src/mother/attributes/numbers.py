"""Ancestral states of a number: a trait that drifts along the pedigree.

From a parent x a brood is shift + pull * x, with a normal error of variance spread * length; from a
brood a child is an error away. pull = 1 is Brownian motion, pull < 1 an Ornstein-Uhlenbeck process
on its way to a value of its own (Hansen 1997), pull = 0 says that parents tell nothing. All by kind
of relation. Messages are normal densities, as precision and precision * mean; a merge is the mean
of its parents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mother.attributes.pedigree import Array, Indices, Pedigree

ROUNDS = 3  # of messages where there are merges
STEPS, FEW = 25, 4  # of expectation and maximization; where the drift is nearly known
PRIOR = 4.0  # how many links a guess counts for, that all kinds of relation are alike
LEAST = 1e-4  # least variance of a link, in units of that of all numbers
_STATED = 1e8  # precision of what is stated, in the same units


@dataclass(frozen=True)
class Drift:
    """pull, shift, spread: (kinds,); power: of lengths; mean, variance: of founders."""

    pull: Array
    shift: Array
    spread: Array
    power: float
    mean: float
    variance: float


@dataclass(frozen=True)
class Estimates:
    """mean, variance: (rows,) from all but the row's own evidence. The rest are sums over links by
    kind, (kinds,), of what is expected of a parent x and a child y, each over the link's length: of
    1, x, y, xx, xy and yy; and what is expected of founders, (2,): mean, and mean of squares."""

    mean: Array
    variance: Array
    sums: Array
    founders: Array


def estimates(pedigree: Pedigree, values: Array, drift: Drift) -> Estimates:
    """Messages up and down. values: (rows,), NaN where nothing is stated, of mean about 0 and
    variance about 1."""
    told = np.where(np.isfinite(values), _STATED, 0.0)
    own = np.stack([told, told * np.nan_to_num(values)])
    mean = np.full(len(pedigree.child), drift.mean)
    variance = np.full(len(pedigree.child), drift.variance)
    for _ in range(ROUNDS if len(pedigree.merged) else 1):
        below, sent = _up(pedigree, own, drift, mean, variance)
        found, mean, variance = _down(pedigree, own, below, sent, drift)
    return found


def _link(pedigree: Pedigree, drift: Drift, level: slice) -> tuple[Array, Array, Array]:
    """(links,) pull with the parent's weight, shift, and variance of the error."""
    kind = pedigree.kind[level]
    error = drift.spread[kind] * pedigree.length[level] ** drift.power
    return drift.pull[kind] * pedigree.weight[level], drift.shift[kind], error


def _others(child: Indices, one: Array) -> Array:
    """Of all links to the same child but the link itself, the sum."""
    return np.asarray(np.bincount(child, one)[child] - one)


def _up(
    pedigree: Pedigree, own: Array, drift: Drift, mean: Array, variance: Array
) -> tuple[Array, Array]:
    """(2, rows) densities of all below and at each row, and (2, links) what each sent. mean,
    variance: (links,) of each link's parent, for the sake of the other parents."""
    below, sent = own.copy(), np.empty((2, len(pedigree.child)))
    for level in reversed(pedigree.levels):
        parent, child = pedigree.parent[level], pedigree.child[level]
        pull, shift, error = _link(pedigree, drift, level)
        if (pedigree.weight[level] < 1).any():
            shift = shift + _others(child, pull * mean[level])
            error = error + _others(child, pull**2 * variance[level])
        precision, moment = below[:, child]
        narrowed = 1 + error * precision
        sent[:, level] = pull * np.stack([pull * precision, moment - shift * precision]) / narrowed
        starts = np.flatnonzero(np.diff(parent, prepend=-1))
        below[:, parent[starts]] += np.add.reduceat(sent[:, level], starts, axis=1)
    return below, sent


def _down(
    pedigree: Pedigree, own: Array, below: Array, sent: Array, drift: Drift
) -> tuple[Estimates, Array, Array]:
    from_above = np.zeros_like(own)
    from_above[:, pedigree.roots] = np.array([[1.0], [drift.mean]]) / drift.variance
    means, variances = np.empty((2, len(pedigree.child)))
    sums = np.zeros((6, len(pedigree.kinds)))
    for level in pedigree.levels:
        parent, child = pedigree.parent[level], pedigree.child[level]
        pull, shift, error = _link(pedigree, drift, level)
        precision, moment = from_above[:, parent] + below[:, parent] - sent[:, level]
        x, v = moment / precision, 1 / precision
        means[level], variances[level] = x, v
        mean, spread = shift + pull * x, error + pull**2 * v
        single = pedigree.weight[level] == 1
        if not single.all():
            mean = mean + _others(child, pull * x)
            spread = spread + _others(child, pull**2 * v)
        from_above[:, child] = np.stack([np.ones_like(mean), mean]) / spread
        # the parent and the child, given all there is (Rauch, Tung and Striebel 1965)
        after = 1 / (1 / spread + below[0, child])
        y = after * (mean / spread + below[1, child])
        gain = v * pull / spread
        x = x + gain * (y - mean)
        xx, xy, yy = v + gain**2 * (after - spread) + x**2, gain * after + x * y, after + y**2
        weight = single / pedigree.length[level] ** drift.power
        for k, value in enumerate((np.ones_like(x), x, y, xx, xy, yy)):
            sums[k] += np.bincount(pedigree.kind[level], weight * value, len(pedigree.kinds))
    precision, moment = from_above + below - own
    at = pedigree.roots
    whole = from_above[:, at] + below[:, at]
    founder = whole[1] / whole[0]
    founders = np.array([founder.mean(), (founder**2 + 1 / whole[0]).mean()])
    found = Estimates(moment / precision, 1 / precision, sums, founders)
    return found, means, variances


def fitted(pedigree: Pedigree, values: Array, power: float, near: Drift | None = None) -> Drift:
    """The drift by maximum likelihood (expectation and maximization), that of each kind drawn
    towards the common one as by `PRIOR` links. values: as above. near: that of much the same rows,
    from which a few steps lead there."""
    kinds = len(pedigree.kinds)
    pull, shift = np.full(kinds, 0.9), np.zeros(kinds)
    drift = near or Drift(pull, shift, np.full(kinds, 0.3), power, 0.0, 1.0)
    to_brood = np.array([name.startswith("to ") for name in pedigree.kinds], dtype=bool)
    for _ in range(STEPS if near is None else FEW):
        found = estimates(pedigree, values, drift)
        pull, shift, spread = np.ones(kinds), np.zeros(kinds), drift.spread
        for some, free in ((to_brood, True), (~to_brood, False)):
            if some.any():
                line = _line(found.sums[:, some], free=free)
                pull[some], shift[some] = line[0], line[1]
                spread = np.where(some, 0, spread)
                spread[some] = line[2]
        mean, square = found.founders
        variance = max(float(square - mean**2), LEAST)
        drift = Drift(pull, shift, np.maximum(spread, LEAST), power, float(mean), variance)
    return drift


def _line(sums: Array, *, free: bool) -> Array:
    """(3, kinds) pull, shift and spread, the last of errors around the line. free: the line is to
    be found, and not y = x. sums: (6, kinds)."""
    common = sums.sum(1, keepdims=True)
    drawn = PRIOR * common / np.maximum(common[0], 1e-9)
    one, x, y, xx, xy, yy = sums + drawn + np.array([[1e-9], [0], [0], [1e-9], [0], [0]])
    if free:
        varied = one * xx - x * x
        pull = np.clip((one * xy - x * y) / np.maximum(varied, 1e-9), 0.0, 1.0)
        shift = (y - pull * x) / one
    else:
        pull, shift = np.ones_like(x), np.zeros_like(x)
    squares = yy - 2 * pull * xy - 2 * shift * y + pull**2 * xx + 2 * pull * shift * x
    return np.stack([pull, shift, squares / one + shift**2])
