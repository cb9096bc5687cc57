"""Common ancestors that are not among the models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.clustering import components
from mother.heritage.forest import Hidden

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
SIBLINGS = 0.25  # polarity from which p and c are siblings: halfway from parent (0) to twin (0.5)
SCALED = 0.05  # share of edges with polarity outside [0, 1] from which a family shrank or grew
OUTSIDE = -0.1  # polarity below which that is not chance


def hidden_ancestors(
    parents: Indices, squared: Array, lacking: Array, chance: Array
) -> tuple[Indices, list[Hidden]]:
    """Where a node's children lack too much of it for a parent, all of them hang beside it, from
    an ancestor that nobody gave us.

    All children of a node tell of the same thing, what it went through after that ancestor: they
    are judged together, beyond a standard error, and siblings of siblings are siblings. Such a
    node keeps those children that hold more than half of what its siblings lack. Polarity outside
    [0, 1] is the work of shrinking or growing, which a hidden ancestor can't do: where one edge in
    twenty shows it, lack is no evidence.

    squared: |p - c|^2; lacking: <p - c, p>; chance: its variance in a step that knows nothing
    of p; all (n, n).

    >>> D2 = np.array([[0., 2., 2.], [2., 0., 2.], [2., 2., 0.]])
    >>> hidden_ancestors(np.array([-1, 0, 0]), D2, D2 / 2, D2 / 1000)
    (array([-1, -1, -1]), [Hidden(children=(0, 1, 2), parent=-1, polarity=0.5)])
    """
    n = len(parents)
    child = np.flatnonzero(parents >= 0)
    above = parents[child]
    lack, length = lacking[above, child], squared[above, child]
    if np.mean((lack > length) | (lack < OUTSIDE * length)) >= SCALED:
        return parents, []
    twins = np.zeros((n, n), dtype=bool)
    polarity = np.zeros(n)
    for node in _parents_first(parents):
        children = np.flatnonzero(parents == node)
        lack, length = lacking[node, children], squared[node, children]
        if len(children) == 0 or length.sum() == 0:
            continue
        polarity[node] = lack.sum() / length.sum()
        error = np.sqrt(chance[node, children].sum()) / length.sum()
        up = int(parents[node])
        if polarity[node] - error > SIBLINGS and (lack <= length).all():
            own = (lack <= length * SIBLINGS) & (lack <= lack.max() / 2)
            siblings = children[~own]
        elif up >= 0 and twins[node, up]:
            siblings = children[lack > lacking[node, up] / 2]
        else:
            continue
        twins[node, siblings] = twins[siblings, node] = True
    out, hidden = parents.copy(), []
    for group in components(twins):
        if len(group) > 1:
            top = next(i for i in group if parents[i] < 0 or not twins[i, parents[i]])
            out[group] = -1
            hidden.append(Hidden(tuple(group), int(parents[top]), float(polarity[top])))
    return out, hidden


def _parents_first(parents: Indices) -> list[int]:
    order = np.flatnonzero(parents < 0).tolist()
    for node in order:
        order += np.flatnonzero(parents == node).tolist()
    return order
