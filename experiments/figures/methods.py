"""The two methods side by side on the same measurements, and how right they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csgraph

from experiments.figures.families import Family, Indices
from mother.evidence.kinship import inherited
from mother.evidence.ranks import unchanged
from mother.measures import Measures, is_matrix, rank_distances
from mother.measures.clustering import minimum_spanning_trees
from mother.methods import gram, paper
from mother.methods.scores import kurtosis
from mother.trees.forest import Forest

Array = NDArray[np.float64]
Score = Callable[[Measures], Array]

#: choices of L, the layers that the paper's distance and score are taken over
LAYERS = {
    "dense": r"dense\.weight$|(gate|up|down)_proj\.weight$",
    "value": r"(value|v_proj)\.weight$",
    "query": r"(query|q_proj)\.weight$",
    "key": r"(key|k_proj)\.weight$",
    "query, key, value": r"(query|key|value|[qkv]_proj)\.weight$",
    "all matrices": "",
}
#: the paper's own choice, and its distance, for a split
CHOSEN = {"ft": "dense", "lora-v": "value", "lora-f": "value"}
DISTANCE = {"lora-v": "lora", "lora-f": "lora"}


def matrices(family: Family, layers: str = "all matrices") -> NDArray[np.bool_]:
    """The matrices of some layers which all models hold, (L,)."""
    m = family.measures
    shared = np.isfinite(m.gram).all(axis=(1, 2))
    named = [
        bool(re.search(LAYERS[layers], name)) and is_matrix(shape)
        for name, shape in zip(m.names, m.shapes, strict=True)
    ]
    return np.asarray(shared & np.array(named))


def chosen(family: Family, layers: str) -> Measures:
    """What was measured of those matrices."""
    return family.measures.over(matrices(family, layers))


def ours(family: Family) -> Indices:
    """Parents by the default method, from the weights alone."""
    return family.recover().parents


@lru_cache(maxsize=16)
def papers_distance(family: Family, layers: str, distance: str) -> Array:
    """Eq. 1 ("ft") or eq. 2 ("lora") of the paper, (n, n)."""
    picked = matrices(family, layers)
    if distance == "ft":
        return paper.ft_distance(family.measures.over(picked))
    same = unchanged(family.measures.over(picked)).all(axis=(1, 2))
    picked[np.flatnonzero(picked)[same]] = False
    group = paper.restricted(family.group, np.array(family.members), picked)
    norm = np.diagonal(family.measures.over(picked).gram, axis1=1, axis2=2)
    return rank_distances(group.layers, len(family.members), norm).astype(np.float64)


def papers(
    tree: Family,
    layers: str,
    distance: str = "ft",
    *,
    score: Score = kurtosis,
    grows: NDArray[np.bool_] | None = None,
    c: float = paper.C,
) -> Indices:
    """Parents in one tree by the paper's method, which is told the stage of each model: the true
    one, or as `grows` says."""
    return paper.tree(
        papers_distance(tree, layers, distance),
        score(chosen(tree, layers)),
        tree.grows if grows is None else grows,
        c,
    )


def papers_graph(family: Family, layers: str, distance: str, trees: int) -> Forest:
    """The paper's method on several trees, whose number it is told."""
    picked = matrices(family, layers)
    return paper.recover(
        paper.restricted(family.group, np.array(family.members), picked),
        family.measures.over(picked),
        generalization=family.grows,
        score=kurtosis,
        distance=distance,
        trees=trees,
    )


def papers_told(tree: Family, layers: str, distance: str = "ft", c: float = paper.C) -> Indices:
    """The paper's method on one tree with the true direction of every pair of ancestor and
    descendant: depth stands for the score, and all are labelled specialization."""
    depth = tree.depth().astype(float)
    alike = np.zeros_like(tree.grows)
    return papers(tree, layers, distance, score=lambda m: -depth, grows=alike, c=c)


def _inherited(m: Measures) -> Measures:
    """The matrices that models have from each other, as far as they changed."""
    told = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    changed = np.nan_to_num(m.squared_distance).max(axis=(1, 2), initial=0.0) > 0
    return m.over(told & inherited(m) & changed)


def _summed(m: Measures, figure: Array) -> Array:
    """Over layers, each relative to its norm and counted by its weights."""
    norm = np.diagonal(m.gram, axis1=1, axis2=2).mean(axis=1)
    return np.asarray(np.tensordot(m.sizes / norm, figure, 1) / m.sizes.sum())


def our_distance(family: Family) -> Array:
    """|p - c| over the inherited matrices, (n, n)."""
    m = _inherited(family.measures)
    return np.sqrt(_summed(m, m.squared_distance))


def polarity(m: Measures) -> Array:
    """<p - c, p> / |p - c|^2 over the inherited matrices, (n, n), row p, column c: 0 where c holds
    all of p, 1 where p holds all of c; NaN for a model with itself."""
    m = _inherited(m)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(_summed(m, m.loss) / _summed(m, m.squared_distance))


def parent_probability(m: Measures) -> Array:
    """The probability that p is the parent of c, (n, n), that the default method gives to each
    pair by itself; 1/2 where it joins them in neither direction."""
    n = m.gram.shape[1]
    probability = np.full((n, n), 0.5)
    for p, c in combinations(range(n), 2):
        found = gram.recover(m.among([p, c]))
        if found.parents[1] == 0:
            probability[p, c] = found.direction[1]
        elif found.parents[0] == 1:
            probability[p, c] = 1 - found.direction[0]
        probability[c, p] = 1 - probability[p, c]
    return probability


def rooted(parents: Indices, evidence: Array) -> Indices:
    """The same trees, each from the root that all its edges together speak for, without any prior.

    evidence: (n, n), antisymmetric, [u, v] of u being the parent of v rather than its child.

    >>> chain, back = np.array([-1, 0, 1]), np.array([[0., -1, 0], [1, 0, -2], [0, 2, 0]])
    >>> rooted(chain, back)
    array([ 1,  2, -1])
    """
    n = len(parents)
    child = np.flatnonzero(parents >= 0)
    edges = coo_array((np.ones(len(child)), (parents[child], child)), shape=(n, n)).tocsr()
    out = np.full(n, -1, dtype=np.intp)
    for start in np.flatnonzero(parents < 0):
        order, up = csgraph.breadth_first_order(edges, start, directed=False)
        gain = np.zeros(n)
        for v in order[1:]:
            gain[v] = gain[up[v]] - evidence[up[v], v]
        root = order[gain[order].argmax()]
        _, up = csgraph.breadth_first_order(edges, root, directed=False)
        out[order] = np.maximum(up[order], -1)
    return out


def by_polarity(m: Measures, forest: Forest) -> Indices:
    """The trees of a forest, each from the root from which polarity, summed over its edges, is
    least; parents (n,)."""
    evidence = np.zeros((len(forest.parents),) * 2)
    labels = forest.labels()
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) == 1:
            continue
        lack = np.nan_to_num(polarity(m.among(members.tolist())), nan=0.5)
        evidence[np.ix_(members, members)] = 0.5 - lack
    return rooted(forest.parents, evidence)


def nearest_by_polarity(m: Measures) -> Indices:
    """Parents (n,) by what is left without all else: families, the minimum spanning tree of the
    distances in each, and its root by summed polarity."""
    parents = np.full(m.gram.shape[1], -1, dtype=np.intp)
    for family in gram.families(m):
        if len(family) > 1:
            members, own = np.array(family), _inherited(m.among(family))
            (tree,) = minimum_spanning_trees(_summed(own, own.squared_distance)[None])
            parents[members] = np.where(tree >= 0, members[tree], -1)
    return by_polarity(m, Forest(parents))


@dataclass(frozen=True)
class Count:
    """Edges: right with direction, right without, true in all, found in all."""

    right: int
    undirected: int
    true: int
    found: int

    def __add__(self, other: Count) -> Count:
        return Count(
            self.right + other.right,
            self.undirected + other.undirected,
            self.true + other.true,
            self.found + other.found,
        )

    @property
    def accuracy(self) -> float:
        """The paper's: right over true edges."""
        return self.right / self.true if self.true else float("nan")

    @property
    def loosely(self) -> float:
        """The same without direction."""
        return self.undirected / self.true if self.true else float("nan")


def count(found: Indices, true: Indices) -> Count:
    """Compare parents, (n,), with the true ones.

    >>> count(np.array([1, -1, 1]), np.array([-1, 0, 1]))
    Count(right=1, undirected=2, true=2, found=2)
    """
    child = np.flatnonzero(true >= 0)
    right = found[child] == true[child]
    reverse = found[true[child]] == child
    return Count(
        int(right.sum()), int((right | reverse).sum()), len(child), int((found >= 0).sum())
    )
