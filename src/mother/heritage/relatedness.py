"""Who is related to whom at all, and which layers tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Group
from mother.measures import Measures, as_if_drawn, is_matrix

Array = NDArray[np.float64]
RELATED = 0.1  # strangers of one architecture: below 0.02 on every family we have
MEDIAN = np.pi / 2  # variance of the median of many normal numbers, to that of their mean


def cosines(m: Measures) -> Array:
    """Cosine of each pair of models in each layer, (L, n, n); NaN where one lacks the layer, or
    holds zeros in it."""
    norm = np.sqrt(m.norms)
    product = norm * norm.transpose(0, 2, 1)
    # beside a layer of zeros, what rounding left of an inner product is no cosine
    return np.asarray(m.gram / np.where(product == 0, np.nan, product))


def threshold(size: NDArray[np.int64] | Array) -> Array:
    """Cosine above which a layer of that many weights speaks for kinship: RELATED, or five
    standard deviations of the cosine of independent weights, 1/sqrt(P), where that is more."""
    return np.asarray(np.maximum(RELATED, 5 / np.sqrt(size)))


def threshold_of_many(sizes: NDArray[np.int64], seen: NDArray[np.int64], many: float) -> Array:
    """The same for the median of so many layers, or pairs, of which `seen` weights were looked at:
    what sampling adds to the chance of each averages out, being independent.

    >>> threshold_of_many(np.array([10_000]), np.array([100]), 1.0)
    array([0.5])
    >>> threshold_of_many(np.array([10_000]), np.array([100]), 100.0).round(2)
    array([0.1])
    """
    sampling = np.maximum(1 / seen - 1 / sizes, 0.0) * min(1.0, MEDIAN / many)
    return threshold(np.asarray(1 / (1 / sizes + sampling)))


def allowed(sizes: NDArray[np.int64], seen: NDArray[np.int64]) -> Array:
    """Cosine above which each of these layers speaks for kinship, (L,), where all are asked."""
    weight = np.sqrt(seen)
    return threshold_of_many(sizes, seen, float(weight.sum() ** 2 / np.square(weight).sum()))


def kinship(m: Measures) -> Array:
    """Median over a pair's layers of cosine / threshold, (n, n): above 1 for relatives.

    A median, weighted by the square root of layer size (how sharply a layer can tell), is not
    moved by replaced heads nor by layers that start alike in all models, as normalisation scales
    do. Only matrices count, where there are any.
    """
    if not m.names:
        return np.zeros(m.gram.shape[1:])
    chosen = m.over(told_by(m.shapes))
    share = cosines(chosen) / allowed(chosen.sizes, chosen.seen)[:, None, None]
    return weighted_median(share, np.sqrt(chosen.seen))


def kinship_of_first(group: Group) -> Array:
    """Kinship of the first of a group's models with each, (n,), without the pairs of the others.
    Pruned models are taken as they are."""
    layers = [layer for layer in group.layers if 0 in layer.members]
    chosen = [x for x, ok in zip(layers, told_by([x.shape for x in layers]), strict=True) if ok]
    cosine = np.full((len(chosen), len(group.checkpoints)), np.nan)
    sizes = np.array([layer.size for layer in chosen], dtype=np.int64)
    seen = as_if_drawn(sizes, np.array([x.tensors[0].size for x in chosen], dtype=np.int64))
    for row, layer in zip(cosine, chosen, strict=True):
        weights = np.stack([t.read().astype(np.float64) for t in layer.tensors])
        norm = np.sqrt(np.square(weights).sum(axis=1))
        product = norm * norm[0]
        row[list(layer.members)] = weights @ weights[0] / np.where(product == 0, np.nan, product)
    if not chosen:
        return np.zeros(len(group.checkpoints))
    return weighted_median(cosine / allowed(sizes, seen)[:, None], np.sqrt(seen))


def told_by(shapes: Sequence[tuple[int, ...]]) -> NDArray[np.bool_]:
    """The layers that kinship is read from, (L,): matrices, where there are any."""
    matrices = np.array([is_matrix(shape) for shape in shapes], dtype=bool)
    return matrices if matrices.any() else np.ones(len(shapes), dtype=bool)


def weighted_median(values: Array, weight: Array) -> Array:
    """Lower weighted median over axis 0; NaN are left out, 0 where all are.

    >>> weighted_median(np.array([[1.0], [2.0], [9.0]]), np.array([1.0, 1.0, 1.0]))
    array([2.])
    """
    order = np.argsort(values, axis=0, kind="stable")
    ranked = np.take_along_axis(values, order, axis=0)
    mass = np.where(np.isnan(ranked), 0.0, weight[order])
    reached = np.cumsum(mass, axis=0) >= mass.sum(axis=0) / 2
    middle = np.take_along_axis(ranked, reached.argmax(axis=0)[None], axis=0)[0]
    return np.asarray(np.nan_to_num(middle))


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


def changed(m: Measures) -> NDArray[np.bool_]:
    """The layers that differ between some models, (L,)."""
    return np.asarray(np.nan_to_num(m.squared_distance).max(axis=(1, 2), initial=0.0) > 0)
