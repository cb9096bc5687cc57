"""How right a recovered graph is, against a truth (paper, sec. 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from mother.errors import InputError
from mother.graph import ModelGraph
from mother.graph.documents import read_json
from mother.measures.clustering import Labels, adjusted_rand_index, joined

EdgeName = tuple[str, str]
MAX_TRUTH = 1 << 27  # bytes of a truth.json; a million edges take half of it


@dataclass(frozen=True)
class Evaluation:
    """accuracy: share of true edges found with their direction (the paper's figure). undirected:
    the same without direction. adjusted_rand_index: of the trees, 1 if they are the true ones.
    false: edges found that are not true. unknown: names in the truth that the graph doesn't have.
    Shares are None where the truth has no edge, the index where it tells of no tree."""

    accuracy: float | None
    undirected: float | None
    adjusted_rand_index: float | None
    right: int
    right_undirected: int
    true: int
    found: int
    false: int
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """True edges, and true trees where they are known apart from the edges (siblings whose parent
    is missing)."""

    edges: tuple[EdgeName, ...]
    trees: tuple[tuple[str, ...], ...] = ()


def read_truth(path: str | PathLike[str]) -> Truth:
    """A truth.json, `{"edges": [["parent", "child"], …]}`, with `"trees": [["member", …], …]` where
    edges do not tell them. InputError if it is none."""
    content = read_json(path, MAX_TRUTH)
    edges = content.get("edges") if isinstance(content, dict) else None
    if not isinstance(edges, list) or not all(
        isinstance(e, list) and len(e) == 2 and all(isinstance(x, str) for x in e) for e in edges
    ):
        raise InputError(path, 'not a truth file: it needs {"edges": [["parent", "child"], …]}')
    trees = content.get("trees", [])
    if not isinstance(trees, list) or not all(
        isinstance(t, list) and all(isinstance(x, str) for x in t) for t in trees
    ):
        raise InputError(path, '"trees" is no list of lists of names')
    return Truth(tuple((parent, child) for parent, child in edges), tuple(map(tuple, trees)))


def evaluate(graph: ModelGraph, truth: Truth | Iterable[EdgeName]) -> Evaluation:
    """Compare a graph with the truth, or with the true edges alone.

    >>> from mother.graph import Edge, Node, Tree
    >>> nodes = tuple(Node(x, x, "npz", "a", 1) for x in "abc")
    >>> edges = (Edge("a", "b", "fine-tune"), Edge("c", "b", "fine-tune"))
    >>> graph = ModelGraph("gram", nodes, edges, (Tree("a", ("a", "b", "c")),))
    >>> evaluation = evaluate(graph, [("a", "b"), ("b", "c")])
    >>> evaluation.accuracy, evaluation.undirected, evaluation.adjusted_rand_index
    (0.5, 1.0, 1.0)
    """
    if not isinstance(truth, Truth):
        truth = Truth(tuple(truth))
    true = set(truth.edges)
    found = {(e.parent, e.child) for e in graph.edges}
    loose = {frozenset(e) for e in found}
    right = len(true & found)
    right_undirected = sum(frozenset(e) in loose for e in true)
    ids = [node.id for node in graph.nodes]
    known = set(ids)
    return Evaluation(
        accuracy=right / len(true) if true else None,
        undirected=right_undirected / len(true) if true else None,
        adjusted_rand_index=adjusted_rand_index(
            _clusters(ids, [tree.members for tree in graph.trees]),
            _clusters(ids, [*true, *truth.trees]),
        )
        if true or truth.trees
        else None,
        right=right,
        right_undirected=right_undirected,
        true=len(true),
        found=len(found),
        false=len(found - true),
        unknown=tuple(sorted({x for e in true for x in e} - known)),
    )


def _clusters(ids: Sequence[str], groups: Sequence[Sequence[str]]) -> Labels:
    """Labels of the ids when the members of each group are joined to its first."""
    position = {id: k for k, id in enumerate(ids)}
    known = ([position[x] for x in group if x in position] for group in groups)
    pairs = [(first, other) for first, *others in filter(None, known) for other in others]
    ends = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return joined(len(ids), ends[:, 0], ends[:, 1])
