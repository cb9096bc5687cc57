"""What optimizers counted whose state lies beside the weights.

A run that goes on counts on, so its later checkpoints hold larger counts. Who fine-tunes may begin
with a new optimizer, whose count is small. Of three models of one run the one in the middle by its
count is in the middle by distance, too; of a model and its fine-tunes it is not. Where that holds
counts rose along all of 209 documented steps of real families. Over all pairs they rose along 220
and fell along 6, all fine-tunes (docs/research/wild.md).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from mother.errors import InputError
from mother.evidence.family import Family
from mother.evidence.kinds import Evidence, Kind
from mother.measures.products import Array, Bools, Indices
from mother.thresholds import STRONG

COUNT_NEIGHBOURS = 8  # models on either side, by their counts, that may be near to one
RUN_NEIGHBOURS = 3  # of these, nearest to each, that tell a run


class Stepped(Evidence):
    """counts: (S, n) steps that each model's optimizers had made, NaN where none is kept.
    squared: squared distances of pairs of models, (E,).

    >>> at = np.array([0.0, 3.0, 5.0, 8.0, 20.0])
    >>> squared = lambda i, j: (at[i] - at[j]) ** 2
    >>> five = Stepped(np.array([[10.0, 40.0, 60.0, 90.0, 7.0]]), squared)
    >>> five.log_odds(np.array([0, 2, 2]), np.array([1, 1, 4])).tolist()
    [3.0, -3.0, 0.0]
    """

    def __init__(self, counts: Array, squared: Callable[[Indices, Indices], Array]) -> None:
        self.counts, self.squared = counts, squared
        self.near = self._near()

    def _near(self) -> Indices:
        """The RUN_NEIGHBOURS nearest to each model, of the COUNT_NEIGHBOURS next to it by their
        counts on either side, (n, RUN_NEIGHBOURS); -1 for none."""
        n = self.counts.shape[1]
        known = np.flatnonzero(np.isfinite(self.counts).any(axis=0))
        order = known[np.argsort(np.nanmax(self.counts[:, known], axis=0), kind="stable")]
        aside = np.delete(np.arange(-COUNT_NEIGHBOURS, COUNT_NEIGHBOURS + 1), COUNT_NEIGHBOURS)
        at = np.arange(len(order))[:, None] + aside
        there = (at >= 0) & (at < len(order))
        others = order[np.where(there, at, 0)]
        squared = np.full(at.shape, np.inf)
        own = np.broadcast_to(order[:, None], at.shape)
        squared[there] = self.squared(own[there], others[there])
        nearest = np.argsort(squared, axis=1, kind="stable")[:, :RUN_NEIGHBOURS]
        out = np.full((n, RUN_NEIGHBOURS), -1)
        out[order] = np.take_along_axis(np.where(there, others, -1), nearest, axis=1)
        return out

    def more(self, i: Indices, j: Indices) -> Array:
        """By how many steps j has gone further than i in one run, (E,); 0 where nothing tells."""
        gap = np.nan_to_num(self.counts[:, j] - self.counts[:, i])
        low, high = gap.min(axis=0), gap.max(axis=0)
        one_way = np.where(low >= 0, high, np.where(high <= 0, low, 0.0))
        return np.where(self._of_a_run(i, j), one_way, 0.0)

    def _of_a_run(self, i: Indices, j: Indices) -> Bools:
        """Whether of i, j and most of the models near them the one between the two others by its
        count is so by distance, (E,)."""
        third = np.concatenate([self.near[i], self.near[j]], axis=1)
        e, at = np.nonzero((third >= 0) & (third != i[:, None]) & (third != j[:, None]))
        models = np.stack([i[e], j[e], third[e, at]])
        counts = self.counts[:, models]  # (S, 3, T)
        told = np.isfinite(counts).all(axis=1).argmax(axis=0)
        counts = np.take_along_axis(counts, told[None, None], axis=0)[0]
        a, b, c = np.take_along_axis(models, np.argsort(counts, axis=0, kind="stable"), axis=0)
        whole = self.squared(a, c)
        between = (self.squared(a, b) < whole) & (self.squared(b, c) < whole)
        between &= np.isfinite(counts).all(axis=0)
        agree = np.bincount(e, np.where(between, 1.0, -1.0), len(i))
        return np.asarray(agree > 0)

    def log_odds(self, i: Indices, j: Indices) -> Array:
        return STRONG * np.sign(self.more(i, j))

    def claims(self, p: Indices, c: Indices) -> list[tuple[float, str] | None]:
        more = self.more(p, c).tolist()
        return [(float(np.copysign(STRONG, m)), said(m)) if m else None for m in more]


def said(steps: float) -> str:
    """What the counts say, in a sentence.

    >>> said(-80.0)
    "the parent's optimizer had made 80 steps more, if the child's did not begin anew"
    """
    one, other = ("child", "") if steps > 0 else ("parent", ", if the child's did not begin anew")
    return f"the {one}'s optimizer had made {abs(steps):,.0f} steps more{other}"


def _of(family: Family) -> Evidence | None:
    if not family.looks or family.members is None:
        return None
    models = family.looks[0].group.checkpoints
    held = [models[k].steps for k in family.members.tolist()]
    names = sorted(set().union(*held))
    if not names:
        return None
    counts = np.full((len(names), len(held)), np.nan)
    for k, own in enumerate(held):
        for s, name in enumerate(names):
            if name in own:
                with suppress(InputError):  # a damaged state costs its count, not the model
                    counts[s, k] = float(own[name].read()[0])
    return Stepped(np.where(np.isfinite(counts), counts, np.nan), family.squared)


OPTIMIZERS = Kind("optimizer", "count of steps: Kingma and Ba 2015, algorithm 1", _of)
