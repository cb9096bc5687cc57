"""One tree of one family: candidate pairs, evidence on pairs, one search.

If training adds increments that are nearly orthogonal to where they start, <w_i, w_j> is the
squared length of the history that i and j share (a Brownian trait on the model tree; Felsenstein
1973). So distances add up along the tree, and a model that holds all of another but for a common
shrink is its child. Who is joined to whom comes from distances; which way, from all edges together.

In small families all pairs are candidates; in large ones those that are near to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mother.evidence.direction import COSINE
from mother.evidence.family import Family
from mother.evidence.kinds import Claim, Evidence
from mother.evidence.relation import ONWARD
from mother.evidence.shares import held
from mother.measures.products import Array, Bools, Indices
from mother.sketches.near import keys
from mother.thresholds import DEVIATIONS, STRONG
from mother.trees.belief import beliefs
from mother.trees.forest import Forest, Hidden, no_edges
from mother.trees.latent import hidden_ancestors
from mother.trees.neighbours import COSTS_AT_ONCE, candidate_pairs, spanning_tree, spanning_trees
from mother.trees.odds import CERTAIN, Odds
from mother.trees.regraft import Candidates, regraft, rivals, turn_of
from mother.trees.rooting import orient, settled
from mother.trees.rules import Rules
from mother.trees.turns import beside, turning

CANDIDATES = 16  # candidates for a model's parent
HUB_CANDIDATES = 4 * CANDIDATES  # of those near to a hub that may be its parent
RIVALS = 4  # nearest models that may be the next best parent, in a large family
RULED_OUT = 1e6  # times as dear as it is: what lies between is never that far
STEP_COSINE = 0.05  # standard deviation of the cosine of two steps over all layers, beyond chance
NO_DISTANCE = 1e-14  # of a squared distance: less is none
Pair = tuple[Indices, Indices]


@dataclass(frozen=True)
class Start:
    """What is known of a family before it is looked at.

    rooted: whether it hangs from the first of its models. apart: pairs, (E,) each side, of which
    neither is the other's parent.
    """

    rooted: bool = False
    apart: Pair | None = None


UNKNOWN = Start()


class Engine:
    """The search for one family's tree. said: by kinds of evidence beside the layers' own."""

    def __init__(
        self,
        family: Family,
        said: Mapping[str, Evidence],
        rules: Rules,
        start: Start,
        *,
        drawn: bool = False,
        threads: int = 1,
    ) -> None:
        self.family, self.said, self.rules, self.start = family, said, rules, start
        n = len(family)
        kinds = list(said.values())
        self.odds = Odds(family, kinds, rules.training, rooted=start.rooted, by_layer=drawn)
        self.whole = family.points is None or rules.all_pairs >= n
        if self.whole:
            i, j = np.triu_indices(n, 1)
        else:
            assert family.points is not None
            i, j, _ = candidate_pairs(family.points, CANDIDATES, threads)
        self.pairs: Pair = i, j
        self.squared = family.squared(i, j)
        self.near = self._near()
        self.overruled, self.apart = self._excluded(True), self._excluded(False)
        if start.apart is not None:
            self.apart |= np.isin(keys(*self.pairs), keys(*start.apart))
        self._layers: dict[tuple[int, int], Array] = {}  # of pairs that are no candidates

    def _near(self) -> Bools:
        """Candidates of which one is among the other's CANDIDATES, (E,)."""
        n = len(self.family)
        if not self.whole or n <= CANDIDATES + 1:
            return np.ones(len(self.squared), dtype=bool)
        table = np.full((n, n), np.inf)
        i, j = self.pairs
        table[i, j] = table[j, i] = self.squared
        rank = np.argsort(np.argsort(table, axis=0, kind="stable"), axis=0, kind="stable")
        close = rank < CANDIDATES
        return np.asarray((close | close.T)[i, j])

    def _excluded(self, overruled: bool) -> Bools:
        """Candidates that evidence rules out which shares of steps overrule, or don't, (E,)."""
        out = np.zeros(len(self.squared), dtype=bool)
        for one in self.said.values():
            if one.overruled == overruled:
                out |= one.excluded(*self.pairs)
        return out

    def forest(self, replicates: int = 0, seed: int = 0, *, figures: bool = True) -> Forest:
        """The tree, with figures of its edges unless parents are all that is wanted. replicates:
        layers drawn with replacement, that `support` is taken from; 0 for none."""
        passed = np.zeros(len(self.squared), dtype=bool)
        while True:  # without the edges that evidence objects to, until there is none
            among = self.candidates(self.squared, ~passed)
            straight, parents, direction = self.tree(among, self.squared, passed)
            found = self.objections(parents, among) & ~passed
            if not found.any():
                break
            passed |= found
        kept, hidden, doubted = self.latent(parents)
        if not figures:
            return replace(no_edges(len(kept)), parents=kept, hidden=hidden)
        for c in np.flatnonzero((kept != parents) & (kept >= 0)).tolist():
            top = c  # its sibling, whose edge tells for both
            while parents[top] != kept[c]:
                top = int(parents[top])
            direction[c] = direction[top]
        direction[doubted] = 0.5
        forest = self._figures(kept, hidden, direction, among)
        if replicates:
            support = self._support((straight, parents), passed, replicates, seed)
            forest.support[kept >= 0] = support[kept >= 0]
        return forest

    # the search

    def candidates(
        self, squared: Array, possible: Bools, counts: Array | None = None
    ) -> Candidates:
        """Those who may be each one's parent, at these squared distances, for which layers counted
        so often, (L,)."""
        return Candidates.among(
            len(self.family),
            self.pairs,
            squared,
            possible & self.near & ~self.apart & ~self.overruled,
            self._far if counts is None else partial(self._drawn_far, counts),
            0.0 if self.whole else DEVIATIONS * self.family.chance,
            None if self.whole else HUB_CANDIDATES,
        )

    def _far(self, i: int, j: int) -> float:
        return float(self.family.squared(np.array([i]), np.array([j]))[0])

    def _drawn_far(self, counts: Array, i: int, j: int) -> float:
        if (i, j) not in self._layers:
            self._layers[i, j] = self.family.by_layer(np.array([i]), np.array([j]))[:, 0]
        return float(counts @ self._layers[i, j])

    def costs(self, squared: Array, passed: Bools) -> Array:
        """|p - c|^2, (E,). Pairs that are ruled out are as good as not there: one may be all that
        joins what is near to its ends."""
        out = self.apart | self.overruled | passed
        return np.where(out, RULED_OUT * squared, squared)

    def tree(
        self, among: Candidates, squared: Array, passed: Bools
    ) -> tuple[Indices, Indices, Array]:
        """The tree by distances and directions, the same with what models hold of steps, and the
        probabilities of its directions, (n,) each."""
        spanning = spanning_tree(len(self.family), *self.pairs, self.costs(squared, passed))
        straight, direction = self._straight(among, spanning)
        if not self.rules.shares or not self.whole:
            return straight, straight, direction
        apart, overruled = self._known(self.apart | passed), self._known(self.overruled)
        hung = partial(held, self.family, apart=apart, overruled=overruled)
        return straight, *settled(straight, self._orient, hung)

    def _straight(
        self, among: Candidates, spanning: Indices, counts: Array | None = None
    ) -> tuple[Indices, Array]:
        moved = partial(regraft, among=among, centre=self.rules.centre)
        turned = partial(self._orient, counts=counts)
        return settled(spanning, turned, moved if self.rules.turning else lambda tree: tree)

    def _orient(self, parents: Indices, counts: Array | None = None) -> tuple[Indices, Array]:
        own = self.odds.own(parents, counts) + turning(self.family, parents)
        return orient(parents, own, prior=self.rules.prior)

    def _known(self, which: Bools) -> _Known:
        i, j = self.pairs
        return _Known(np.sort(keys(i[which], j[which])))

    def objections(self, parents: Indices, among: Candidates, *, doubting: bool = False) -> Bools:
        """Candidates that the tree joins by an edge which evidence objects to, (E,)."""
        against = np.zeros(len(parents), dtype=bool)
        for one in self.said.values():
            against |= one.objections(parents, among.nearest.__getitem__, doubting=doubting)
        above = np.where(against, parents, -1)
        i, j = self.pairs
        return np.asarray((above[i] == j) | (above[j] == i))

    # what is said of the tree

    def latent(self, parents: Indices) -> tuple[Indices, tuple[Hidden, ...], Bools]:
        """The tree with ancestors that are not among the models, and whose edges may be between
        siblings; between a copy and its original there is none."""
        n = len(parents)
        if self.start.rooted or not self.rules.latent:
            return parents, (), np.zeros(n, dtype=bool)
        c = np.flatnonzero(parents >= 0)
        p, weight = parents[c], self.family.weight
        of = self.family.source.pairs(p, c)
        # a step of this length has <d, p> = 0 with this variance
        noise = weight[:, None] ** 2 * (COSINE**2 + of.chance)
        squared, lacking, reverse, chance = np.zeros((4, n))
        squared[c] = self.family.squared(p, c)
        lacking[c], reverse[c] = weight @ of.lost, weight @ of.turned().lost
        chance[c] = (noise * of.ii * of.squared).sum(axis=0)
        said = list(self.said.values())
        kept, hidden, doubted = hidden_ancestors(
            parents, squared, lacking, reverse, chance, self._between, said
        )
        return kept, tuple(hidden), doubted

    def _between(self, members: Indices) -> Array:
        """Squared distances of some of the models, (k,), (k, k)."""
        i, j = np.triu_indices(len(members), 1)
        out = np.zeros((len(members),) * 2)
        out[i, j] = out[j, i] = self.family.squared(members[i], members[j])
        return out

    def _figures(
        self, kept: Indices, hidden: tuple[Hidden, ...], direction: Array, among: Candidates
    ) -> Forest:
        n = len(kept)
        forest = replace(no_edges(n), parents=kept, hidden=hidden)
        c = np.flatnonzero(kept >= 0)
        p = kept[c]
        step = self.family.squared(p, c)
        norm = self.family.norm[p]  # 0 of a model of zeros
        forest.distance[c] = np.sqrt(step / np.where(norm > 0, norm, np.nan))
        lacking = self.family.weight @ self.family.source.pairs(p, c).lost
        forest.polarity[c] = lacking / np.where(step > 0, step, np.nan)
        lower = c[kept[p] >= 0]
        mid, top = kept[lower], kept[kept[lower]]
        squared = self.family.squared
        forest.turn[lower] = turn_of(squared(top, lower), squared(mid, lower), squared(top, mid))
        forest.odds[c] = self.odds.of(p, c)
        # two that differ in their heads alone: which came first, no layer tells; nor where a step
        # goes back as those of siblings do, or the edge alone tells the other way
        told = (step > 0) & ~(forest.turn[c] < -ONWARD) & ~(forest.odds[c] < -2 * STRONG)
        forest.direction[c] = np.where(told, direction[c], 0.5)
        swapped = self._swapped(kept, p, c)
        forest.direction[c] += swapped * (1 - 2 * forest.direction[c])
        parent, reverse, _ = self._believed(p, c, forest.direction[c], among)
        forest.joined[c] = parent + reverse
        forest.direction[c] = np.where(step > 0, parent / (parent + reverse), 0.5)
        self._claim(forest, p, c)
        rival, factor = rivals(kept, among, None if self.whole else RIVALS)
        forest.rival[c], forest.rival_factor[c] = rival[c], factor[c]
        return forest

    def _swapped(self, parents: Indices, p: Indices, c: Indices) -> Array:
        """Probability of each edge that its ends stand in each other's place, (E,): that what hangs
        from p hangs from c, and what hangs from c, from p; 0 of two that nothing hangs from.

        A neighbour q of p has <q - p, c - p> = 0 but for chance and what trainings have in common,
        and |c - p|^2 if it is one of c.
        """
        out, alone = np.zeros(len(p)), np.ones(len(p), dtype=bool)
        for one, other in ((p, c), (c, p)):
            at, third = beside(self.family, parents, one, other)
            a, b = one[at], other[at]
            step, way = self.family.source.pairs(a, b), self.family.source.pairs(third, a)
            weight = self.family.weight[:, None]
            noise = (weight**2 * (COSINE**2 + step.chance) * step.squared * way.squared).sum(axis=0)
            squared = self.family.squared
            length, apart = squared(a, b), squared(third, a)
            noise += STEP_COSINE**2 * length * apart
            nearer = squared(third, b) - apart
            np.add.at(out, at, length * nearer / (2 * np.maximum(noise, NO_DISTANCE**2)))
            alone[at] = False
        swapped = 1 / (1 + np.exp(np.clip(out, -CERTAIN, CERTAIN)))
        return np.asarray(np.where(alone, 0.0, swapped))

    def _believed(self, p: Indices, c: Indices, direction: Array, among: Candidates) -> Array:
        """Of each edge, that it is one, the reverse, or neither, (3, E)."""
        near, many = among.nearest, None if self.whole else RIVALS
        around = [
            np.array(
                [k for k in dict.fromkeys((*near[b][:many], *near[a][:many])) if k not in (a, b)]
            )
            for a, b in zip(p.tolist(), c.tolist(), strict=True)
        ]
        counts = np.array([len(k) for k in around], dtype=np.intp)
        third = np.concatenate(around).astype(np.intp) if len(around) else np.zeros(0, np.intp)
        ends = (np.repeat(side, counts) for side in (p, c))
        # of models that are equal in all that tells, none is nearer than another
        far = np.maximum([self.family.squared(third, end) for end in ends], NO_DISTANCE)
        step = np.maximum(self.family.squared(p, c), NO_DISTANCE)
        start = np.cumsum(counts) - counts
        least = np.full((2, len(p)), np.inf)
        some = counts > 0
        for row, values in zip(least, (far.max(axis=0), far.min(axis=0)), strict=True):
            if some.any():
                row[some] = np.minimum.reduceat(values, start[some])
        both, one = np.log(least / step)
        return beliefs(direction, both, np.where(some, one, 0.0), len(self.family))

    def _claim(self, forest: Forest, p: Indices, c: Indices) -> None:
        for name, one in self.said.items():
            for child, claim in zip(c.tolist(), one.claims(p, c), strict=True):
                if claim is not None:
                    forest.claims[child] += (Claim(name, *claim),)

    def _support(
        self,
        trees: tuple[Indices, Indices],
        passed: Bools,
        replicates: int,
        seed: int,
    ) -> Array:
        """Share of replicates, layers drawn with replacement, in which each model has this parent.
        trees: as distances and directions have it, and with what models hold of steps, which are
        medians over layers: where a replicate has the former's edge, it has the latter's."""
        straight, parents = trees
        L, n = len(self.family.weight), len(parents)
        draws = np.random.default_rng(seed).multinomial(L, np.full(L, 1 / L), size=replicates)
        layers, found = self.family.by_layer(*self.pairs), np.zeros(n)
        step = max(1, COSTS_AT_ONCE // max(1, len(self.squared)))
        for some in (draws[at : at + step] for at in range(0, replicates, step)):
            lengths = [counts @ layers for counts in some]
            costs = np.stack([self.costs(squared, passed) for squared in lengths])
            trees_of = spanning_trees(n, *self.pairs, costs)
            for counts, squared, tree in zip(some, lengths, trees_of, strict=True):
                candidates = self.candidates(squared, ~passed, counts)
                drawn, _ = self._straight(candidates, tree, counts[self.family.tells])
                found += np.where(drawn == straight, parents, drawn) == parents
        return found / replicates


@dataclass(frozen=True)
class _Known:
    """Whether pairs are among some, by their keys, ascending."""

    own: Array

    def __call__(self, i: Indices, j: Indices) -> Bools:
        if not len(self.own):
            return np.zeros(len(i), dtype=bool)
        wanted = keys(i, j)
        at = np.minimum(np.searchsorted(self.own, wanted), len(self.own) - 1)
        return np.asarray(self.own[at] == wanted)
