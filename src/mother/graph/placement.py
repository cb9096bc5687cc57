"""Where one checkpoint hangs among others, as a graph recovered with it says."""

from __future__ import annotations

from dataclasses import dataclass

from mother.graph import Edge, ModelGraph


@dataclass(frozen=True)
class Placement:
    """Where a checkpoint would hang.

    found: "child" (of `parent`, by `edge`), "sibling" (a hidden ancestor lies between it and
    `siblings`), "root" (`children` or `copies` hang from it) or "alone" (a stranger to all).
    copies: models that hold its very weights and come after it by name; they are no children.
    compared: how many models it was recovered with, of how many comparable ones. unread: models of
    the graph that could not be opened.
    """

    id: str
    found: str
    parent: str | None
    edge: Edge | None
    siblings: tuple[str, ...]
    children: tuple[str, ...]
    copies: tuple[str, ...]
    compared: int
    comparable: int
    unread: int


def placement(graph: ModelGraph, id: str, comparable: int, unread: int = 0) -> Placement:
    """Where a node of a graph hangs in it.

    >>> from mother.graph import Node
    >>> nodes = tuple(Node(name, name, "npz", "a1", 10) for name in "ab")
    >>> found = placement(ModelGraph("gram", nodes, (Edge("a", "b", "fine-tune"),)), "b", 1)
    >>> found.found, found.parent
    ('child', 'a')
    """
    edge = graph.main_edges().get(id)
    hidden = next((h for h in graph.hidden if id in h.children), None)
    below = {e.child: e.relation for e in graph.edges if e.parent == id}
    copies = tuple(sorted(c for c, relation in below.items() if relation == "duplicate"))
    children = tuple(sorted(below.keys() - copies))
    children += tuple(c for h in graph.hidden if h.parent == id for c in h.children)
    found = "child" if edge else "sibling" if hidden else "root" if children or copies else "alone"
    return Placement(
        id,
        found,
        edge.parent if edge else None,
        edge,
        tuple(c for c in hidden.children if c != id) if hidden else (),
        children,
        copies,
        len(graph.nodes) - 1,
        comparable,
        unread,
    )
