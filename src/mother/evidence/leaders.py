"""Families of many models: who is related to whom, without comparing all with all.

A family is known by its leaders, as a rule one: the first of its models. Each model is compared
with the leaders alone, by a random projection of all layers, and what comes near is compared
layer by layer, as `relatedness.kinship` does. A model that is related to no leader
leads a family of its own; one that is related to two joins their families.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import telling
from mother.evidence.kinship import allowed, weighted_median
from mother.measures.clustering import groups, joined
from mother.sketches.points import DIMENSIONS, projected
from mother.sketches.samples import Samples
from mother.thresholds import DEVIATIONS, PRECISE

Points = NDArray[np.float32]
Indices = NDArray[np.intp]
MODELS_AT_ONCE = 1024
CLOSELY = 8  # leaders that a model is compared with layer by layer, at the most


def families(samples: Samples) -> list[Indices]:
    """The models of one architecture in groups of relatives, each ascending, ordered by first.

    Time n times the number of families. Two models that are related only through a third that came
    before both, or with either, may be kept apart.

    >>> w = np.random.default_rng(0).normal(size=(2, 900)).astype(np.float32)
    >>> s = Samples(("w",), ((30, 30),), np.array([0, 900]), np.stack([*w, w[0] + w[1] / 9]))
    >>> families(s)
    [array([0, 2]), array([1])]
    """
    n = len(samples.rows)
    matrices = samples.over(telling(samples))
    least = cut(matrices)
    led = np.zeros(0, dtype=np.intp)
    leading = np.zeros((0, min(DIMENSIONS, matrices.rows.shape[1])), dtype=np.float32)
    pairs: list[tuple[Indices, Indices]] = []
    for at in range(0, n, MODELS_AT_ONCE):
        here = np.arange(at, min(at + MODELS_AT_ONCE, n))
        rows = directions(matrices.among(here))
        follows = np.zeros(len(here), dtype=bool)
        if len(led):
            who, whom = _near(rows @ leading.T, least)
            kin = related(matrices, here[who], led[whom])
            pairs.append((here[who[kin]], led[whom[kin]]))
            follows[who[kin]] = True
        alone = np.flatnonzero(~follows)
        new = []
        close = rows[alone] @ rows[alone].T > least
        waiting = np.ones(len(alone), dtype=bool)
        for k in range(len(alone)):
            if not waiting[k]:
                continue
            new.append(alone[k])
            other = np.flatnonzero(close[k] & waiting)
            other = other[other > k]
            if len(other):
                own = np.full(len(other), here[alone[k]])
                other = other[related(matrices, here[alone[other]], own)]
                pairs.append((here[alone[other]], own[: len(other)]))
                waiting[other] = False
        led = np.concatenate([led, here[new]])
        leading = np.concatenate([leading, rows[new]])
    i, j = (np.concatenate([*side, np.zeros(0, np.intp)]) for side in _transposed(pairs))
    return [np.array(group, dtype=np.intp) for group in groups(joined(n, i, j))]


def _transposed(pairs: list[tuple[Indices, Indices]]) -> tuple[list[Indices], list[Indices]]:
    return [i for i, _ in pairs], [j for _, j in pairs]


def directions(samples: Samples) -> Points:
    """Projections whose inner products are the mean cosine over layers, by the square root of what
    was seen of each, or nearly."""
    unit = np.empty_like(samples.rows)
    share = np.sqrt(samples.seen) / np.sqrt(samples.seen).sum()
    for k, weight in enumerate(share):
        columns = slice(samples.columns[k], samples.columns[k + 1])
        part = samples.rows[:, columns]
        part = part - part.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        norm = np.sqrt(np.square(part, dtype=np.float64).sum(axis=1, keepdims=True))
        unit[:, columns] = part * (np.sqrt(weight) / np.where(norm > 0, norm, 1))
    return projected(unit)


def cut(samples: Samples) -> float:
    """The projected cosine from which two models are looked at more closely: half of what relatives
    have in their middle layer, or what strangers reach by chance if that is more."""
    usual = float(np.median(allowed(samples.sizes, samples.seen)))
    return float(max(usual / 2, DEVIATIONS / min(DIMENSIONS, samples.rows.shape[1]) ** 0.5))


def _near(cosine: Points, least: float) -> tuple[Indices, Indices]:
    """Row and column of each row's largest above `least`, CLOSELY at the most."""
    if cosine.shape[1] > CLOSELY:
        most = np.argpartition(-cosine, CLOSELY - 1, axis=1)[:, :CLOSELY]
    else:
        most = np.broadcast_to(np.arange(cosine.shape[1]), cosine.shape)
    row, which = np.nonzero(np.take_along_axis(cosine, most, axis=1) > least)
    return row, most[row, which]


def related(samples: Samples, i: Indices, j: Indices) -> NDArray[np.bool_]:
    """Whether the two of each pair are relatives, (E,), as `kinship` says."""
    ii, jj, ij = samples.products(i, j)
    own, other = samples.means(i), samples.means(j)
    size = samples.sizes[:, None]
    one, two = ii - size * own**2, jj - size * other**2
    product = np.sqrt(np.where((one > PRECISE * ii) & (two > PRECISE * jj), one * two, np.nan))
    share = (ij - size * own * other) / product / allowed(samples.sizes, samples.seen)[:, None]
    return weighted_median(share, np.sqrt(samples.seen)) > 1
