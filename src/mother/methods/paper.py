"""The method of the paper, sections 4 and 5, equations 1 to 6. Needs the stage of every model.

https://arxiv.org/abs/2405.18432
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mother.evidence.ranks import low_rank, unchanged
from mother.layouts import Group, Layer
from mother.measures import Measures, is_matrix, rank_distances
from mother.measures.clustering import hierarchical_clusters
from mother.thresholds import NEARLY_ALL
from mother.trees.arborescence import minimum_arborescence
from mother.trees.forest import Forest, no_edges

Array = NDArray[np.float64]
C = 0.3  # lambda = C * mean(D); docs/research/direction.md shows how flat the choice is


def ft_distance(m: Measures) -> Array:
    """Eq. 1: max over layers of max |u_l - v_l|, each layer min-max normalised over the models
    given (sec. 6), (n, n)."""
    low = np.nanmin(m.moments[..., 4], axis=1)
    high = np.nanmax(m.moments[..., 5], axis=1)
    width = np.where(high > low, high - low, 1.0)
    return np.asarray(np.nanmax(m.linf / width[:, None, None], axis=0))


def l1_distance(m: Measures) -> Array:
    """Sec. 5.2: the L1 distance that models are clustered by, per weight, (n, n)."""
    weight = m.sizes[:, None, None] / m.sizes.sum()
    return np.asarray(np.nansum(m.l1 * weight, axis=0))


def relative_l1_distance(m: Measures) -> Array:
    """Mean over layers of E|u - v|, as a share of what independent normal weights of the same
    variance would have: strangers sit near 1 whatever the scale of a layer. (n, n)"""
    variance = m.moments[..., 1] / m.sizes[:, None]
    expected = np.sqrt(2 / np.pi * (variance[:, :, None] + variance[:, None, :]))
    share = np.where(expected > 0, m.l1 / np.where(expected > 0, expected, 1.0), np.nan)
    weight = np.where(np.isnan(share), 0.0, m.sizes[:, None, None])
    return np.asarray(np.nansum(share * weight, axis=0) / np.maximum(weight.sum(axis=0), 1))


def clusters(m: Measures, trees: int | None) -> NDArray[np.intp]:
    """Sec. 5.2: hierarchical clustering, scipy's defaults, of the L1 distances; K given, or a
    threshold on the relative distance where it is not. (n,)"""
    if trees == 1:
        return np.zeros(m.gram.shape[1], dtype=np.intp)
    if trees is not None:
        return hierarchical_clusters(l1_distance(m), k=trees)
    return hierarchical_clusters(relative_l1_distance(m), threshold=NEARLY_ALL)


def combined(distance: Array, score: Array, generalization: NDArray[np.bool_], c: float) -> Array:
    """Eq. 4 to 6: M = D + lambda (K xor T), lambda = c * mean(D). Row: parent, column: child.

    K[i, j] = 1 where score[i] < score[j]; T[i, j] = 1 where the child j is of the generalization
    stage, the training that would have made the edge.

    >>> D = np.array([[0., 1.], [1., 0.]])
    >>> combined(D, np.array([3., 2.]), np.array([False, False]), c=1.0)
    array([[inf, 1. ],
           [1.5, inf]])
    """
    n = len(score)
    lam = c * float(distance[~np.eye(n, dtype=bool)].sum()) / n**2
    wrong = (score[:, None] < score[None, :]) ^ generalization[None, :]
    M = distance + lam * wrong
    np.fill_diagonal(M, np.inf)
    return np.asarray(M)


def tree(
    distance: Array, score: Array, generalization: NDArray[np.bool_], c: float = C
) -> NDArray[np.intp]:
    """One model tree: the minimum directed spanning tree of eq. 6. Parents (n,), -1 at the root.

    >>> D = np.array([[0., 1., 3.], [1., 0., 2.], [3., 2., 0.]])
    >>> tree(D, np.array([3., 2., 1.]), np.zeros(3, dtype=bool))
    array([-1,  0,  1])
    """
    if len(score) == 1:
        return np.array([-1], dtype=np.intp)
    return minimum_arborescence(combined(distance, score, generalization, c))


def triplet(
    distance: Array, score: Array, generalization: NDArray[np.bool_], threshold: float
) -> NDArray[np.intp]:
    """Sec. 5.1, the warm-up: edges between the pairs of lowest distance, those above `threshold`
    cut, and in each part the node of the highest score as root (lowest if it generalizes).

    >>> D = np.array([[0., 1., 9.], [1., 0., 9.], [9., 9., 0.]])
    >>> triplet(D, np.array([2., 3., 1.]), np.zeros(3, dtype=bool), threshold=5.0)
    array([ 1, -1, -1])
    """
    labels = hierarchical_clusters(distance, threshold=threshold)
    parents = np.full(len(score), -1, dtype=np.intp)
    signed = np.where(generalization, -score, score)
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        root = members[np.argmax(signed[members])]
        if len(members) > 1:
            D = distance[np.ix_(members, members)]
            up = minimum_arborescence(D, root=int(np.flatnonzero(members == root)[0]))
            parents[members] = np.where(up >= 0, members[up], -1)
    return parents


def recover(
    group: Group,
    m: Measures,
    *,
    generalization: NDArray[np.bool_],
    score: Callable[[Measures], Array],
    distance: str = "auto",
    trees: int | None = None,
    c: float = C,
    seed: int = 0,
    threads: int = 1,
) -> Forest:
    """Sec. 5.2: cluster the models, then one minimum directed spanning tree a cluster.

    L, the layers of eq. 1 to 3, are the matrices that all models of a cluster have (those of
    `group`; choose among them beforehand). distance: "ft", "lora", or "auto", which takes "lora"
    where most models differ from their nearest one by a low rank.
    """
    labels = clusters(m, trees)
    forest = no_edges(len(labels))
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        family = m.among(members.tolist())
        shared = np.isfinite(family.gram).all(axis=(1, 2))
        chosen = np.logical_and(shared, matrices)
        if not chosen.any():
            chosen = shared
        if len(members) == 1 or not chosen.any():
            continue
        family = family.over(chosen)
        D = _distance(restricted(group, members, chosen), family, distance, seed, threads)
        up = tree(D, score(family), generalization[members], c)
        child = np.flatnonzero(up >= 0)
        forest.parents[members[child]] = members[up[child]]
        forest.distance[members[child]] = D[up[child], child]
    return forest


def _distance(group: Group, family: Measures, choice: str, seed: int, threads: int) -> Array:
    if choice == "ft" or (choice == "auto" and not low_rank(group, family)):
        return ft_distance(family)
    norm = np.diagonal(family.gram, axis1=1, axis2=2)
    tuned = np.flatnonzero(~unchanged(family).all(axis=(1, 2)))
    return rank_distances(
        [group.layers[k] for k in tuned],
        len(group.checkpoints),
        norm[tuned],
        seed=seed,
        threads=threads,
    ).astype(np.float64)


def restricted(group: Group, members: NDArray[np.intp], chosen: NDArray[np.bool_]) -> Group:
    """Some members of a group and the chosen layers, which all of them have."""
    layers = []
    for layer, wanted in zip(group.layers, chosen, strict=True):
        if wanted:
            tensors = dict(zip(layer.members, layer.tensors, strict=True))
            kept = tuple(tensors[int(k)] for k in members)
            layers.append(Layer(layer.name, layer.shape, tuple(range(len(members))), kept))
    return Group(
        tuple(group.checkpoints[int(k)] for k in members),
        tuple(layers),
        tuple(group.unaligned[int(k)] for k in members),
        tuple(group.architecture[int(k)] for k in members),
    )
