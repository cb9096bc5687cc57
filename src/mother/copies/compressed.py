"""Copies that lost something: pruned and quantized ones, and who descends from which copy.

A compressed model keeps more of its original than any training does, and where the original is
there it needs no search: all its weights say what it is. Left in the search it does harm. It is as
near to every other model as its original but for what compression took, which has the sign of
chance, so relatives hang from either, and a tree that goes through the copy turns it into the
parent of its original.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mother.checkpoints import Tensor
from mother.copies.duplicates import Aligned, Duplicate, aligned_tensors, chunks, originals
from mother.copies.nearer import ORIGINALS_TRIED
from mother.evidence.direction import UNCHANGED
from mother.layouts import Group
from mother.measures import Measures, is_matrix
from mother.measures.compression import pruned_or_rounded
from mother.measures.formats import grid_step, picked_rows
from mother.measures.products import Array, Bools, Indices, Source
from mother.measures.reference import sample
from mother.measures.shapes import WIDEST
from mother.thresholds import DECISIVE, DEVIATIONS, LITTLE

HALF_STEP = 0.52  # of a grid's step: how far rounding moves a weight, with what a number type adds
_NO_LENGTH = 1e-30


def find_compressed(group: Group, m: Measures, copies: Sequence[Duplicate]) -> list[Duplicate]:
    """Models of a group that are another one without some weights ("pruned") or rounded to a
    uniform grid ("quantized"). copies: those known before; all models are looked at, and only
    where the measures found that some lost weights or lie on a grid."""
    n = len(group.checkpoints)
    if not len(m.shared):
        return []
    pruned, rounded = pruned_or_rounded(sample(group.layers, n), group)
    aligned = aligned_tensors(group)
    original, none = originals(group, copies), np.full(n, -1, dtype=np.intp)
    apart = np.nansum(m.squared_distance, axis=0)
    np.fill_diagonal(apart, np.inf)
    found = []
    for k in np.flatnonzero((pruned | rounded) & (original < 0)).tolist():
        holds = without_some if pruned[k] else _rounded_to_grid
        most = ORIGINALS_TRIED + int((original >= 0).sum())
        order = np.lexsort((apart[k], original >= 0))[:most]
        near = [o for o in order.tolist() if o != k and k not in _above(o, original, none)]
        match = next((o for o in near if holds(aligned[o], aligned[k])), None)
        if match is not None:
            original[k] = match
            relation = "pruned" if pruned[k] else "quantized"
            found.append(Duplicate(group.checkpoints[match], group.checkpoints[k], relation))
    return found


def descended(m: Source, original: Indices) -> Indices:
    """The nearest copy that each model descends from, (n,); -1 for most, and for the copies.

    original: (n,), what a model is a copy of, -1 for most. Models trained from a copy hold what
    compression did to it, a step that to all others is noise. In a layer of P weights, whose steps
    are normal, the log-odds are P log(sin a / sin b) of a model at the angle a from the original
    and b from the copy. Angles, for a pruned copy is shorter, and nearer to strangers.

    >>> e, n = np.array([[0, 1.0, 0, 0]]), np.array([[0, 0, 3.0, 0], [0, 0, 0, 3.0]])
    >>> # an original, its copy, two children of each
    >>> w = np.concatenate([0 * e, e, n, e + n]) + [9.0, 0, 0, 0]
    >>> m = Measures(("u",), ((100, 100),), np.array([10000]), w[None] @ w.T)
    >>> descended(m, np.array([-1, 0, -1, -1, -1, -1]))
    array([-1, -1, -1, -1,  1,  1])
    """
    copies = np.flatnonzero(original >= 0)
    if not len(copies):
        return np.full(len(original), -1, dtype=np.intp)
    odds = np.stack([_log_odds(m, int(original[k]), int(k)) for k in copies])
    there = np.stack([_ends_at(m, int(original[k]), int(k)) for k in copies])
    odds = np.where(there, odds, 0.0)
    odds[:, copies] = 0.0  # a copy goes with its original
    for o in np.unique(original[copies]):  # a model descends from one of its copies at most
        of = original[copies] == o
        odds[of] = np.where(odds[of] == odds[of].max(axis=0), odds[of], 0.0)
    marked = odds > DECISIVE
    # of a copy and a copy of its descendant, the latter: fewer models hold its mark
    many = np.where(marked, marked.sum(axis=1, keepdims=True), len(original) + 1)
    home = np.where(marked.any(axis=0), copies[many.argmin(axis=0)], -1)
    for k in np.unique(home[home >= 0]).tolist():
        if k in _above(k, original, home):  # of each other's copies: no training does that
            home[home == k] = -1
    return home


def _above(model: int, original: Indices, home: Indices) -> list[int]:
    """The copies and originals of copies that a copy comes from, up to the first met twice."""
    found: list[int] = []
    while (model := int(max(original[model], home[model]))) >= 0 and model not in found:
        found.append(model)
    return found


def _ends_at(m: Source, original: int, copy: int) -> Bools:
    """Which models lie at the copy's end of the way from its original, (n,), as what was trained
    from it does but for chance. One that was trained along that way lies anywhere."""
    every, norms = np.arange(len(m)), m.squared_norms()
    of_first, of_copy = (m.pairs(np.full_like(every, k), every).ij for k in (original, copy))
    weight = (m.seen / np.maximum(norms[:, original], _NO_LENGTH))[:, None]
    own, between = norms[:, [original]], of_first[:, [copy]]
    length = max(float(np.nansum(weight * (own + norms[:, [copy]] - 2 * between))), _NO_LENGTH)
    along = np.nansum(weight * (of_copy - of_first - between + own), axis=0)
    far = np.nansum(weight * np.maximum(norms + norms[:, [copy]] - 2 * of_copy, 0.0), axis=0)
    chance = np.sqrt(far / length / max(float(m.seen.sum()), 1.0))
    return np.asarray(np.abs(along / length - 1) < LITTLE + DEVIATIONS * chance)


def _log_odds(m: Source, original: int, copy: int) -> Array:
    """Of each model coming from the copy rather than from its original, (n,)."""
    every = np.arange(len(m))
    norms = np.maximum(m.squared_norms(), _NO_LENGTH)
    squared_sine = []
    for one in (original, copy):
        product = np.maximum(m.pairs(np.full_like(every, one), every).ij, 0.0)
        squared_sine.append(np.maximum(1 - product**2 / norms[:, [one]] / norms, UNCHANGED))
    first, second = squared_sine
    told = first[:, copy] > UNCHANGED  # the layers that compression changed
    ratio = np.log(first[told] / second[told])
    return np.asarray(np.nansum(m.seen[told, None] / 2 * ratio, axis=0))


def without_some(original: Aligned, copy: Aligned) -> bool:
    """Whether all that is left is the original's, something is, and something is not: vectors start
    at constants, and beside what is not read all else may be equal."""
    if original.keys() != copy.keys():
        return False
    matrices = {key for key in copy if is_matrix(key[1])} or copy.keys()
    left = lost = False
    for key in original:
        for a, b in chunks(original[key], copy[key]):
            if not np.array_equal(a[b != 0], b[b != 0]):
                return False
            left |= key in matrices and bool(b.any())
            lost |= bool(a[b == 0].any())
    return left and lost


def _rounded_to_grid(original: Aligned, copy: Aligned) -> bool:
    return original.keys() == copy.keys() and all(
        (is_matrix(key[1]) and _on_its_grid(original[key], copy[key]))
        or all(np.array_equal(a.astype(b.dtype), b) for a, b in chunks(original[key], copy[key]))
        for key in original
    )


def _on_its_grid(original: Tensor, copy: Tensor) -> bool:
    """Whether the rows of a copy lie on grids, and its original's weights within half a step."""
    moved, steps = [], []
    columns = copy.size // copy.shape[0]
    for start in (row * columns for row in picked_rows(copy.shape[0])):
        stop = start + min(columns, WIDEST)
        a, b = (t.read(start, stop).astype(np.float64) for t in (original, copy))
        moved.append(np.abs(a - b).max())
        steps.append(grid_step(b))
    step, widest = np.array(steps), max(steps)  # short rows don't show theirs
    half = HALF_STEP * np.where(step > 0, step, widest)
    return bool((np.array(moved) <= half).all() and widest > 0)
