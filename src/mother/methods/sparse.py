"""The default method on samples of many models: families too large for n x n matrices.

The same evidence by the same formulas as in gram.py, on candidate pairs alone: a model's parent is
sought among those near to it, and which way a pair points is weighed only where a tree has it.
Support costs as much again for each replicate, but for the search for near ones.

Samples are noisy: a turn counts only by what is beyond chance, and siblings that are near to each
other do not pay for what they seem to lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mother.evidence import leaders
from mother.evidence.direction import COSINE, Pairs, Products, weigh_products
from mother.evidence.rows import Rows, nothing_told
from mother.evidence.untouched_of_many import gone_round, shared_parts
from mother.evidence.view import Points, View, view_of
from mother.evidence.ways import WaysOfMany
from mother.methods.gram import CERTAIN, NEAREST, RULED_OUT, alike, descent_of_two
from mother.sketches.near import Near
from mother.sketches.samples import Samples
from mother.trees.drawn import LayerOdds, Steps
from mother.trees.forest import Forest, Hidden, no_edges
from mother.trees.latent import hidden_ancestors
from mother.trees.neighbours import candidate_pairs, spanning_tree, squared_distances
from mother.trees.rooting import orient_edges, settled
from mother.trees.turns import Candidates, rivals, straighten, turn_of

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
MOST = 4 * NEAREST  # of those near to a hub that may be its parent
BETWEEN = 7  # nearest models that may lie between another and its parent
RIVALS = 4  # nearest models that may be the next best parent


def recover(
    samples: Samples,
    original: Indices | None = None,
    near: Near | None = None,
    replicates: int = 0,
    seed: int = 0,
    ways: WaysOfMany | None = None,
) -> Forest:
    """The forest of the models of one architecture. original: (n,), what a model is known to be a
    compressed copy of, -1 for most: what descends from a copy hangs from its original here. near:
    pairs that were looked at more closely. ways: of the models, by the ranks of steps; None where
    these are not looked at. replicates: bootstraps of the layers that `support` is
    taken from, on the same candidate pairs; 0 for none.

    >>> w = np.random.default_rng(0).normal(size=(2, 900)).astype(np.float32)
    >>> s = Samples(("w",), ((30, 30),), np.array([0, 900]), np.stack([*w, w[0] + w[1] / 9]))
    >>> recover(s).parents
    array([-1, -1,  0])
    """
    n = len(samples.rows)
    if original is None:
        original = np.full(n, -1, dtype=np.intp)
    forest, hidden = no_edges(n), list[Hidden]()
    own = np.flatnonzero(original < 0)
    groups = [own[members] for members in leaders.families(samples.among(own))]
    parts = recover_families(
        samples, groups, near=near, replicates=replicates, seed=seed, ways=ways
    )
    for members, part in zip(groups, parts, strict=True):
        forest.place(part, members)
        hidden += [h.renumbered(members) for h in part.hidden]
    _hang_copies(samples, forest, original)
    return replace(forest, hidden=tuple(hidden))


def _hang_copies(samples: Samples, forest: Forest, original: Indices) -> None:
    """Put every copy beneath its original, as far away as compression took it."""
    copies = np.flatnonzero(original >= 0)
    if not len(copies):
        return
    above = original[copies]
    start, end, product = samples.products(above, copies)
    weight = samples.sizes[:, None] / np.where(start > 0, start, np.inf)
    squared = (weight * np.maximum(start + end - 2 * product, 0.0)).sum(axis=0)
    forest.parents[copies] = above
    forest.distance[copies] = np.sqrt(squared / (weight * start).sum(axis=0))
    with np.errstate(invalid="ignore"):
        forest.polarity[copies] = (weight * (start - product)).sum(axis=0) / squared
    forest.direction[copies] = 1.0
    forest.odds[copies] = CERTAIN


def recover_family(family: Samples, threads: int = 1) -> Forest:
    """The tree of one family; a Forest as of `gram.recover`, without support.

    Its result does not depend on `threads`. Time n^2 for the scan for near models, else n log n;
    memory n times what a sample is, twice.
    """
    return recover_families(family, [np.arange(len(family.rows))], threads)[0]


def recover_families(
    samples: Samples,
    families: Sequence[Indices],
    threads: int = 1,
    near: Near | None = None,
    replicates: int = 0,
    seed: int = 0,
    ways: WaysOfMany | None = None,
) -> list[Forest]:
    """The trees of several families of one architecture, (n,) numbers of models each.

    All pairs of the small ones are weighed in one call: most families of a collection have but a
    few models.
    """
    begun = [
        _begun(samples.among(members), near and near.among(members), ways and ways.among(members))
        for members in families
    ]
    small = [
        (members, family)
        for members, family in zip(families, begun, strict=True)
        if isinstance(family, _Family) and len(members) <= NEAREST + 1
    ]
    _weigh_together(samples, small)
    for members, family in zip(families, begun, strict=True):
        if near and isinstance(family, _Family):
            family.look(near.among(members))
    return [x.recover(threads, replicates, seed) if isinstance(x, _Family) else x for x in begun]


def _begun(family: Samples, near: Near | None, ways: WaysOfMany | None) -> _Family | Forest:
    """A family as it is looked at, or its forest, if there is nothing to look at."""
    n = len(family.rows)
    if n == 1:
        return no_edges(1)
    if near and len(near.i):
        family = near.scaled(family)
    view = view_of(family)
    if not view.layers.any():
        return alike(n)
    family = family.over(view.layers)
    rows = shared_parts(family) if n > 2 else nothing_told(n).rows
    return _Family(family, view, view.points(family), rows, ways)


def _weigh_together(samples: Samples, families: Sequence[tuple[Indices, _Family]]) -> None:
    """Weigh all pairs of some families, from all layers that one of them looks at: those that
    another does not are zeros to it, which say nothing."""
    if not families:
        return
    pairs = [np.triu_indices(len(members), 1) for members, _ in families]
    ends = np.cumsum([0, *(len(i) for i, _ in pairs)])
    named = [members[np.stack(p)] for (members, _), p in zip(families, pairs, strict=True)]
    i, j = np.concatenate(named, axis=1)
    told = np.zeros((len(samples.names), len(families)), dtype=bool)
    for k, (_, family) in enumerate(families):
        told[family.view.layers, k] = family.view.tells
    told = np.repeat(told, np.diff(ends), axis=1)
    ii, jj, ij = (np.where(told, x, 0.0) for x in samples.products(i, j))
    odds = weigh_products(i, j, Products(ii, jj, ij, samples.chance), by_layer=False).log_odds
    for (_, family), (start, stop), pair in zip(families, pairwise(ends), pairs, strict=True):
        family.note(*pair, odds[start:stop])


class _Distances(dict[int, float]):
    """|i - j|^2 from one model i to those asked for."""

    __slots__ = ("_own", "_points")

    def __init__(self, points: Points, own: int) -> None:
        super().__init__()
        self._points, self._own = points, own

    def __missing__(self, other: int) -> float:
        gap = self._points[self._own] - self._points[other]
        found = self[other] = float(np.square(gap, out=gap).sum())
        return found


@dataclass
class _Family:
    """One family, and what was weighed of its pairs so far."""

    samples: Samples
    view: View
    points: Points
    rows: Rows
    ways: WaysOfMany | None = None
    odds: dict[tuple[int, int], float] = field(default_factory=dict)
    closer: dict[tuple[int, int], tuple[float, Array]] = field(default_factory=dict)

    def look(self, near: Near) -> None:
        """Take what larger samples say of pairs: their squared distance, and the products."""
        near = near.over(self.view.layers)
        squared = self.view.weight @ np.maximum(near.ii + near.jj - 2 * near.ij, 0.0)
        for e, pair in enumerate(zip(near.i.tolist(), near.j.tolist(), strict=True)):
            found = np.stack([near.ii[:, e], near.jj[:, e], near.ij[:, e]])
            self.closer[pair] = float(squared[e]), found
            self.closer[pair[::-1]] = float(squared[e]), found[[1, 0, 2]]
        if len(near.i):
            told = near.over(self.view.tells)
            said = Products(told.ii, told.jj, told.ij, told.chance)
            self.note(near.i, near.j, weigh_products(near.i, near.j, said, by_layer=False).log_odds)

    def _squared(self, i: Indices, j: Indices) -> Array:
        out = squared_distances(self.points, i, j)
        for e in self.closer_of(i, j):
            out[e] = self.closer[int(i[e]), int(j[e])][0]
        return out

    def products(self, i: Indices, j: Indices) -> Array:
        out = np.stack(self.samples.products(i, j))
        for e in self.closer_of(i, j):
            out[:, :, e] = self.closer[int(i[e]), int(j[e])][1]
        return out

    def closer_of(self, i: Indices, j: Indices) -> list[int]:
        if not self.closer:
            return []
        pairs = zip(i.tolist(), j.tolist(), strict=True)
        return [e for e, pair in enumerate(pairs) if pair in self.closer]

    def recover(self, threads: int, replicates: int, seed: int) -> Forest:
        n = len(self.points)
        i, j, squared = candidate_pairs(self.points, NEAREST, threads)
        for e in self.closer_of(i, j):
            squared[e] = self.closer[int(i[e]), int(j[e])][0]
        possible = ~gone_round(self.rows, i, j)
        i, j, squared = i[possible], j[possible], squared[possible]
        passed = np.zeros(len(i), dtype=bool)
        while True:
            among = self._candidates(i[~passed], j[~passed], squared[~passed])
            # one that leads over another may be all that joins what is near to its ends
            parents, direction = settled(
                spanning_tree(n, i, j, np.where(passed, RULED_OUT * squared, squared)),
                lambda parents: orient_edges(parents, self._odds(parents)),
                partial(straighten, among=among),
            )
            found = self._passed_over(parents, among, i, j) & ~passed
            if not found.any():
                break
            passed |= found
        joined = ~passed | (parents[i] == j) | (parents[j] == i)
        i, j = i[joined], j[joined]
        kept, hidden = hidden_ancestors(
            parents,
            *self._edges(parents),
            self.rows,
        )
        forest = replace(no_edges(n), parents=kept, hidden=tuple(hidden))
        c = np.flatnonzero(kept >= 0)
        p = kept[c]
        length, lacking, _, _ = self._edges(kept)
        forest.distance[c] = np.sqrt(length[c] / self.view.norm[p])
        with np.errstate(invalid="ignore"):
            forest.polarity[c] = lacking[c] / length[c]
        forest.direction[c] = direction[c]
        if n == 2:
            forest.direction[c] *= descent_of_two(forest.polarity[c])
        forest.odds[c] = self._odds(kept)[c]
        forest.shrunk[c] = self.rows.shrunk_of(p, c)
        forest.rows[c] = (self.rows.state[p] == self.rows.state[c]).sum(axis=1)
        forest.turn[c] = self._turns(kept)[c]
        few = replace(among, nearest=[near[:RIVALS] for near in among.nearest])
        rival, factor = rivals(kept, few)
        forest.rival[c], forest.rival_factor[c] = rival[c], factor[c]
        if replicates:
            forest.support[c] = self._support(i, j, among, parents, replicates, seed)[c]
        return forest

    def _passed_over(
        self, parents: Indices, among: Candidates, i: Indices, j: Indices
    ) -> NDArray[np.bool_]:
        """Pairs i, j that the tree joins by an edge which leads over another model."""
        if self.ways is None:
            return np.zeros(len(i), dtype=bool)
        passed = self.ways.passed_over(parents, lambda c: among.nearest[c][:BETWEEN])
        above = np.where(passed, parents, -1)
        return np.asarray((above[i] == j) | (above[j] == i))

    def _support(
        self,
        i: Indices,
        j: Indices,
        among: Candidates,
        parents: Indices,
        replicates: int,
        seed: int,
    ) -> Array:
        """Share of replicates, layers drawn with replacement, in which each model has this parent.
        i, j: the candidate pairs."""
        L, n = len(self.samples.names), len(parents)
        draws = np.random.default_rng(seed).multinomial(L, np.full(L, 1 / L), size=replicates)
        steps, weighed = Steps(self._by_layer, i, j), LayerOdds(self._weighed, self.rows.shrunk_of)
        found = np.zeros(n)
        for counts in draws:
            spanning = spanning_tree(n, i, j, steps.squared @ counts)
            rows = replace(among, squared=steps.rows(n, counts))
            turned = partial(weighed.oriented, counts=counts[self.view.tells])
            drawn, _ = settled(spanning, turned, partial(straighten, among=rows))
            found += drawn == parents
        return found / replicates

    def _by_layer(self, i: Indices, j: Indices) -> Array:
        """|i - j|^2 of pairs by layer, (E, L)."""
        gap = self.points[i] - self.points[j]
        out = np.add.reduceat(np.square(gap, out=gap), self.samples.columns[:-1], axis=1)
        out = out.astype(np.float64)
        for e in self.closer_of(i, j):
            ii, jj, ij = self.closer[int(i[e]), int(j[e])][1]
            out[e] = self.view.weight * np.maximum(ii + jj - 2 * ij, 0.0)
        return np.asarray(out)

    def _weighed(self, i: Indices, j: Indices) -> Pairs:
        """What the layers that tell say of pairs."""
        ii, jj, ij = self.products(i, j)[:, self.view.tells]
        chance = self.samples.chance[self.view.tells]
        return weigh_products(i, j, Products(ii, jj, ij, chance))

    def note(self, i: Indices, j: Indices, odds: Array) -> None:
        """Keep the log-odds of i being the parent of j for later."""
        for a, b, said in zip(i.tolist(), j.tolist(), odds.tolist(), strict=True):
            self.odds[a, b], self.odds[b, a] = said, -said

    def _odds(self, parents: Indices) -> Array:
        """Log-odds of each model's own edge, 0 at the root; weighed where they weren't."""
        child = np.flatnonzero(parents >= 0)
        pairs = list(zip(parents[child].tolist(), child.tolist(), strict=True))
        new = np.array([pair for pair in pairs if pair not in self.odds], dtype=np.intp)
        if len(new):
            samples = self.samples.over(self.view.tells)
            i, j = new.T
            said = Products(*samples.products(i, j), samples.chance)
            self.note(i, j, weigh_products(i, j, said, by_layer=False).log_odds)
        out = np.zeros(len(parents))
        out[child] = [self.odds[pair] for pair in pairs]
        out[child] += self.rows.shrunk_of(parents[child], child)
        return out

    def _candidates(self, i: Indices, j: Indices, squared: Array) -> Candidates:
        """Near ones of each model. Of the many that a hub is near to, the nearest."""
        n = len(self.points)
        rows = [_Distances(self.points, k) for k in range(n)]
        for a, b, far in zip(i.tolist(), j.tolist(), squared.tolist(), strict=True):
            rows[a][b] = rows[b][a] = far
        for (a, b), (far, _) in self.closer.items():
            rows[a][b] = far
        here, there = np.concatenate([i, j]), np.concatenate([j, i])
        order = np.lexsort((there, np.concatenate([squared, squared]), here))
        ends = np.searchsorted(here[order], np.arange(n + 1)).tolist()
        sorted_there = there[order].tolist()
        nearest = [sorted_there[a : min(b, a + MOST)] for a, b in pairwise(ends)]
        beside = [near[:NEAREST] for near in nearest]
        return Candidates(rows, nearest, beside, self.view.chance)

    def _edges(self, parents: Indices) -> tuple[Array, Array, Array, Array]:
        """Of each model c and its parent p, (n,): |p - c|^2, <p - c, p>, <c - p, c>, and the
        variance of the second in a step that knows nothing of p; 0 at the roots."""
        out = np.zeros((4, len(parents)))
        child = np.flatnonzero(parents >= 0)
        pp, cc, pc = self.products(parents[child], child)
        gap = np.maximum(pp + cc - 2 * pc, 0.0)
        noise = self.view.weight**2 * (COSINE**2 + 1 / self.samples.seen)
        out[0, child] = self._squared(parents[child], child)
        out[1, child] = self.view.weight @ (pp - pc)
        out[2, child] = self.view.weight @ (cc - pc)
        out[3, child] = noise @ (pp * gap)
        return out[0], out[1], out[2], out[3]

    def _turns(self, parents: Indices) -> Array:
        """As `turns`."""
        above = np.where(parents >= 0, parents[parents], -1)
        c = np.flatnonzero(above >= 0)
        p, g = parents[c], above[c]
        out = np.full(len(parents), np.nan)
        sides = [self._squared(*pair) for pair in ((g, c), (p, c), (g, p))]
        out[c] = turn_of(*sides)
        return out
