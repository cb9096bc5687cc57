"""A model as a weighted sum of others, in every layer, told by inner products alone.

The least squares of a model t over others leaves nothing where t is such a sum, whatever the names.
In a tree it leaves much. On a tree where steps are independent the vectors from a model to its
neighbours are orthogonal, so the best sum of k of them is off by the harmonic sum

    h = 1 / sum_s 1 / d_s^2,        d_s = the distance to neighbour s,

and steps that have something in common leave more. A parent of many children is near to their mean
for that reason, and the middle of a chain lies between its ends; both leave h. So what is left, u,
is held against h, in every layer by itself, and against what rounding leaves. Shares need not add
up to one (spherical interpolation), and what a model shrank by as a whole counts for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import COSINE
from mother.measures import Measures, is_matrix
from mother.thresholds import LARGELY, LITTLE, ROUNDED_AGAIN, SLIGHT, TRACE

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
MAX_PARENTS = 16  # parents of one model
GAIN = 0.02  # of what is left, that another parent explains at least
SUM_LEAVES = 1e-3  # of the harmonic sum, that a merge leaves at most
LINE_LEAVES = 1e-4  # likewise, of what lies between a model and its descendant
SEEN_APART = 16.0  # times what rounding leaves, that the parents of a merge are apart at least
DOUBLE = 1e-13  # of a squared norm: what sums in float64 leave
SINGLE = 1e-7  # of a squared step: what sums in float32 leave, which products begin with
ENOUGH_KIN = 3  # that tell which of two models descends from the other, at least
KIN_ASKED = 16  # kin that are looked at for it
KIN_COSINE = 0.5  # cosine of two models that are looked at as kin
EQUAL_SHARES = 0.02  # coefficients that differ by less are equal


@dataclass(frozen=True)
class Fit:
    """A model as a sum of others, layer by layer: `Merge` without a name. negative: the sum of its
    negative shares. tells: whether there are layers in which it is none of its parents. fine:
    whether next to nothing is left in these."""

    child: int
    parents: tuple[int, ...]
    shares: Array
    layers: Array
    left: float
    negative: float
    tells: bool
    fine: bool


@dataclass(frozen=True)
class Products:
    """Inner products of n models. gram: (L, n, n); weight: (L,) of each layer; total: (n, n), their
    weighted sum; noise: (n,) the squared relative error of rounding; variance: (L,) of a cosine."""

    gram: Array
    sizes: Array
    weight: Array
    total: Array
    noise: Array
    variance: Array
    layers: NDArray[np.intp]
    many: int

    @classmethod
    def of(cls, m: Measures, rounding: Array, models: NDArray[np.intp]) -> Products | None:
        """Of some models, in the matrices that all of them have; None where there is none."""
        norms = np.diagonal(m.gram, axis1=1, axis2=2)[:, models]
        matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
        usable = np.isfinite(norms).all(axis=1) & (norms > 0).all(axis=1)
        if (usable & matrices).any():
            usable &= matrices
        layers = np.flatnonzero(usable)
        if not len(layers):
            return None
        gram = m.gram[np.ix_(layers, models, models)]
        sizes = m.sizes[layers].astype(np.float64)
        weight = sizes / sizes.sum() / np.median(norms[layers], axis=1)
        variance = COSINE**2 + 1 / m.seen[layers]
        total = np.tensordot(weight, gram, 1)
        noise = rounding[models] ** 2
        return cls(gram, sizes, weight, total, noise, variance, layers, len(m.names))

    def explained(self, t: int, free: Mask) -> Fit | None:
        """Model t as a sum of as few of the free models as leave nothing; None where all leave
        something. Of two merges of the same models each is a sum of the other and of these, with
        negative shares: without it they may go."""
        found = self._selected(t, free)
        if found is None or found.negative <= EQUAL_SHARES:
            return found
        every = [found]
        for p in found.parents:
            others = free.copy()
            others[p] = False
            every += [x for x in [self._selected(t, others)] if x is not None]
        return min(every, key=lambda fit: round(fit.negative, 2))

    def _selected(self, t: int, free: Mask) -> Fit | None:
        """Forward selection by orthogonal least squares (Chen, Billings and Luo 1989)."""
        product, allowed = self.total, free.copy()
        allowed[t] = False
        with_t, left = product[t].copy(), float(product[t, t])
        norm = np.diagonal(product)
        own = norm.copy()  # squared, of what of each the chosen ones don't hold
        chosen: list[int] = []
        basis: list[Array] = []
        while len(chosen) < MAX_PARENTS:
            usable = allowed & (own > DOUBLE * norm)
            gain = np.where(usable, with_t**2 / np.where(usable, own, 1.0), 0.0)
            s = int(np.argmax(gain))
            if gain[s] <= (max(GAIN * left, 0.0) if chosen else 0.0):
                break
            ray = product[s] - sum(b[s] * b for b in basis)
            ray /= np.sqrt(own[s])
            step = with_t[s] / np.sqrt(own[s])
            with_t, own, left = with_t - step * ray, own - ray**2, left - step**2
            basis.append(ray)
            chosen.append(s)
            allowed[s] = False
            if len(chosen) > 1 and (found := self._sparse(t, chosen)):
                return found
        # a model that was trained from t is nearer to it than what t was made of, and leads astray
        whole = [int(s) for s in self.supports.get(t, ()) if free[s]]
        return self._sparse(t, whole) if len(whole) > 1 else None

    @cached_property
    def inverse(self) -> Array:
        """Of the products, (n, n)."""
        norm = np.diagonal(self.total)
        return np.asarray(np.linalg.inv(self.total + np.diag(0.1 * DOUBLE * norm)))

    def partial(self, t: int, free: Mask, most: int) -> list[int]:
        """The free models that have the largest shares in the sum of all others that is nearest to
        t: those of which it has what they alone have."""
        share = np.where(free, np.abs(self.inverse[t]), 0.0)
        share[t] = 0.0
        order = np.argsort(-share, kind="stable")[:most].tolist()
        return [k for k in order if share[k] > 0]

    @cached_property
    def supports(self) -> dict[int, NDArray[np.intp]]:
        """By model that a sum of all others gives, those that have a part in the sum. In a tree of
        independent steps 1 / (inverse of the products)_tt is the harmonic sum over t's edges."""
        norm = np.diagonal(self.total)
        inverse = self.inverse
        left = 1 / np.diagonal(inverse)
        apart = norm[:, None] - self.total**2 / norm
        np.fill_diagonal(apart, np.inf)
        hidden = 2 * self.noise * norm + DOUBLE * norm
        exact = left <= ROUNDED_AGAIN * hidden + SUM_LEAVES * apart.min(axis=1)
        shares = -inverse * left[:, None]
        np.fill_diagonal(shares, 0.0)
        parts = {int(t): np.flatnonzero(np.abs(shares[t]) > TRACE) for t in np.flatnonzero(exact)}
        return {t: s for t, s in parts.items() if len(s) <= MAX_PARENTS}

    def _sparse(self, t: int, chosen: Sequence[int]) -> Fit | None:
        found = self._exact(t, chosen)
        found = self._fewest(found) if found else None
        if found is None or (found.tells and found.fine):
            return found
        by = np.ones(len(found.parents)) if found.tells else grown(found.layers)
        return found if self.side_by_side(found.parents, t, by) else None

    def _exact(self, t: int, chosen: Sequence[int]) -> Fit | None:
        """The fit of t by these, if it leaves nothing."""
        s = np.array(chosen)
        norm, own = self.gram[:, t, t], np.diagonal(self.gram, axis1=1, axis2=2)[:, s]
        shares, left, apart = self.solved(t, s)
        harmonic = 1 / (1 / apart).sum(axis=1)
        hidden = self.noise[t] * norm + (shares**2 * own) @ self.noise[s] + DOUBLE * norm
        hidden += SINGLE * apart.max(axis=1)
        again = 2 * ROUNDED_AGAIN * hidden  # where little is hidden, however often it was done
        plain = again < SLIGHT * harmonic
        plain &= self.weight @ left < SLIGHT / (1 / (self.weight @ apart)).sum()
        rounded = np.where(plain, again, ROUNDED_AGAIN * hidden)
        exact = left <= rounded + SUM_LEAVES * harmonic
        tells = harmonic > SEEN_APART * hidden
        if not self.sizes[exact].sum() >= LARGELY * self.sizes.sum():
            return None
        if not self.sizes[exact & tells].sum() >= LARGELY * self.sizes[tells].sum():
            return None
        differ = (apart > SEEN_APART * hidden[:, None]).any(axis=1)
        if not differ.any():  # all the same but for rounding
            return None
        heavy = self.weight * exact
        nearest, spread = heavy @ apart, float(heavy @ left)
        if nearest.min() <= ROUNDED_AGAIN * (heavy @ hidden):  # one of them is as good
            return None
        if spread > 1 / (1 / nearest).sum() / ROUNDED_AGAIN:  # rounding hides the steps themselves
            return None
        whole = (self.weight * norm)[differ] @ shares[differ] / (self.weight * norm)[differ].sum()
        negative = float(-np.minimum(whole, 0.0).sum())
        by_layer = np.where(differ[:, None], shares, np.nan)
        told = exact & tells
        fine = told & (left <= np.where(plain, again, 0.0) + LINE_LEAVES * harmonic)
        return Fit(
            t,
            tuple(chosen),
            whole,
            by_layer,
            float(self.weight @ left / (self.weight @ apart).min()),
            negative,
            bool(told.any()),
            bool(self.sizes[fine].sum() >= LARGELY * self.sizes[told].sum()),
        )

    def solved(self, t: int, s: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Least squares of t by k models, in each layer: shares, (L, k), what is left of |t|^2,
        (L,), and by how much each of them alone is off, (L, k)."""
        inner, with_t = self.gram[:, s[:, None], s], self.gram[:, s, t]
        norm, own = self.gram[:, t, t], np.diagonal(inner, axis1=1, axis2=2)
        shares = (np.linalg.pinv(inner, 1e-12, hermitian=True) @ with_t[..., None])[..., 0]
        both = (shares[:, None] @ inner @ shares[..., None])[:, 0, 0]
        left = np.maximum(norm - 2 * (shares * with_t).sum(axis=1) + both, 0.0)
        apart = np.maximum(norm[:, None] - with_t**2 / own, DOUBLE * norm[:, None])
        return shares, left, apart

    def left(self, t: int, some: Sequence[int]) -> float:
        """Of the squared step from the nearest of some models to t, what no sum of them gives."""
        _, left, apart = self.solved(t, np.array(some))
        return float(self.weight @ left / max((self.weight @ apart).min(), np.finfo(float).tiny))

    def nearest(self, t: int, free: Mask, most: int) -> list[int]:
        """The free models that are nearest to t."""
        norm = np.diagonal(self.total)
        far = np.where(free, norm - 2 * self.total[t], np.inf)
        far[t] = np.inf
        order = np.argsort(far, kind="stable")[:most].tolist()
        return [k for k in order if np.isfinite(far[k])]

    def _fewest(self, fit: Fit) -> Fit:
        """The same without the parents that it can do without."""
        for s in sorted(fit.parents, key=lambda p: abs(fit.shares[fit.parents.index(p)])):
            fewer = [p for p in fit.parents if p != s]
            if len(fewer) > 1 and (found := self._exact(fit.child, fewer)):
                fit = found if found.fine or not fit.fine else fit
        return fit

    def side_by_side(self, s: Sequence[int], t: int, by: Array | None = None) -> bool:
        """Whether no two of these are a model and its descendant. Layers taken whole from one or
        the other make no merge t there: a first step in some layers and a second in others leave
        the same, and are likelier. Nor does what lies between them but for a little: a training
        that goes smoothly passes there. by: (k,) what t has each multiplied by."""
        scales = dict(zip(s, np.ones(len(s)) if by is None else by, strict=True))
        pairs = [(p, c) for p in s for c in s if p != c]
        return all(
            self.polarity(p, c, scales[c] / scales[p]) > 2 * LITTLE or self._apart(p, c, t)
            for p, c in pairs
        )

    def _apart(self, p: int, c: int, t: int) -> bool:
        """Whether c lacks what p alone has: where all trainings grow in one way, polarity does not
        tell it. t says nothing of it."""
        k, norm = self.total, np.diagonal(self.total)
        kin = self.kin(p)
        kin &= norm - 2 * k[p] < norm - 2 * k[c] + norm[c] - norm[p]  # and not what c has as well
        kin[[p, c, t]] = False
        near = np.flatnonzero(kin)
        return len(near) >= ENOUGH_KIN and self.held_alone(c, p, near) < LARGELY

    def kin(self, k: int) -> Mask:
        """The models that are close to model k, itself among them, (n,)."""
        norm = np.diagonal(self.total)
        return np.asarray(self.total[k] > KIN_COSINE * np.sqrt(norm * norm[k]))

    def held_alone(self, c: int, m: int, kin: NDArray[np.intp]) -> float:
        """How much of what m alone has, and none of its kin, c has. What kin have in common, as
        those do that were trained alike, is no sign of descent."""
        k = self.total
        near = kin[np.argsort(k[kin, kin] - 2 * k[kin, m], kind="stable")[:KIN_ASKED]]
        shares = np.linalg.pinv(k[np.ix_(near, near)], 1e-12, hermitian=True) @ k[near, m]
        alone = k[m, m] - k[m, near] @ shares
        return float((k[c, m] - k[c, near] @ shares) / max(alone, DOUBLE * k[m, m]))

    def polarity(self, p: int, c: int, scale: float = 1.0) -> float:
        """<p - c, p> / |p - c|^2: 0 where c, multiplied by a number, holds all of p."""
        own, inner, other = (self.total[p, p], self.total[p, c], self.total[c, c])
        squared = own + scale**2 * other - 2 * scale * inner
        return float((own - scale * inner) / squared) if squared > 0 else 0.0

    def cosines(self, base: int, others: Sequence[int]) -> Array:
        """Between the steps from a model to others, of all pairs, and 0."""
        k, s = self.total, list(others)
        step = k[np.ix_(s, s)] - k[base, s] - k[s, base][:, None] + k[base, base]
        length = np.sqrt(np.maximum(np.diagonal(step), 1e-300))
        pairs = np.triu_indices(len(s), 1)
        return np.append(0.0, (step / length / length[:, None])[pairs])

    def faint(self, p: int, c: int, scale: float = 1.0) -> float:
        """The standard error of that polarity."""
        own, inner, other = (self.gram[:, a, b] for a, b in ((p, p), (p, c), (c, c)))
        squared = np.maximum(own + scale**2 * other - 2 * scale * inner, 0.0)
        spread = np.sqrt((self.weight**2 * self.variance * own * squared).sum())
        return float(spread / max(self.weight @ squared, 1e-300))


def grown(layers: Array) -> Array:
    """What a model has multiplied each of its parents by, (k,), from its shares of them by layer,
    (L, k), in those layers that it took whole."""
    whole = np.where(np.nan_to_num(layers) > 0.5, layers, np.nan)
    return np.array([np.nanmedian(x) if np.isfinite(x).any() else 1.0 for x in whole.T])
