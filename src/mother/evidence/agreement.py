"""Two estimates of which units of one model are which of another's, and how often chance has them
agree so far."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Of the units looked at in an axis of one model, to be found among so many of the other, how
    many two estimates place alike. name: of the first matrix that writes them."""

    name: str
    alike: int
    units: int
    among: int

    @property
    def p(self) -> float:
        """The probability of as many by chance."""
        return chance(self.alike, self.units, self.among)

    @property
    def agrees(self) -> bool:
        """Whether most are."""
        return 2 * self.alike >= self.units


def chance(alike: int, units: int, among: int) -> float:
    """The probability that two random placements of `units` into `among` places, no two into one,
    agree in `alike` or more. By inclusion and exclusion, S_r = C(units, r) / (among)_r being the
    expected number of sets of r on which they agree.

    >>> chance(0, 5, 5), round(chance(1, 3, 3), 4), round(chance(3, 3, 3), 4)
    (1.0, 0.6667, 0.1667)
    """
    if alike <= 0:
        return 1.0
    total, sign = 0.0, 1.0
    for r in range(alike, units + 1):
        log = _chosen(units, r) + _chosen(r - 1, alike - 1)
        log -= math.lgamma(among + 1) - math.lgamma(among - r + 1)
        term = math.exp(log)
        total += sign * term
        if term <= 1e-17 * total:
            break
        sign = -sign
    return min(max(total, 0.0), 1.0)


def _chosen(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
