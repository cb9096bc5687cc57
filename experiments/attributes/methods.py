"""What the default is compared with: shares, nearest neighbours, label propagation, like steps.

Each takes who is joined to whom and what is stated as a column for each value: (n, characters,
values), a row of zeros where nothing is; a category is one character, a set one for each element.
It gives the probability of each value, likewise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from mother.graph import ModelGraph

Array = NDArray[np.float64]
NEAREST = 6  # steps away that neighbours are looked for
ITERATIONS = 40
UNMOVED = 1e-7  # a relative change of a layer below which it stood still
ALIKE = 9  # steps that are most like a model's own
Method = Callable[[csr_array, Array], Array]


def each(method: Method) -> Method:
    """A method of one character, (n, values), for each of several."""

    def run(joined: csr_array, stated: Array) -> Array:
        many = range(stated.shape[1])
        return np.stack([method(joined, stated[:, k]) for k in many], axis=1)

    return run


def adjacency(graph: ModelGraph) -> csr_array:
    """Who is joined to whom, (n, n) of models and hidden ancestors, both ways."""
    above = parents(graph)
    return csr_array(above + above.T)


def parents(graph: ModelGraph) -> csr_array:
    """(n, n) of models and hidden ancestors, 1 where the column is a parent of the row."""
    row = {id_: k for k, id_ in enumerate(graph.ids)}
    pairs = [(row[e.parent], row[e.child]) for e in graph.edges]
    pairs += [(row[p], row[c]) for p, c in graph.hidden_edges()]
    above, below = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return csr_array((np.ones(len(above)), (below, above)), shape=(len(row), len(row)))


def majority(joined: csr_array, stated: Array) -> Array:
    """What all models state, in the same shares for every one."""
    counts = stated.sum(0) + 1 / stated.shape[1]
    return np.tile(counts / counts.sum(), (len(stated), 1))


def neighbours(joined: csr_array, stated: Array) -> Array:
    """Votes of those that state something and are the fewest steps away (arXiv:2503.10633), with
    one vote shared as among all models."""
    out, reached = np.zeros(stated.shape), stated
    missing = np.ones(len(stated), dtype=bool)
    for _ in range(NEAREST):
        reached = joined @ reached
        found = missing & (reached.sum(1) > 0)
        out[found] = reached[found]
        missing &= ~found
        reached = reached / np.maximum(reached.sum(1, keepdims=True), 1)
    return _mixed(out, majority(joined, stated))


def propagation(joined: csr_array, stated: Array) -> Array:
    """The harmonic function that is what is stated there and the mean of its neighbours elsewhere
    (Zhu, Ghahramani and Lafferty 2003)."""
    told = stated.sum(1) > 0
    base = majority(joined, stated)
    found = np.where(told[:, None], stated, base)
    degree = np.maximum(joined.sum(1), 1)[:, None]
    alone = np.asarray(joined.sum(1) == 0)
    for _ in range(ITERATIONS):
        mean = (joined @ found) / degree
        found = np.where((told | alone)[:, None], found, mean)
    return np.asarray(found)


def step_features(graph: ModelGraph) -> Array:
    """(models, features) of the step that made each, as the graph has it: whether there is one, its
    relation, rank and length, what part of the layers it left alone, and how uneven it is."""
    row = {node.id: k for k, node in enumerate(graph.nodes)}
    relations = {r: k for k, r in enumerate(sorted({e.relation for e in graph.edges}))}
    out = np.zeros((len(row), 5 + len(relations)))
    for edge in graph.edges:
        known = np.array([c for c in edge.changes if c is not None], dtype=float)
        moved = known[known > UNMOVED]
        ratio = float(np.log(moved.max() / np.median(moved))) if len(moved) else 0.0
        still = 1 - len(moved) / max(len(known), 1)
        length = np.log(max(edge.distance or 0.0, UNMOVED))
        figures = out[row[edge.child]]
        figures[:5] = 1.0, np.log1p(edge.rank or 0), length, still, ratio
        figures[5 + relations[edge.relation]] = 1.0
    return out


def standard(features: Array) -> Array:
    """Each of mean 0 and spread 1, and none far out."""
    spread = features.std(0)
    return np.clip((features - features.mean(0)) / np.where(spread > 0, spread, 1), -4, 4)


def like_steps(features: Array) -> Method:
    """Votes of the `ALIKE` models that state something and were made by the most similar steps,
    whoever their relatives are."""

    def run(joined: csr_array, stated: Array) -> Array:
        told = np.flatnonzero(stated[: len(features)].sum(1))
        _, near = KDTree(features[told]).query(features, k=min(ALIKE, len(told)))
        votes = np.zeros(stated.shape)
        votes[: len(features)] = stated[told][near.reshape(len(features), -1)].sum(1)
        return _mixed(votes, majority(joined, stated))

    return each(run)


def _mixed(votes: Array, base: Array) -> Array:
    mixed = votes + base
    return np.asarray(mixed / mixed.sum(1, keepdims=True))


STEPS, NETWORK = "like steps", "graph network"
METHODS: dict[str, Method] = {
    "majority": each(majority),
    "nearest neighbours": each(neighbours),
    "label propagation": each(propagation),
}
