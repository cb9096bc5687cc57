"""A first look at a few weights of every layer, and from it the reference that each model is
centred on in the full pass.

A model is centred on a near relative: |a - b|^2 of two models that differ by 1e-4 of their norm
is lost in the rounding of |a|^2 + |b|^2 - 2 <a, b>, but not when a - b itself is summed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Layer

BLOCK = 256  # weights read in a row
MODEL = 1 << 16  # weights read of a model, about


def sample_positions(size: int, total: int) -> list[tuple[int, int]]:
    """Evenly spaced blocks of a layer of `size` weights, its share of MODEL out of `total`.

    >>> sample_positions(100, 100)
    [(0, 100)]
    >>> sample_positions(1_000_000, 4_000_000)[:2]
    [(0, 256), (15868, 16124)]
    """
    blocks = max(1, round(MODEL * size / max(total, 1) / BLOCK))
    if blocks * BLOCK >= size:
        return [(0, size)]
    starts = np.linspace(0, size - BLOCK, blocks).astype(int) if blocks > 1 else [0]
    return [(int(at), int(at) + BLOCK) for at in starts]


def sample(layers: Sequence[Layer], n: int) -> list[NDArray[np.float64]]:
    """Per layer the sampled weights of its members, (n, s); NaN rows for models without it."""
    total = sum(layer.tensors[0].size for layer in layers)
    samples = []
    for layer in layers:
        spans = sample_positions(layer.tensors[0].size, total)
        rows = np.full((n, sum(b - a for a, b in spans)), np.nan)
        for member, tensor in zip(layer.members, layer.tensors, strict=True):
            rows[member] = np.concatenate([tensor.read(a, b).astype(np.float64) for a, b in spans])
        samples.append(rows)
    return samples


def squared_distances(samples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Mean squared difference per sampled weight, over the layers that a pair shares; (n, n)."""
    n = samples[0].shape[0]
    total, count = np.zeros((n, n)), np.zeros((n, n))
    for rows in samples:
        have = np.isfinite(rows[:, 0])
        for i in np.flatnonzero(have):
            with np.errstate(invalid="ignore", over="ignore"):
                gap = ((rows[have] - rows[i]) ** 2).sum(axis=1)
            total[i, have] += gap
            count[i, have] += rows.shape[1]
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def reference_tree(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Minimum spanning tree (Prim) as the neighbour towards node 0; -1 there. (n,) int64.

    >>> reference_tree(np.array([[0., 9., 1.], [9., 0., 2.], [1., 2., 0.]]))
    array([-1,  2,  0])
    """
    n = distance.shape[0]
    towards = np.zeros(n, dtype=np.int64)
    nearest = np.where(np.isnan(distance[0]), np.inf, distance[0]).copy()
    outside = np.ones(n, dtype=bool)
    outside[0] = False
    for _ in range(n - 1):
        new = int(np.argmin(np.where(outside, nearest, np.inf)))
        if not outside[new]:
            new = int(np.argmax(outside))
        outside[new] = False
        closer = outside & (distance[new] < nearest)
        nearest[closer] = distance[new][closer]
        towards[closer] = new
    towards[0] = -1
    return towards


def within(tree: NDArray[np.int64], members: Sequence[int]) -> NDArray[np.int64]:
    """The tree restricted to `members`: each one's nearest ancestor among them, as a position.

    >>> within(np.array([-1, 0, 1, 2]), [0, 3])
    array([-1,  0])
    """
    position = {m: k for k, m in enumerate(members)}
    out = []
    for m in members:
        up = int(tree[m])
        while up >= 0 and up not in position:
            up = int(tree[up])
        out.append(position.get(up, -1))
    return np.array(out, dtype=np.int64)


def from_increments(
    gram: NDArray[np.float64], reference: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Inner products of the weights from those of their increments: B G B' with w = B d.

    >>> from_increments(np.array([[5., 6.], [6., 9.]]), np.array([-1, 0]))
    array([[ 5., 11.],
           [11., 26.]])
    """
    n = len(reference)
    paths = np.eye(n)
    for i in range(n):
        up = int(reference[i])
        while up >= 0:
            paths[i, up] = 1.0
            up = int(reference[up])
    return np.asarray(paths @ gram @ paths.T)
