"""How long the way is between two models, as trainings of their family move weights.

Trainings of one family resemble each other: they move along the same few directions, and who went
far along these looks near to all that went there, too. So the rows and the columns of each layer
are brought to more equal variance first, over the family's models: in W = A^(1/2) X B^(1/2), the
matrix normal distribution (Dawid 1981), X are independent numbers, and X = A^(-1/2) W B^(-1/2) is
what is compared. Each model's difference from the mean counts once, however far it went. Half of A
and of B is taken to be noise alike in all directions: what one model went alone must not be
whitened away.

What training moves, and how far, differs by layer: a step of X has an unknown length in each. Its
likelihood is then -P/2 log |x_i - x_j|^2 in a layer of P weights, so the length of a way is the
geometric mean over layers, and the likeliest tree is the spanning tree of the least sum of logs.
docs/research/whitened.md has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mother.evidence.looks import Look
from mother.layouts import Layer
from mother.measures.products import Array, Bools, Indices
from mother.measures.shapes import as_matrix, is_matrix
from mother.sketches.sketch import sampled
from mother.sketches.windows import Window, square

F = TypeVar("F", np.float32, np.float64)
SIDE = 64  # rows, and columns, of a layer that are looked at
FEWEST = (
    1 << 10
)  # weights of a window that are enough to tell what a layer's rows and columns vary by
RIDGE = 1.0  # of the mean variance is added to each: noise that is alike in all directions
NOTHING = 1e-300  # of all counts


@dataclass(frozen=True)
class Lengths:
    """Squared lengths of the ways between E pairs of models.

    log      (L, E)  their logarithms by layer, each on the scale of its usual one
    counts   (L,)    how much each layer counts
    strange  (L, E)  where two models have a layer not from each other; None for nowhere
    """

    log: Array
    counts: Array
    strange: Bools | None = None

    def over(self, drawn: Array | None = None) -> Array:
        """Geometric means over layers, (E,), which are drawn so often, (L,), or once each.

        >>> Lengths(np.log([[1.0], [4.0]]), np.ones(2)).over()
        array([2.])
        """
        counts = self.counts if drawn is None else self.counts * drawn
        if self.strange is None:
            mean = counts @ self.log / max(counts.sum(), NOTHING)
        else:
            weight = np.where(self.strange, 0.0, counts[:, None])
            mean = (weight * self.log).sum(axis=0) / np.maximum(weight.sum(axis=0), NOTHING)
        return np.asarray(np.exp(mean))

    def of(self, pairs: Indices) -> Lengths:
        """Of some of the pairs."""
        strange = None if self.strange is None else self.strange[:, pairs]
        return Lengths(self.log[:, pairs], self.counts, strange)


def whitened(weights: Array) -> Array:
    """n models' weights in one layer, (n, a, b), brought to more equal variance in their rows and
    their columns.

    >>> w = np.random.default_rng(0).normal(size=(40, 6, 5)) * [9.0, 1.0, 1.0, 1.0, 1.0]
    >>> x = whitened(w)
    >>> w.std(axis=(0, 1)).round(1), (x.std(axis=(0, 1)) / x.std()).round(1)
    (array([8.3, 0.9, 0.9, 1. , 1. ]), array([2. , 0.5, 0.5, 0.6, 0.5]))
    """
    return apply(weights, whitening(weights))


def whitening(weights: Array) -> tuple[Array, Array, Array]:
    """What whitens them: their mean, (a, b), and a matrix for their rows and one for columns."""
    mean = weights.mean(axis=0)
    steps = weights - mean
    length = np.sqrt(np.square(steps).sum(axis=(1, 2), keepdims=True))
    unit = steps / np.where(length > 0, length, np.inf)
    rows = np.einsum("nab,ncb->ac", unit, unit, optimize=True)
    columns = np.einsum("nab,nac->bc", unit, unit, optimize=True)
    return mean, _inverse_root(rows), _inverse_root(columns)


def apply(weights: NDArray[F], by: tuple[Array, Array, Array]) -> NDArray[F]:
    """Whiten weights of any models, (n, a, b), in their own precision."""
    mean, rows, columns = (x.astype(weights.dtype) for x in by)
    return np.asarray(rows @ (weights - mean) @ columns)


def _inverse_root(variance: Array) -> Array:
    """Its symmetric inverse square root, with RIDGE."""
    values, vectors = np.linalg.eigh(variance)
    values = np.maximum(values, 0.0) + RIDGE * values.mean()
    return np.asarray((vectors / np.sqrt(np.where(values > 0, values, np.inf))) @ vectors.T)


def factors(blocks: Array, i: Indices, j: Indices, heavier: Array | None = None) -> Array:
    """By which factor the squared length between pairs changes where a layer is whitened, from a
    part of it, (n, a, b), of which weights count so often, (a, b); (E,). Of two that are equal
    there, the usual one."""
    root = 1.0 if heavier is None else np.sqrt(heavier)
    plain, white = (
        _squared((root * x).reshape(len(x), -1), i, j) for x in (blocks, whitened(blocks))
    )
    differ = (plain > 0) & (white > 0)
    factor = white / np.where(differ, plain, 1.0)
    return np.where(differ, factor, np.median(factor[differ]) if differ.any() else 1.0)


def enough(layer: Layer) -> bool:
    """Whether what is at hand of a layer tells what its rows and columns vary by."""
    tensor = layer.tensors[0]
    matrix = is_matrix(layer.shape) and min(as_matrix(tensor.shape)) > 1
    return matrix and tensor.size >= min(layer.size, FEWEST)


def block(look: Look, layer: Layer, models: Sequence[int]) -> tuple[Array, Window] | None:
    """A square part of a layer as some models have it, (n, a, b), and where in what is held of it;
    None where it is no matrix, one of them lacks it, or too little of it is seen to tell."""
    place = dict(zip(layer.members, layer.tensors, strict=True))
    tensors = [place[look.place[k]] for k in models if look.place[k] in place]
    if not enough(layer) or len(tensors) < len(models):
        return None
    window = square(layer.name, tensors[0].shape, SIDE)
    parts = [sampled(t, window).kept.read().astype(np.float64) for t in tensors]
    out = np.stack(parts).reshape(len(parts), window.rows, window.columns)
    return (out, window) if np.isfinite(out).all() else None


def _squared(points: Array, i: Indices, j: Indices) -> Array:
    """|x_i - x_j|^2 of pairs of points about their middle, (n, d); (E,)."""
    points = points - points.mean(axis=0)
    gram = points @ points.T
    own = np.diagonal(gram)
    return np.asarray(np.maximum(own[i] + own[j] - 2 * gram[i, j], 0.0))


def usual(lengths: Array) -> float:
    """The middle one of those that are not 0; 1 where there is none."""
    return float(np.median(lengths[lengths > 0])) if (lengths > 0).any() else 1.0


def logs(lengths: Array, faint: Array) -> Array:
    """Logarithms of squared lengths, (L, E), on the scale of the usual one of each layer. faint:
    (L,), of a usual one, what counts as no more than that: rounding moves layers that training
    leaves."""
    return np.asarray(np.log(lengths + np.maximum(faint, NOTHING)[:, None]))
