"""Models that differ from all their relatives as no training makes them, whatever was done to them:
leaves, whose edge is open.

Most of what is done by hand is known by what it leaves, see the other files of this room. What is
not known still shows: weights that are zero, or take few values, in a model that is no copy of one
that is there; a step that has the same few sizes in all weights of a matrix. Distances to such a
model say little of who was made from whom, so it takes no part in the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mother.copies.duplicates import Duplicate
from mother.copies.nearer import distances
from mother.evidence.kinship import kinship
from mother.layouts import Group
from mother.measures import Measures
from mother.measures.compression import pruned_or_rounded
from mother.measures.reference import sample
from mother.thresholds import ALL_BUT_NOISE, NEARLY_ALL

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
UNLIKE = "no plain training"  # and what shows it
STEPS_FROM = 4  # models that a step is taken from
SIZES = 3  # different ones that the weights of a step take, at most
ONE_SIZE = 1e-3  # of the largest step, by which two of one size differ at most
MOVED_WEIGHTS = 256  # weights that moved


def find_unlike(
    group: Group, m: Measures, among: Mask, weights: Sequence[Array]
) -> list[Duplicate]:
    """Models of a group that are no training of each other, beneath the nearest that may be one;
    by the relation "" of trainings, with what shows it.

    Args:
        among: (n,) those that are looked at: no copies, no merges.
        weights: some of all models, (n, W) of some matrices.
    """
    says = _shown(group, m, among, weights)
    if not says:
        return []
    kin, apart, out = kinship(m), distances(m), list[Duplicate]()
    left = [k for k in np.flatnonzero(among).tolist() if k not in says]
    for k, why in sorted(says.items()):
        relatives = [o for o in left if kin[o, k] > 1]
        if relatives:
            nearest = min(relatives, key=lambda o: float(apart[o, k]))
            pair = group.checkpoints[nearest], group.checkpoints[k]
            out.append(Duplicate(*pair, "", f"{UNLIKE}: {why}", undirected=True))
    return out


def _shown(group: Group, m: Measures, among: Mask, weights: Sequence[Array]) -> dict[int, str]:
    """By model, what shows that it is no training of another."""
    found: dict[int, str] = {}
    n, some = len(group.checkpoints), np.flatnonzero(among).tolist()
    if len(m.shared):
        pruned, rounded = pruned_or_rounded(sample(group.layers, n), group)
        zero = (
            np.concatenate([w == 0 for w in weights], axis=1)
            if weights
            else np.zeros((n, 0), dtype=bool)
        )
        for k in some:
            if pruned[k] and pruned[some].sum() == 1 and not _shared(zero, k):
                found[k] = "zeros where its relatives have none"
            elif rounded[k] and rounded[some].sum() == 1:
                found[k] = "few values where its relatives have many"
    apart = distances(m)
    far = np.where(np.isfinite(apart), apart, 0.0).sum(axis=1)
    for k in (k for k in some if k not in found):
        near = [o for o in np.argsort(apart[k], kind="stable")[:STEPS_FROM].tolist() if among[o]]
        near = [o for o in near if far[o] < far[k]]  # of two, the one that the others are nearer to
        if any(_of_few_sizes([w[k] - w[o] for w in weights]) for o in near):
            found[k] = "a step of few sizes"
    return found


def _shared(zero: Mask, k: int) -> bool:
    """Whether another model has zeros where model k has them. zero: (n, W)."""
    many = (zero & zero[k]).sum(axis=1)
    many[k] = 0
    return bool(many.max(initial=0) >= NEARLY_ALL * max(int(zero[k].sum()), 1))


def _of_few_sizes(steps: Sequence[Array]) -> bool:
    """Whether the weights of each matrix that moved did so by the same few sizes.

    >>> step = np.random.default_rng(0).standard_normal(1000)
    >>> _of_few_sizes([0.1 * np.sign(step), 0 * step]), _of_few_sizes([step])
    (True, False)
    """
    moved = [np.abs(s[s != 0]) for s in steps if np.count_nonzero(s) >= MOVED_WEIGHTS]
    return bool(moved) and all(_sizes(s) <= SIZES for s in moved)


def _sizes(lengths: Array) -> int:
    """How many sizes nearly all of these numbers have, as near as ONE_SIZE."""
    bins = np.rint(lengths / (ONE_SIZE * lengths.max()))
    _, many = np.unique(bins, return_counts=True)
    return int(np.searchsorted(np.cumsum(np.sort(many)[::-1]), ALL_BUT_NOISE * len(lengths))) + 1
