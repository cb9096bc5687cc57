"""Rows that training left untouched, in families too large for n x n matrices.

The same evidence as in rows.py, on samples and on candidate pairs. A sample does not say where
its rows end, so what is looked at is PART weights that follow one another in it: they are the same
in two models where no row that they lie in was touched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mother.evidence.rows import TOLERANCE, Rows
from mother.evidence.untouched import ROUNDED, picked, same_rows, varied
from mother.measures import is_matrix
from mother.measures.formats import COARSE, error_of
from mother.sketches.samples import Samples

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
PART = 32  # weights
PARTS = 512  # of each matrix, as many as rows of smaller families; of those of thousands fewer
PROBED = 8  # of each that are looked at first, for whether any are shared
HELD = 1 << 19  # parts of all models that are looked at together
LARGEST = 1 << 14  # models of a family


def gone_round(rows: Rows, i: Indices, j: Indices) -> NDArray[np.bool_]:
    """As `Rows.gone_round`, of pairs and of ways among them, (E,).

    >>> state = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]])
    >>> rows = Rows(state, np.ones((3, 3)), np.ones(3, bool))
    >>> gone_round(rows, np.array([0, 0, 1]), np.array([1, 2, 2]))
    array([False,  True, False])
    """
    if not rows.state.shape[1] or not len(i):
        return np.zeros(len(i), dtype=bool)
    by_all = _longer_than_round(rows, i, j)
    if len(rows.first) == 1:
        return by_all
    by_one = np.zeros(len(i), dtype=bool)
    for one in rows.matrices:
        if by_one[by_all].all():
            break
        by_one |= _longer_than_round(one, i, j)
    return by_all & by_one


def _longer_than_round(rows: Rows, i: Indices, j: Indices) -> NDArray[np.bool_]:
    apart = np.zeros(len(i))
    for state in rows.state.T:
        apart += state[i] != state[j]
    least, changes = bottlenecks(len(rows.state), i, j, apart)
    return rows.fewer(apart, least, changes)


def bottlenecks(n: int, i: Indices, j: Indices, weight: Array) -> tuple[Array, float]:
    """Of each pair of n points, (E,), the largest weight on the way between the two, over pairs,
    on which that is smallest; and the sum of the weights of a smallest spanning forest.

    Pairs are joined from the lightest on (Kruskal); what is joined first at a weight is its
    bottleneck. Of two parts that are joined the smaller one's pairs are gone through.

    >>> bottlenecks(3, np.array([0, 1, 0]), np.array([1, 2, 2]), np.array([1.0, 2.0, 5.0]))
    (array([1., 2., 2.]), 3.0)
    """
    part = list(range(n))
    members: list[list[int]] = [[k] for k in range(n)]
    pairs: list[list[int]] = [[] for _ in range(n)]
    one, two = i.tolist(), j.tolist()
    for e, (a, b) in enumerate(zip(one, two, strict=True)):
        pairs[a].append(e)
        pairs[b].append(e)
    least, total = np.full(len(one), np.nan), 0.0
    for e in np.argsort(weight, kind="stable").tolist():
        large, small = part[one[e]], part[two[e]]
        if large == small:
            continue
        if len(members[large]) < len(members[small]):
            large, small = small, large
        total += float(weight[e])
        for k in members[small]:
            for other in pairs[k]:
                if part[one[other] if two[other] == k else two[other]] == large:
                    least[other] = weight[e]
        for k in members[small]:
            part[k] = large
        members[large] += members[small]
        members[small] = []
    return least, total


def shared_parts(samples: Samples) -> Rows:
    """The parts that some models of a family share, of LAYERS matrices."""
    n = len(samples.rows)
    parts, most = list[tuple[NDArray[np.intp], Array]](), TOLERANCE
    for layer in _picked(samples) if n <= LARGEST else ():
        probed = _values(samples, layer, PROBED)
        tolerance = _tolerance(probed)
        if same_rows(probed, tolerance)[0].size:
            most = max(most, tolerance)
            count = max(PROBED, min(PARTS, HELD // n))
            parts.append(same_rows(_values(samples, layer, count), tolerance))
    return Rows.joined(parts, np.ones(n, dtype=bool), most)


def _picked(samples: Samples) -> list[int]:
    matrices = [
        k for k, shape in enumerate(samples.shapes) if is_matrix(shape) and samples.held[k] >= PART
    ]
    return [matrices[k] for k in picked([samples.shapes[k][0] for k in matrices])]


def _values(samples: Samples, layer: int, count: int) -> NDArray[np.float32]:
    """Some of a layer's parts, evenly spread, (n, parts, PART)."""
    start, many = int(samples.columns[layer]), int(samples.held[layer]) // PART
    parts = np.unique(np.linspace(0, many - 1, min(many, count)).astype(int))
    columns = start + parts[:, None] * PART + np.arange(PART)
    return varied(samples.rows[:, columns])


def _tolerance(values: NDArray[np.float32]) -> float:
    """By how much of its length a part may differ and be the same, as of a row."""
    most = TOLERANCE
    for kind in COARSE:
        if (values.astype(kind) == values).all(axis=(1, 2)).any():
            most = max(most, ROUNDED * error_of(kind))
    return most
