"""Which of two related models is the parent, as a ratio of likelihoods.

Let c = a p + n: training added n to p, of which weight decay left a. A step of training knows
little of where it started, so in a layer l of P_l weights the cosine of step and start,

    x_l(a) = <c_l - a p_l, p_l> / (|c_l - a p_l| |p_l|),

is near 0: the chance of independent directions, 1/sqrt(P_l), and beyond it what trainings show,
COSINE. Seen from the child it is not: p = c - n lacks all of n, and where both are children of a
third model, p lacks a share r of what lies between them, which moves x_l to -r |n_l| / |p_l|. So

    log f(r) = log sum_a prior(a)  prod_l  t(x_l(a) + r |n_l| / |p_l|;  sqrt(COSINE^2 + 1/P_l))

with Student's t for the layers that stray; r is the polarity, 0 for a parent, 1/2 for a sibling,
1 for a child. No constant belongs to one family: docs/research/direction.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from mother.measures import Measures, is_matrix

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

COSINE = 0.025  # of a step with its start, in one layer, beyond chance
FREEDOM = 3.0  # degrees of freedom of its Student distribution: layers stray
POLARITIES = np.array([0.0, 0.5, 1.0])
_SHRUNK = np.geomspace(1e-3, 0.4, 14)
SHRINKS = np.concatenate([[0.0], _SHRUNK, -_SHRUNK])  # 1 - a
PRIOR = np.repeat([0.5, 0.4 / 14, 0.1 / 14], [1, 14, 14])  # of them: decay shrinks, little grows
_TINY = 1e-30
_CHUNK = 1 << 22  # numbers held at once


def telling(m: Measures) -> NDArray[np.bool_]:
    """The layers direction is read from, (L,): matrices where there are any, for vectors start at
    a constant that they share with everyone."""
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    return matrices if matrices.any() else np.ones(len(m.shapes), dtype=bool)


def log_likelihoods(m: Measures, p: Indices, c: Indices, counts: Array | None = None) -> Array:
    """log f(r) for pairs (p[e], c[e]) and each of POLARITIES; (B, R, E).

    counts: how often each layer counts, (B, L); once if None.

    >>> G = np.array([[[1.0, 1.0], [1.0, 1.5]], [[1.0, 1.0], [1.0, 1.2]]])
    >>> m = Measures(("u", "v"), ((100, 100), (100, 100)), np.array([10000, 10000]), G)
    >>> f = log_likelihoods(m, np.array([0, 1]), np.array([1, 0]))[0]
    >>> POLARITIES[f.argmax(axis=0)]
    array([0., 1.])
    """
    L = len(m.names)
    counts = np.ones((1, L)) if counts is None else counts
    out = np.empty((len(counts), len(POLARITIES), len(p)))
    width = len(SHRINKS) * len(POLARITIES) * max(L, len(counts))
    step = max(1, _CHUNK // width)
    for at in range(0, len(p), step):
        pairs = slice(at, at + step)
        terms = np.stack(list(_layer_terms(m, p[pairs], c[pairs])))  # (S, L, R, E)
        summed = np.tensordot(counts, terms, axes=(1, 1))  # (B, S, R, E)
        out[..., pairs] = logsumexp(summed + np.log(PRIOR)[:, None, None], axis=1)
    return out


def _layer_terms(m: Measures, p: Indices, c: Indices) -> Iterator[Array]:
    """log t of each layer, (L, R, E), for each of SHRINKS."""
    pp, cc, pc = m.gram[:, p, p], m.gram[:, c, c], m.gram[:, p, c]
    scale = COSINE**2 + 1 / m.sizes[:, None]
    start = np.maximum(pp, _TINY)
    for shrink in SHRINKS:
        a = 1 - shrink
        step = np.maximum(cc - 2 * a * pc + a**2 * pp, _TINY)
        cosine = (pc - a * pp) / np.sqrt(step * start)
        moved = np.sqrt(step / start)
        stray = cosine[:, None] + POLARITIES[:, None] * moved[:, None]
        log_t = -(FREEDOM + 1) / 2 * np.log1p(stray**2 / scale[:, None] / FREEDOM)
        yield log_t - np.log(scale[:, None]) / 2


def log_odds_and_lack(
    m: Measures, i: Indices, j: Indices, counts: Array | None = None
) -> tuple[Array, Array, Array]:
    """For unordered pairs (i[e], j[e]): log-odds that i is the parent rather than the child of j,
    and the share of the step that i lacks if it is taken for the parent, and likewise j: the mean
    of r where parent, sibling and child are equally likely before. Each (B, E).
    """
    forward, back = log_likelihoods(m, i, j, counts), log_likelihoods(m, j, i, counts)
    return forward[:, 0] - back[:, 0], _mean_polarity(forward), _mean_polarity(back)


def _mean_polarity(log_f: Array) -> Array:
    share = np.exp(log_f - log_f.max(axis=1, keepdims=True))
    return np.asarray(np.tensordot(POLARITIES, share / share.sum(axis=1, keepdims=True), (0, 1)))
