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

import numpy as np

from mother.evidence.direction import COSINE
from mother.evidence.family import Family
from mother.evidence.kinds import Claim, Evidence
from mother.evidence.relation import ONWARD
from mother.evidence.shares import held
from mother.measures.products import Array, Bools, Indices
from mother.sketches.near import keys
from mother.thresholds import STRONG
from mother.trees.belief import beliefs
from mother.trees.forest import Forest, Hidden, no_edges
from mother.trees.latent import hidden_ancestors
from mother.trees.neighbours import COSTS_AT_ONCE, candidate_pairs, spanning_tree, spanning_trees
from mother.trees.odds import CERTAIN, Odds
from mother.trees.rivals import Candidates, rivals
from mother.trees.rooting import orient
from mother.trees.rules import Rules
from mother.trees.turns import beside, turn_of, turning

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
        self.whole = family.points is None
        if family.points is None:
            i, j = np.triu_indices(n, 1)
        else:
            i, j, _ = candidate_pairs(family.points, CANDIDATES, threads)
        self.pairs: Pair = i, j
        self.lengths = family.length(i, j)
        self.near = self._near()
        self.overruled, self.apart = self._excluded(True), self._excluded(False)
        if start.apart is not None:
            self.apart |= np.isin(keys(*self.pairs), keys(*start.apart))

    def _near(self) -> Bools:
        """Candidates of which one is among the other's CANDIDATES, (E,)."""
        n = len(self.family)
        if not self.whole or n <= CANDIDATES + 1:
            return np.ones(len(self.lengths), dtype=bool)
        table = np.full((n, n), np.inf)
        i, j = self.pairs
        table[i, j] = table[j, i] = self.lengths
        rank = np.argsort(np.argsort(table, axis=0, kind="stable"), axis=0, kind="stable")
        close = rank < CANDIDATES
        return np.asarray((close | close.T)[i, j])

    def _excluded(self, overruled: bool) -> Bools:
        """Candidates that evidence rules out which shares of steps overrule, or don't, (E,)."""
        out = np.zeros(len(self.lengths), dtype=bool)
        for one in self.said.values():
            if one.overruled == overruled:
                out |= one.excluded(*self.pairs)
        return out

    def forest(self, replicates: int = 0, seed: int = 0, *, figures: bool = True) -> Forest:
        """The tree, with figures of its edges unless parents are all that is wanted. replicates:
        layers drawn with replacement, that `support` is taken from; 0 for none."""
        passed = np.zeros(len(self.lengths), dtype=bool)
        while True:  # without the edges that evidence objects to, until there is none
            among = self.candidates(~passed)
            straight, parents, direction = self.tree(passed)
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

    def candidates(self, possible: Bools) -> Candidates:
        """Those who may be each one's parent."""
        return Candidates.among(
            len(self.family),
            self.pairs,
            self.lengths,
            possible & self.near & ~self.apart & ~self.overruled,
            None if self.whole else HUB_CANDIDATES,
        )

    def costs(self, lengths: Array, passed: Bools) -> Array:
        """Of edges, (E,). Pairs that are ruled out are as good as not there: one may be all that
        joins what is near to its ends."""
        out = self.apart | self.overruled | passed
        return np.where(out, RULED_OUT * lengths, lengths)

    def tree(self, passed: Bools) -> tuple[Indices, Indices, Array]:
        """The tree by lengths and directions, the same with what models hold of steps where rows
        rule out their parents, and the probabilities of its directions, (n,) each."""
        costs = self.costs(self.lengths, passed)
        straight, direction = self._oriented(spanning_tree(len(self.family), *self.pairs, costs))
        overruled = self.overruled & ~self.apart & ~passed
        if not overruled.any() or not self.whole:
            return straight, straight, direction
        known = keys(*(side[overruled] for side in self.pairs))
        moved = held(self.family, straight, lambda p, c: np.isin(keys(p, c), known))
        return straight, *(
            self._oriented(moved) if (moved != straight).any() else (moved, direction)
        )

    def _oriented(self, parents: Indices, counts: Array | None = None) -> tuple[Indices, Array]:
        own = self.odds.own(parents, counts) + turning(self.family, parents)
        return orient(parents, own, prior=self.rules.prior)

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
        ends = np.bincount(np.append(p, c), minlength=n)
        parent, reverse, _ = self._believed(p, c, forest.direction[c], among, ends[p])
        forest.joined[c] = parent + reverse
        forest.direction[c] = np.where(step > 0, parent / (parent + reverse), 0.5)
        self._claim(forest, p, c)
        own = np.full(n, np.nan)
        own[c] = self.family.length(p, c)
        rival, factor = rivals(kept, own, among, None if self.whole else RIVALS)
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

    def _believed(
        self, p: Indices, c: Indices, direction: Array, among: Candidates, neighbours: Indices
    ) -> Array:
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
        far = np.maximum([self.family.length(third, end) for end in ends], NO_DISTANCE)
        step = np.maximum(self.family.length(p, c), NO_DISTANCE)
        start, some = np.cumsum(counts) - counts, counts > 0
        least = np.full(len(p), np.inf)
        if some.any():
            least[some] = np.minimum.reduceat(far.max(axis=0), start[some])
        nearness = np.log(least / step) if len(self.family) > 2 else None
        return beliefs(direction, nearness, neighbours)

    def _claim(self, forest: Forest, p: Indices, c: Indices) -> None:
        for name, one in self.said.items():
            for child, claim in zip(c.tolist(), one.claims(p, c), strict=True):
                if claim is not None:
                    forest.claims[child] += (Claim(name, *claim),)

    def _support(
        self, trees: tuple[Indices, Indices], passed: Bools, replicates: int, seed: int
    ) -> Array:
        """Share of replicates, layers drawn with replacement, in which each model has this parent.
        trees: by lengths and directions, and with what models hold of steps, which are medians over
        layers: where a replicate has the former's edge, it has the latter's."""
        straight, parents = trees
        L, n = len(self.family.weight), len(parents)
        draws = np.random.default_rng(seed).multinomial(L, np.full(L, 1 / L), size=replicates)
        layers, found = self.family.lengths(*self.pairs), np.zeros(n)
        step = max(1, COSTS_AT_ONCE // max(1, len(self.lengths)))
        for some in (draws[at : at + step] for at in range(0, replicates, step)):
            costs = np.stack([self.costs(layers.over(counts), passed) for counts in some])
            for counts, tree in zip(some, spanning_trees(n, *self.pairs, costs), strict=True):
                drawn, _ = self._oriented(tree, counts[self.family.tells])
                found += np.where(drawn == straight, parents, drawn) == parents
        return found / replicates
