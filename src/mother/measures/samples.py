"""Sketches of many models of one architecture as one matrix, for collections of which no n x n
matrix can be held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.measures.stream import Measures

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
HELD = 1 << 22  # numbers of pairs worked on at once


@dataclass(frozen=True)
class Samples:
    """The weights at the same places of n models with the same L layers.

    names, shapes   (L,)    of the whole layers
    columns         (L+1,)  layer l is rows[:, columns[l]:columns[l + 1]]
    rows            (n, d)  float32, finite; a memory map is fine, it is read a part at a time
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    columns: Indices
    rows: NDArray[np.float32]

    @property
    def seen(self) -> NDArray[np.int64]:
        """Weights of each layer that are here, (L,)."""
        return np.diff(self.columns).astype(np.int64)

    @property
    def chance(self) -> Array:
        """The variance of a cosine in each layer, (L, 1)."""
        return np.asarray(1 / self.seen[:, None])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Weights of each layer, (L,)."""
        return np.array([np.prod(shape, dtype=np.int64) for shape in self.shapes], dtype=np.int64)

    def among(self, models: Sequence[int] | Indices) -> Samples:
        """The same of some models, in memory."""
        rows = self.rows[np.asarray(models, dtype=np.intp)]
        return Samples(self.names, self.shapes, self.columns, rows)

    def over(self, layers: NDArray[np.bool_]) -> Samples:
        """The same for some of the layers, (L,) bool."""
        if layers.all():
            return self
        chosen = np.flatnonzero(layers)
        columns = np.concatenate([[0], np.cumsum(self.seen[chosen])]).astype(np.intp)
        return Samples(
            tuple(self.names[k] for k in chosen),
            tuple(self.shapes[k] for k in chosen),
            columns,
            self.rows[:, np.repeat(layers, self.seen)],
        )

    def products(self, i: Indices, j: Indices) -> tuple[Array, Array, Array]:
        """|w_i|^2, |w_j|^2 and <w_i, w_j> of pairs, each (L, E), scaled to whole layers.

        >>> rows = np.array([[1, 2, 3], [0, 1, 1]], np.float32)
        >>> s = Samples(("a", "b"), ((2,), (2,)), np.array([0, 2, 3]), rows)
        >>> [x.ravel().tolist() for x in s.products(np.array([0]), np.array([1]))]
        [[5.0, 18.0], [1.0, 2.0], [2.0, 6.0]]
        """
        L, E = len(self.names), len(i)
        out = np.empty((3, L, E))
        step = max(1, HELD // max(1, self.rows.shape[1]))
        scale = (self.sizes / self.seen)[:, None]
        for at in range(0, E, step):
            pairs = slice(at, at + step)
            u, v = self.rows[i[pairs]].astype(np.float64), self.rows[j[pairs]].astype(np.float64)
            for kind, (one, other) in enumerate(((u, u), (v, v), (u, v))):
                sums = np.add.reduceat(one * other, self.columns[:-1], axis=1)
                out[kind, :, pairs] = sums.T * scale
        return out[0], out[1], out[2]

    def squared_norms(self) -> Array:
        """|w|^2 of each model in each layer, (L, n), scaled to whole layers."""
        n = len(self.rows)
        out = np.empty((len(self.names), n))
        step = max(1, HELD // max(1, self.rows.shape[1]))
        scale = (self.sizes / self.seen)[:, None]
        for at in range(0, n, step):
            rows = np.square(self.rows[at : at + step], dtype=np.float64)
            out[:, at : at + step] = np.add.reduceat(rows, self.columns[:-1], axis=1).T * scale
        return out

    def measures(self) -> Measures:
        """What the streaming pass would say of them, (L, n, n): for few models."""
        gram = []
        for k, scale in enumerate(self.sizes / self.seen):
            part = self.rows[:, self.columns[k] : self.columns[k + 1]].astype(np.float64)
            gram.append(scale * (part @ part.T))
        return Measures(
            self.names,
            self.shapes,
            self.sizes,
            np.array(gram).reshape(len(self.names), len(self.rows), len(self.rows)),
            sampled=self.seen,
        )
