"""What a model holds of a step: all of it below that step, none of it beside.

Let v be a child of u, and c another model near them. In each layer the slope

    s_l(c) = <c_l - u_l, v_l - u_l> / |v_l - u_l|^2

is near 1 if c descends from v, and near 0 if it hangs from u. Steps are not independent: all that
is trained from u drifts alike, with cosines of rho, which adds rho |c - u| / |v - u| to s: much
where c went far and v did not. A median over layers is not moved by a few that drift, and rho is
what the other children of u show.

Rows may say of a pair that neither is the other's parent, and they are right where training made
them what they are. Whoever puts an embedding back, or takes one from another model, copies rows:
one event in one matrix, to which all other layers are witnesses. So a model that in the median
layer holds all of a step, or none of it, hangs where that puts it, whatever the rows say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mother.evidence.family import PAIRS_TOGETHER, Family
from mother.evidence.kinship import weighted_median
from mother.measures.clustering import children_of
from mother.measures.products import Array, Bools, Indices
from mother.thresholds import LITTLE, TRACE

OTHER_CHILDREN = 3  # other children, to know the drift from
SHARE_SWEEPS = 6
_NO_STEP = 1e-300
_FAR_RATIO = 1e150  # a ratio beyond which all are alike
_DEVIATION = 1.5  # standard deviations of a normal, in median absolute ones


#: whether of each pair i, j (E,) something is known
Known = Callable[[Indices, Indices], Bools]


def held(family: Family, parents: Indices, ruled_out: Known) -> Indices:
    """The tree where models hang from those that evidence had ruled out, if they hold all of the
    step to these, or none of the step to whom they hang from; beyond two standard errors.

    Args:
        parents: (n,) intp, -1 at the root.
        ruled_out: pairs of which evidence says that neither is the other's parent.

    >>> from mother.measures import Measures
    >>> start, step, own = np.random.default_rng(0).normal(size=(3, 5, 2000))
    >>> w = np.stack([start, start + step, start + step + own])
    >>> products = np.einsum("ilp,jlp->lij", w, w)
    >>> m = Measures(tuple("abcde"), ((40, 50),) * 5, np.full(5, 2000), products)
    >>> every = lambda i, j: np.ones(len(i), dtype=bool)
    >>> held(Family.of(m), np.array([-1, 0, 0]), every)
    array([-1,  0,  1])
    """
    up, whole, of = parents.copy(), _whole(family), _Steps(family)
    for _ in range(SHARE_SWEEPS):
        before = up.copy()
        most, by = np.full(len(up), -np.inf), np.full(len(up), -1, dtype=np.intp)
        for (u, v, both, under), (share, error) in of.shares(_steps(before, whole)):
            from_u, from_v = np.full_like(both, u), np.full_like(both, v)
            below_v = np.arange(len(both)) < under
            several = error > 0  # of layers; where one outweighs the others, it strays from none
            none = several & (np.abs(share) + 2 * error < LITTLE)
            up[both[below_v & none & ruled_out(from_u, both)]] = u
            every = several & (np.abs(share - 1) + 2 * error < LITTLE)
            sure = np.where(every & ruled_out(from_v, both), share - 2 * error, -np.inf)
            better = (sure > most[both]) & ~below_v
            most[both[better]], by[both[better]] = sure[better], v
        # of two that hold much of each other, the one that holds all comes after the other
        for c in np.argsort(-most, kind="stable")[: int((by >= 0).sum())].tolist():
            if up[c] == before[c] == up[by[c]]:
                up[c] = by[c]
        if (up == before).all():
            break
    return up


def _whole(family: Family) -> Bools:
    """The models that were not pruned, (n,): slopes are differences of squared distances, and those
    of pruned models are over other weights each."""
    every = np.arange(len(family))
    common = family.told(every, every).common
    return np.ones(len(family), dtype=bool) if common is None else np.all(common >= 1, axis=0)


class _Step(NamedTuple):
    """A step from u to v, and the models near to it: `under` of them, the first, hang from v, the
    others beside it."""

    u: int
    v: int
    near: Indices
    under: int


def _steps(parents: Indices, whole: Bools) -> Iterator[_Step]:
    """Those of a tree that any model is near to, of models that were not pruned."""
    below = children_of(parents)
    for v in np.flatnonzero((parents >= 0) & whole & whole[parents]).tolist():
        u = int(parents[v])
        under, beside = (k[whole[k]] for k in (below[v], below[u][below[u] != v]))
        if len(under) + len(beside):
            yield _Step(u, v, np.concatenate([under, beside]), len(under))


class _Steps:
    """How far models are apart, by the layers that tell."""

    def __init__(self, family: Family) -> None:
        self._family = family
        told = family.source.over(family.tells)
        norm = told.squared_norms().mean(axis=1)
        self._weight = np.sqrt(told.seen)
        self._scale = 1 / np.where(norm > 0, norm, np.inf)  # relative to the weights

    def shares(self, steps: Iterable[_Step]) -> Iterator[tuple[_Step, tuple[Array, Array]]]:
        """What the models near to each step hold of it, drift taken off, and the standard error,
        (k,) each. As many as PAIRS_TOGETHER models are looked at together."""
        some, many = list[_Step](), 0
        for step in steps:
            some.append(step)
            many += len(step.near)
            if many > PAIRS_TOGETHER:
                yield from zip(some, self._shares(some), strict=True)
                some, many = [], 0
        if some:
            yield from zip(some, self._shares(some), strict=True)

    def _shares(self, steps: Sequence[_Step]) -> Iterator[tuple[Array, Array]]:
        near = np.concatenate([step.near for step in steps])
        of = np.repeat(np.arange(len(steps)), [len(step.near) for step in steps])
        u, v = np.array([(step.u, step.v) for step in steps], dtype=np.intp).T
        told, squared = self._family.told, self._family.squared
        length = told(u, v).squared
        slope = (told(u[of], near).squared + length[:, of] - told(v[of], near).squared) / 2
        change = length * self._scale[:, None]
        # in layers that were frozen, rounding is all there is between a model and its parent
        moved = change > TRACE * (self._weight @ change) / self._weight.sum()
        slope /= np.where(moved, length, np.nan)[:, of]
        share = weighted_median(slope, self._weight)
        layers = np.isfinite(slope).sum(axis=0)
        error = _DEVIATION * weighted_median(np.abs(slope - share), self._weight)
        error /= np.sqrt(np.maximum(layers, 1))
        ratio = np.sqrt(squared(u[of], near) / np.maximum(squared(u, v), _NO_STEP)[of])
        ends = np.cumsum([len(step.near) for step in steps])[:-1]
        parts = (np.split(part, ends) for part in (share, error, ratio, layers))
        for step, own, stray, far, told_by in zip(steps, *parts, strict=True):
            yield _drift_off(own, stray, far, told_by, step.under)


def _drift_off(
    share: Array, error: Array, ratio: Array, layers: Indices, under: int
) -> tuple[Array, Array]:
    """The same without what goes with how far models went, as those beside the step show it."""
    ratio = np.minimum(ratio, _FAR_RATIO)
    went = under + np.flatnonzero(ratio[under:] > 1 / _FAR_RATIO)  # others show no drift
    others = share[went] / ratio[went]
    if len(others) >= OTHER_CHILDREN:
        drift = float(np.clip(np.median(others), 0.0, 1.0))
        share = share - drift * ratio
        error = error + float(np.median(np.abs(others - drift))) / 2 * ratio
    return share, np.where(layers > 0, error, np.inf)
