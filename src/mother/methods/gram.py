"""The default method: inner products only, no stage labels, no number of trees.

If training adds increments that are nearly orthogonal to where they start, <w_i, w_j> is the
squared length of the history that i and j share (a Brownian trait on the model tree; Felsenstein
1973). So distances add up along the tree, and a model that holds all of another but for a common
shrink is its child. Who is joined to whom comes from distances; which way, from all edges together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mother.copies.compressed import descended
from mother.evidence.direction import COSINE, Pairs, telling, weigh
from mother.evidence.kinship import changed, inherited, kinship
from mother.evidence.merges import Merged
from mother.evidence.rows import Told, nothing_told
from mother.evidence.shares import held
from mother.measures import Measures
from mother.trees.clustering import (
    components,
    groups,
    hierarchical_clusters,
    minimum_spanning_trees,
)
from mother.trees.forest import Forest, Hidden, no_edges
from mother.trees.latent import SIBLINGS, hidden_ancestors
from mother.trees.rooting import orient, settled
from mother.trees.turns import runners_up, straightened, turns

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
NEAREST = 16  # candidates for a model's parent
CERTAIN = 50.0  # log-odds of a copy's direction
BLUR = 0.05  # of the polarity that tells siblings from parent and child, by one pair alone
NEUTRAL = 0.5  # the share that a parent lacks where nothing is known
BATCH = 1 << 22  # numbers in the replicates worked on at once
RULED_OUT = 1e6  # times as dear as it is: what lies between is never that far
VECTORS = 1e-9  # weight of layers that are no matrices: they break ties


def layer_weights(m: Measures) -> Array:
    """Weight of each layer, (L,): makes every layer's squared change relative to its own norm,
    and lets it count by its number of weights. Sums to 1 over layers of equal norm."""
    norm = np.diagonal(m.gram, axis1=1, axis2=2).mean(axis=1)
    return np.asarray(m.sizes / m.sizes.sum() / np.where(norm > 0, norm, 1.0))


def recover(
    m: Measures,
    replicates: int = 0,
    seed: int = 0,
    trees: int | None = None,
    original: Indices | None = None,
    apart: NDArray[np.bool_] | None = None,
    told: Callable[[Indices], Told] | None = None,
    merged: Merged | None = None,
) -> Forest:
    """The forest of the models of one architecture.

    replicates: bootstraps of the layers that `support` is taken from; 0 for none. trees: how many
    families there are; found from kinship if None. original: (n,), what a model is known to be a
    compressed copy of, -1 for most. apart: (n, n), symmetric, pairs of which neither is known to be
    the other's parent. told: what rows say of some of the models, those of one tree. merged: models
    put together from others, which take no part in the search.
    """
    n = m.gram.shape[1]
    if apart is None:
        apart = np.zeros((n, n), dtype=bool)
    if original is None:
        original = np.full(n, -1, dtype=np.intp)
    forest = no_edges(n)
    hidden: list[Hidden] = []
    home, from_merge, leaf = descended(m, original), np.full(n, -1, dtype=np.intp), original
    if merged is not None:
        from_merge, leaf = merged.home, np.where(original < 0, merged.parent, original)
        home = np.where(from_merge < 0, home, from_merge)
    own = np.flatnonzero((leaf < 0) & (from_merge < 0))
    bulk = np.ones(n, dtype=np.intp)
    np.add.at(bulk, original[original >= 0], 1)
    kin = [own[relatives] for relatives in families(m.among(own.tolist()), trees)]
    kin += [np.flatnonzero((leaf < 0) & (from_merge == k)) for k in np.unique(from_merge) if k >= 0]
    for family in kin:
        for copy in np.unique(home[family]):
            members = family[home[family] == copy]
            if copy >= 0:  # the root of what descends from it
                members = np.append(copy, members)
            if len(members) > 1:
                ruled_out = apart[np.ix_(members, members)]
                rows = told(members) if told else nothing_told(len(members))
                part = _tree(
                    m.among(members), copy >= 0, bulk[members], ruled_out, rows, replicates, seed
                )
                forest.place(part, members)
                hidden += [h.renumbered(members) for h in part.hidden]
    _hang_copies(m, forest, leaf)
    if replicates:
        forest.support[leaf >= 0] = 1.0
    return replace(forest, hidden=tuple(hidden))


def _hang_copies(m: Measures, forest: Forest, original: Indices) -> None:
    """Put every copy beneath its original, as far away as compression took it."""
    copies = np.flatnonzero(original >= 0)
    above = original[copies]
    norm = np.diagonal(m.gram, axis1=1, axis2=2)
    start, end, product = norm[:, above], norm[:, copies], m.gram[:, above, copies]
    weight = m.sizes[:, None] / np.where(start > 0, start, np.inf)
    squared = np.nansum(weight * np.maximum(start + end - 2 * product, 0.0), axis=0)
    lacking = np.nansum(weight * (start - product), axis=0)
    forest.parents[copies] = above
    forest.distance[copies] = np.sqrt(squared / np.nansum(weight * start, axis=0))
    forest.polarity[copies] = lacking / np.where(squared > 0, squared, np.nan)
    forest.direction[copies] = 1.0
    forest.odds[copies] = CERTAIN


def families(m: Measures, trees: int | None = None) -> list[list[int]]:
    """The models in groups of relatives: chains of kinship above 1, or `trees` groups."""
    kin = kinship(m)
    if trees is None:
        return components(kin > 1)
    np.fill_diagonal(kin, kin.max(initial=1.0))
    return groups(hierarchical_clusters(kin.max() - kin, k=trees))


def speaking(family: Measures) -> NDArray[np.bool_]:
    """The layers of one family that its directions are read from, (L,)."""
    chosen = inherited(family)
    told = family.over(chosen)
    if not changed(told).any():
        return np.zeros_like(chosen)
    chosen[chosen] = changed(told) & heavy(changed(told), told.sizes)
    chosen[chosen] = telling(family.over(chosen))
    return chosen


def _tree(
    m: Measures,
    rooted: bool,
    bulk: Indices,
    apart: NDArray[np.bool_],
    rows: Told,
    replicates: int,
    seed: int,
) -> Forest:
    """One tree, from the layers that its models inherited. rooted: from the first of them."""
    n = m.gram.shape[1]
    by_ranks, apart, shrunk = apart, apart | rows.apart, rows.shrunk
    m = m.over(inherited(m))
    if not changed(m).any():
        return alike(n)
    norm = layer_weights(m) @ np.diagonal(m.gram, axis1=1, axis2=2)
    moved = changed(m)
    chosen = moved & heavy(moved, m.sizes)
    m, weight = m.over(chosen), layer_weights(m)[chosen]
    told = m.over(telling(m))
    weight = np.where(telling(m), weight, VECTORS * weight)
    squared = np.tensordot(weight, m.squared_distance, 1)
    lacking = np.tensordot(weight, m.loss, 1)
    close = near(squared) & ~apart
    pairs = weigh(told, *np.nonzero(np.triu(close)))
    (tree,) = minimum_spanning_trees(edge_costs(squared, pairs, apart)[None])
    straight, _ = _rooted(tree, squared, pairs, close, rooted, bulk, shrunk)
    odds = _by_pair(pairs, shrunk, rooted)
    parents, direction = settled(
        straight,
        lambda parents: orient(parents, odds, bulk),
        lambda parents: held(told, squared, parents, by_ranks, rows.apart),
    )
    # a step of this length has <d, p> = 0 with this variance
    noise = weight[:, None, None] ** 2 * (COSINE**2 + m.chance)
    chance = (noise * np.diagonal(m.gram, axis1=1, axis2=2)[:, :, None] * m.squared_distance).sum(0)
    own = np.maximum(parents, 0), np.arange(n)
    kept, hidden = parents, list[Hidden]()
    if not rooted:  # between a copy and its original there is none
        kept, hidden = hidden_ancestors(
            parents,
            squared[own],
            lacking[own],
            lacking[own[::-1]],
            chance[own],
            rows.rows,
        )
    forest = replace(no_edges(n), parents=kept, hidden=tuple(hidden))
    c = np.flatnonzero(kept >= 0)
    p = kept[c]
    forest.distance[c] = np.sqrt(squared[p, c] / norm[p])
    step = squared[p, c]
    forest.polarity[c] = lacking[p, c] / np.where(step > 0, step, np.nan)
    # two that differ in their heads alone: which came first, no layer tells
    forest.direction[c] = np.where(step > 0, direction[c], 0.5)
    if n == 2 and not rooted:
        forest.direction[c] *= descent_of_two(forest.polarity[c])
    forest.odds[c], forest.shrunk[c] = odds[p, c], shrunk[p, c]
    forest.rows[c] = rows.same(p, c)
    forest.turn[c] = turns(kept, squared)[c]
    rival, factor = runners_up(kept, squared, close)
    forest.rival[c], forest.rival_factor[c] = rival[c], factor[c]
    if replicates:
        forest.support[c] = _support(
            m, weight, pairs, (straight, parents), apart, shrunk, rooted, bulk, replicates, seed
        )[c]
    return forest


def descent_of_two(polarity: Array) -> Array:
    """Probability that one of two models comes from the other, where no third model tells them
    from siblings: what a sibling lacks, training may have made it forget.

    >>> descent_of_two(np.array([0.0, 0.25, 0.5])).round(3)
    array([0.993, 0.5  , 0.007])
    """
    return np.asarray(1 + np.tanh((SIBLINGS - polarity) / BLUR / 2)) / 2


def near(squared: Array) -> NDArray[np.bool_]:
    """Pairs of which one is among the other's NEAREST, (n, n).

    >>> near(np.array([[0.0, 1.0], [1.0, 0.0]]))
    array([[False,  True],
           [ True, False]])
    """
    apart = squared.copy()
    np.fill_diagonal(apart, np.inf)
    rank = np.argsort(np.argsort(apart, axis=0, kind="stable"), axis=0, kind="stable")
    close = rank < min(NEAREST, len(squared) - 1)
    return np.asarray(close | close.T)


def _rooted(
    tree: Indices,
    squared: Array,
    pairs: Pairs,
    close: NDArray[np.bool_],
    rooted: bool,
    bulk: Indices,
    shrunk: Array,
) -> tuple[Indices, Array]:
    """As `settled`, over all pairs."""
    odds = _by_pair(pairs, shrunk, rooted)
    return settled(
        tree,
        lambda parents: orient(parents, odds, bulk),
        lambda parents: straightened(parents, squared, close),
    )


def _by_pair(pairs: Pairs, shrunk: Array, rooted: bool) -> Array:
    """Log-odds of the row being the column's parent, (n, n)."""
    odds = shrunk.copy()
    odds[pairs.i, pairs.j] += pairs.log_odds
    odds[pairs.j, pairs.i] -= pairs.log_odds
    if rooted:
        odds[0], odds[:, 0] = CERTAIN, -CERTAIN
    return odds


def alike(n: int) -> Forest:
    """Of models that differ in new layers alone: which was first, nothing tells."""
    forest = no_edges(n)
    forest.parents[1:] = 0
    forest.distance[1:] = 0.0
    forest.direction[1:] = 0.5
    return forest


def heavy(moved: NDArray[np.bool_], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The layers that together hold all but a thousandth of the weights that moved: the many small
    ones beside them cost time and tell nothing. (L,)

    >>> heavy(np.array([True, True, False]), np.array([9, 10_000, 10_000]))
    array([False,  True, False])
    """
    size = np.where(moved, sizes, 0)
    largest = np.argsort(-size, kind="stable")
    held = np.cumsum(size[largest])
    found = np.zeros(len(size), dtype=bool)
    found[largest[: int(np.searchsorted(held, 0.999 * held[-1])) + 1]] = True
    return found


def edge_costs(squared: Array, pairs: Pairs, apart: NDArray[np.bool_]) -> Array:
    """|p - c|^2, and what the likelier parent of the two lacks of it: siblings that are nearer to
    each other than to their parent pay for what each has gone through alone. Pairs that are
    known to be `apart` are as good as not there. (n, n)"""
    cost = (1 + NEUTRAL) * squared
    own = squared[pairs.i, pairs.j] * (1 + pairs.lack.min(axis=0))
    cost[pairs.i, pairs.j] = cost[pairs.j, pairs.i] = own
    return np.asarray(np.where(apart, RULED_OUT * cost, cost))


def _support(
    m: Measures,
    weight: Array,
    pairs: Pairs,
    trees: tuple[Indices, Indices],
    apart: NDArray[np.bool_],
    shrunk: Array,
    rooted: bool,
    bulk: Indices,
    replicates: int,
    seed: int,
) -> Array:
    """Share of replicates, layers drawn with replacement, in which each model has this parent.
    trees: as distances and directions have it, and with what models hold of steps, which are
    medians over layers: where a replicate has the former's edge, it has the latter's."""
    straight, parents = trees
    L, n = len(weight), len(parents)
    draws = np.random.default_rng(seed).multinomial(L, np.full(L, 1 / L), size=replicates)
    tells, found = telling(m), np.zeros(n)
    close = np.zeros((n, n), dtype=bool)
    close[pairs.i, pairs.j] = close[pairs.j, pairs.i] = True
    size = max(1, BATCH // n**2)
    for at in range(0, replicates, size):
        counts = draws[at : at + size]
        lengths = np.tensordot(counts * weight, m.squared_distance, 1)
        drawn = [pairs.recounted(count[tells]) for count in counts]
        costs = [edge_costs(*each, apart) for each in zip(lengths, drawn, strict=True)]
        spanning = minimum_spanning_trees(np.stack(costs))
        for tree, length, part in zip(spanning, lengths, drawn, strict=True):
            drawn_tree, _ = _rooted(tree, length, part, close, rooted, bulk, shrunk)
            found += np.where(drawn_tree == straight, parents, drawn_tree) == parents
    return found / replicates
