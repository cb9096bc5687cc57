"""Thresholds that rules of several rooms go by: one number and one reason each.

Rules ask whether something holds in most of a model or in next to nothing, whether chance would go
so far, and how much one observation counts. What is meant by that is the same for all of them. A
number that only one rule goes by stands beside that rule; docs/constants.md lists all.

>>> TRACE < SLIGHT < LITTLE < MOST < LARGELY < NEARLY_ALL < ALL_BUT_NOISE
True
"""

from __future__ import annotations

# shares of a whole: of weights, of layers, of the step between two models
MOST = 0.5  # a share: more than is left
LARGELY = 0.75  # a share: halfway from most to all
NEARLY_ALL = 0.9  # a share: what is left may be of another kind, as heads are
ALL_BUT_NOISE = 0.99  # a share: what is left is rounding, or chance
LITTLE = 0.1  # a share: what nearly all leaves
SLIGHT = 0.05  # a share: what varies by less is even
TRACE = 0.01  # a share: less may be rounding, or chance

# what chance, and rounding, can do
DEVIATIONS = 3.0  # standard deviations: chance goes farther once in 370 times
PRECISE = 1e-5  # relative: more than float32 and sums in it leave, less than shorter types do
ROUNDED_AGAIN = 4.0  # times what rounding leaves: what is made of rounded weights is rounded, too

# how much one observation counts
STRONG = 3.0  # log-odds, 20 to 1: what is right in most cases; others may overrule it
DECISIVE = 10.0  # log-odds, 22,000 to 1: what training can't do
LIKELY = 0.9  # probability of an edge that is clear but for what no test weighs
