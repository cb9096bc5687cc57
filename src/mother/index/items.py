"""A family's forest as it is looked at a part at a time: one row a model or hidden ancestor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mother.graph import ModelGraph


@dataclass(frozen=True)
class Item:
    """key: 2 k for model number k; 2 k + 1 for the hidden ancestor of which k is the least number
    of a child, so that a key stays what it was while the forest grows. above: key of what it hangs
    from, -1 for a root. children, below: how many hang right below, and at any depth. words: what
    is searched.
    """

    key: int
    name: str
    above: int
    children: int
    below: int
    words: str


def items(graph: ModelGraph, numbers: Mapping[str, int]) -> list[Item]:
    """The items of a family. numbers: of its models by id.

    >>> from mother.graph import Edge, Node
    >>> nodes = tuple(Node(name, f"/m/{name}", "npz", "a1", 10) for name in "abc")
    >>> edges = Edge("a", "b", "lora"), Edge("b", "c", "lora")
    >>> for item in items(ModelGraph("gram", nodes, edges), {"a": 1, "b": 2, "c": 5}):
    ...     print(item.key, item.name, item.above, item.children, item.below)
    2 a -1 1 2
    4 b 2 1 1
    10 c 4 0 0
    """
    key = {id: 2 * number for id, number in numbers.items()}
    key |= {h.id: 2 * min(numbers[c] for c in h.children) + 1 for h in graph.hidden}
    above = {child: edge.parent for child, edge in graph.main_edges().items()}
    above |= {child: parent for parent, child in graph.hidden_edges()}
    children: dict[str, list[str]] = {id: [] for id in key}
    for child, parent in above.items():
        children[parent].append(child)
    order = [id for id in key if id not in above]
    for id in order:
        order += children[id]
    below = dict.fromkeys(key, 0)
    for id in reversed(order):
        below[id] = sum(1 + below[child] for child in children[id])
    words = {h.id: h.id for h in graph.hidden} | _words(graph)
    return [
        Item(
            key[id],
            id,
            key.get(above.get(id, ""), -1),
            len(children[id]),
            below[id],
            words.get(id, id),
        )
        for id in order
    ]


def _words(graph: ModelGraph) -> dict[str, str]:
    """Name, path, relation, notes and files of each model, in lower case."""
    relation = {edge.child: edge.relation for edge in graph.edges}
    return {
        node.id: "\n".join(
            [node.id, node.path, relation.get(node.id, ""), *node.notes]
            + [file.name for file in node.files]
        ).lower()
        for node in graph.nodes
    }
