"""Models in a graph that were found under other labels: what was undone, on each of their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mother.evidence.hiding import Hidden
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, Relabelled
from mother.graph.plain import rounded

UNDONE = 1e-5  # distance that rounding leaves when what hid a model is undone


def noted(graph: ModelGraph, hidden: Sequence[Hidden]) -> ModelGraph:
    """The graph with the test that told on edges between models under different labels. Such a copy
    is no duplicate: it holds other numbers, and either may have been first."""
    found = {each.own.id: each for each in hidden}
    if not found:
        return graph
    return replace(graph, edges=tuple(_told(edge, found) for edge in graph.edges))


def _told(edge: Edge, found: dict[str, Hidden]) -> Edge:
    across = [found[id_] for id_ in (edge.parent, edge.child) if id_ in found]
    if not across or len({id(each.undone) for each in across}) < len(across):
        return edge
    edge = replace(edge, relabelled=_test(across[0]))
    near = edge.distance is not None and edge.distance < UNDONE
    if edge.relation != "duplicate" and not (edge.relation == "fine-tune" and near):
        return edge
    return replace(
        edge,
        relation="converted",
        stage=None,
        direction_probability=None,
        probabilities=None,
        undirected=True,
        scheme=says_of(across[0]),
    )


def _test(each: Hidden) -> Relabelled:
    p, alike = rounded(each.test.p), rounded(each.test.alike)
    return Relabelled(p or 0.0, alike or 0.0, len(each.test.axes), each.undone.kinds, each.tried)


def says_of(each: Hidden) -> str:
    return f"relabelled: {', '.join(each.undone.kinds)}"
