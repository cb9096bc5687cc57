"""Where one checkpoint hangs among others, as a graph recovered with it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, HiddenAncestor
from mother.graph.verdict import of_child, of_edge, of_root, some
from mother.names import printable


@dataclass(frozen=True)
class Placement:
    """Where a checkpoint would hang.

    found: "child" (of `parent`, by `edge`), "sibling" (a hidden ancestor lies between it and
    `siblings`), "root" (`children` or `copies` hang from it) or "alone" (a stranger to all).
    copies: models that hold its very weights and come after it by name; they are no children.
    below: the edges to its children.
    compared: how many models it was recovered with, of how many comparable ones. unread: models of
    the graph that could not be opened. alike: models to whose labels its own are alike, and that
    could not be opened to see whether it is hidden from them.
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
    below: tuple[Edge, ...] = ()
    alike: tuple[str, ...] = ()


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
    below = {e.child: e for e in graph.edges if e.parent == id}
    copies = tuple(sorted(c for c, e in below.items() if e.relation == "duplicate"))
    children = tuple(sorted(below.keys() - copies))
    edges = tuple(below[c] for c in children)
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
        edges,
    )


def in_words(p: Placement) -> Iterator[str]:
    """What was found, no surer than its edges: first of the checkpoint, then of what is below it.

    >>> edge = Edge("base", "new", "lora", undirected=True)
    >>> print(*in_words(Placement("new", "child", "base", edge, (), (), (), 1, 1, 0)))
    new: open: probably LoRA-tuned from base; which came first is open
    """
    name = printable(p.id)
    if p.found == "there":
        yield f"{name}: among the models already"
    elif p.found == "alone":
        yield f"{name}: no relative among the models compared"
        if p.alike:
            alike = f"its labels are like those of {some(p.alike)}, which can't be opened"
            yield f"{alike}: it may be hidden from there"
    elif p.edge is not None:
        told = of_edge(p.edge)
        yield f"{name}: {told.grade}: {told}"
    elif p.found == "sibling":
        told = of_child(HiddenAncestor("", (*p.siblings, p.id)), p.id)
        yield f"{name}: {told.grade}: {told}"
    else:
        yield f"{name}: {of_root(p.below).sentence}"
    if p.copies:
        yield f"the same weights as {some(p.copies)}"
    for edge in p.below:
        told = of_edge(edge)
        yield f"below it, {printable(edge.child)}: {told.grade}: {told}"
    if over := p.children[len(p.below) :]:
        yield f"below it, over an ancestor that is not among the models: {some(over)}"
