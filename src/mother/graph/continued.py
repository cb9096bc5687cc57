"""Adapters that were not trained from each other, though a tree says so.

Half of an adapter's factors start at random, and the other half at zero. A script that sets the
seed starts all of its adapters from the same random half, in which they are alike ever after: a
tree takes them for kin, of whatever models they are. What goes on from another adapter holds what
that one has learnt, in every kind of factor; what began as it did has nothing of its other half. Of
adapters that have but one kind, it stays open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mother.checkpoints import Checkpoint
from mother.checkpoints.factors import kind_of
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, Tree
from mother.thresholds import MOST

COPIES = frozenset({"duplicate", "converted", "quantized", "contains"})
FACTORS_LOOKED_AT = 24  # tensors of a kind
LARGEST = 1 << 26  # weights of one that is read


def alone(graph: ModelGraph, adapters: Mapping[str, Checkpoint]) -> ModelGraph:
    """The graph with trees of adapters cut where one was not trained from the other. adapters: what
    holds factors and no model, by id."""
    trees = [t for t in graph.trees if set(t.members) <= adapters.keys()]
    members = {m for t in trees for m in t.members}
    every = (_kept(e, adapters) if e.child in members else e for e in graph.edges)
    edges = tuple(e for e in every if e is not None)
    hidden = tuple(h for h in graph.hidden if not members.intersection(_below(graph, h.id)))
    found = [tree for t in trees for tree in _parts(t, edges)]
    kept = [t for t in graph.trees if t not in trees]
    forest = tuple(sorted((*kept, *found), key=lambda t: t.members))
    return replace(graph, edges=edges, hidden=hidden, trees=forest)


def _below(graph: ModelGraph, id: str) -> set[str]:
    """What descends from a hidden ancestor."""
    below, waiting = set[str](), [id]
    while waiting:
        at = waiting.pop()
        for child in [c for p, c in graph.hidden_edges() if p == at] + list(graph.children(at)):
            if child not in below:
                below.add(child)
                waiting.append(child)
    return below


def _parts(tree: Tree, edges: tuple[Edge, ...]) -> list[Tree]:
    """A tree as what is left of it where edges were cut."""
    parent = {e.child: e.parent for e in edges}
    found: dict[str, list[str]] = {}
    for member in tree.members:
        root = member
        while root in parent:
            root = parent[root]
        found.setdefault(root, []).append(member)
    return [Tree(root, tuple(sorted(members))) for root, members in found.items()]


def _kept(edge: Edge, adapters: Mapping[str, Checkpoint]) -> Edge | None:
    """The edge if the one holds what the other has learnt, in all kinds of factors, or is its copy;
    open where there is one kind. None if not."""
    if edge.relation in COPIES:
        return edge
    parent, child = adapters[edge.parent], adapters[edge.child]
    kinds: dict[str, list[str]] = {}
    for name, tensor in parent.tensors.items():
        other = child.tensors.get(name)
        alike = other is not None and other.is_weight and other.shape == tensor.shape
        if alike and tensor.is_weight and tensor.size <= LARGEST:
            kinds.setdefault(kind_of(name), []).append(name)
    if not all(_held(parent, child, names) >= MOST for names in kinds.values()):
        return None
    if len(kinds) > 1:
        return edge
    return replace(
        edge, undirected=True, direction_probability=0.5, probabilities=None, evidence=()
    )


def _held(parent: Checkpoint, child: Checkpoint, names: list[str]) -> float:
    """<child, parent> / |parent|^2 over some of these tensors; 1 where there is nothing to hold."""
    inner = own = 0.0
    for name in names[:: -(-len(names) // FACTORS_LOOKED_AT)]:
        one, other = (c.tensors[name].read().astype(np.float64) for c in (parent, child))
        inner, own = inner + float(one @ other), own + float(one @ one)
    return inner / own if own > 0 else 1.0
