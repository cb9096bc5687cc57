"""Which rows and columns of a matrix are which of another one's, from these two alone.

Lengths in order tell a row from others, whatever order and signs its columns have. Rows and columns
are scaled until all are of one length first, which undoes any scales (Sinkhorn and Knopp 1967), and
each axis is then matched again as the other one has it.
"""

from __future__ import annotations

import numpy as np

from mother.layouts.units import Array, Order, assigned, cosines

MATCHING_ROUNDS = 3  # of matching each axis by the other
BALANCING = 10  # of scaling rows and columns
MATCHED_LEAST, MATCHED_SIDE = 8, 1024  # units of an axis that is matched


def unaided(one: Array, other: Array, seed: int = 0) -> tuple[Order, Order]:
    """The rows and the columns of the other's that are the one's, of matrices or kernels (rows,
    columns, ...). seed: what nothing tells apart goes where chance has it.

    >>> draw = np.random.default_rng(0)
    >>> own, rows, columns = draw.normal(size=(9, 12)), draw.permutation(9), draw.permutation(12)
    >>> moved = own[rows][:, columns] * draw.choice([-1, 1], 9)[:, None] * draw.uniform(1, 2, 12)
    >>> found = unaided(own, moved)
    >>> (rows[found[0]] == np.arange(9)).all(), (columns[found[1]] == np.arange(12)).all()
    (np.True_, np.True_)
    """
    a, b = balanced(one), balanced(other)
    turned, back = a.swapaxes(0, 1), b.swapaxes(0, 1)

    def by_columns(order: Order) -> Order:
        return matched(a, b[:, order], seed)

    def by_rows(order: Order) -> Order:
        return matched(turned, b[order].swapaxes(0, 1), seed)

    columns = matched(np.sort(turned, axis=1), np.sort(back, axis=1), seed)
    rows = matched(np.sort(a, axis=1), np.sort(b, axis=1), seed)
    found = []
    for pair in ((rows, by_rows(rows)), (by_columns(columns), columns)):
        for _ in range(MATCHING_ROUNDS):
            before, pair = pair, (again := by_columns(pair[1]), by_rows(again))
            if all(np.array_equal(x, y) for x, y in zip(before, pair, strict=True)):
                break
        found.append((float(np.square(a - b[pair[0]][:, pair[1]]).sum()), pair))
    return min(found, key=lambda each: each[0])[1]


def balanced(values: Array) -> Array:
    """Sizes of values (rows, columns, kernel), rows and columns scaled to one mean square."""
    sizes = np.abs(values.reshape(*values.shape[:2], -1)).astype(np.float64)
    sizes /= max(float(sizes.max(initial=0.0)), 1e-300)  # no square is too large then
    squares = np.square(sizes).sum(axis=2)
    down, across = np.ones(len(squares)), np.ones(squares.shape[1])
    for _ in range(BALANCING):
        down = _inverse((squares * across).mean(axis=1))
        across = _inverse((squares * down[:, None]).mean(axis=0))
    return np.asarray(sizes * np.sqrt(down)[:, None, None] * np.sqrt(across)[None, :, None])


def _inverse(means: Array) -> Array:
    return np.asarray(1 / np.where(means > 1e-200, means, np.inf))


def matched(one: Array, other: Array, seed: int) -> Order:
    """For each of the one's units, (n, ...), the other's that it is most like, all units' mean left
    out."""
    a, b = (x.reshape(len(x), -1) for x in (one, other))
    alike = np.maximum(cosines(a - a.mean(axis=0), b - b.mean(axis=0)), 0.0)
    order = np.random.default_rng(seed).permutation(len(b))
    return np.asarray(order[assigned(alike[:, order])])


def signs(one: Array, other: Array) -> tuple[Array, Array]:
    """Of rows and of columns, in which the other's sizes are the one's: the first singular vectors
    of what they have in common.

    >>> own, rows, columns = np.ones((3, 4)), np.array([1, -1, 1]), np.array([1, 1, -1, 1])
    >>> down, across = signs(own, own * rows[:, None] * columns)
    >>> (np.outer(down, across) == np.outer(rows, columns)).all()
    np.True_
    """
    product = (one.astype(np.float64) * other).reshape(*one.shape[:2], -1).sum(axis=2)
    left, _, right = np.linalg.svd(product, full_matrices=False)
    return tuple(np.where(x < 0, -1.0, 1.0) for x in (left[:, 0], right[0]))  # type: ignore[return-value]
