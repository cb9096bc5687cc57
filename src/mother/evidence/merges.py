"""Models put together from others: weighted sums of their parents, layer by layer (`sums`), or
weight by weight (`pieces`).

The same sum can be solved for any model in it: of A, B and M = (A + B) / 2, A = 2 M - B. Which of
them was made from the others is told by what they hold of each other, see `_made`. A merge is a
leaf: it takes part in nobody's search, and what was trained from it is a tree of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mother.evidence.mixed import KIN_MIXED, Mixed, mixed
from mother.evidence.onward import Made, taught, trained_from
from mother.evidence.pieces import SETS, Pieces, alike, glances, left_alone, pieced
from mother.evidence.recipes import BY_WEIGHT, MIXED, PART_OF_A_STEP, Merge
from mother.evidence.steps import projected
from mother.evidence.sums import ENOUGH_KIN, EQUAL_SHARES, Fit, Products, grown
from mother.measures import Measures
from mother.thresholds import LIKELY, LITTLE, PRECISE

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
ON_A_LINE = 0.6  # probability that the one between was made of the ends, not one of these: open
PIECED = 0.97  # the same of one that is put together weight by weight
COMMON = 0.5  # cosine of two steps, up to which trainings may have that much in common
ALONG = 0.9  # cosine of two steps, from which they are points of one run
# models that may be the parents of one put together weight by weight
NEAREST_PARENTS = 6  # those nearest to it
GLANCED_AT = 64  # of the nearest, of which it may have some weights
LONE_PARENTS = 4  # those of which it has what they alone have
ALL_PARENTS = 9  # with those of which it has some weights
IN_PART = 0.75  # probability of one that has of two others what no tree allows


@dataclass(frozen=True)
class Merged:
    """What merges do to the search of a tree among n models: they take no part in it.

    parent: (n,) the main parent of a merge, or of another leaf, -1 for most. home: (n,) the merge
    that a model was trained from, directly or not, -1 for most. loose: (n,) the leaves whose parent
    is but their nearest relative, until the tree of these is known.
    """

    merges: tuple[Merge, ...]
    parent: NDArray[np.intp]
    home: NDArray[np.intp]
    loose: Mask

    @classmethod
    def of(
        cls,
        m: Measures,
        rounding: Array | None = None,
        among: Mask | None = None,
        weights: Sequence[Array] = (),
    ) -> Merged:
        """Of all models, or of those `among`, (n,) bool; each from models that are no merges where
        that can be. m: of n models; layers that are absent in some of them are left out. rounding:
        (n,) the relative error that rounding left on each. weights: some of all models, (n, W) of
        some layers, for what is put together weight by weight.

        >>> x = np.random.default_rng(0).standard_normal((5, 20000))
        >>> base, a, b = x[0], x[0] + 0.1 * x[1], x[0] + 0.1 * x[2]
        >>> w = np.stack([base, a, b, 0.7 * a + 0.3 * b, a + 0.1 * x[4]])
        >>> m = Measures(("u",), ((100, 200),), np.array([20000]), (w @ w.T)[None])
        >>> [(x.child, x.parents, x.shares.round(3).tolist()) for x in Merged.of(m).merges]
        [(3, (1, 2), [0.7, 0.3])]
        """
        n = m.gram.shape[1]
        models = np.arange(n) if among is None else np.flatnonzero(among)
        noise = np.zeros(n) if rounding is None else rounding
        parent, home = np.full((2, n), -1, dtype=np.intp)
        loose = np.zeros(n, dtype=bool)
        products = Products.of(m, noise, models)
        if products is None or len(models) < 3:
            return cls((), parent, home, loose)
        fits = _found(products)
        taken = [w[models] for w in weights]
        pieces = _put_together(products, taken, noise[models], fits) if taken else {}
        made = {t: _named(products, fit) for t, fit in fits.items()}
        made |= {t: _by_weight(products, one) for t, one in pieces.items()}
        made |= _parts(products, made)
        sums = {t: Made(x.parents, x.shares, t in fits) for t, x in made.items()}
        onward = trained_from(products, sums)
        for c, found in onward.items():
            home[models[c]] = models[found]
        made |= _mixed(products, taken, noise[models], {*made, *onward})
        merges = []
        for t, merge in sorted(made.items()):
            merges.append(merge.renumbered(models))
            parent[models[t]] = merges[-1].parents[0]
        return cls(tuple(merges), parent, home, loose)

    def beside(self, leaves: NDArray[np.intp], *, loose: bool = False) -> Merged:
        """With other models that take no part in the search, (n,) the parent of each, -1 for
        most."""
        own = leaves >= 0
        parent = np.where(own, leaves, self.parent)
        return replace(self, parent=parent, loose=np.where(own, loose, self.loose))


def _found(of: Products) -> dict[int, Fit]:
    """By model, the merges among all: the surest first, which then take part in no other."""
    many = len(of.total)
    free = np.ones(many, dtype=bool)
    found: dict[int, Fit] = {}
    waiting = {t: x for t in range(many) if (x := of.explained(t, free))}
    while waiting:
        best = min(waiting.values(), key=lambda fit: _order(of, fit))
        del waiting[best.child]
        if not _made(of, best):
            continue
        found[best.child] = best
        free[best.child] = False
        for t in [t for t, x in waiting.items() if best.child in x.parents]:
            del waiting[t]
            if other := of.explained(t, free):
                waiting[t] = other
    for t in found:
        found[t] = _fewest(of, found, t, free)
    return dict(sorted(found.items()))


def _fewest(of: Products, found: Mapping[int, Fit], t: int, free: Mask) -> Fit:
    """The sum for a merge of the fewest models, merges among them; where as few do, of models that
    are none."""
    below = {t}
    while more := {c for c, x in found.items() if below.intersection(x.parents)} - below:
        below |= more
    others = free.copy()
    others[list(found.keys() - below)] = True
    fit = found[t]
    plain = fit if free[list(fit.parents)].all() else of.explained(t, free)
    every = (plain, fit, of.explained(t, others))
    return min((x for x in every if x is not None), key=lambda fit: len(fit.parents))


def _put_together(
    of: Products, weights: Sequence[Array], rounding: Array, sums: Mapping[int, Fit]
) -> dict[int, Pieces]:
    """By model, those that are no sums but pieces of others weight by weight. Of models that are
    pieces of each other, the one that holds what the others add, see `Pieces`, by steps that have
    nothing to do with each other."""
    free = np.ones(len(of.total), dtype=bool)
    free[list(sums)] = False

    seen = glances(weights)

    def explained(t: int) -> Pieces | None:
        kin = of.nearest(t, free, GLANCED_AT)
        some = [*of.partial(t, free, LONE_PARENTS), *alike(seen, rounding, t, kin)]
        near = [*dict.fromkeys([*some, *of.nearest(t, free, NEAREST_PARENTS)])]
        return pieced(weights, rounding, t, near[:ALL_PARENTS])

    def order(x: Pieces) -> tuple[float, ...]:
        cosine = of.cosines(x.start, [p for p in x.parents if p != x.start])
        bound = round(float(np.abs(cosine).max()), 1)
        kin = len(_beside(of, x.child, x.parents))
        return round(x.negative, 1), bound, round(x.left, 2), kin, x.child

    found: dict[int, Pieces] = {}
    waiting = np.flatnonzero(free).tolist()
    while some := [x for t in waiting if (x := explained(t))]:
        best = min(some, key=order)
        found[best.child] = best
        free[best.child] = False
        waiting = [x.child for x in some if x is not best]
    return found


def _parts(of: Products, known: Mapping[int, Merge]) -> dict[int, Merge]:
    """By model, those that hold a part of the step from one to another. known: other merges."""
    free = np.ones(len(of.total), dtype=bool)
    free[list(known)] = False
    found: dict[int, Merge] = {}
    for t in np.flatnonzero(free).tolist():
        near = of.nearest(t, free, NEAREST_PARENTS)
        part = projected(of, t, near)
        if part is not None:
            parents, whole, every = _nearest_sum(of, t, part.parents)
            sure = PIECED if of.side_by_side(parents, t) else ON_A_LINE
            found[t] = Merge(t, parents, whole, every, 0.0, PART_OF_A_STEP, sure=sure)
            free[t] = False
    return found


def _mixed(
    of: Products, weights: Sequence[Array], rounding: Array, known: Collection[int]
) -> dict[int, Merge]:
    """By model, those that no tree has a place for, and that have some weights of their start or of
    a parent as they are, the clearest first. known: other merges, and what was trained from these.
    """
    free = np.ones(len(of.total), dtype=bool)
    free[list(known)] = False
    found: dict[int, Merge] = {}

    def asked(t: int) -> Mixed | None:
        near = of.nearest(t, free, KIN_MIXED)
        some = [o for o in near if left_alone(weights, rounding, t, o)]
        # of what all trainings leave alone, stored coarsely, more models have a part
        return mixed(of, t, near, some) if 0 < len(some) <= 1 + SETS else None

    coarse = np.flatnonzero(free & (rounding > PRECISE)).tolist()
    waiting = {t: x for t in coarse if (x := asked(t))}
    while waiting:
        best = max(waiting.values(), key=lambda x: (round(x.excess, 2), -x.child))
        del waiting[best.child]
        parents, whole, every = _nearest_sum(of, best.child, (*best.parents, best.start))
        found[best.child] = Merge(
            best.child, parents, whole, every, of.left(best.child, parents), MIXED, sure=IN_PART
        )
        free[best.child] = False
        for t in [t for t, x in waiting.items() if best.child in (*x.parents, x.start)]:
            del waiting[t]
            if other := asked(t):
                waiting[t] = other
    return found


def _order(of: Products, fit: Fit) -> tuple[float, ...]:
    """Sums of positive shares before others. Of these those of steps that have little to do with
    each other (what trainings have in common is no opposition), that nothing was trained from; then
    those of fewer models."""
    last = len(fit.parents), round(fit.left, 3), fit.child
    if fit.negative <= EQUAL_SHARES:
        return 0.0, *last
    cosine = _cosines(of, fit)
    bound = round(float(np.abs(cosine).max()), 1)
    apart = float(cosine.min() < -LITTLE or bound > COMMON)
    return round(fit.negative, 2), apart, len(_beside(of, fit.child, fit.parents)), bound, *last


def _cosines(of: Products, fit: Fit) -> Array:
    """Between the steps from the parent that the others start from; 1 where there is none, 0 where
    there is one step."""
    for base in fit.parents:
        others = [p for p in fit.parents if p != base]
        if _starts(of, base, others):
            return of.cosines(base, others)
    return np.ones(1)


def _made(of: Products, fit: Fit) -> bool:
    """Whether the child of this sum is what was made, and not one of its parents.

    What all parents hold whole is their start, not their sum: negation, M = 1.5 O - 0.5 A,
    gives O as 2/3 M + 1/3 A. Of the mean of two, which holds as little of either, that can't be
    told, nor where steps are faint, and the sum is said; unless all kin beside it hold it, too. A
    sum with negative shares starts from one of its parents, and goes on in ways of their own: what
    fits a curve through the points of one run is one of these.
    """
    parents = list(fit.parents)
    if fit.negative > EQUAL_SHARES:
        return bool(_cosines(of, fit).max() < ALONG) and any(
            _starts(of, p, [q for q in parents if q != p]) for p in parents
        )
    if not fit.tells:  # layers taken whole: a parent and two children trained in others do it
        scales = grown(fit.layers).tolist()
        return any(_strays(of, fit.child, x, by) for x, by in zip(parents, scales, strict=True))
    if line := _line(of, fit):
        here, beyond = taught(of, *line)
        if here and not beyond:
            return False
    if len(kin := _beside(of, fit.child, parents)) > 1:
        return not _starts(of, fit.child, kin) or _mixes(of, fit.child, parents, kin)
    unseen = any(of.faint(fit.child, x) > LITTLE for x in parents)
    even = bool(np.ptp(fit.shares) < EQUAL_SHARES)
    return unseen or even or any(_strays(of, fit.child, x) for x in parents)


def _line(of: Products, fit: Fit) -> tuple[int, int, int] | None:
    """A start, what lies on the way from it and the end, where a sum and its two parents are
    that."""
    whole = abs(float(fit.shares.sum()) - 1) <= EQUAL_SHARES
    if len(fit.parents) != 2 or not whole or _varies(fit.layers):
        return None
    for p, q in (fit.parents, fit.parents[::-1]):
        share = fit.shares[fit.parents.index(q)]
        if share > 0 and _starts(of, p, [q]):
            return (p, fit.child, q) if share < 1 else (p, q, fit.child)
    return None


def _beside(of: Products, child: int, parents: Sequence[int]) -> list[int]:
    """The kin of what is made of others that are nearer to it than to these."""
    norm, some = np.diagonal(of.total), list(parents)
    near = norm + norm[child] - 2 * of.total[child]
    far = (norm + norm[some][:, None] - 2 * of.total[some]).min(axis=0)
    kin = (near < far) & of.kin(child)
    kin[[child, *some]] = False
    return [int(x) for x in np.flatnonzero(kin)]


def _starts(of: Products, p: int, others: Sequence[int]) -> bool:
    """Whether the others hold all of p, or more, as far as that can be seen: norms may grow."""
    seen = [x for x in others if of.faint(p, x) < LITTLE]
    return bool(seen) and all(of.polarity(p, x) < max(LITTLE, 2 * of.faint(p, x)) for x in seen)


def _mixes(of: Products, child: int, parents: Sequence[int], kin: Sequence[int]) -> bool:
    """Whether the child has of what its parents alone have, among kin, more than one of these has
    of the others', which were trained from it: where all trainings go one way, what lies near a
    parent looks like the start of all, and the parent like what is left when steps are taken away.
    """
    if len(kin) < ENOUGH_KIN:
        return False
    near = np.array(kin)
    held = {(c, p): abs(of.held_alone(c, p, near)) for c in (child, *parents) for p in parents}
    for o in parents:
        others = [p for p in parents if p != o]
        if _starts(of, o, others) and sum(held[child, p] - held[o, p] for p in others) > 0:
            return True
    return False


def _strays(of: Products, p: int, x: int, scale: float = 1.0) -> bool:
    """Whether x, multiplied by a number, is seen to lack something of p, or to hold more than
    all."""
    faint = of.faint(p, x, scale)
    return faint < LITTLE and abs(of.polarity(p, x, scale)) > max(LITTLE, 2 * faint)


def _named(of: Products, fit: Fit) -> Merge:
    """With the method by its shares, the parent of the largest first."""
    order = sorted(range(len(fit.parents)), key=lambda k: (-round(float(fit.shares[k]), 2), k))
    parents = tuple(fit.parents[k] for k in order)
    shares, layers = fit.shares[order], fit.layers[:, order]
    total = float(shares.sum())
    even = len(parents) > 2 and bool((np.abs(shares - 1 / len(parents)) < EQUAL_SHARES).all())
    if _varies(layers):
        method = "by block"
    elif even:
        method = "average"
    elif (shares < 0).any():
        method = "task arithmetic"
    elif total > 1 + 1e-4:
        method = "slerp"
    else:
        method = "linear"
    every = np.full((of.many, len(parents)), np.nan)
    every[of.layers] = layers
    kind = "average" if method == "average" else "merge"
    return Merge(fit.child, parents, shares, every, fit.left, method, kind, _sure(of, fit))


def _varies(layers: Array) -> bool:
    """Whether shares vary from layer to layer, (L, k)."""
    return bool(np.nanmax(np.nanstd(layers, axis=0)) > EQUAL_SHARES)


def _by_weight(of: Products, pieces: Pieces) -> Merge:
    """Shares are those of the sum that comes nearest."""
    parents, whole, every = _nearest_sum(of, pieces.child, pieces.parents)
    found = Merge(pieces.child, parents, whole, every, pieces.left, BY_WEIGHT, sure=PIECED)
    return replace(found, start=pieces.start, pieces=pieces.pieces)


def _nearest_sum(of: Products, t: int, some: Sequence[int]) -> tuple[tuple[int, ...], Array, Array]:
    """Parents, the one of the largest share first, their shares of the whole, and by layer."""
    s = np.array(some)
    shares, _, _ = of.solved(t, s)
    norm = of.weight * of.gram[:, t, t]
    whole = norm @ shares / norm.sum()
    order = sorted(range(len(s)), key=lambda k: (-round(float(whole[k]), 2), k))
    every = np.full((of.many, len(s)), np.nan)
    every[of.layers] = shares[:, order]
    return tuple(int(s[k]) for k in order), whole[order], every


def _sure(of: Products, fit: Fit) -> float:
    """The probability that the child is what was made. On the line through a parent and its
    child, a third model lies between them or beyond: which of two was made, nothing tells."""
    if line := _line(of, fit):
        here, beyond = taught(of, *line)
        told = beyond if fit.child == line[1] else here and not beyond
        return PIECED if told else ON_A_LINE
    if len(fit.parents) == 2 and not of.side_by_side(fit.parents, fit.child):
        return ON_A_LINE
    if any(of.faint(fit.child, p) > LITTLE for p in fit.parents):
        return LIKELY
    return 0.97 if fit.negative > EQUAL_SHARES else 0.99
