"""What was trained from a merge, and from that.

A merge is a leaf until proven otherwise. A model c that was trained from a merge t is t and a step
of its own. So the least squares of c over all kin but t give the merge's parents shares as they
have in t, where what was trained from one parent has that one alone. Of a merge that is no sum of
its parents, t itself is among the kin, and c holds all of it. A sum that takes the others back to
their start lies where what all trainings have in common leads, so nothing is proven there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.evidence.sums import DOUBLE, EQUAL_SHARES, Products
from mother.thresholds import LITTLE, MOST, NEARLY_ALL

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
NEAREST_KIN = 64  # of these, the nearest
NEARER = 8  # models, that may be nearer to a model than what it was trained from
PART = 0.4  # of what a model holds of a merge's parents, that is not of the first of them, likewise
ASKEW = 0.6  # times as far from the shares of a merge as from those of a parent alone, at most


@dataclass(frozen=True)
class Made:
    """What a merge was made of. shares: (k,) of these parents. exact: whether that is all of it."""

    parents: tuple[int, ...]
    shares: Array
    exact: bool


def trained_from(of: Products, merges: Mapping[int, Made]) -> dict[int, int]:
    """By model, the merge that it descends from, of those of which that is proven."""
    n, norm = len(of.total), np.diagonal(of.total)
    others = np.setdiff1d(np.arange(n), [*merges])
    if not merges or len(others) < 2:
        return {}
    apart = np.maximum(norm[:, None] + norm - 2 * of.total, DOUBLE * norm)
    joined = _joined(apart, others)
    home: dict[int, int] = {}
    for t, made in merges.items():
        if made.exact and _goes_back(of, made):
            continue
        nearer = (apart[others][:, others] < apart[others, t][:, None]).sum(axis=1)
        for c in others[(nearer <= NEARER) & of.kin(t)[others]].tolist():
            if c in home or c in made.parents:
                continue
            below = _below(of, c, others, joined, made.parents)
            beside = np.setdiff1d(others, below)
            if _follows_on(of, c, t, made) and _holds(of, c, t, made, beside):
                home |= dict.fromkeys(below, t)
    return home


def taught(of: Products, p: int, m: int, q: int) -> tuple[bool, bool]:
    """Of a model m on the line from a start p to q: whether any other was trained from m, and
    whether any was from q. Of two that lie on one line with their start, what something was trained
    from is likelier no merge.

    In q's absence q is m / s - p (1 - s) / s, s the share of the way to it at which m lies.
    """
    norm, k = np.diagonal(of.total), of.total
    share = (k[q, m] - k[q, p] - k[p, m] + k[p, p]) / (k[q, q] + k[p, p] - 2 * k[q, p])
    kin = np.setdiff1d(np.flatnonzero(of.kin(m)), [q])
    others = np.setdiff1d(kin, [p, m])
    far = (norm - 2 * k[others])[:, [p, m, q]]
    beside = others[far.argmin(axis=1) > 0]  # not those that are nearest to the start
    close = beside[np.argsort(norm[beside] - 2 * k[beside, m], kind="stable")]
    here = beyond = False
    for c in close[:NEARER].tolist():
        near = np.setdiff1d(_nearest(of, c, kin), [p, m])
        *_, start, holds = _shares(of, c, np.append(near, [p, m]))
        whole = holds + start  # of which `holds` is the way from the start, in steps to m
        if holds > MOST and _whole(of, m, c) and holds > NEARLY_ALL * whole:
            far_on = holds > (1 + 1 / share) / 2 * whole
            here, beyond = here or not far_on, beyond or far_on
    return here, beyond


def _joined(apart: Array, others: Indices) -> dict[int, list[int]]:
    """The neighbours of each in the shortest tree through these models."""
    from scipy.sparse.csgraph import minimum_spanning_tree  # slow to import, and rarely needed

    i, j = minimum_spanning_tree(apart[np.ix_(others, others)]).nonzero()
    out: dict[int, list[int]] = {k: [] for k in others.tolist()}
    for one, other in zip(others[i].tolist(), others[j].tolist(), strict=True):
        out[one].append(other)
        out[other].append(one)
    return out


def _below(
    of: Products,
    c: int,
    others: Indices,
    joined: Mapping[int, list[int]],
    made_of: tuple[int, ...],
) -> list[int]:
    """A model and what was trained from it, and from that."""
    below = [c]
    for p in below:
        for part in _beyond(joined, p, made_of):
            if part[0] not in below and _follows(of, part[0], p, np.setdiff1d(others, part)):
                below.append(part[0])
    return below


def _beyond(joined: Mapping[int, list[int]], c: int, made_of: tuple[int, ...]) -> list[list[int]]:
    """What the shortest tree joins to a merge's parents by way of c alone, by c's neighbours, the
    first of each."""
    out = []
    for first in joined[c]:
        part, seen = [first], {c, first}
        for k in part:
            new = [x for x in joined[k] if x not in seen]
            part += new
            seen.update(new)
        if not seen.intersection(made_of):
            out.append(part)
    return out


def _whole(of: Products, p: int, c: int) -> bool:
    """Whether c is not seen to lack anything of p."""
    return of.polarity(p, c) < max(LITTLE, 2 * of.faint(p, c))


def _shares(of: Products, c: int, among: Indices) -> Array:
    """The least squares of c over some models, (k,)."""
    k, norm = of.total, np.diagonal(of.total)[among]
    inner = k[np.ix_(among, among)] + np.diag(10 * DOUBLE * norm)
    return np.asarray(np.linalg.solve(inner, k[among, c]))


def _nearest(of: Products, c: int, among: Indices) -> Indices:
    """Those of some models that are c's kin, the nearest."""
    kin = among[of.kin(c)[among] & (among != c)]
    far = of.total[kin, kin] - 2 * of.total[kin, c]
    return np.asarray(kin[np.argsort(far, kind="stable")[:NEAREST_KIN]])


def _goes_back(of: Products, made: Made) -> bool:
    """Whether one of what a merge was made of is the start of the others, and has a share."""
    shares = zip(made.parents, made.shares.tolist(), strict=True)
    return any(
        share > 0 and all(_whole(of, p, q) for q in made.parents if q != p) for p, share in shares
    )


def _follows_on(of: Products, c: int, t: int, made: Made) -> bool:
    """Whether c is not seen to lack anything of t, nor to hold more than all where t is less than
    its parents: their start holds more."""
    more = abs(float(made.shares.sum()) - 1) > EQUAL_SHARES and of.polarity(t, c) < -LITTLE
    return _whole(of, t, c) and not more


def _holds(of: Products, c: int, t: int, made: Made, beside: Indices) -> bool:
    """Whether c was trained from t, and not from one of its parents."""
    if not made.exact:
        near = _nearest(of, c, beside)
        return float(_shares(of, c, np.append(near, t))[-1]) > MOST
    parents = np.array(made.parents)
    near = np.setdiff1d(_nearest(of, c, beside), parents)
    every = _shares(of, c, np.concatenate([parents, near]))
    found, others = np.split(every, [len(parents)])
    held = float(found @ made.shares / (made.shares @ made.shares))
    off = float(np.linalg.norm(found - held * made.shares))
    alone = float(np.linalg.norm(np.delete(found, found.argmax())))
    # where a model lies among many, as all others do, it holds a little of each
    apart = not len(others) or np.median(others) < ASKEW * np.abs(found).mean()
    told = alone > PART * float(np.linalg.norm(found))
    return bool(held > MOST and off < ASKEW * alone and told and apart)


def _follows(of: Products, c: int, p: int, among: Indices) -> bool:
    """Whether c was trained from p, beside others."""
    near = np.setdiff1d(_nearest(of, c, among), [p])
    return _whole(of, p, c) and float(_shares(of, c, np.append(near, p))[-1]) > MOST
