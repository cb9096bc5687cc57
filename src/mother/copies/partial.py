"""Models that are another one but for a few matrices: a head or an embedding that was trained
alone, or put in the place of another; shapes that changed here and there.

In all that is equal such a model is as near to every relative as its original, and what few
matrices say of who came first is little: a child of the one may as well hang from the other. So it
takes no part in the search, and is a leaf. The one that the others are nearer to is the original.
"""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.copies.compressed import without_some
from mother.copies.duplicates import Aligned, Duplicate, aligned_tensors, originals
from mother.copies.nearer import nearer
from mother.evidence.kinship import cosines, kinship, threshold
from mother.evidence.ranks import unchanged
from mother.layouts import Group
from mother.measures import Measures, is_matrix
from mother.measures.formats import error_of, roundings
from mother.thresholds import LARGELY, LIKELY, MOST

EQUAL_MATRICES = 8  # in which it is equal at least: beside fewer, two are no small part
UNEQUAL_MATRICES = 2  # that differ at most, of those that both have and that are not made anew
COARSEST = 2 * error_of(np.dtype(ml_dtypes.bfloat16))  # of a format of floats


def find_partial(
    group: Group, m: Measures, copies: Sequence[Duplicate], whole: Group | None = None
) -> list[Duplicate]:
    """Models of a group that are another one but for UNEQUAL_MATRICES, by the relation "" of
    trainings. copies: those known before. whole: the same layers whole, where the group has
    windows of them.

    The one that the others are nearer to in what differs is the original, or that which has their
    shapes; where they are as near to both, the search has to tell, or, if no matrix differs, the
    first is taken, and the edge is open.
    """
    n = len(group.checkpoints)
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    if n < 3 or not matrices.any():
        return []
    taken = originals(group, copies) >= 0
    rounding = roundings(group)
    # what two rounded to codes have in common is less than they may have been trained
    same = unchanged(m, np.where(rounding > COARSEST, 0.0, rounding))
    cosine = cosines(m)
    size = m.sizes * matrices
    held = np.isfinite(np.diagonal(m.gram, axis1=1, axis2=2)).T @ size  # (n,)
    equal, (alike, differ, new) = np.zeros((n, n)), np.zeros((3, n, n), dtype=np.intp)
    least = threshold(m.seen)
    for layer in np.flatnonzero(matrices):
        both, equals = np.isfinite(m.gram[layer]), same[layer]
        equal += size[layer] * (both & equals)
        alike += both & equals
        differ += both & ~equals
        new += cosine[layer] < least[layer]
    found, aligned = list[Duplicate](), list[Aligned]()
    anew = (alike > 0) & (new == differ)  # what differs is from neither, or nothing does
    few = anew | ((alike >= EQUAL_MATRICES) & (differ <= UNEQUAL_MATRICES))
    few &= equal >= np.where(anew, MOST, LARGELY) * np.minimum.outer(held, held)
    pairs, related = np.argwhere(np.triu(few, 1)), kinship(m) > 1
    for i, k in pairs.tolist():
        if taken[i] or taken[k]:
            continue
        others = [x for x in range(n) if x not in (i, k) and not taken[x]]
        kin = [x for x in others if related[x, i]]
        differ_in = ~same[:, i, k] & np.isfinite(m.gram[:, i, k])
        if (differ_in & matrices).any():
            differ_in &= matrices
        if any(same[differ_in, x, y].any() for x in others for y in (i, k)):
            continue  # taken whole from another: a merge, or what one of them was made from
        held_here = (cosine[differ_in][:, kin][..., [i, k]] > least[differ_in, None, None]).any(
            (0, 2)
        )
        if 2 * held_here.sum() < len(kin):
            continue  # most have made anew what the two differ in, and tell nothing of it
        first, open_ = _original(group, m, differ_in, i, k, kin)
        if first is None and not differ[i, k]:  # which was first, no matrix tells
            first, open_ = i, True
        if first is None or _followed(group, first, copy := i + k - first):
            continue
        taken[copy] = True
        one, other = group.checkpoints[first], group.checkpoints[copy]
        aligned = aligned or aligned_tensors(whole or group)
        if without_some(aligned[first], aligned[copy]):
            found.append(Duplicate(one, other, "pruned"))
        else:
            found.append(Duplicate(one, other, "", undirected=open_, sure=LIKELY))
    return found


def _followed(group: Group, original: int, copy: int) -> bool:
    """Whether a third model has a layer in common with the copy that the original lacks."""
    return any(
        copy in layer.members and original not in layer.members and len(layer.members) > 1
        for layer in group.layers
    )


def _original(
    group: Group, m: Measures, differ: NDArray[np.bool_], i: int, k: int, kin: Sequence[int]
) -> tuple[int | None, bool]:
    """The one of two that the others are nearer to in the layers that differ, None where they don't
    tell; and whether that is open."""
    if kin and differ.any():
        first, told = nearer(m, differ, i, k, kin)
        return first, not told
    odd = [len(group.unaligned[x]) for x in (i, k)]
    return (None if odd[0] == odd[1] else (i, k)[int(odd[1] < odd[0])]), False
