"""Who is related to whom at all, and which layers tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Group, Layer
from mother.measures import Measures, as_if_drawn, is_matrix
from mother.measures.clustering import minimum_spanning_trees
from mother.thresholds import PRECISE, TRACE

Array = NDArray[np.float64]
RELATED = 0.1  # strangers of one architecture: below 0.02 on every family we have
MEDIAN = np.pi / 2  # variance of the median of many normal numbers, to that of their mean
IN_DOUBT = 2.0  # standard errors from the threshold, within which kinship is in doubt
_NO_ERROR = 1e-9  # standard error of a cosine that was looked at whole
_ROUNDING = 1e-9  # of a sum of weights: more than its rounding
_ONE_BY_ONE = 1 << 14  # values, of which the distribution function is taken one by one
_UPPER = np.frompyfunc(math.erfc, 1, 1)


def cosines(m: Measures) -> Array:
    """Cosine of each pair of models in each layer, (L, n, n); NaN where one lacks the layer, or
    holds zeros in it."""
    norm = np.sqrt(np.maximum(m.norms, 0.0))  # one that is nothing beside another's may be less
    product = norm * norm.transpose(0, 2, 1)
    # beside a layer of zeros, what rounding left of an inner product is no cosine
    return np.asarray(m.gram / np.where(product == 0, np.nan, product))


def agreement(m: Measures) -> Array:
    """The same of their weights about the mean of each: independent weights whose means are not 0
    have a cosine, and agree in nothing. NaN, too, of a layer whose weights are all equal; as
    `cosines` where no moments were measured.

    >>> w = np.array([[1.0, 2.0, 3.0, 2.0], [3.0, 4.0, 3.0, 2.0]])
    >>> moments = np.zeros((1, 2, 6))
    >>> moments[0, :, 0] = w.mean(axis=1)
    >>> m = Measures(("w",), ((2, 2),), np.array([4]), (w @ w.T)[None], moments=moments)
    >>> cosines(m)[0, 0, 1].round(2), agreement(m)[0, 0, 1].round(2)
    (np.float64(0.92), np.float64(0.0))
    """
    if not len(m.moments):
        return cosines(m)
    both = m.overlap if len(m.overlap) else np.ones_like(m.gram)  # share of the weights
    own = np.maximum(np.diagonal(both, axis1=1, axis2=2), 1e-300)
    mean = (m.moments[:, :, 0] / own)[:, :, None]  # of the weights that it has
    count = m.sizes[:, None, None] * both
    norm = m.norms - count * mean**2
    norm = np.sqrt(np.where(norm > PRECISE * m.norms, norm, np.nan))
    turned = (0, 2, 1)
    return np.asarray(
        (m.gram - count * mean * mean.transpose(turned)) / norm / norm.transpose(turned)
    )


def threshold(size: NDArray[np.int64] | Array) -> Array:
    """Cosine above which a layer of that many weights speaks for kinship: RELATED, or the one that
    independent weights pass as rarely as a normal number passes five standard deviations, where
    that is more: (1 - cos^2)^(P / 2) = exp(-25 / 2). Of many weights it is 5 / sqrt(P).

    >>> threshold(np.array([4, 64, 1024, 10_000])).round(3)
    array([0.999, 0.569, 0.155, 0.1  ])
    """
    return np.asarray(np.maximum(RELATED, np.sqrt(-np.expm1(-25 / np.asarray(size)))))


def threshold_of_many(
    sizes: NDArray[np.int64], seen: NDArray[np.int64], many: float | Array
) -> Array:
    """The same for the median of so many layers, or pairs, of which `seen` weights were looked at:
    what sampling adds to the chance of each averages out, being independent.

    >>> threshold_of_many(np.array([10_000]), np.array([100]), 1.0).round(2)
    array([0.47])
    >>> threshold_of_many(np.array([10_000]), np.array([100]), 100.0).round(2)
    array([0.1])
    """
    sampling = np.maximum(1 / seen - 1 / sizes, 0.0) * np.minimum(1.0, MEDIAN / many)
    return threshold(np.asarray(1 / (1 / sizes + sampling)))


def allowed(sizes: NDArray[np.int64], seen: NDArray[np.int64]) -> Array:
    """Cosine above which each of these layers speaks for kinship, where all are asked, as `seen`:
    (L,), or (L, ...) where more was looked at of some pairs."""
    weight = np.sqrt(seen)
    many = np.square(weight.sum(axis=0)) / np.square(weight).sum(axis=0)
    return threshold_of_many(_beside(sizes, seen), seen, many)


def kinship(m: Measures) -> Array:
    """Median over a pair's layers of agreement / threshold, (n, n): above 1 for relatives.

    A median, weighted by the square root of layer size (how sharply a layer can tell), is not
    moved by replaced heads nor by layers that start alike in all models, as normalisation scales
    do. Only matrices count, where there are any.
    """
    if not m.names:
        return np.zeros(m.gram.shape[1:])
    chosen = m.over(told_by(m.shapes))
    return _kinship(agreement(chosen), chosen.sizes, _seen(chosen))


def unsure(m: Measures) -> list[tuple[int, int]]:
    """The pairs by which models are in one family or in several, and whose kinship is within
    IN_DOUBT standard errors of what decides it: of the maximum spanning tree by kinship.

    >>> gram = np.array([[[1.0, 0.12, 0.01], [0.12, 1.0, 0.0], [0.01, 0.0, 1.0]]])
    >>> of = ("w",), ((100, 100),), np.array([10_000]), gram
    >>> [unsure(Measures(*of, sampled=np.array([n]))) for n in (100, 2000, 10_000)]
    [[(0, 1), (0, 2)], [(0, 1)], []]
    """
    if not (m.names and len(m.sampled)):
        return []
    chosen = m.over(told_by(m.shapes))
    cosine, seen = agreement(chosen), _seen(chosen)
    share = cosine / threshold(chosen.sizes)[:, None, None]
    (tree,) = minimum_spanning_trees(-weighted_median(share, np.sqrt(seen))[None])
    j = np.flatnonzero(tree >= 0)
    i = tree[j]
    seen = seen[:, i, j] if seen.ndim > 1 else seen
    open_ = _unsure(cosine[:, i, j], chosen.sizes, seen)
    pairs = np.sort(np.stack([i, j], axis=1)[open_], axis=1)
    return sorted((a, b) for a, b in pairs.tolist())


def kinship_of_first(group: Group) -> tuple[Array, NDArray[np.bool_]]:
    """Kinship of the first of a group's models with each, (n,), without the pairs of the others,
    and whether it is in doubt, as by `unsure`. Pruned models are taken as they are."""
    chosen = _telling([layer for layer in group.layers if 0 in layer.members])
    if not chosen:
        many = len(group.checkpoints)
        return np.zeros(many), np.zeros(many, dtype=bool)
    cosine = np.full((len(chosen), len(group.checkpoints)), np.nan)
    for row, layer in zip(cosine, chosen, strict=True):
        row[list(layer.members)] = _with_first(*_about_mean(layer))
    sizes, seen = _sizes(chosen)
    return _kinship(cosine, sizes, seen), _unsure(cosine, sizes, seen)


def kinship_of_some(group: Group, many: int) -> Array:
    """Kinship of each of the first models of a group, which hold the same layers, with each of the
    others, (many, n - many): what `kinship_of_first` finds in the group of it and those."""
    n = len(group.checkpoints)
    chosen = _telling([x for x in group.layers if 0 in x.members and x.members[-1] >= many])
    if not chosen:
        return np.zeros((many, n - many))
    cosine = np.full((many, len(chosen), 1 + n - many), np.nan)
    for row, layer in enumerate(chosen):
        both = _about_mean(layer)
        places = [0, *(1 + m - many for m in layer.members[many:])]
        for k in range(many):
            held = (np.concatenate([x[k : k + 1], x[many:]]) for x in both)
            cosine[k, row, places] = _with_first(*held)
    sizes, seen = _sizes(chosen)
    return np.stack([_kinship(each, sizes, seen)[1:] for each in cosine])


def _telling(layers: Sequence[Layer]) -> list[Layer]:
    """Those of the layers that kinship is told by."""
    return [x for x, ok in zip(layers, told_by([x.shape for x in layers]), strict=True) if ok]


def _sizes(layers: Sequence[Layer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Weights of each layer, and as many drawn one by one would tell as much, (L,) each."""
    sizes = np.array([layer.size for layer in layers], dtype=np.int64)
    held = np.array([layer.tensors[0].size for layer in layers], dtype=np.int64)
    return sizes, as_if_drawn(sizes, held)


def _about_mean(layer: Layer) -> tuple[Array, Array]:
    """The weights of the models that have a layer, about the mean of each, (m, P), and norms."""
    weights = np.stack([t.read().astype(np.float64) for t in layer.tensors])
    weights -= weights.mean(axis=1, keepdims=True)
    return weights, np.sqrt(np.square(weights).sum(axis=1))


def _with_first(weights: Array, norm: Array) -> Array:
    """Cosines of the first with each, (m,)."""
    product = norm * norm[0]
    return np.asarray(weights @ weights[0] / np.where(product == 0, np.nan, product))


def _kinship(cosine: Array, sizes: NDArray[np.int64], seen: NDArray[np.int64]) -> Array:
    """From the cosines of pairs in L layers, (L, ...), of which so many weights were looked at,
    (L,) or (L, ...)."""
    return weighted_median(cosine / _beside(allowed(sizes, seen), cosine), np.sqrt(seen))


def _unsure(cosine: Array, sizes: NDArray[np.int64], seen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether full weights may say otherwise, (...): kinship is surely there where it is beyond
    chance and beyond its error, surely not where it is below by its error."""
    share, error = _share(cosine, sizes, seen, seen)
    off = IN_DOUBT * error
    related = (share - off > 1) & (_kinship(cosine, sizes, seen) > 1)
    return np.asarray(~related & (share + off >= 1))


def told_at_a_glance(
    cosine: Array,
    sizes: NDArray[np.int64],
    seen: NDArray[np.int64],
    among: NDArray[np.int64],
    sure: float = IN_DOUBT,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which models are surely relatives and which surely strangers, (n,), by cosines in layers,
    (L, n), that are known in single precision, and of some of the weights that are at hand: of so
    many `among`, (L,). sure: standard errors from the threshold.

    >>> many = np.array([10_000])
    >>> cosine = np.array([[0.01, 0.0999, 0.1001, 0.2]])
    >>> relatives, strangers = told_at_a_glance(cosine, many, many, many)
    >>> relatives, strangers
    (array([False, False, False,  True]), array([ True, False, False, False]))
    """
    share, error = _share(cosine, sizes, seen, among)
    off, finite = sure * error, np.isfinite(cosine).all(axis=0)
    kin = weighted_median(cosine / _beside(allowed(sizes, seen), cosine), np.sqrt(among))
    return finite & (np.minimum(share - off, kin) > 1 + TRACE), finite & (share + off < 1 - TRACE)


def _share(
    cosine: Array, sizes: NDArray[np.int64], seen: NDArray[np.int64], among: NDArray[np.int64]
) -> tuple[Array, Array]:
    """Median of cosine / threshold, were all weights looked at, and its standard error. among: by
    which layers weigh, as `seen`."""
    most, weight = _beside(threshold(sizes), cosine), np.sqrt(among)
    variance = np.maximum(1 / seen - 1 / _beside(sizes, seen), 0.0)
    noise = np.maximum((1 - cosine**2) * np.sqrt(_beside(variance, cosine)), _NO_ERROR)
    share = weighted_median(cosine / most, weight)
    return share, error_of_median(cosine / most, noise / most, weight, share)


def error_of_median(values: Array, noise: Array, weight: Array, median: Array) -> Array:
    """The standard error of the lower weighted median over axis 0 of independent normal values,
    each with its own standard deviation: the median M solves sum w_i sign(x_i - M) = 0, so its
    variance is sum w_i^2 p_i (1 - p_i) / (sum w_i f_i)^2, p_i the chance that x_i falls below M and
    f_i its density there. 0 where all are NaN.

    >>> error_of_median(np.zeros((100, 1)), np.ones((100, 1)), np.ones(100), np.zeros(1)).round(3)
    array([0.125])
    """
    far = (median - values) / noise
    below, density = _below(far), np.exp(-(far**2) / 2) / np.sqrt(2 * np.pi) / noise
    own = _beside(weight, values)
    stray = np.nansum(own**2 * below * (1 - below), axis=0)
    dense = np.nansum(own * density, axis=0)
    return np.asarray(np.sqrt(stray) / np.where(dense > 0, dense, np.inf))


def _below(far: Array) -> Array:
    """The normal distribution function."""
    if far.size <= _ONE_BY_ONE:
        return np.asarray(_UPPER(-far / 2**0.5) / 2, dtype=np.float64)
    from scipy.special import ndtr  # slow to import

    return np.asarray(ndtr(far))


def _seen(m: Measures) -> NDArray[np.int64]:
    """Weights looked at in each layer, (L,), or of each pair, (L, n, n)."""
    return m.sampled if m.sampled.ndim > 1 else m.seen


def _beside(values: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """What is known of layers, (L,), as it goes with what is known of pairs in them."""
    return values.reshape(values.shape + (1,) * (others.ndim - values.ndim))


def told_by(shapes: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    """The layers that kinship is read from, (L,): matrices, where there are any."""
    matrices = np.array([is_matrix(shape) for shape in shapes], dtype=bool)
    return matrices if matrices.any() else np.ones(len(shapes), dtype=bool)


def weighted_median(values: Array, weight: Array) -> Array:
    """Lower weighted median over axis 0; NaN are left out, 0 where all are. weight: (L,), or one
    for each value.

    >>> weighted_median(np.array([[1.0], [2.0], [9.0]]), np.array([1.0, 1.0, 1.0]))
    array([2.])
    """
    flat = values.reshape(len(values), -1)
    each = np.arange(flat.shape[1])
    order = np.argsort(flat, axis=0, kind="stable")
    ranked = flat[order, each]
    own = weight[order] if weight.ndim == 1 else weight.reshape(flat.shape)[order, each]
    mass = np.where(np.isnan(ranked), 0.0, own)
    half = mass.sum(axis=0) * (0.5 - _ROUNDING)
    reached = np.cumsum(mass, axis=0) >= half
    middle = ranked[reached.argmax(axis=0), each]
    return np.where(np.isnan(middle), 0.0, middle).reshape(values.shape[1:])


def inherited(m: Measures) -> NDArray[np.bool_]:
    """The layers of one family that its models have from each other, (L,): those that all have and
    that are alike in most pairs. A head replaced at every fine-tuning is not."""
    off = ~np.eye(m.gram.shape[1], dtype=bool)
    shared = np.isfinite(m.gram).all(axis=(1, 2))
    alike = np.zeros(len(m.names), dtype=bool)
    cosine = np.nan_to_num(cosines(m)[shared][:, off])
    least = threshold_of_many(m.sizes[shared], m.seen[shared], max(1.0, off.sum() / 2))
    alike[shared] = np.median(cosine, axis=1) > least
    return shared & alike
