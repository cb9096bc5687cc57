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

from collections.abc import Callable, Iterator

import numpy as np

from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.evidence.looks import Look
from mother.layouts import Layer
from mother.measures import is_matrix
from mother.measures.products import Array, Indices, Products

KURTOSIS = 2.14  # log-odds of the child, where all matrices surely have heavier tails in it
SPREAD = 0.762  # where the entries of all vectors differ more
CHANCE = 24.0  # times 1 / P: the variance of the kurtosis of P normal numbers
LOOKED_AT = 1 << 15  # weights of a layer, in PARTS that are spread over it
PARTS = 16
FEWEST = 4  # entries of a vector that can differ
SAME = 1e-9  # of a logarithm: less is rounding
LEAST = 1e-15  # of 1 - r^2: less is rounding
_TINY = 1e-12


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
        return np.asarray(KURTOSIS * heavier + SPREAD * wider)

    def heavier(self, i: Indices, j: Indices) -> Array:
        """By how many standard errors tails are heavier in j than in i, from -1 to 1, (L, E)."""
        if not len(self.tails):
            return np.zeros((0, len(i)))
        of = self.told(i, j)
        with np.errstate(divide="ignore", invalid="ignore"):
            unlike = of.squared / of.jj - of.lost**2 / (of.ii * of.jj)  # 1 - r^2
        unlike = np.clip(np.nan_to_num(unlike, nan=1.0), LEAST, 1.0)
        variance = 2 * CHANCE / self.seen[:, None] * (1 - (1 - unlike) ** 2)
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
    return np.asarray(np.where(np.abs(rise) > SAME, np.sign(rise), 0.0))


def _mean(signs: Array, weight: Array) -> Array:
    if not len(signs):
        return np.zeros(signs.shape[1])
    return np.asarray(weight @ signs / weight.sum())


class Tails:
    """Logarithms of kurtosis and standard deviation of the layers of a look, (n,) each, taken once
    of each layer."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._known: dict[int, tuple[Array, Array]] = {}

    def of(self, at: int) -> tuple[Array, Array]:
        """Of one layer, by its number in the look; NaN for models that lack it."""
        if at not in self._known:
            layer = self._look.group.layers[at]
            found = np.full((2, len(self._look.models)), np.nan)
            for k, values in zip(layer.members, _some(layer), strict=True):
                found[:, k] = log_moments(values)
            self._known[at] = found[0], found[1]
        return self._known[at]


def log_moments(values: Array) -> tuple[float, float]:
    """Logarithms of the kurtosis, 3 of a normal distribution, and of the standard deviation; NaN
    and the least there is where all values are equal.

    >>> tails, spread = log_moments(np.array([-1.0, 1.0]))
    >>> round(float(np.exp(tails)), 6), round(float(np.exp(spread)), 6)
    (1.0, 1.0)
    """
    apart = np.square(values - values.mean())
    variance = float(apart.mean())
    if variance <= _TINY**2:
        return np.nan, float(np.log(_TINY))
    return float(np.log(np.square(apart).mean() / variance**2)), float(np.log(variance) / 2)


def _some(layer: Layer) -> Iterator[Array]:
    """Weights of each of a layer's models, the same ones of each, float64."""
    size = layer.tensors[0].size
    if size <= LOOKED_AT:
        yield from (t.read().reshape(-1).astype(np.float64) for t in layer.tensors)
        return
    each = LOOKED_AT // PARTS
    starts = np.linspace(0, size - each, PARTS).astype(int).tolist()
    for t in layer.tensors:
        yield np.concatenate([t.read(at, at + each).reshape(-1) for at in starts]).astype(float)


def _of(family: Family) -> Evidence | None:
    if not family.looks or family.members is None:
        return None
    look = family.looks[0]
    inside = np.array([look.place[int(k)] for k in family.members], dtype=np.intp)
    at = {(x.name, x.shape): k for k, x in enumerate(look.group.layers)}
    source, known = family.source, look.kept(Tails)
    named = list(zip(source.names, source.shapes, strict=True))
    matrices = np.array([is_matrix(s) and (n, s) in at for n, s in named], dtype=bool)
    chosen = [at[both] for both, matrix in zip(named, matrices, strict=True) if matrix]
    vectors = [
        k
        for k, x in enumerate(look.group.layers)
        if not is_matrix(x.shape) and x.size >= FEWEST and len(x.members) == len(look.models)
    ]
    if not chosen and not vectors:
        return None
    sizes = [min(look.group.layers[k].tensors[0].size, LOOKED_AT) for k in chosen]
    return Trained(
        _stacked([known.of(k)[0][inside] for k in chosen], len(inside)),
        lambda i, j: source.pairs(i, j).over(matrices),
        np.array(sizes, dtype=np.float64),
        _stacked([known.of(k)[1][inside] for k in vectors], len(inside)),
    )


def _stacked(rows: list[Array], n: int) -> Array:
    return np.array(rows, dtype=np.float64).reshape(-1, n)


TRAINED = Kind("trained", "MoTHer, sec. 4.2", _of)
