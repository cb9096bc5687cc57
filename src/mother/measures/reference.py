"""A first look at a few weights of every layer, and from it the reference that each model is
centred on in the full pass.

A model is centred on a near relative: |a - b|^2 of two models that differ by 1e-4 of their norm
is lost in the rounding of |a|^2 + |b|^2 - 2 <a, b>, but not when a - b itself is summed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Layer
from mother.measures.clustering import minimum_spanning_trees
from mother.measures.shapes import is_matrix

LAYERS_SEEN = 32  # layers looked at
WEIGHTS_OF_EACH = 512  # weights read of each


def sample(layers: Sequence[Layer], n: int) -> list[NDArray[np.float64]]:
    """The middle weights of the layers that most models have, the largest first, of matrices where
    there are any: statistics of a batch norm are of another order. Each (n, s), with NaN rows for
    models without the layer."""
    layers = [layer for layer in layers if is_matrix(layer.shape)] or layers
    order = sorted(layers, key=lambda layer: (-len(layer.members), -layer.size, layer.name))
    return [middle(layer, n) for layer in order[:LAYERS_SEEN]]


def middle(layer: Layer, n: int) -> NDArray[np.float64]:
    """WEIGHTS_OF_EACH from the middle of a layer, (n, s); NaN rows for models without it."""
    size = layer.tensors[0].size
    start = max(0, (size - WEIGHTS_OF_EACH) // 2)
    stop = min(start + WEIGHTS_OF_EACH, size)
    rows = np.full((n, stop - start), np.nan)
    for member, tensor in zip(layer.members, layer.tensors, strict=True):
        rows[member] = tensor.read(start, stop).astype(np.float64)
    return rows


def evened(samples: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Samples in units of how far the models are apart in each, so that every layer counts alike:
    one head that was made anew takes a model no farther from what it has all else of.

    >>> evened([np.array([[1.0, 1.0], [-1.0, -1.0]]), np.array([[30.0], [-10.0]])])[1].ravel()
    array([ 1.5, -0.5])
    """
    return [rows / (_spread(rows) or 1.0) for rows in samples]


def _spread(rows: NDArray[np.float64]) -> float:
    have = rows[np.isfinite(rows).all(axis=1)]
    return float(np.sqrt(np.mean((have - have.mean(axis=0)) ** 2))) if len(have) else 0.0


def squared_distances(samples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean squared difference per sampled weight, over the layers that a pair shares; (n, n).

    Infinite where a pair shares none, or where a weight is not finite.

    >>> squared_distances([np.array([[1.0, 2.0], [1.0, 4.0], [np.nan, np.nan]])])
    array([[ 0.,  2., inf],
           [ 2.,  0., inf],
           [inf, inf, inf]])
    """
    n = samples[0].shape[0]
    total, count = np.zeros((n, n)), np.zeros((n, n))
    for rows in samples:
        have = np.flatnonzero(np.isfinite(rows).all(axis=1))
        if len(have) == 0:
            continue
        centred = rows[have] - rows[have].mean(axis=0)
        gram = centred @ centred.T
        norm = np.diagonal(gram)
        pairs = np.ix_(have, have)
        total[pairs] += np.maximum(norm[:, None] + norm[None, :] - 2 * gram, 0.0)
        count[pairs] += rows.shape[1]
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def reference_tree(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Minimum spanning tree as the neighbour towards node 0; -1 there. (n,) int64.

    >>> reference_tree(np.array([[0., 9., 1.], [9., 0., 2.], [1., 2., 0.]]))
    array([-1,  2,  0])
    """
    (towards,) = minimum_spanning_trees(distance[None])
    return np.asarray(towards, dtype=np.int64)


def from_increments(gram: NDArray[np.float64], reference: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inner products of the weights from those of their increments: B G B' with w = B d, for every
    layer of (..., n, n).

    >>> from_increments(np.array([[5., 6.], [6., 9.]]), np.array([-1, 0]))
    array([[ 5., 11.],
           [11., 26.]])
    """
    order = np.flatnonzero(reference < 0).tolist()
    for node in order:
        order += np.flatnonzero(reference == node).tolist()
    steps = [(node, int(reference[node])) for node in order if reference[node] >= 0]
    out = gram.copy()
    with np.errstate(invalid="ignore"):
        for _ in range(2):
            for node, up in steps:
                out[..., node, :] += out[..., up, :]
            out = out.swapaxes(-1, -2)
        out = (out + out.swapaxes(-1, -2)) / 2
    own = np.arange(len(reference))
    out[..., own, own] = np.maximum(out[..., own, own], 0.0)
    return out
