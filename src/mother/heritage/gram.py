"""The default method: inner products only, no stage labels, no number of trees.

If training adds increments that are nearly orthogonal to where they start, <w_i, w_j> is the
squared length of the history that i and j share (a Brownian trait on the model tree; Felsenstein
1973). A true child c then holds all of its parent p: its slope <c, p> / <p, p> is 1 in every
layer, or one common a where weight decay shrank all layers alike; seen from the child, slopes are
diluted by what each layer learned since. A sibling lacks what the other went through since their
common ancestor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mother.arborescence import minimum_arborescence
from mother.clustering import connected_components, hierarchical_clusters
from mother.heritage.forest import Forest, Hidden, no_edges
from mother.heritage.relatedness import changed, inherited, kinship
from mother.measures import Measures

Array = NDArray[np.float64]
SHRINK = 0.02  # by how much all layers of a child plausibly shrank or grew alike
NEAREST = 16  # candidates for a model's parent in a bootstrap replicate
KEPT = 0.01  # share of steps that shrank nothing at all
_TINY = 1e-12
CONTINUED = -0.1  # polarity below which a child went on in its parent's own direction
SCALED = 0.05  # share of edges with polarity outside [0, 1] from which a family shrank or grew
SIBLINGS = 0.25  # polarity from which p and c are siblings: halfway from parent (0) to twin (0.5)


def layer_weights(m: Measures) -> Array:
    """Weight of each layer, (L,): makes every layer's squared change relative to its own norm,
    and lets it count by its number of weights. Sums to 1 over layers of equal norm."""
    norm = np.diagonal(m.gram, axis1=1, axis2=2).mean(axis=1)
    return np.asarray(m.sizes / m.sizes.sum() / np.where(norm > 0, norm, 1.0))


def direction_log_odds(m: Measures, weight: Array) -> Array:
    """Log-odds that p is the parent and c the child rather than the reverse, row p, column c.

    The slopes s_l = <c, p>_l / |p|_l^2 of a true child lie close to one common a near 1. Seen from
    the child they are diluted by what each layer learned since, by more in some than in others.
    With a the median of the slopes and h their mean distance from it, both weighted by
    v_l = weight_l |p|_l^2, N the effective number of layers, and primes for the reverse,

        log-odds = log prior(a) - log prior(a') + (N - 1) log(h' / h)

    where the prior is normal with standard deviation SHRINK, but for a share KEPT of steps that
    shrink nothing, and the rest is the ratio of two Laplace likelihoods of N slopes, each at its
    best width. To h is added what slopes of so many weights stray by chance. Antisymmetric.
    weight: (L,).

    >>> G = np.array([[[1.0, 1.0], [1.0, 1.5]], [[1.0, 1.0], [1.0, 1.2]]])
    >>> m = Measures(("u", "v"), ((100, 100), (100, 100)), np.array([10000, 10000]), G)
    >>> bool(direction_log_odds(m, np.array([0.5, 0.5]))[0, 1] > 3)
    True
    """
    n = m.gram.shape[1]
    parent, child = (pairs.ravel() for pairs in np.indices((n, n)))
    return next(_log_odds(m, weight[None], parent, child)).reshape(n, n)


def _log_odds(
    m: Measures, weights: Array, parent: NDArray[np.intp], child: NDArray[np.intp]
) -> Iterator[Array]:
    """The same of some ordered pairs, with each also its reverse, for each row of weights (B, L);
    slopes are ranked once for all of them. Arrays are (pairs, layers), so that sums run on."""
    n = m.gram.shape[1]
    reverse = np.zeros((n, n), dtype=np.intp)
    reverse[child, parent] = np.arange(len(parent))
    back = reverse[parent, child]
    norm = np.diagonal(m.gram, axis1=1, axis2=2)
    whole = np.where(norm > 0, norm, np.inf)[:, parent]
    slope = np.where(np.isinf(whole), 1.0, m.gram[:, parent, child] / whole).T.copy()
    stray = np.sqrt(m.squared_distance[:, parent, child] / whole / m.sizes[:, None])
    order = np.argsort(slope, axis=1, kind="stable")
    ranked = np.take_along_axis(slope, order, axis=1)
    ranked_norm = np.take_along_axis(norm[:, parent].T, order, axis=1)
    total = np.maximum(weights @ norm, _TINY)
    effective = 1 / np.maximum(weights**2 @ norm**2 / total**2, _TINY)
    by_chance = weights @ (norm[:, parent] * stray) / total[:, parent]
    for k, weight in enumerate(weights):
        mass = weight[order] * ranked_norm
        whole_mass = total[k, parent]
        middle = (np.cumsum(mass, axis=1) >= whole_mass[:, None] / 2).argmax(axis=1)
        median = ranked[np.arange(len(parent)), middle]
        spread = np.einsum("pl,pl->p", mass, np.abs(ranked - median[:, None])) / whole_mass
        spread += _TINY + 2 * by_chance[k]
        layers = (effective[k, parent] + effective[k, child]) / 2
        error = np.minimum((spread + spread[back]) / 2 / np.sqrt(layers), SHRINK)
        prior = _log_prior(1 - median, error)
        unevenness = np.log(spread)
        yield np.asarray(prior - prior[back] + (layers - 1) * (unevenness[back] - unevenness))


def _log_prior(shrink: Array, error: Array) -> Array:
    """Log density of a common shrink that is known up to `error`: none at all, or some."""
    none = np.log(KEPT / error) - shrink**2 / (2 * error**2)
    some = np.log((1 - KEPT) / SHRINK) - shrink**2 / (2 * SHRINK**2)
    return np.asarray(np.logaddexp(none, some))


def probability(log_odds: Array) -> Array:
    """From log-odds.

    >>> probability(np.array([-800.0, 0.0, 800.0]))
    array([0. , 0.5, 1. ])
    """
    return np.asarray(0.5 * (1 + np.tanh(log_odds / 2)))


def edge_costs(squared: Array, log_odds: Array) -> Array:
    """|p - c|^2 times one more than the probability that c is the parent.

    >>> edge_costs(np.array([[0., 2.], [2., 0.]]), np.array([[0., 99.], [-99., 0.]]))
    array([[0., 2.],
           [4., 0.]])
    """
    return np.asarray(squared * (2 - probability(log_odds)))


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


def components(joined: NDArray[np.bool_]) -> list[list[int]]:
    """Connected components of an (n, n) adjacency as lists of nodes.

    >>> components(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=bool))
    [[0, 2], [1]]
    """
    return groups(connected_components(joined))


def groups(labels: NDArray[np.intp]) -> list[list[int]]:
    """Indices by label."""
    return [np.flatnonzero(labels == k).tolist() for k in range(int(labels.max()) + 1)]


def _tree(m: Measures, replicates: int, seed: int) -> Forest:
    """One tree, from the layers that its models inherited."""
    n = m.gram.shape[1]
    norm = layer_weights(m) @ np.diagonal(m.gram, axis1=1, axis2=2)
    told = changed(m) & _heavy(m)
    m, weight = m.over(told), layer_weights(m)[told]
    squared = np.tensordot(weight, m.squared_distance, 1)
    lacking = np.tensordot(weight, m.loss, 1)
    log_odds = direction_log_odds(m, weight)
    parents = minimum_arborescence(edge_costs(squared, log_odds))
    # an isotropic step d of P weights has <d, p> = 0 with this variance
    chance = squared * (weight @ np.diagonal(m.gram, axis1=1, axis2=2))[:, None] / m.sizes.sum()
    kept, hidden = hidden_ancestors(parents, squared, lacking, chance)
    has = np.flatnonzero(kept >= 0)
    forest = no_edges(n)
    forest.distance[has] = np.sqrt(squared[kept[has], has] / norm[kept[has]])
    forest.polarity[has] = lacking[kept[has], has] / squared[kept[has], has]
    forest.direction[has] = probability(log_odds)[kept[has], has]
    if replicates:
        forest.support[has] = _support(m, weight, parents, replicates, seed)[has]
    return replace(forest, parents=kept, hidden=tuple(hidden))


def _heavy(m: Measures) -> NDArray[np.bool_]:
    """The layers that together hold all but a thousandth of the changed weights: the many small
    ones beside them cost time and tell nothing."""
    size = np.where(changed(m), m.sizes, 0)
    largest = np.argsort(-size, kind="stable")
    held = np.cumsum(size[largest])
    heavy = np.zeros(len(size), dtype=bool)
    heavy[largest[: int(np.searchsorted(held, 0.999 * held[-1])) + 1]] = True
    return heavy


def hidden_ancestors(
    parents: NDArray[np.intp], squared: Array, lacking: Array, chance: Array
) -> tuple[NDArray[np.intp], list[Hidden]]:
    """Where a node's children lack too much of it for a parent, all of them hang beside it, from
    an ancestor that nobody gave us.

    All children of a node tell of the same thing, what it went through after that ancestor: they
    are judged together, beyond two standard errors, and siblings of siblings are siblings. Such a
    node keeps those children that hold more than half of what its siblings lack. Polarity outside
    [0, 1] is the work of shrinking or growing, which a hidden ancestor can't do: where one edge in
    twenty shows it, lack is no evidence.

    squared: |p - c|^2; lacking: <p - c, p>; chance: its variance in a random step; all (n, n).

    >>> D2 = np.array([[0., 2., 2.], [2., 0., 2.], [2., 2., 0.]])
    >>> hidden_ancestors(np.array([-1, 0, 0]), D2, D2 / 2, D2 / 1000)
    (array([-1, -1, -1]), [Hidden(children=(0, 1, 2), parent=-1, polarity=0.5)])
    """
    n = len(parents)
    child = np.flatnonzero(parents >= 0)
    above = parents[child]
    lack, length = lacking[above, child], squared[above, child]
    if np.mean((lack > length) | (lack < CONTINUED * length)) >= SCALED:
        return parents, []
    twins = np.zeros((n, n), dtype=bool)
    polarity = np.zeros(n)
    for node in _parents_first(parents):
        children = np.flatnonzero(parents == node)
        lack, length = lacking[node, children], squared[node, children]
        if len(children) == 0 or length.sum() == 0:
            continue
        polarity[node] = lack.sum() / length.sum()
        error = np.sqrt(chance[node, children].sum()) / length.sum()
        up = int(parents[node])
        if polarity[node] - 2 * error > SIBLINGS and (lack <= length).all():
            own = (lack <= length * SIBLINGS) & (lack <= lack.max() / 2)
            siblings = children[~own]
        elif up >= 0 and twins[node, up]:
            siblings = children[lack > lacking[node, up] / 2]
        else:
            continue
        twins[node, siblings] = twins[siblings, node] = True
    out, hidden = parents.copy(), []
    for group in components(twins):
        if len(group) > 1:
            top = next(i for i in group if parents[i] < 0 or not twins[i, parents[i]])
            out[group] = -1
            hidden.append(Hidden(tuple(group), int(parents[top]), float(polarity[top])))
    return out, hidden


def _parents_first(parents: NDArray[np.intp]) -> list[int]:
    order = np.flatnonzero(parents < 0).tolist()
    for node in order:
        order += np.flatnonzero(parents == node).tolist()
    return order


def relation(polarity: float, rank: int | None) -> str:
    """What kind of step an edge is: "lora", "continuation" or "fine-tune".

    >>> relation(0.01, None), relation(-0.4, None), relation(0.0, 16)
    ('fine-tune', 'continuation', 'lora')
    """
    if rank is not None:
        return "lora"
    return "continuation" if polarity < CONTINUED else "fine-tune"


def _support(
    m: Measures, weight: Array, parents: NDArray[np.intp], replicates: int, seed: int
) -> Array:
    """Share of replicates, layers drawn with replacement, in which each model has this parent."""
    L, n = len(weight), len(parents)
    draws = np.random.default_rng(seed).multinomial(L, np.full(L, 1 / L), size=replicates) * weight
    every = m.squared_distance
    parent, child = _near(np.tensordot(weight, every, 1), parents)
    lengths = draws @ every[:, parent, child]
    held = np.zeros(n)
    for squared, log_odds in zip(lengths, _log_odds(m, draws, parent, child), strict=True):
        cost = np.full((n, n), np.inf)
        cost[parent, child] = squared * (2 - probability(log_odds))
        found = _cheapest_tree(cost)
        held += (minimum_arborescence(cost) if found is None else found) == parents
    return held / replicates


def _cheapest_tree(cost: Array) -> NDArray[np.intp] | None:
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


def _near(squared: Array, parents: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ordered pairs that can be edges of a replicate: each model's NEAREST, and the tree's own."""
    n = len(parents)
    near = np.zeros((n, n), dtype=bool)
    rank = np.argsort(np.argsort(squared, axis=0, kind="stable"), axis=0, kind="stable")
    near |= rank <= NEAREST
    near[parents[parents >= 0], np.flatnonzero(parents >= 0)] = True
    near |= near.T
    np.fill_diagonal(near, False)
    parent, child = np.nonzero(near)
    return parent, child
