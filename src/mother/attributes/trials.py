"""Trials on what is stated: parts of it are hidden, foretold, and weigh as what is to be told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mother.attributes.pedigree import Array, Indices, Mask, Pedigree

FOLDS = 6  # parts of what is stated, of which each is foretold from the others
CUT = 0.5  # of all links, between parts
FAR = 6  # links to what is stated, beyond which distances are not told apart
MOST = 10.0  # what a cell that was tried weighs at most
DOUBTED = 2.0  # beliefs that are taken to have been wrong, and right, before any was tried
_POWERS, _TRUSTS = (0.25, 1.5), (0.05, 0.99)
_SEED = 0


def folds(pedigree: Pedigree) -> Indices:
    """(rows,) the part that each row is in. What is joined by links that are not cut is in one, so
    that some rows are foretold from near relatives and others from far ones."""
    rng = np.random.default_rng(_SEED)
    kept = rng.random(len(pedigree.parent)) >= CUT
    ends = (pedigree.parent[kept], pedigree.child[kept])
    joined = coo_array((np.ones(len(ends[0])), ends), shape=(pedigree.rows, pedigree.rows))
    many, branch = connected_components(joined, directed=False)
    return np.asarray(rng.integers(FOLDS, size=many)[branch])


def nearest(pedigree: Pedigree, told: Mask) -> Indices:
    """(rows,) links to the next row that is told, from 0; `FAR` stands for so many and more, one
    more than that for rows of whose family none is told."""
    some = np.bincount(pedigree.family[told], minlength=pedigree.families) > 0
    out = np.where(told, 0, np.where(some[pedigree.family], FAR, FAR + 1))
    for _ in range(FAR - 1):
        further = out + 1
        np.minimum.at(out, pedigree.parent, further[pedigree.child])
        np.minimum.at(out, pedigree.child, further[pedigree.parent])
    return out


def weights(tried: Indices, wanted: Indices) -> Array:
    """Of cells that were tried, tried links away from what is stated, so that together they are as
    far away as those that are wanted (Shimodaira 2000).

    >>> weights(np.array([2, 2, 2, 4]), np.array([2, 4])).round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    if not len(wanted):
        return np.ones(len(tried))
    had, want = (np.bincount(x, minlength=FAR + 2) / max(len(x), 1) for x in (tried, wanted))
    return np.asarray(np.clip(want / np.maximum(had, 1e-9), 1 / MOST**3, MOST)[tried])


def mean(values: Array, weight: Array) -> tuple[float, float]:
    """And the standard error."""
    if not len(values):
        return 0.0, 0.0
    found = float(weight @ values / weight.sum())
    return found, float(np.sqrt(weight**2 @ (values - found) ** 2) / weight.sum())


def quantile(values: Array, weight: Array, part: float) -> float:
    """What a part of all values does not exceed, one more being taken to be larger than all
    (Tibshirani and others 2019, sec. 2).

    >>> quantile(np.arange(1.0, 20), np.ones(19), 0.9)
    18.0
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / (weight.sum() + weight.mean())
    return float(values[order[min(int((reached < part - 1e-12).sum()), len(values) - 1)]])


@dataclass(frozen=True)
class Sure:
    """What makes beliefs as sure as they are right: to a power, and mixed with what the family
    states, whoever is near, and what is stated altogether. A low power is little belief, the trust
    is how often a belief tells at all, and else the family how often."""

    power: float
    trust: float
    family: float

    @staticmethod
    def of_those(beliefs: Array, family: Array, base: Array, place: Indices, weight: Array) -> Sure:
        """That under which the values that were hidden are likeliest. place: (n,) of each."""
        here = np.arange(len(place))

        def cost(x: Array) -> float:
            right = float(weight @ np.log(Sure(*x).of(beliefs, family, base)[here, place]))
            before = DOUBTED * float(np.log(x[1:] * (1 - x[1:])).sum())
            return -(right + before) / max(len(place), 1)

        bounds = (_POWERS, _TRUSTS, _TRUSTS)
        return Sure(*minimize(cost, (1.0, 0.9, 0.3), bounds=bounds).x.tolist())

    def of(self, beliefs: Array, family: Array, base: Array) -> Array:
        """Probabilities, (n, K); family, base: the shares of what is stated, likewise."""
        told = np.maximum(beliefs, 1e-12) ** self.power * base ** (1 - self.power)
        told *= self.trust / told.sum(1, keepdims=True)
        left = self.family * family / family.sum(1, keepdims=True)
        left += (1 - self.family) * base / base.sum(1, keepdims=True)
        return np.asarray(told + (1 - self.trust) * left)
