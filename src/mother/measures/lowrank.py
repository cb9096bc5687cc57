"""Rank of a - b for the LoRA distance (paper, eq. 2), from two-sided random sketches.

L (a - b) R, k x k, has the rank of a - b wherever that is below k, and it is the difference of
the sketches of a and b: each model is sketched once, and a pair costs one small elimination
instead of the singular values of a d x d matrix. L and R are sparse sign matrices with four
entries a column (Nelson and Nguyen, OSNAP, 2013), so a sketch reads each weight four times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Layer
from mother.measures import kernel
from mother.measures.formats import rounding, squared_norm
from mother.measures.shapes import as_matrix, is_matrix
from mother.thresholds import ALL_BUT_NOISE

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]
_Map = Callable[[Callable[[int], Array], Iterable[int]], Iterable[Array]]
SKETCH = 160
_ENTRIES = 4
NOISE_PIVOT = 16.0  # pivots of pure noise, in standard deviations times sqrt(steps): up to 11 seen
PIVOT_GAP = 3.0
ROUNDING_ENERGY = 1.5  # times the energy that rounding is expected to have, beyond which it has not
_FOLDED = 64  # a smaller sketch is not worth folding
SKETCHED_AT_ONCE = 1 << 24  # weights of a step that is sketched
SOME_ROWS = 256  # of a matrix in a run, where few of its rows are sketched


def sketch_size(shape: tuple[int, ...], k: int = SKETCH) -> int:
    """Side of the sketch of a layer: k, or the layer's smaller side where that is less."""
    return min(k, *as_matrix(shape))


@lru_cache(maxsize=16)
def _signs(k: int, d: int, seed: int) -> csr_array[np.float32]:
    """Random (k, d) sparse sign matrix, norm-preserving in expectation; if k = d a random rotation,
    which keeps every rank and mixes rows that folding would otherwise lay on each other."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng([seed, k, d])
    if k >= d:
        return csr_array(np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32))
    # at least 16 a row as well, or some rows stay empty and the sketch can't reach rank k
    entries = min(max(_ENTRIES, -(-16 * k // d)), k)
    rows = np.argpartition(rng.random((d, k), dtype=np.float32), entries - 1, axis=1)[:, :entries]
    values = (rng.integers(0, 2, (d, entries)) * 2 - 1) / np.sqrt(entries)
    columns = np.repeat(np.arange(d), entries)
    return csr_array((values.ravel().astype(np.float32), (rows.ravel(), columns)), shape=(k, d))


def rows_sketched(shape: tuple[int, ...], weights: int | None = None) -> list[tuple[int, int]]:
    """Runs [first, last) of a matrix' rows that are sketched: all, some at a time, or of one that
    has more weights than that SOME_ROWS and SOME_ROWS, spread over it.

    >>> rows_sketched((5000, 4096)), rows_sketched((5000, 4096), 1 << 21)
    ([(0, 4096), (4096, 5000)], [(0, 256), (4744, 5000)])
    """
    rows, columns = as_matrix(shape)
    if weights is None or rows * columns <= weights:
        high = max(1, SKETCHED_AT_ONCE // columns)
        return [(top, min(top + high, rows)) for top in range(0, rows, high)]
    many = max(1, weights // columns // SOME_ROWS)
    run = min(SOME_ROWS, rows)
    tops = np.unique(np.linspace(0, rows - run, many).astype(int)).tolist()
    return [(top, top + run) for top in tops]


def sketches(
    layer: Layer,
    k: int = SKETCH,
    seed: int = 0,
    each: _Map = map,
    weights: int | None = None,
) -> Array:
    """Sketches S_i of one layer's members, (m, k', k') float64, up to a constant matrix.

    S_i - S_j is the sketch of w_i - w_j. What is sketched is the step from one model to the next,
    not the weights, so that nothing cancels; the first one's is zero. each: `map`, or that of a
    thread pool. weights: of a matrix of more than so many, some rows are sketched. They have the
    rank of the whole, unless the step lies in few rows.
    """
    shape = layer.tensors[0].shape
    rows, columns = as_matrix(shape)
    side = sketch_size(shape, k)
    left, right = _signs(side, rows, seed), _signs(side, columns, seed + 1)
    parts = rows_sketched(shape, weights)

    def of_step(up: int) -> Array:
        one, other = layer.tensors[up], layer.tensors[up + 1]
        # float32 would leave more of a large step than rounding leaves of the weights
        wide = np.float64 if max(one.dtype.itemsize, other.dtype.itemsize) >= 4 else np.float32
        half = np.zeros(())
        for top, stop in parts:
            at = top * columns, stop * columns
            step = np.subtract(other.read(*at), one.read(*at), dtype=wide).reshape(-1, columns)
            half = half + left[:, top:stop] @ step
        return np.asarray((right @ np.ascontiguousarray(half.T)).T, dtype=np.float64)

    out = np.zeros((len(layer.members), side, side))
    for i, step in enumerate(each(of_step, range(len(layer.members) - 1))):
        np.add(out[i], step, out=out[i + 1])
    return out


def rank(sketch: Array, noise: float = 0.0, least: int = 0) -> int:
    """Rank of a matrix from its (k, k) sketch, never above k.

    noise: standard deviation that rounding leaves on each entry of the sketch. The sketch folded
    to a quarter and to a half of its side is a smaller sketch; one that is far from full tells.
    least: a rank below it needs not be told apart, so folds that only tell such are left out.
    """
    side = sketch.shape[0]
    folds = (4, 2) if side % 4 == 0 and side >= _FOLDED else ()
    for fold in folds:
        part = side // fold
        if part // 2 < least:
            continue
        small = sketch.reshape(fold, part, fold, part).sum(axis=(0, 2))
        found = _count(small, noise * fold)
        if found <= part // 2:
            return found
    return _count(sketch, noise)


def _count(sketch: Array, noise: float) -> int:
    """Singular values above those of a matrix of noise, the largest of which is near
    2 sqrt(k) noise. Where pivots of an elimination leave a wide gap, they are counted instead."""
    side = len(sketch)
    floor = 1e-6 * float(np.abs(sketch).max(initial=0.0))
    count, last, next_one = kernel.pivots(sketch, max(floor, NOISE_PIVOT * noise))
    if last > PIVOT_GAP * max(next_one, NOISE_PIVOT * noise * side**0.5, floor):
        return count
    values = np.linalg.svd(sketch, compute_uv=False)
    return int((values > max(1e-6 * values[0], 3.0 * side**0.5 * noise)).sum())


def rank_distances(
    layers: Sequence[Layer],
    n: int,
    squared_norm: Array,
    *,
    k: int = SKETCH,
    seed: int = 0,
    threads: int = 1,
) -> NDArray[np.int64]:
    """Paper, eq. 2: max over layers of rank(w_i - w_j), (n, n), capped at k.

    squared_norm: |w|^2 per layer and model, (L, n), for the rounding noise. A pair that reached
    the cap is not looked at again. The result does not depend on `threads`.
    """
    most = np.zeros((n, n), dtype=np.int64)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        # layer by layer, or what a pair has reached before would depend on the threads
        for layer, norms in zip(layers, squared_norm, strict=True):
            if not is_matrix(layer.tensors[0].shape):
                continue
            found = sketches(layer, k, seed, pool.map)
            noise = np.sqrt(norms) / found.shape[1]
            noise[list(layer.members)] *= [rounding(t) for t in layer.tensors]

            def raise_row(
                a: int, layer: Layer = layer, found: Array = found, noise: Array = noise
            ) -> None:
                i = layer.members[a]
                for b, j in enumerate(layer.members[:a]):
                    if most[i, j] < k:  # else the cap is reached: no layer can raise it
                        both = float(np.hypot(noise[i], noise[j]))
                        most[i, j] = max(most[i, j], rank(found[a] - found[b], both, most[i, j]))

            # the longest rows first, or the last thread works alone
            list(pool.map(raise_row, range(len(layer.members))[::-1]))
    return np.maximum(most, most.T)


def low_rank_of_pair(layer: Layer, i: int, j: int, *, k: int = SKETCH, seed: int = 0) -> int:
    """Rank of w_i - w_j in one layer, capped at the side of its sketch; -1 where the step has more
    to it than that rank: energy that is no noise, beyond what rounding can have added. i, j are
    models."""
    at = [layer.members.index(i), layer.members.index(j)]
    pair = Layer(layer.name, layer.shape, (0, 1), tuple(layer.tensors[a] for a in at))
    sketch, noise = sketches(pair, k, seed)[1], float(np.hypot(*noise_of(pair, k)))
    found = rank(sketch, noise)
    energy = np.linalg.svd(sketch, compute_uv=False) ** 2
    rounded = ROUNDING_ENERGY * sketch.size * noise**2
    beyond = float(energy[found:].sum())
    return found if beyond <= (1 - ALL_BUT_NOISE) * float(energy.sum()) + rounded else -1


def noise_of(layer: Layer, k: int = SKETCH) -> Array:
    """Standard deviation that rounding leaves on each entry of a member's sketch, (m,). The norm of
    a large tensor is taken of some parts of it."""
    out = [math.sqrt(squared_norm(tensor)) * rounding(tensor) for tensor in layer.tensors]
    return np.array(out) / sketch_size(layer.tensors[0].shape, k)
