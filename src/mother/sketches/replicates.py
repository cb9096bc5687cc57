"""What sampling may have done to what a sketch says: the same evidence, off by its standard error.

A window is a sample of rows and of columns, and rows differ in how much they change, and columns
do. A replicate counts a random half of its rows, and of its columns, more than the other: by as
much as makes a sum over the window stray as sums over other windows do (balanced half-samples:
McCarthy, *Pseudo-replication: half samples*, 1969; less than whole ones where the window is a large
part of the matrix: Judkins, *Fay's method for variance estimation*, 1990). What a method decides
otherwise from a replicate lies within the error of the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Group, Layer
from mother.measures.shapes import as_matrix
from mother.measures.stream import Measures
from mother.sketches.windows import Window, number

Array = NDArray[np.float64]


def replicates(group: Group, m: Measures, seeds: Sequence[int]) -> list[Measures]:
    """The measures of a group of sketches, off by one standard error in directions that the seeds
    decide, in each layer another one."""
    grams = np.repeat(m.gram[None], len(seeds), axis=0)
    for k, layer in enumerate(group.layers):
        if not _is_window(layer):
            continue
        rows = np.array(layer.members)
        weights = np.stack([t.read().astype(np.float64) for t in layer.tensors])
        for gram, seed in zip(grams, seeds, strict=True):
            off = _weights(layer, seed)
            gram[k, rows[:, None], rows] += layer.size / off.size * ((weights * off) @ weights.T)
    return [_with(m, gram) for gram in grams]


def _with(m: Measures, gram: Array) -> Measures:
    if not len(m.shared):
        return replace(m, gram=gram)
    own, new = (np.diagonal(g, axis1=1, axis2=2) for g in (m.gram, gram))
    return replace(m, gram=gram, shared=m.shared * (new / np.where(own > 0, own, 1.0))[:, :, None])


def exact(group: Group) -> bool:
    """Whether every replicate of a group's measures is what it is of: all of it is at hand."""
    return not any(map(_is_window, group.layers))


def offsets(group: Group, many: int) -> Array:
    """How much more than once each weight at hand counts in each of so many replicates, (d, many),
    layers after one another."""
    return np.stack(
        [np.concatenate([_weights(x, seed) for x in group.layers]) for seed in range(many)], axis=1
    )


def _weights(layer: Layer, seed: int) -> Array:
    """How much more than once each weight of a window counts, (s,); 0 where all are at hand."""
    if not _is_window(layer):
        return np.zeros(layer.tensors[0].size)
    rows, columns = _sides(seed, layer.name, layer.shape, layer.tensors[0].shape)
    return np.asarray((1 + rows[:, None]) * (1 + columns) - 1).reshape(-1)


def heavier(layer: Layer, seed: int, window: Window) -> Array | None:
    """How often each weight of a part of what is at hand of a layer counts in a replicate, (rows,
    columns); None where the layer is at hand."""
    if not _is_window(layer):
        return None
    here = layer.tensors[0].shape
    sides = _sides(seed, layer.name, layer.shape, here)
    rows, columns = (1 + off[at] for off, at in zip(sides, window.places(here), strict=True))
    return np.asarray(rows[:, None] * columns)


@lru_cache(maxsize=4096)
def _sides(
    seed: int, name: str, shape: tuple[int, ...], window: tuple[int, ...]
) -> tuple[Array, Array]:
    """By how much more than once the rows of a window count, and its columns."""
    rng = np.random.default_rng(number(seed, name, shape))
    rows, columns = (
        np.sqrt(1 - side / whole) * halves(side, rng)
        for side, whole in zip(window, as_matrix(shape), strict=True)
    )
    return rows, columns


def _is_window(layer: Layer) -> bool:
    return len(layer.tensors[0].shape) == 2 and layer.tensors[0].size < layer.size


def halves(many: int, rng: np.random.Generator) -> Array:
    """About 1 for a random half, -1 for the other; on average 0, and nowhere below -1.

    >>> halves(4, np.random.default_rng(0)), halves(3, np.random.default_rng(1)).round(2)
    (array([-1.,  1.,  1., -1.]), array([ 0.5, -1. ,  0.5]))
    """
    mean = many % 2 / many  # of as many ones as minus ones, or one more
    values = np.full(many, (1 - mean) / (1 + mean))
    values[(many + 1) // 2 :] = -1.0
    start = int(rng.integers(many))
    return np.concatenate([values[start:], values[:start]])
