"""What layers say of pairs of one family, weighed when it is first asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mother.evidence.direction import Pairs, Training, weigh
from mother.evidence.family import Family
from mother.evidence.kinds import Evidence
from mother.measures.products import Array, Indices
from mother.sketches.near import keys

CERTAIN = 50.0  # log-odds of a direction that is known
STEEP = 0.94  # of what layers say, all that is said twice taken off: fitted on a population


class Odds:
    """Log-odds of edges of one family, from all that is said of them.

    rooted: whether the first model is known to be the root. by_layer: whether layers are to be
    drawn, for which what each of them says is kept.
    """

    def __init__(
        self,
        family: Family,
        said: Sequence[Evidence],
        training: Training,
        *,
        rooted: bool = False,
        by_layer: bool = False,
    ) -> None:
        self._family, self._said, self._training = family, said, training
        self._rooted, self._by_layer = rooted, by_layer
        self._keys = np.zeros(0, dtype=np.int64)
        self._pairs: Pairs | None = None
        self._beside = np.full((len(family),) * 2, np.nan) if family.points is None else None

    def pairs(self, i: Indices, j: Indices) -> tuple[Pairs, Indices]:
        """What layers say of all pairs weighed so far, i < j, and which of these some pairs are."""
        wanted = keys(i, j)
        at = np.searchsorted(self._keys, wanted)
        known = np.append(self._keys, -1)[at] == wanted
        if self._pairs is None or not known.all():
            new = np.unique(wanted[~known])
            low, high = (new >> 32).astype(np.intp), (new & 0xFFFFFFFF).astype(np.intp)
            said = weigh(
                low, high, self._family.told(low, high), self._training, by_layer=self._by_layer
            )
            self.note(said)
            at = np.searchsorted(self._keys, wanted)
        assert self._pairs is not None
        return self._pairs, at

    def note(self, said: Pairs) -> None:
        """Keep what was weighed of pairs i < j that were not before."""
        every = said if self._pairs is None else self._pairs.beside(said)
        known = keys(every.i, every.j)
        order = np.argsort(known)
        self._keys, self._pairs = known[order], every.of(order)

    def of(self, p: Indices, c: Indices, counts: Array | None = None) -> Array:
        """Log-odds of p being the parent of c, (E,), where the layers that tell count so often,
        (L,), instead of once."""
        if not len(p):
            return np.zeros(0)
        pairs, at = self.pairs(p, c)
        found = pairs.log_odds[at]
        if counts is not None:
            found = found + (counts - 1) @ pairs.log_odds_by_layer[:, at]
        # layers were trained together: ten times as much from them is not ten times as sure
        found = STEEP * np.arcsinh(found / 2)
        out = np.where(p < c, found, -found) + self._by_evidence(p, c)
        if self._rooted:
            out = np.where(p == 0, CERTAIN, np.where(c == 0, -CERTAIN, out))
        return out

    def _by_evidence(self, p: Indices, c: Indices) -> Array:
        """The part of it that evidence beside the layers adds, (E,); of models that are measured
        in pairs asked for once."""
        if self._beside is None:
            every = [np.zeros(len(p)), *(one.log_odds(p, c) for one in self._said)]
            return np.asarray(np.sum(every, axis=0))
        new = np.isnan(self._beside[p, c])
        if new.any():
            i, j = p[new], c[new]
            self._beside[i, j] = 0.0
            for one in self._said:
                self._beside[i, j] += one.log_odds(i, j)
        return np.asarray(self._beside[p, c])

    def own(self, parents: Indices, counts: Array | None = None) -> Array:
        """Of each model's own edge, (n,), 0 at the root."""
        out = np.zeros(len(parents))
        c = np.flatnonzero(parents >= 0)
        out[c] = self.of(parents[c], c, counts)
        return out
