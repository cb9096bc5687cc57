"""The forest as a list, parents before children: what every picture of it starts from."""

from __future__ import annotations

from dataclasses import dataclass

from mother.graph import Edge, HiddenAncestor, ModelGraph, Node
from mother.names import counted


@dataclass(frozen=True)
class Item:
    """A model or a hidden ancestor at its place. parent: its index in the outline, -1 for a root.
    below: how many items hang from it, at whatever depth. also: of a merge, the edges from its
    other parents."""

    id: str
    parent: int
    depth: int
    children: tuple[int, ...]
    below: int
    node: Node | None = None
    edge: Edge | None = None
    hidden: HiddenAncestor | None = None
    also: tuple[Edge, ...] = ()


def hanging(graph: ModelGraph) -> dict[str, list[str]]:
    """What hangs right below each model and hidden ancestor that anything hangs from, by name. A
    merge hangs from its main parent. Names are in the order of the numbers in them.

    >>> hanging(ModelGraph("gram", hidden=(HiddenAncestor("?", ("b", "a"), "c"),)))
    {'c': ['?'], '?': ['a', 'b']}
    """
    main = ((e.parent, e.child) for e in graph.main_edges().values())
    below: dict[str, list[str]] = {}
    for parent, child in (*main, *graph.hidden_edges()):
        below.setdefault(parent, []).append(child)
    return {parent: sorted(children, key=counted) for parent, children in below.items()}


def outline(graph: ModelGraph) -> list[Item]:
    """All models and hidden ancestors in preorder, trees as the graph has them, children by name.
    What a graph built by hand holds twice, or in a circle, stands where it is met first.

    >>> graph = ModelGraph("gram", edges=(Edge("b", "c", "lora"), Edge("b", "a", "lora")))
    >>> [(item.id, item.parent, item.depth, item.below) for item in outline(graph)]
    [('b', -1, 0, 2), ('a', 0, 1, 0), ('c', 0, 1, 0)]
    """
    above, also = graph.main_edges(), graph.other_edges()
    nodes = {node.id: node for node in graph.nodes}
    hidden = {h.id: h for h in graph.hidden}
    below = hanging(graph)
    under = {child for children in below.values() for child in children}
    roots = [tree.root for tree in graph.trees]
    roots += sorted({*nodes, *hidden, *below} - under - set(roots))

    order: list[tuple[str, int, int]] = []
    children: list[list[int]] = []
    drawn: set[str] = set()
    stack = [(root, -1, 0) for root in reversed(roots)]
    while stack:
        id_, parent, depth = stack.pop()
        if id_ in drawn:
            continue
        drawn.add(id_)
        index = len(order)
        order.append((id_, parent, depth))
        children.append([])
        if parent >= 0:
            children[parent].append(index)
        stack.extend((child, index, depth + 1) for child in reversed(below.get(id_, ())))
    sizes = [0] * len(order)
    for index in range(len(order) - 1, -1, -1):
        if (parent := order[index][1]) >= 0:
            sizes[parent] += 1 + sizes[index]
    return [
        Item(
            id_,
            parent,
            depth,
            tuple(children[index]),
            sizes[index],
            nodes.get(id_),
            above.get(id_) if parent >= 0 and order[parent][0] not in hidden else None,
            hidden.get(id_),
            tuple(also.get(id_, ())),
        )
        for index, (id_, parent, depth) in enumerate(order)
    ]
