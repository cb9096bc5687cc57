"""The default method: inner products only, no stage labels, no number of trees.

If training adds increments that are nearly orthogonal to where they start, <w_i, w_j> is the
squared length of the history that i and j share (a Brownian trait on the model tree; Felsenstein
1973). So distances add up along the tree, and a model that holds all of another but for a common
shrink is its child. Who is joined to whom comes from distances; which way, from all edges together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mother.arborescence import minimum_arborescence
from mother.clustering import components, groups, hierarchical_clusters
from mother.heritage.direction import COSINE, log_odds_and_lack, telling
from mother.heritage.forest import Forest, Hidden, no_edges
from mother.heritage.hidden import hidden_ancestors
from mother.heritage.relatedness import changed, inherited, kinship
from mother.heritage.rooting import orient
from mother.measures import Measures

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
NEAREST = 16  # candidates for a model's parent
VECTORS = 1e-9  # weight of layers that are no matrices: they break ties
CONTINUED = -0.1  # polarity below which a child went on in its parent's own direction


def layer_weights(m: Measures) -> Array:
    """Weight of each layer, (L,): makes every layer's squared change relative to its own norm,
    and lets it count by its number of weights. Sums to 1 over layers of equal norm."""
    norm = np.diagonal(m.gram, axis1=1, axis2=2).mean(axis=1)
    return np.asarray(m.sizes / m.sizes.sum() / np.where(norm > 0, norm, 1.0))


def recover(m: Measures, replicates: int = 0, seed: int = 0, trees: int | None = None) -> Forest:
    """The forest of the models of one architecture.

    replicates: bootstraps of the layers that `support` is taken from; 0 for none. trees: how many
    families there are; found from kinship if None.
    """
    forest = no_edges(m.gram.shape[1])
    hidden: list[Hidden] = []
    for members in families(m, trees):
        family = m.among(members)
        if len(members) == 1:
            continue
        family = family.over(inherited(family))
        if not changed(family).any():
            continue
        part = _tree(family, replicates, seed)
        pick = np.array(members)
        forest.parents[pick] = np.where(part.parents >= 0, pick[part.parents], -1)
        forest.distance[pick], forest.polarity[pick] = part.distance, part.polarity
        forest.direction[pick], forest.support[pick] = part.direction, part.support
        hidden += [h.renumbered(pick) for h in part.hidden]
    return replace(forest, hidden=tuple(hidden))


def families(m: Measures, trees: int | None = None) -> list[list[int]]:
    """The models in groups of relatives: chains of kinship above 1, or `trees` groups."""
    kin = kinship(m)
    if trees is None:
        return components(kin > 1)
    np.fill_diagonal(kin, kin.max(initial=1.0))
    return groups(hierarchical_clusters(kin.max() - kin, k=trees))


def _tree(m: Measures, replicates: int, seed: int) -> Forest:
    """One tree, from the layers that its models inherited."""
    n = m.gram.shape[1]
    norm = layer_weights(m) @ np.diagonal(m.gram, axis1=1, axis2=2)
    told = changed(m) & _heavy(m)
    m, weight = m.over(told), layer_weights(m)[told]
    weight = np.where(telling(m), weight, VECTORS * weight)
    squared = np.tensordot(weight, m.squared_distance, 1)
    lacking = np.tensordot(weight, m.loss, 1)
    i, j = near(squared)
    log_odds, lack_i, lack_j = (x[0] for x in log_odds_and_lack(m.over(telling(m)), i, j))
    cost = 1.5 * squared
    cost[i, j], cost[j, i] = squared[i, j] * (1 + lack_i), squared[i, j] * (1 + lack_j)
    odds = np.zeros((n, n))
    odds[i, j], odds[j, i] = log_odds, -log_odds
    parents, direction = orient(minimum_arborescence(cost), odds)
    # a step of this length has <d, p> = 0 with this variance
    noise = weight[:, None] ** 2 * (COSINE**2 + 1 / m.sizes[:, None])
    chance = np.einsum(
        "lp,lpc->pc", noise * np.diagonal(m.gram, axis1=1, axis2=2), m.squared_distance
    )
    kept, hidden = hidden_ancestors(parents, squared, lacking, chance)
    has = np.flatnonzero(kept >= 0)
    forest = no_edges(n)
    forest.distance[has] = np.sqrt(squared[kept[has], has] / norm[kept[has]])
    forest.polarity[has] = lacking[kept[has], has] / squared[kept[has], has]
    forest.direction[has] = direction[has]
    if replicates:
        forest.support[has] = _support(m, weight, parents, replicates, seed)[has]
    return replace(forest, parents=kept, hidden=tuple(hidden))


def near(squared: Array) -> tuple[Indices, Indices]:
    """Unordered pairs i < j of which one is among the other's NEAREST, (E,) each.

    >>> near(np.array([[0.0, 1.0], [1.0, 0.0]]))
    (array([0]), array([1]))
    """
    rank = np.argsort(np.argsort(squared, axis=0, kind="stable"), axis=0, kind="stable")
    close = rank <= NEAREST
    i, j = np.nonzero(np.triu(close | close.T, 1))
    return i, j


def _heavy(m: Measures) -> NDArray[np.bool_]:
    """The layers that together hold all but a thousandth of the changed weights: the many small
    ones beside them cost time and tell nothing."""
    size = np.where(changed(m), m.sizes, 0)
    largest = np.argsort(-size, kind="stable")
    held = np.cumsum(size[largest])
    heavy = np.zeros(len(size), dtype=bool)
    heavy[largest[: int(np.searchsorted(held, 0.999 * held[-1])) + 1]] = True
    return heavy


def relation(polarity: float, rank: int | None) -> str:
    """What kind of step an edge is: "lora", "continuation" or "fine-tune".

    >>> relation(0.01, None), relation(-0.4, None), relation(0.0, 16)
    ('fine-tune', 'continuation', 'lora')
    """
    if rank is not None:
        return "lora"
    return "continuation" if polarity < CONTINUED else "fine-tune"


def _support(m: Measures, weight: Array, parents: Indices, replicates: int, seed: int) -> Array:
    """Share of replicates, layers drawn with replacement, in which each model has this parent."""
    L, n = len(weight), len(parents)
    draws = np.random.default_rng(seed).multinomial(L, np.full(L, 1 / L), size=replicates)
    tells = telling(m)
    i, j = near(np.tensordot(weight, m.squared_distance, 1))
    lengths = (draws * weight) @ m.squared_distance[:, i, j]
    told = log_odds_and_lack(m.over(tells), i, j, draws[:, tells].astype(np.float64))
    held = np.zeros(n)
    odds = np.zeros((n, n))
    for squared, log_odds, lack_i, lack_j in zip(lengths, *told, strict=True):
        cost = np.full((n, n), np.inf)
        cost[i, j], cost[j, i] = squared * (1 + lack_i), squared * (1 + lack_j)
        odds[i, j], odds[j, i] = log_odds, -log_odds
        found = _cheapest_tree(cost)
        tree = minimum_arborescence(cost) if found is None else found
        held += orient(tree, odds)[0] == parents
    return held / replicates


def _cheapest_tree(cost: Array) -> Indices | None:
    """The minimum arborescence where it needs no search, as in most replicates: the cheapest edge
    into every node but the one whose own is the dearest, if those make a tree. None where they do
    not, or where a tie leaves a choice.

    >>> _cheapest_tree(np.array([[np.inf, 1.0, 5.0], [8.0, np.inf, 2.0], [9.0, 9.0, np.inf]]))
    array([-1,  0,  1])
    """
    parents = np.asarray(cost.argmin(axis=0))
    least = cost.min(axis=0)
    root = int(least.argmax())
    if (cost == least).sum() > len(least) or (least == least[root]).sum() > 1:
        return None
    up = parents.copy()
    up[root] = root
    for _ in range(len(up).bit_length()):
        up = up[up]
    if (up != root).any():
        return None
    parents[root] = -1
    return parents
