"""What pruning and rounding took from a model, so that comparisons can leave it out.

A pruned model is its original without some weights: against any other model it is far away, by
what it lost, and orthogonal to the loss, so it looks like the original's parent. Compared on the
weights that both have it is where it was. A model rounded to a grid of step s has gained noise of
s^2/12 a weight, which is in its norm and in its distance from every other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Group, Layer
from mother.measures.formats import FEWEST_ON_GRID, grid_step, rounding_noise
from mother.measures.shapes import as_matrix, is_matrix
from mother.thresholds import LARGELY, LITTLE

Array = NDArray[np.float64]
CELLS = 64  # rows of a matrix whose cells are looked at
NORMAL = np.pi / 2  # mean square over squared mean of normal differences
WEIGHTS_AT_ONCE = 1 << 18  # weights of a model held at once


def pruned_or_rounded(
    samples: Sequence[Array], group: Group
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which models have lost weights, and which lie on a grid; (n,) bool each. samples: a few
    weights of some layers, each (n, s), NaN for models without the layer."""
    n = len(group.checkpoints)
    zeros, distinct, total = np.zeros(n), np.zeros(n), np.zeros(n)
    for rows in samples:
        have = np.flatnonzero(np.isfinite(rows).all(axis=1))
        ordered = np.sort(np.abs(rows[have]), axis=1)
        zeros[have] += (ordered == 0).sum(axis=1)
        distinct[have] += 1 + (np.diff(ordered, axis=1) > 0).sum(axis=1)
        total[have] += rows.shape[1]
    seen = np.maximum(total, 1)
    rounded = np.array(
        [distinct[i] < LARGELY * (total[i] - zeros[i]) and _on_grid(group, i) for i in range(n)],
        dtype=bool,
    )
    return np.asarray((zeros / seen > LITTLE) & ~rounded), rounded


def _on_grid(group: Group, model: int) -> bool:
    matrices = [
        layer.tensors[layer.members.index(model)]
        for layer in group.layers
        if model in layer.members and is_matrix(layer.shape)
    ]
    largest = sorted(matrices, key=lambda tensor: -tensor.size)[:3]
    return bool(largest) and all(rounding_noise(tensor) > 0 for tensor in largest)


def common_norms(
    group: Group, gram: Array, pruned: NDArray[np.bool_], rounded: NDArray[np.bool_], threads: int
) -> tuple[Array, Array]:
    """Squared norm of i over the weights that j has, without what rounding added, and the share of
    the weights that both have; (L, n, n) each."""
    norm = np.diagonal(gram, axis1=1, axis2=2)
    shared = np.repeat(norm[:, :, None], norm.shape[1], axis=2)
    overlap, noise = np.ones_like(shared), np.zeros_like(norm)
    by_cells = np.full_like(shared, np.nan)

    def fill(index: int, layer: Layer) -> None:
        members = np.array(layer.members, dtype=np.intp)
        if pruned[members].any():
            held, both = _over_support(layer, pruned[members])
            sparse = members[pruned[members]]
            shared[index, members[:, None], sparse] = held
            share = np.diagonal(both)
            overlap[index, members[:, None], sparse] = share
            overlap[index, sparse[:, None], members] = share[:, None]
            overlap[index, sparse[:, None], sparse] = both
        for model, tensor in zip(layer.members, layer.tensors, strict=True):
            if rounded[model]:
                noise[index, model] = rounding_noise(tensor)
        whole = [not (pruned[k] or rounded[k]) for k in layer.members]
        if rounded[members].any() and any(whole):
            _by_cells(by_cells[index], layer, rounded[members], np.array(whole))

    jobs = [(k, layer) for k, layer in enumerate(group.layers) if is_matrix(layer.shape)]
    with ThreadPoolExecutor(max(1, threads)) as pool:
        list(pool.map(lambda job: fill(*job), jobs))
    return np.maximum(shared - _excess(shared, gram, noise, by_cells), 0.0), overlap


def _by_cells(
    out: Array, layer: Layer, rounded: NDArray[np.bool_], whole: NDArray[np.bool_]
) -> None:
    """Write |w_i - w_j|^2 of rounded models i and others j of one layer into `out`, (n, n), as the
    cells of i's grid tell it; where steps are short beside the grid's.

    With j rounded to the same grid, two weights that lie d apart fall into different cells in d/s
    of all cases, of a grid of step s. That is E|d|, which what rounding added has no part in. E d^2
    is as many times its square as it is between models that were not rounded.
    """
    height, width = as_matrix(layer.tensors[0].shape)
    rows = np.linspace(0, height - 1, min(height, CELLS)).astype(int)
    values = np.stack(
        [t.read().reshape(height, width)[rows].astype(np.float64) for t in layer.tensors]
    )
    if not np.isfinite(values).all():  # a mask, or refused later, by name
        return
    others = np.flatnonzero(whole)
    squared = _by_length(values[others])
    for i in np.flatnonzero(rounded):
        step = np.array([grid_step(row) for row in values[i]])[:, None]
        if not step.all():
            continue
        codes = np.rint(values[i] / step)
        for j in np.flatnonzero(whole | rounded):
            crossed = np.abs(np.rint(values[j] / step) - codes)
            if 0 < crossed.mean() < LITTLE:
                model, other = layer.members[i], layer.members[j]
                apart = squared(float((crossed * step).mean())) * layer.tensors[i].size
                known = out[other, model] if rounded[j] else np.nan  # by the cells of the other
                out[model, other] = out[other, model] = np.nanmean([apart, known])


def _by_length(values: Array) -> Callable[[float], float]:
    """From E|d| to E d^2, as they are between models that were not rounded, (k, rows, columns): a
    power from 1, where few weights moved, and those as far, to 2, where all did."""
    pairs = [(i, j) for i in range(len(values)) for j in range(i + 1, min(i + 4, len(values)))]
    lengths = []
    for i, j in pairs:
        gap = np.abs(values[i] - values[j])
        square = np.square(gap).mean()
        if 0 < square < np.square(values[i]).mean():  # relatives
            lengths.append((math.log(gap.mean()), math.log(square)))
    if len(lengths) < FEWEST_ON_GRID:
        return lambda length: NORMAL * length**2
    x, y = np.array(lengths).T
    spread = np.square(x - x.mean()).sum()
    power = float((x - x.mean()) @ y / spread) if spread > 0 else 2.0
    power = min(max(power, 1.0), 2.0)
    start = float(np.median(y - power * x))
    return lambda length: math.exp(start + power * math.log(length))


def _excess(shared: Array, gram: Array, noise: Array, by_cells: Array) -> Array:
    """What rounding added to |w_i|^2 as it is compared with j, (L, n, n).

    Against a model that is not rounded, its noise, or what makes the distance that which the cells
    tell. Where both are, to steps s, the noise of the two
    is one where their weights fall into the same cell: of weights d apart a share d/s falls into
    another, which makes s d of d^2. noise: P s^2/12 for the P weights of each model, (L, n).
    """
    here, there = noise[:, :, None], noise[:, None, :]
    with np.errstate(invalid="ignore"):  # infinite weights are refused later, by name
        raw = np.maximum(shared + shared.transpose(0, 2, 1) - 2 * gram, 0.0)
    mean = np.where((here > 0) & (there > 0), (here + there) / 2, np.inf)
    with np.errstate(invalid="ignore", over="ignore"):  # likewise
        apart = np.where(raw < 4 * mean, raw**2 * NORMAL / (12 * mean), raw - 2 * mean)
    apart = np.where(np.isfinite(by_cells), by_cells, apart)
    # nearer than rounding moved it: that one was made from the rounded model
    told = np.where(raw < LARGELY * here, 0.0, here)
    told = np.where((here > 0) & np.isfinite(by_cells), raw - by_cells, told)
    return np.asarray(np.where(np.isinf(mean), told, (raw - apart) / 2))


def _over_support(layer: Layer, pruned: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Squared norms of all over each pruned one's weights, (m, s); shares common to two, (s, s)."""
    m, s = len(pruned), int(pruned.sum())
    held, both = np.zeros((m, s)), np.zeros((s, s))
    size = layer.tensors[0].size
    for start in range(0, size, WEIGHTS_AT_ONCE):
        stop = min(start + WEIGHTS_AT_ONCE, size)
        rows = np.stack([t.read(start, stop).astype(np.float64) for t in layer.tensors])
        support = (rows[pruned] != 0).astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinite weights are refused later, by name
            held += np.square(rows) @ support.T
        both += support @ support.T
    return held, both / size
