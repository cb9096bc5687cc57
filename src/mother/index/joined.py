"""One graph of the graphs of families."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mother.graph import HiddenAncestor, ModelGraph, Tree


def joined(graphs: Iterable[ModelGraph], options: Mapping[str, object]) -> ModelGraph:
    """All of them as one, everything sorted by name, as it would be had they been recovered
    together. Hidden ancestors are numbered again.

    >>> from mother.graph import Node
    >>> def family(*names):
    ...     return ModelGraph(
    ...         "gram",
    ...         tuple(Node(name, name, "npz", "a1", 10) for name in names),
    ...         trees=(Tree("hidden:1", names, hidden_root=True),),
    ...         hidden=(HiddenAncestor("hidden:1", names),),
    ...     )
    >>> graph = joined([family("c", "d"), family("a", "b")], {})
    >>> [(h.id, h.children) for h in graph.hidden], [tree.root for tree in graph.trees]
    ([('hidden:1', ('a', 'b')), ('hidden:2', ('c', 'd'))], ['hidden:1', 'hidden:2'])
    """
    graphs = list(graphs)
    nodes = sorted((node for g in graphs for node in g.nodes), key=lambda node: node.id)
    edges = sorted((e for g in graphs for e in g.edges), key=lambda e: (e.parent, e.child))
    refused = sorted((r for g in graphs for r in g.refused), key=lambda r: (r.path, r.fault))
    taken = {node.id for node in nodes}
    hidden: list[HiddenAncestor] = []
    trees: list[Tree] = []
    ranked = sorted(((h.children, k, h) for k, g in enumerate(graphs) for h in g.hidden))
    names: dict[tuple[int, str], str] = {}
    number = 0
    for _, k, h in ranked:
        number += 1
        while f"hidden:{number}" in taken:
            number += 1
        names[k, h.id] = f"hidden:{number}"
    for k, graph in enumerate(graphs):
        for h in graph.hidden:
            above = names.get((k, h.parent), h.parent) if h.parent is not None else None
            hidden.append(replace(h, id=names[k, h.id], parent=above))
        trees += [replace(t, root=names.get((k, t.root), t.root)) for t in graph.trees]
    return ModelGraph(
        "gram",
        tuple(nodes),
        tuple(edges),
        tuple(sorted(trees, key=lambda tree: tree.members)),
        tuple(sorted(hidden, key=lambda h: h.children)),
        tuple(refused),
        dict(options),
    )
