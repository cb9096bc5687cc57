"""A graph as other libraries hold one: networkx, pandas, and a matrix of distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mother.errors import UsageError
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, Node, Tree
from mother.graph.plain import plain

if TYPE_CHECKING:
    import networkx
    import numpy as np
    import pandas
    from numpy.typing import NDArray

_TABLES = {"edges": Edge, "nodes": Node, "trees": Tree}


def to_networkx(graph: ModelGraph) -> networkx.DiGraph[str]:
    """See `ModelGraph.to_networkx`."""
    found: networkx.DiGraph[str] = _library("networkx").DiGraph()
    for node in graph.nodes:
        found.add_node(node.id, **plain(node, without=("id",)))
    for ancestor in graph.hidden:
        found.add_node(ancestor.id, hidden=True)
    for edge in graph.edges:
        found.add_edge(edge.parent, edge.child, **plain(edge, without=("parent", "child")))
    found.add_edges_from(graph.hidden_edges(), relation="hidden")
    return found


def to_pandas(graph: ModelGraph, table: str) -> pandas.DataFrame:
    """See `ModelGraph.to_pandas`."""
    if table not in _TABLES:
        raise UsageError(f"table {table!r} is not one of {', '.join(_TABLES)}")
    names = [field.name for field in fields(_TABLES[table])]
    rows = [plain(part) for part in getattr(graph, table)]
    found: pandas.DataFrame = _library("pandas").DataFrame(rows, columns=names)
    return found


def distances(graph: ModelGraph) -> NDArray[np.float64]:
    """See `ModelGraph.distances`."""
    import numpy as np

    main = graph.main_edges()
    above = {child: (edge.parent, edge.distance) for child, edge in main.items()}
    above |= {child: (parent, None) for parent, child in graph.hidden_edges()}
    place = {id_: k for k, id_ in enumerate(graph.ids)}
    squared = np.full((len(place), len(place)), np.inf)
    reached: list[int] = []
    for child in _downwards(list(place), {c: p for c, (p, _) in above.items()}):
        k = place[child]
        if child in above:
            parent, step = above[child]
            length = np.nan if step is None else step**2
            squared[k, reached] = squared[reached, k] = squared[reached, place[parent]] + length
        squared[k, k] = 0.0
        reached.append(k)
    n = len(graph.nodes)
    return np.asarray(np.sqrt(squared[:n, :n]))


def _downwards(ids: Sequence[str], parent: dict[str, str]) -> list[str]:
    """Each after its parent."""
    order: dict[str, None] = {}
    for id_ in ids:
        way = [id_]
        while way[-1] in parent and parent[way[-1]] not in order:
            way.append(parent[way[-1]])
        order.update(dict.fromkeys(reversed(way)))
    return list(order)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as absent:
        raise ImportError(
            f"{name} is not installed; run: pip install 'mother-recovery[{name}]'"
        ) from absent
