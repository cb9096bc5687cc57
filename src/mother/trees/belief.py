"""What is believed of an edge: that it is one, that it is one the other way round, or neither.

A tree's search and its root are right where its model of training is right, and nothing within one
family tells where it is not. So what they say of an edge is weighed by how often edges that looked
like it were right in a population of trainings (experiments/population): a multinomial logistic
regression on four figures, fitted on one half of the population and on real families, and judged on
the other half, which has other architectures and other optimizers. docs/research/wild.md has the
figures.
"""

from __future__ import annotations

import numpy as np

from mother.measures.products import Array

#: of the first and the second, against the third: constant, log-odds of the direction, how near a
#: third model is to both ends, how near to one of them, logarithm of the family's size
OF_SEVERAL = np.array([[-0.095, 0.085, 1.735, 0.239, 0.221], [-0.389, -0.298, 1.807, 0.263, 0.096]])
#: the same of two models without a third: constant, log-odds of the direction
OF_TWO = np.array([[0.518, 0.114], [0.372, -0.780]])
MOST_ODDS = 12.0  # log-odds of a direction beyond which edges are right no more often
FAR_OFF = 1.0  # logarithm beyond which a third model is far
CLOSE_BY = -6.0  # and below which it is as near as can be


def beliefs(direction: Array, both: Array, one: Array, n: int) -> Array:
    """The probabilities (3, E) that p is the parent of c, that c is the parent of p, and that
    neither is the other's: siblings, or two with another model between them.

    Args:
        direction: (E,) probability of p -> c from a tree's root, if the two are joined at all.
        both: (E,) log of how many times as far as c is from p a third model k is at the least:
            min over k of log(max(|p - k|^2, |k - c|^2) / |p - c|^2).
        one: (E,) the same with the nearer of the two ends in place of the farther.
        n: models in the family.

    >>> beliefs(np.array([0.5, 0.999]), np.zeros(2), np.zeros(2), 8).round(2)
    array([[0.44, 0.7 ],
           [0.25, 0.03],
           [0.31, 0.27]])
    """
    odds = np.log(np.maximum(direction, 1e-9)) - np.log(np.maximum(1 - direction, 1e-9))
    odds = np.clip(odds, -MOST_ODDS, MOST_ODDS)
    one_each = np.ones(len(odds))
    if n == 2:
        score = OF_TWO @ np.stack([one_each, odds])
    else:
        near = np.clip(both, CLOSE_BY, FAR_OFF), np.clip(one, CLOSE_BY, FAR_OFF)
        score = OF_SEVERAL @ np.stack([one_each, odds, *near, np.log(n) * one_each])
    share = np.exp(np.concatenate([score, np.zeros((1, len(odds)))]))
    return np.asarray(share / share.sum(axis=0))
