"""Sketches of many models of one architecture as one matrix, for collections of which no n x n
matrix can be held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Group
from mother.measures.products import Array, Indices, Products
from mother.measures.stream import Measures, as_if_drawn
from mother.sketches.near import Near
from mother.sketches.points import PAIRS_AT_ONCE


@dataclass(frozen=True)
class Samples:
    """The weights at the same places of n models with the same L layers.

    names, shapes   (L,)    of the whole layers
    columns         (L+1,)  layer l is rows[:, columns[l]:columns[l + 1]]
    rows            (n, d)  float32, finite; a memory map is fine, it is read a part at a time
    sampled         (L,)    as of `Measures`; empty where the weights were drawn one by one
    near                    what was looked at more closely of some pairs
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    columns: Indices
    rows: NDArray[np.float32]
    sampled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    near: Near | None = None

    @cached_property
    def held(self) -> NDArray[np.int64]:
        """Weights of each layer that are here, (L,)."""
        return np.diff(self.columns).astype(np.int64)

    @property
    def seen(self) -> NDArray[np.int64]:
        """As many weights drawn one by one would tell as much, (L,)."""
        return self.sampled if len(self.sampled) else self.held

    @property
    def chance(self) -> Array:
        """The variance of a cosine in each layer, (L, 1)."""
        return np.asarray(1 / self.seen[:, None])

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Weights of each layer, (L,)."""
        return np.array([np.prod(shape, dtype=np.int64) for shape in self.shapes], dtype=np.int64)

    def among(self, models: Sequence[int] | Indices) -> Samples:
        """The same of some models, in memory."""
        some = np.asarray(models, dtype=np.intp)
        near = self.near and self.near.among(some)
        return replace(self, rows=self.rows[some], near=near)

    def two(self, i: int, j: int) -> Measures:
        """What the streaming pass would say of two of the models, (L, 2, 2)."""
        return replace(self, near=None).among([i, j]).measures()

    def over(self, layers: NDArray[np.bool_]) -> Samples:
        """The same for some of the layers, (L,) bool."""
        if layers.all():
            return self
        chosen = np.flatnonzero(layers)
        columns = np.concatenate([[0], np.cumsum(self.held[chosen])]).astype(np.intp)
        return Samples(
            tuple(self.names[k] for k in chosen),
            tuple(self.shapes[k] for k in chosen),
            columns,
            self.rows[:, np.repeat(layers, self.held)],
            self.sampled[chosen] if len(self.sampled) else self.sampled,
            self.near and self.near.over(layers),
        )

    def __len__(self) -> int:
        """How many models there are, n."""
        return len(self.rows)

    def pairs(self, i: Indices, j: Indices) -> Products:
        """What is known of pairs of models by layer."""
        found = Products(*self.products(i, j), self.chance)
        return found if self.near is None else self.near.laid_over(found, i, j)

    def scaled(self) -> Samples:
        """The same, in each layer on the scale of what was looked at more closely: what a sample
        happens to hold makes all distances in it too long or too short alike, and models would seem
        nearer to those that were looked at as they were.

        >>> rows = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]], np.float32)
        >>> one, few = np.array([[1.0]]), np.array([0])
        >>> near = Near(few, few + 1, Products(10 * one, 12 * one, 7 * one, one))
        >>> s = Samples(("w",), ((2, 2),), np.array([0, 2]), rows, near=near)
        >>> s.scaled().rows.tolist()
        [[2.0, 2.0], [2.0, 4.0], [2.0, 6.0]]
        """
        if self.near is None or not len(self.near.i):
            return self
        before = Products(*self.products(self.near.i, self.near.j), self.chance).squared
        now = self.near.of.squared.sum(axis=1)
        told = (before.sum(axis=1) > 0) & (now > 0)
        scale = np.sqrt(np.where(told, now / np.where(told, before.sum(axis=1), 1.0), 1.0))
        column = np.repeat(scale, self.held).astype(np.float32)
        return replace(self, rows=self.rows * column)

    def changed(self) -> NDArray[np.bool_]:
        """The layers that differ between some models, (L,)."""
        differs = np.zeros(self.rows.shape[1], dtype=bool)
        for at in range(0, len(self.rows), 4096):
            differs |= (self.rows[at : at + 4096] != self.rows[0]).any(axis=0)
        return np.logical_or.reduceat(differs, self.columns[:-1])

    def products(self, i: Indices, j: Indices) -> tuple[Array, Array, Array]:
        """|w_i|^2, |w_j|^2 and <w_i, w_j> of pairs, each (L, E), scaled to whole layers.

        >>> rows = np.array([[1, 2, 3], [0, 1, 1]], np.float32)
        >>> s = Samples(("a", "b"), ((2,), (2,)), np.array([0, 2, 3]), rows)
        >>> [x.ravel().tolist() for x in s.products(np.array([0]), np.array([1]))]
        [[5.0, 18.0], [1.0, 2.0], [2.0, 6.0]]
        """
        L, E = len(self.names), len(i)
        out = np.empty((3, L, E))
        step = max(1, PAIRS_AT_ONCE // max(1, self.rows.shape[1]))
        scale = (self.sizes / self.held)[:, None]
        for at in range(0, E, step):
            pairs = slice(at, at + step)
            u, v = self.rows[i[pairs]].astype(np.float64), self.rows[j[pairs]].astype(np.float64)
            for kind, (one, other) in enumerate(((u, u), (v, v), (u, v))):
                sums = np.add.reduceat(one * other, self.columns[:-1], axis=1)
                out[kind, :, pairs] = sums.T * scale
        return out[0], out[1], out[2]

    def means(self, models: Indices) -> Array:
        """Mean weight of each layer of some models, (L, E).

        >>> rows = np.array([[1.0, 2.0, 3.0]], np.float32)
        >>> Samples(("w",), ((2, 3),), np.array([0, 3]), rows).means(np.array([0, 0]))
        array([[2., 2.]])
        """
        out = np.empty((len(self.names), len(models)))
        step = max(1, PAIRS_AT_ONCE // max(1, self.rows.shape[1]))
        for at in range(0, len(models), step):
            rows = self.rows[models[at : at + step]].astype(np.float64)
            sums = np.add.reduceat(rows, self.columns[:-1], axis=1)
            out[:, at : at + step] = sums.T / self.held[:, None]
        return out

    def finite(self) -> NDArray[np.bool_]:
        """The layers that hold numbers in all models, (L,)."""
        known = np.isfinite(self.rows.sum(axis=0, dtype=np.float64))
        parts = pairwise(self.columns.tolist())
        return np.array([known[start:stop].all() for start, stop in parts], dtype=bool)

    def squared_norms(self) -> Array:
        """|w|^2 of each model in each layer, (L, n), scaled to whole layers."""
        n = len(self.rows)
        out = np.empty((len(self.names), n))
        step = max(1, PAIRS_AT_ONCE // max(1, self.rows.shape[1]))
        scale = (self.sizes / self.held)[:, None]
        for at in range(0, n, step):
            rows = np.square(self.rows[at : at + step], dtype=np.float64)
            out[:, at : at + step] = np.add.reduceat(rows, self.columns[:-1], axis=1).T * scale
        return out

    def measures(self) -> Measures:
        """What the streaming pass would say of them, (L, n, n): for few models."""
        gram = []
        for k, scale in enumerate(self.sizes / self.held):
            part = self.rows[:, self.columns[k] : self.columns[k + 1]].astype(np.float64)
            gram.append(scale * (part @ part.T))
        return Measures(
            self.names,
            self.shapes,
            self.sizes,
            np.array(gram).reshape(len(self.names), len(self.rows), len(self.rows)),
            sampled=self.seen,
            moments=self.moments(),
        )

    def moments(self) -> Array:
        """Those of each layer of each model as `Measures` has them, sums scaled to whole layers,
        (L, n, 6).

        >>> rows = np.array([[1.0, 2.0, 3.0]], np.float32)
        >>> Samples(("w",), ((2, 3),), np.array([0, 3]), rows).moments().ravel().tolist()
        [2.0, 4.0, 0.0, 4.0, 1.0, 3.0]
        """
        out = np.empty((len(self.names), len(self), 6))
        for layer, (a, b) in enumerate(pairwise(self.columns.tolist())):
            scale = self.sizes[layer] / (b - a)
            step = max(1, PAIRS_AT_ONCE // (b - a))
            for at in range(0, len(self), step):
                w = self.rows[at : at + step, a:b].astype(np.float64)
                mean = w.mean(axis=1)
                apart = w - mean[:, None]
                square = np.square(apart)
                powers = [
                    np.einsum("ij,ij->i", *two) for two in ((apart, square), (square, square))
                ]
                sums = scale * np.stack([square.sum(axis=1), *powers])
                found = [mean, *sums, w.min(axis=1), w.max(axis=1)]
                out[layer, at : at + step] = np.stack(found, axis=1)
        return out


def samples_of(group: Group) -> Samples:
    """What is at hand of layers that all of a group's checkpoints have, in float32.

    >>> from pathlib import Path
    >>> from mother.checkpoints import Checkpoint
    >>> from mother.layouts import align
    >>> from mother.checkpoints.tensor import constant
    >>> models = [Checkpoint(x, Path(x), "npz", {"w": constant("w", np.eye(2))}) for x in "ab"]
    >>> samples_of(align(models)[0]).rows
    array([[1., 0., 0., 1.],
           [1., 0., 0., 1.]], dtype=float32)
    """
    held = np.array([layer.tensors[0].size for layer in group.layers], dtype=np.int64)
    sizes = np.array([layer.size for layer in group.layers], dtype=np.int64)
    columns = np.concatenate([[0], np.cumsum(held)]).astype(np.intp)
    rows = np.empty((len(group.checkpoints), int(columns[-1])), dtype=np.float32)
    for layer, start, stop in zip(group.layers, columns[:-1], columns[1:], strict=True):
        for row, tensor in zip(rows, layer.tensors, strict=True):
            row[start:stop] = tensor.read()
    return Samples(
        tuple(layer.name for layer in group.layers),
        tuple(layer.shape for layer in group.layers),
        columns,
        rows,
        as_if_drawn(sizes, held) if (held < sizes).any() else held[:0],
    )
