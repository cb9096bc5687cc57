"""How far a model's weights have come from how they began.

A net starts with weights drawn from a normal or a uniform distribution, with biases of zero and
norms of one. Training makes the tails of matrices heavier (Martin and Mahoney 2021; the paper's
directional score, sec. 4.2) and the entries of vectors differ. In a population of trainings the
kurtosis of most matrices was higher in the child on 85 of 100 edges on which most changed, for
fine-tuning as for training from scratch, by optimizers of all kinds. So the share of a model's
layers that have come further speaks for it being the child.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.evidence.looks import Look
from mother.layouts import Layer
from mother.measures import is_matrix
from mother.measures.products import Array, Indices

KURTOSIS = 1.34  # log-odds of the child, where all matrices have heavier tails in it
SPREAD = 0.72  # where the entries of all vectors differ more
LOOKED_AT = 1 << 15  # weights of a layer, in PARTS that are spread over it
PARTS = 16
FEWEST = 4  # entries of a vector that can differ
SAME = 1e-9  # of a logarithm: less is rounding
_TINY = 1e-12


class Trained(Evidence):
    """tails: (L, n) logarithm of the kurtosis of matrices, NaN where a model lacks one. weight:
    (L,) of each. spread: (V, n) logarithm of the standard deviation of vectors."""

    def __init__(self, tails: Array, weight: Array, spread: Array) -> None:
        self.tails, self.weight, self.spread = tails, weight, spread

    def log_odds(self, i: Indices, j: Indices) -> Array:
        heavier = _mean(_risen(self.tails, i, j), self.weight)
        wider = _mean(_risen(self.spread, i, j), np.ones(len(self.spread)))
        return np.asarray(KURTOSIS * heavier + SPREAD * wider)

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        odds, risen = self.log_odds(p, c), _risen(self.tails, p, c)
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
    told = set(zip(family.source.names, family.source.shapes, strict=True))
    tails, weight, spread = [], [], []
    known = look.kept(Tails)
    for at, layer in enumerate(look.group.layers):
        if is_matrix(layer.shape):
            if (layer.name, layer.shape) in told:
                tails.append(known.of(at)[0][inside])
                weight.append(np.sqrt(layer.size))
        elif layer.size >= FEWEST and len(layer.members) == len(look.models):
            spread.append(known.of(at)[1][inside])
    if not tails and not spread:
        return None
    n = len(inside)
    return Trained(
        np.array(tails).reshape(-1, n), np.array(weight), np.array(spread).reshape(-1, n)
    )


TRAINED = Kind("trained", "MoTHer, sec. 4.2", _of)
