"""How far a model's weights have come from how they began.

A net starts with weights drawn from a normal or a uniform distribution, with biases of zero and
norms of one. Training makes the tails of matrices heavier (Martin and Mahoney 2021; the paper's
directional score, sec. 4.2) and the entries of vectors differ, for fine-tuning as for training from
scratch, by optimizers of all kinds (docs/research/wild.md). So layers that have come further in one
of two models speak for it being the child.

The kurtosis of P weights has the variance 24 / P by chance, and that of two models whose weights
have the cosine r in common has the correlation r^4. A difference counts by its standard errors, up
to one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.measures import Measures, is_matrix
from mother.measures.products import Array, Indices, Products, Source
from mother.sketches.samples import Samples

#: log-odds of the child, fitted together: where all matrices surely have heavier tails in it, and
#: where the entries of all vectors differ more
TRAINED_ODDS = {"tails": 2.14, "spread": 0.762}
FEWEST_ENTRIES = 4  # entries of a vector that can differ
NO_RISE = 1e-9  # of a logarithm: less is rounding
UNLIKE_LEAST = 1e-15  # of 1 - r^2: less is rounding
NO_SPREAD = 1e-12  # of a standard deviation: less is none


class Trained(Evidence):
    """tails: (L, n) logarithm of the kurtosis of matrices. told: the same matrices, of pairs. seen:
    (L,) weights that were looked at. spread: (V, n) logarithm of the standard deviation of
    vectors."""

    def __init__(
        self, tails: Array, told: Callable[[Indices, Indices], Products], seen: Array, spread: Array
    ) -> None:
        self.tails, self.told, self.seen, self.spread = tails, told, seen, spread

    def log_odds(self, i: Indices, j: Indices) -> Array:
        heavier = _mean(self.heavier(i, j), np.sqrt(self.seen))
        wider = _mean(_risen(self.spread, i, j), np.ones(len(self.spread)))
        return np.asarray(TRAINED_ODDS["tails"] * heavier + TRAINED_ODDS["spread"] * wider)

    def heavier(self, i: Indices, j: Indices) -> Array:
        """By how many standard errors tails are heavier in j than in i, from -1 to 1, (L, E)."""
        if not len(self.tails):
            return np.zeros((0, len(i)))
        of = self.told(i, j)
        with np.errstate(divide="ignore", invalid="ignore"):
            unlike = of.squared / of.jj - of.lost**2 / (of.ii * of.jj)  # 1 - r^2
        unlike = np.clip(np.nan_to_num(unlike, nan=1.0), UNLIKE_LEAST, 1.0)
        variance = 2 * 24 / self.seen[:, None] * (1 - (1 - unlike) ** 2)
        with np.errstate(invalid="ignore", over="ignore"):  # tails of a layer of one value
            rise = np.nan_to_num(self.tails[:, j] - self.tails[:, i])
            return np.asarray(np.clip(rise / np.sqrt(variance), -1.0, 1.0))

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        odds, risen = self.log_odds(p, c), self.heavier(p, c)
        more, less = (risen > 0).sum(axis=0), (risen < 0).sum(axis=0)
        each = zip(odds.tolist(), more.tolist(), less.tolist(), strict=True)
        return [(own, said(own, up, down)) if own else None for own, up, down in each]


def said(odds: float, more: int, less: int) -> str:
    """What the tails of matrices say, in a sentence. more, less: matrices whose tails are heavier,
    and lighter, in the child.

    >>> said(1.2, 7, 1)
    'the child has come further from how nets begin: heavier tails in 7 of 8 matrices'
    """
    further = "the child has" if odds > 0 else "the parent has"
    most = more if odds > 0 else less
    tails = f": heavier tails in {most} of {more + less} matrices" if more + less else ""
    return f"{further} come further from how nets begin{tails}"


def _risen(values: Array, i: Indices, j: Indices) -> Array:
    """1 where a value is higher in model j than in i, -1 where lower, 0 where neither, (L, E)."""
    rise = np.nan_to_num(values[:, j] - values[:, i])
    return np.asarray(np.where(np.abs(rise) > NO_RISE, np.sign(rise), 0.0))


def _mean(signs: Array, weight: Array) -> Array:
    if not len(signs):
        return np.zeros(signs.shape[1])
    return np.asarray(weight @ signs / weight.sum())


def log_moments(size: Array, second: Array, fourth: Array) -> tuple[Array, Array]:
    """Logarithms of the kurtosis, 3 of a normal distribution, and of the standard deviation, from
    sums of powers about the mean of so many numbers; where all are equal, NaN and the least there
    is.

    >>> tails, spread = log_moments(np.array([2.0]), np.array([2.0]), np.array([2.0]))
    >>> np.exp(tails).round(6), np.exp(spread).round(6)
    (array([1.]), array([1.]))
    """
    variance = second / size
    some = variance > NO_SPREAD**2
    with np.errstate(divide="ignore", invalid="ignore"):
        tails = np.where(some, np.log(fourth / size) - 2 * np.log(variance), np.nan)
        return tails, np.where(
            np.isnan(variance), np.nan, np.log(np.maximum(variance, NO_SPREAD**2)) / 2
        )


def _moments(source: Source) -> tuple[Array, Array] | None:
    """Those of each layer of each model, (L, n) each; None where they were not measured."""
    assert isinstance(source, Measures | Samples)
    moments = source.moments if isinstance(source, Measures) else source.moments()
    if not len(moments):
        return None
    size = source.sizes[:, None].astype(np.float64)
    tails, spread = log_moments(size, moments[..., 1], moments[..., 3])
    if isinstance(source, Measures) and len(source.overlap):
        pruned = np.diagonal(source.overlap, axis1=1, axis2=2) < 1
        # zeros that pruning put there say nothing of training
        tails, spread = np.where(pruned, np.nan, tails), np.where(pruned, np.nan, spread)
    return tails, spread


def _of(family: Family) -> Evidence | None:
    source, whole = family.source, family.whole
    moments = _moments(whole)
    if moments is None:
        return None
    told = set(zip(source.names, source.shapes, strict=True))
    layers = list(zip(whole.names, whole.shapes, strict=True))
    matrices = np.array([is_matrix(s) and (n, s) in told for n, s in layers], dtype=bool)
    long = np.array([np.prod(s) >= FEWEST_ENTRIES for _, s in layers], dtype=bool)
    vectors = long & np.array([not is_matrix(s) for _, s in layers], dtype=bool)
    vectors &= np.isfinite(moments[1]).all(axis=1)
    if not (matrices.any() or vectors.any()):
        return None
    return Trained(
        moments[0][matrices],
        lambda i, j: whole.pairs(i, j).over(matrices),
        whole.seen[matrices].astype(np.float64),
        moments[1][vectors],
    )


TRAINED = Kind("trained", "MoTHer, sec. 4.2", _of)
