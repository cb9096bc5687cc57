"""Copies that were changed by a function of their weights, and then a little more: clipped and
trained on, shrunk with noise, rounded and healed.

What training adds to a weight follows how large the weight is only as far as decay shrinks all
alike; and seen from what was trained, the weights that moved are the large ones. So what the mean
by weights of like size explains of a step, beyond a multiple of the weights and seen from either
side, says whether it was made by hand. It does not say which of the two was first: that is open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Tensor
from mother.copies.duplicates import Duplicate, originals
from mother.copies.mapped import KEPT_ROWS, both, in_order, near_pairs, some_rows
from mother.copies.nearer import nearer
from mother.evidence.kinship import kinship
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix

Array = NDArray[np.float64]
SHAPED_MATRICES = 4  # that are looked at, the largest
SIZE_BINS = 32
SHAPED_WEIGHTS = 512  # weights of a matrix, at least
SHARE = 0.2  # of a step that is a function of the weights, from either side


def find_shaped(
    group: Group, m: Measures, copies: Sequence[Duplicate], whole: Group | None = None
) -> list[Duplicate]:
    """Models of a group that were made from another one by a function of its weights and something
    more. copies: those known before. whole: the same layers whole, where the group has windows."""
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    taken = originals(whole or group, copies) >= 0
    related = kinship(m) > 1
    models, found = (whole or group).checkpoints, list[Duplicate]()
    layers = sorted(
        (x for x in (whole or group).layers if is_matrix(x.shape) and x.size >= SHAPED_WEIGHTS),
        key=lambda x: (-x.size, x.name),
    )
    rows = lru_cache(KEPT_ROWS)(some_rows)  # a model is near to several
    shares = {(i, k): _share(layers, i, k, rows) for i, k in near_pairs(m, ~taken, related)}
    for i, k in sorted(shares, key=lambda pair: (-shares[pair], pair)):
        if taken[i] or taken[k] or shares[i, k] < SHARE:
            continue
        kin = [x for x in range(len(models)) if x not in (i, k) and related[x, i] and not taken[x]]
        first = nearer(m, matrices, i, k, kin)[0]
        original = i if first is None else first
        taken[i + k - original] = True
        both_of = models[original], models[i + k - original]
        found.append(Duplicate(*both_of, "edited", undirected=True))
    return found


def _share(layers: Sequence[Layer], i: int, k: int, rows: Callable[[Tensor], Array]) -> float:
    """Of the step between two models, what is a function of the weights, from either side."""
    steps, sizes = list[tuple[Array, Array]](), list[int]()
    for a, b in both(layers, i, k, rows):
        if a.shape == b.shape and a.size >= SHAPED_WEIGHTS and not (a == b).all():
            if not (np.isfinite(a).all() and np.isfinite(b).all()):
                return 0.0
            steps.append((a, b))
            sizes.append(a.size)
        if len(sizes) == SHAPED_MATRICES:
            break
    if not sizes:
        return 0.0
    one = float(np.average([explained(a, b - a) for a, b in steps], weights=sizes))
    if one < SHARE:  # the other side need not be asked
        return one
    return min(one, float(np.average([explained(b, a - b) for a, b in steps], weights=sizes)))


def explained(weights: Array, step: Array) -> float:
    """The share of a step that is explained by the mean of weights of like size, beyond a multiple
    of the weights and what chance explains.

    >>> w = np.random.default_rng(0).standard_normal((40, 50))
    >>> round(explained(w, np.clip(w, -1, 1) - w), 1), abs(explained(w, w[::-1] - 0.5 * w)) < 0.01
    (0.3, True)
    """
    x, d = (v.ravel() - v.mean() for v in (weights, step))
    energy, total = float(x @ x), float(d @ d)
    if energy <= 0 or total <= 0:
        return 0.0
    rest = d - (d @ x) / energy * x
    ordered = in_order(x[None])[0]
    edges = np.linspace(0, len(x), SIZE_BINS + 1).astype(np.intp)
    sums = np.add.reduceat(rest[ordered], edges[:-1])
    between = float((sums**2 / np.diff(edges)).sum())
    return (between - (SIZE_BINS - 1) / len(x) * float(rest @ rest)) / total
