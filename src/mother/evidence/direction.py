"""Which of two related models is the parent, as a ratio of likelihoods.

Let c = a p + n: training added n to p, of which weight decay left a. A step of training knows
little of where it started, so in a layer l of P_l weights the cosine of step and start,

    x_l(a) = <c_l - a p_l, p_l> / (|c_l - a p_l| |p_l|),

is near 0, as near as chance, 1/sqrt(P_l), and what trainings show beyond it, COSINE. Seen from the
child it is not: p = c - n lacks all of n, and where both are children of a third model, p lacks a
share r of what lies between the two, which moves x_l to -r |n_l| / |p_l|. So the likelihood of r,
the polarity (0 for a parent, 1/2 for a sibling, 1 for a child), is

    f(r) = sum_s sum_a prior(s) prior(a) prod_l t(x_l(a) + r |n_l| / |p_l|; s sigma_l),
    sigma_l^2 = COSINE^2 + 1/P_l,

with Student's t for the layers that stray, s for how well this training knew its start (little
where batch norm makes gradients orthogonal to weights), and one a for all layers, which is what
tells a common shrink from a lack. docs/research/direction.md has the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mother.measures import is_matrix
from mother.measures.products import Array, Indices, Products

COSINE = 0.01  # of a step with its start, in one layer, beyond chance
FREEDOM = 3.0  # degrees of freedom of its Student distribution: layers stray
POLARITIES = np.array([0.0, 0.5, 1.0])
DECAY_LEAST, DECAY_MOST = 1e-4, 0.5  # over this range of |1 - a|
GROWTH = 0.2  # share of these in which a > 1: decay shrinks, little grows
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the layers' own a: where the sum over a is taken
UNCHANGED = 1e-12  # of a layer's squared norm: what rounding leaves of equal inner products
_TINY = 1e-30
_NUMBERS_AT_ONCE = 1 << 18  # numbers held at once: as many as a cache holds
_PAIRS_AT_LEAST = 16  # in a chunk at the least


@dataclass(frozen=True)
class Training:
    """What is believed of trainings before any is seen.

    decayed: prior probability that a is not 1; then log|1 - a| is uniform. scales: how many times
    as well as usual a training may know its start.
    """

    decayed: float = 0.5
    scales: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


TRAINING = Training()


class Layers(Protocol):
    """Layers by the shape of each."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]: ...


def telling(m: Layers) -> NDArray[np.bool_]:
    """The layers direction is read from, (L,): matrices where there are any, for vectors start at
    a constant that they share with everyone."""
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    return matrices if matrices.any() else np.ones(len(m.shapes), dtype=bool)


def log_likelihoods(of: Products, training: Training, *, by_layer: bool) -> tuple[Array, Array]:
    """log f(r) of pairs for each of POLARITIES, (R, E), and what each layer adds to it, (L, R, E),
    or nothing, (0, R, E): its mean over a and s as the pair's layers together make them likely.

    >>> from mother.measures import Measures
    >>> G = np.array([[[1.0, 1.0], [1.0, 1.5]], [[1.0, 1.0], [1.0, 1.2]]])
    >>> m = Measures(("u", "v"), ((100, 100), (100, 100)), np.array([10000, 10000]), G)
    >>> of = m.pairs(np.array([0, 1]), np.array([1, 0]))
    >>> f, by_layer = log_likelihoods(of, TRAINING, by_layer=True)
    >>> POLARITIES[f.argmax(axis=0)]
    array([0., 1.])
    """
    L, E = of.ij.shape
    R = len(POLARITIES)
    log_f = np.empty((R, E))
    layers = np.empty((L if by_layer else 0, R, E))
    terms_of_pair = R * (1 + len(QUANTILES)) * len(training.scales) * L
    size = max(_PAIRS_AT_LEAST, _NUMBERS_AT_ONCE // terms_of_pair)
    # parts of about one size: the sums of a pair that is left alone would round otherwise
    for start, stop in pairwise(np.linspace(0, E, math.ceil(E / size) + 1, dtype=int).tolist()):
        pairs = slice(start, stop)
        terms, prior = _terms(of.of(pairs), training)
        joint = terms.sum(axis=2) + prior[:, :, None]  # (R, A, S, E)
        top = joint.max(axis=(1, 2), keepdims=True)
        likely = np.exp(joint - top)
        total = likely.sum(axis=(1, 2), keepdims=True)
        log_f[:, pairs] = (top + np.log(total))[:, 0, 0] - math.log(len(training.scales))
        if by_layer:
            likely /= total
            layers[:, :, pairs] = np.einsum("ralse,rase->lre", terms, likely)
    return log_f, layers


def _terms(of: Products, training: Training) -> tuple[Array, Array]:
    """log t of each layer for each r, a and s, (R, A, L, S, E); log prior of a, (R, A, E)."""
    pp, cc, pc, r = of.ii, of.jj, of.ij, POLARITIES[:, None, None]
    start = np.maximum(pp, _TINY)
    squared = np.maximum(pp + cc - 2 * pc, 0.0)
    moves = squared > UNCHANGED * np.maximum(pp, cc)  # a frozen layer tells nothing
    own = (pc + r * squared) / start
    quantiles = _weighted_quantiles(own, np.where(moves, 1 / np.sqrt(of.chance), 0.0))
    shrinks = np.concatenate([np.ones_like(quantiles[:, :1]), quantiles], axis=1)
    a = shrinks[:, :, None]  # (R, A, 1, E)
    scales = np.array(training.scales)
    scale = (COSINE**2 + of.chance)[:, None] * scales[:, None] ** 2  # (L, S, E) or (L, S, 1)
    step = np.maximum(cc - 2 * a * pc + a**2 * pp, _TINY)
    moved = np.sqrt(step / start)
    stray = (pc - a * pp) / np.sqrt(step * start) + r[:, None] * moved
    square = stray[..., None, :] ** 2 / scale
    log_t = -(FREEDOM + 1) / 2 * np.log1p(square / FREEDOM) - np.log(scale) / 2
    told = np.where(moves, 1 / ((COSINE**2 + of.chance) * np.maximum(moved, _TINY) ** 2), 0.0)
    sharpness = np.maximum(told.sum(axis=2), _TINY)
    prior = _log_density(1 - shrinks, training.decayed) + 0.5 * np.log(2 * np.pi / sharpness)
    prior -= math.log(len(QUANTILES))
    prior[:, 0] = math.log(1 - training.decayed)
    return np.where(moves[:, None], log_t, 0.0), prior


def _log_density(shrink: Array, decayed: float) -> Array:
    """Log prior density of 1 - a where it is not 0."""
    share = np.where(shrink > 0, 1 - GROWTH, GROWTH) * decayed / math.log(DECAY_MOST / DECAY_LEAST)
    return np.asarray(np.log(share) - np.log(np.maximum(np.abs(shrink), DECAY_LEAST)))


def _weighted_quantiles(values: Array, weight: Array) -> Array:
    """QUANTILES over axis 1 of (R, L, E) values, each layer of weight (L, E); (R, Q, E)."""
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    mass = np.cumsum(np.take_along_axis(weight[None], order, axis=1), axis=1)
    mass /= np.maximum(mass[:, -1:], _TINY)
    rows = np.stack([(mass >= q).argmax(axis=1) for q in QUANTILES], axis=1)
    return np.asarray(np.take_along_axis(ranked, rows, axis=1))


@dataclass(frozen=True)
class Pairs:
    """What the layers say of unordered pairs (i[e], j[e]), and of them alone.

    log_odds (E,): of i being the parent of j rather than its child. forward, back (R, E): log f of
    each of POLARITIES, with i as the parent, and with j; by layer, (L, R, E).
    """

    i: Indices
    j: Indices
    forward: Array
    back: Array
    forward_layers: Array
    back_layers: Array

    @property
    def log_odds(self) -> Array:
        return np.asarray(self.forward[0] - self.back[0])

    @cached_property
    def log_odds_by_layer(self) -> Array:
        """What each layer adds to the log-odds, (L, E)."""
        return np.asarray(self.forward_layers[:, 0] - self.back_layers[:, 0])

    def of(self, pairs: Indices) -> Pairs:
        """Of some of the pairs."""
        return Pairs(
            self.i[pairs],
            self.j[pairs],
            self.forward[:, pairs],
            self.back[:, pairs],
            self.forward_layers[:, :, pairs],
            self.back_layers[:, :, pairs],
        )

    def beside(self, other: Pairs) -> Pairs:
        """Of these pairs and then of others."""
        both = ((getattr(self, x.name), getattr(other, x.name)) for x in fields(self))
        return Pairs(*(np.concatenate(parts, axis=-1) for parts in both))


def weigh(
    i: Indices,
    j: Indices,
    of: Products,
    training: Training = TRAINING,
    *,
    by_layer: bool = True,
) -> Pairs:
    """The evidence of layers on pairs of models, from their inner products; without what each layer
    adds where that would only take room."""
    both, by_both = log_likelihoods(of.beside(of.turned()), training, by_layer=by_layer)
    many = len(i)
    return Pairs(i, j, both[:, :many], both[:, many:], by_both[:, :, :many], by_both[:, :, many:])
