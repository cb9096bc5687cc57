"""Common ancestors that are not among the models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mother.evidence.kinds import Evidence
from mother.measures.clustering import children_of, groups, joined
from mother.thresholds import LITTLE, SLIGHT
from mother.trees.forest import Hidden
from mother.trees.neighbours import spanning_tree

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
SIBLINGS = 0.25  # polarity from which p and c are siblings: halfway from parent (0) to twin (0.5)
FEWEST_AROUND = 3  # children, of whom together it is asked whether they forget


def hidden_ancestors(
    parents: Indices,
    squared: Array,
    lacking: Array,
    reverse: Array,
    chance: Array,
    apart: Callable[[Indices], Array],
    said: Sequence[Evidence] = (),
) -> tuple[Indices, list[Hidden], NDArray[np.bool_]]:
    """Where a node's children lack too much of it for a parent, they hang beside it, from what it
    hangs from itself, or, at the top of a tree, from an ancestor that nobody gave us, if that makes
    the tree shorter; of two models alone lack decides, if each lacks of the other. Children of one
    model that were trained alike go a part of their way together, as from an ancestor between.

    All siblings of a node lack the same of it, what it went through after that ancestor, however
    far they went themselves; what a true child forgets grows with how far it went. Siblings of
    siblings are siblings. Polarity outside [0, 1] is the work of shrinking or growing, which a
    hidden ancestor can't do: where one edge in twenty shows it, lack is no evidence.

    Args:
        squared: |p - c|^2 of each model c and its parent p, (n,), whatever stands at a root.
        lacking: <p - c, p>, (n,).
        reverse: <c - p, c>, (n,).
        chance: the variance of `lacking` in a step that knows nothing of p, (n,).
        apart: squared distances of some models, (k,) their numbers, (k, k).
        said: by kinds of evidence that know of true children; they overrule what lack says.

    Returns:
        Parents (n,), hidden ancestors, and (n,) the models that lack says to be their parents'
        siblings where too few are beside them for distances to tell: which of the two came first is
        open.

    >>> D2 = np.full(3, 2.0)
    >>> far = lambda members: 2.0 * (1 - np.eye(len(members)))
    >>> hidden_ancestors(np.array([-1, 0, 0]), D2, D2 / 2, D2 / 2, D2 / 1000, far)[:2]
    (array([-1, -1, -1]), [Hidden(children=(0, 1, 2), parent=-1, polarity=0.5)])
    """
    n = len(parents)
    child = np.flatnonzero(parents >= 0)
    lack, length = lacking[child], squared[child]
    if np.mean((lack > length) | (lack < -SIBLINGS * length)) >= SLIGHT:
        return parents, [], np.zeros(n, dtype=bool)
    inherited = np.zeros(n, dtype=bool)
    for one in said:
        inherited |= one.descended(parents)
    twin = np.zeros(n, dtype=bool)  # of its parent
    polarity = np.zeros(n)
    below = children_of(parents)
    for node in _parents_first(parents, below):
        children = below[node]
        lack, length = lacking[children], squared[children]
        if len(children) == 0 or length.sum() == 0:
            continue
        beside = _siblings(lack, length, chance[children])
        if twin[node]:
            beside |= lack > reverse[node] / 2
        if beside.any():
            # who shares its start with some of them lacks as twins do from none that it bore, or
            # what the others lack, by going far a small part of the way
            alike = (lack > np.median(lack[beside]) / 2) & (lack < 2 * np.median(lack[beside]))
            sure = lack > 3 * np.sqrt(chance[children])
            beside |= ((lack > SIBLINGS * length) | alike) & sure
            beside &= ~inherited[children]
            if any(one.between(node, children[beside]) for one in said):
                beside[:] = False
        if beside.any():
            polarity[node] = lack[beside].sum() / length[beside].sum()
            twin[children[beside]] = True
    out, hidden, doubted = parents.copy(), list[Hidden](), twin & (parents >= 0)
    twins = np.flatnonzero(twin)
    for group in groups(joined(n, twins, parents[twins])):
        top = next(i for i in group if parents[i] < 0 or not twin[i])
        around = np.array(group + ([int(parents[top])] if parents[top] >= 0 else []))
        between = n == 2 and (reverse[child] > SIBLINGS * squared[child]).all()
        doubted[group] &= len(around) < FEWEST_AROUND
        if len(group) > 1 and (between or saved(apart(around)) > LITTLE):
            out[group], doubted[group] = parents[top], False
            if parents[top] < 0:
                hidden.append(Hidden(tuple(group), -1, float(polarity[top])))
    return out, hidden, doubted


def saved(squared: Array) -> float:
    """Which share of the length of their minimum spanning tree models save as children of one
    ancestor, by their squared distances (k, k). Two or fewer save nothing.

    Each child is as far from the ancestor as distances add up best, by least squares.

    >>> saved(2.0 * (1 - np.eye(3)))
    0.25
    """
    k = len(squared)
    if k < FEWEST_AROUND:
        return 0.0
    far = (squared.sum(axis=0) - squared.sum() / (2 * k - 2)) / (k - 2)
    i, j = np.triu_indices(k, 1)
    tree = spanning_tree(k, i, j, squared[i, j])
    child = np.flatnonzero(tree >= 0)
    return float(1 - far.sum() / squared[child, tree[child]].sum())


def _siblings(lack: Array, length: Array, chance: Array) -> NDArray[np.bool_]:
    """Which children of one node are its siblings, (k,): those that all lack alike, or all that
    lack much where together they lack as much as siblings do. None where what all of them lack
    grows with how far they went, unless each lacks of the node what the node lacks of it."""
    sure = lack > 3 * np.sqrt(chance)
    even = sure.any() and abs(np.median(lack[sure] / length[sure]) - 0.5) < LITTLE
    if sure.sum() >= FEWEST_AROUND and _slope(length[sure], lack[sure]) >= 1 and not even:
        return np.zeros(len(lack), dtype=bool)
    alike = (lack >= lack.max() / 2) & (lack > LITTLE * length) & (lack <= length) & sure
    if _slope(length[alike], lack[alike]) < 1:
        return np.asarray(alike)
    error = np.sqrt(chance.sum()) / length.sum()
    if lack.sum() / length.sum() - error > SIBLINGS and (lack <= length).all():
        return np.asarray((lack > length * SIBLINGS) | (lack > lack.max() / 2))
    return np.zeros(len(lack), dtype=bool)


def _slope(length: Array, lack: Array) -> float:
    """Of the logarithm of what children lack on that of how far they went: 0 between siblings, 1
    and more for what training forgets; NaN where nothing tells."""
    x, y = np.log(length), np.log(lack)
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 1 and np.ptp(x) > 0 else np.nan


def _parents_first(parents: Indices, below: list[Indices]) -> list[int]:
    order = np.flatnonzero(parents < 0).tolist()
    for node in order:
        order += below[node].tolist()
    return order
