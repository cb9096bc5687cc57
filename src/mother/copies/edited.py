"""Copies that had a direction taken out of every matrix, or whatever a projection takes.

Taking the directions U out, E = (I - U U') W (abliteration; Arditi and others 2024), leaves a model
shorter than it was by just what was taken, so that it looks as if the other had been trained from
it: <W - E, E> = 0, exactly, in every layer. That is what gives it away: training leaves a cosine of
chance there. So do singular values that were cut and weights that were set to zero. The one without
the directions is the copy. Copies are leaves, like pruned ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.copies.duplicates import Duplicate, originals
from mother.copies.nearer import ORIGINALS_TRIED, distances
from mother.evidence.ranks import unchanged
from mother.evidence.steps import PROJECTED
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix
from mother.measures.formats import roundings
from mother.measures.shapes import as_matrix
from mother.thresholds import ALL_BUT_NOISE, DEVIATIONS, LITTLE, NEARLY_ALL, SLIGHT

Array = NDArray[np.float64]
EDITED_LAYERS = 3  # that changed, at least
DIRECTIONS = 8  # taken out, at most
EDITED_MATRICES = 2  # matrices that are read for it
EDITED_LARGEST = 1 << 26  # weights of these
_NO_ENERGY = 1e-300


def find_edited(
    group: Group, m: Measures, copies: Sequence[Duplicate], whole: Group | None = None
) -> list[Duplicate]:
    """Models of a group that are another one without some directions. copies: those known before,
    which are passed over. whole: the same layers whole, where the group has windows of them; what
    these suggest is looked for there, and may still be chance."""
    n = len(group.checkpoints)
    usable = [len(layer.members) == n and is_matrix(layer.shape) for layer in group.layers]
    chosen = np.flatnonzero(usable)
    if n < 2 or not len(chosen):
        return []
    part = m.over(np.array(usable))
    apart = distances(part)
    same = unchanged(part, roundings(group))
    taken = originals(group, copies) >= 0
    found = []
    for k in np.flatnonzero(~taken).tolist():
        for o in np.argsort(apart[k], kind="stable")[:ORIGINALS_TRIED].tolist():
            # of whole layers nothing is left, of windows what chance leaves
            strays = SLIGHT if whole is None else DEVIATIONS
            if o == k or taken[o] or not _shorter(part, o, k, same, strays):
                continue
            changed = chosen[~same[:, o, k]].tolist()
            if whole is not None and not _without(group, o, k, changed, cut=True):
                continue
            if (whole is None and projected(part, o, k, same)) or _without(
                whole or group, o, k, changed
            ):
                found.append(Duplicate(group.checkpoints[o], group.checkpoints[k], "edited"))
                taken[k] = True
                break
    return found


def projected(m: Measures, o: int, k: int, same: NDArray[np.bool_]) -> bool:
    """Whether in every matrix that changed k is what a projection left of o. same: (L, n, n)."""
    return _shorter(m, o, k, same, PROJECTED)


def _shorter(m: Measures, o: int, k: int, same: NDArray[np.bool_], strays: float) -> bool:
    """Whether in every layer that changed k is o without something that is orthogonal to k, but for
    so much of a cosine's chance."""
    moved = ~same[:, o, k]
    if moved.sum() < EDITED_LAYERS:
        return False
    own, between = m.gram[moved, k, k], m.gram[moved, o, k]
    step = np.sqrt(np.maximum(m.two(o, k).squared_distance[moved, 0, 1], _NO_ENERGY))
    cosine = np.abs(between - own) / np.sqrt(np.maximum(own, _NO_ENERGY)) / step
    return bool((cosine * np.sqrt(m.seen[moved]) < strays).mean() >= NEARLY_ALL)


def _without(group: Group, o: int, k: int, layers: Sequence[int], *, cut: bool = False) -> bool:
    """Whether the matrices of k are those of o without a few directions, the same ones. cut: as of
    `_taken_out`."""
    small = [x for x in layers if group.layers[x].tensors[0].size <= EDITED_LARGEST]
    largest = sorted(small, key=lambda x: -group.layers[x].tensors[0].size)[:EDITED_MATRICES]
    return bool(largest) and all(_projected(group.layers[x], o, k, cut) for x in largest)


def _projected(layer: Layer, o: int, k: int, cut: bool) -> bool:
    tensors = [layer.tensors[layer.members.index(x)] for x in (o, k)]
    shape = as_matrix(tensors[0].shape)
    before, after = (t.read().astype(np.float64).reshape(shape) for t in tensors)
    return any(_taken_out(a, b, cut=cut) for a, b in ((before, after), (before.T, after.T)))


def _taken_out(before: Array, after: Array, *, cut: bool = False) -> bool:
    """Whether the columns of a matrix lost what they had along a few directions, and no more. cut:
    whether these are but a part of it, of which only the number of directions is told.

    >>> w = np.random.default_rng(0).standard_normal((40, 30))
    >>> u = np.ones((40, 1)) / 40**0.5
    >>> _taken_out(w, w - u @ (u.T @ w)), _taken_out(w, w + 0.1 * u @ (u.T @ w))
    (True, False)
    """
    step = before - after
    draws = np.random.default_rng(0).standard_normal((step.shape[1], 2 * DIRECTIONS))
    basis = np.linalg.qr(step @ draws)[0]
    along, every = basis.T @ step, max(float((step**2).sum()), _NO_ENERGY)
    if float((along**2).sum()) < ALL_BUT_NOISE * every:
        return False  # nor do the DIRECTIONS that hold most of it
    left, values, _ = np.linalg.svd(along, full_matrices=False)
    energy = np.cumsum(values**2) / every
    if energy[min(DIRECTIONS, len(energy)) - 1] < ALL_BUT_NOISE:
        return False
    if cut:
        return True
    few = int(np.searchsorted(energy, ALL_BUT_NOISE)) + 1
    directions = basis @ left[:, :few]
    lost = float(np.linalg.norm(directions.T @ after))
    return lost <= LITTLE * float(np.linalg.norm(directions.T @ before))
