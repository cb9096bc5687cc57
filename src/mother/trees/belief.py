"""What is believed of an edge: that it is one, that it is one the other way round, or neither.

A tree's search and its root are right where its model of training is right, and nothing within one
family tells where it is not. So what they say of an edge is weighed by how often edges that looked
like it were right in a population of trainings (experiments/population): whether the two are parent
and child at all, and which is which, by a logistic regression each. Fitted on one half of the
population and, twice, on families of the builder and real ones; judged on the other half, which has
other architectures and other optimizers.
docs/research/whitened.md has the figures.
"""

from __future__ import annotations

import numpy as np

from mother.measures.products import Array, Indices

#: log-odds that two are joined by rights, and of the direction: constant, how near a third model is
#: to both ends, logarithm of how many neighbours p has, asinh of half the log-odds a tree tells
OF_SEVERAL = np.array([[-0.632, 3.261, 0.725, 0.0], [0.383, 0.0, 0.0, 1.746]])
#: of two models without a third, the first and the second against the third: constant, log-odds of
#: the direction
OF_TWO = np.array([[0.518, 0.114], [0.372, -0.780]])
MOST_ODDS = 12.0  # log-odds of a direction beyond which edges are right no more often
FAR_OFF = 1.0  # logarithm beyond which a third model is far
CLOSE_BY = -6.0  # and below which it is as near as can be
MOST_NEIGHBOURS = 16  # as many as most have in the population


def beliefs(direction: Array, both: Array | None, neighbours: Indices) -> Array:
    """The probabilities (3, E) that p is the parent of c, that c is the parent of p, and that
    neither is the other's: siblings, or two with another model between them.

    Args:
        direction: (E,) probability of p -> c from a tree's root, if the two are joined at all.
        both: (E,) log of how many times as long as the way from c to p is the one to a third model
            k at the least: min over k of log(max(|p - k|^2, |k - c|^2) / |p - c|^2). None where
            there is no third model.
        neighbours: (E,) how many models p is joined to in the tree.

    >>> beliefs(np.array([0.5, 0.999]), np.zeros(2), np.array([1, 4])).round(2)
    array([[0.21, 0.58],
           [0.14, 0.01],
           [0.65, 0.41]])
    """
    odds = np.log(np.maximum(direction, 1e-9)) - np.log(np.maximum(1 - direction, 1e-9))
    odds = np.clip(odds, -MOST_ODDS, MOST_ODDS)
    constant = np.ones(len(odds))
    if both is None:
        score = OF_TWO @ np.stack([constant, odds])
        share = np.exp(np.concatenate([score, np.zeros((1, len(odds)))]))
        return np.asarray(share / share.sum(axis=0))
    odds = np.maximum(odds, 0.0)  # what speaks against an edge's direction leaves it open
    near = np.clip(both, CLOSE_BY, FAR_OFF)
    many, said = np.log(np.clip(neighbours, 1, MOST_NEIGHBOURS)), np.arcsinh(odds / 2)
    joined, parent = 1 / (1 + np.exp(-(OF_SEVERAL @ np.stack([constant, near, many, said]))))
    return np.stack([joined * parent, joined * (1 - parent), 1 - joined])
