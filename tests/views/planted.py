"""Indexes whose forest was put into them rather than recovered."""

from __future__ import annotations

from pathlib import Path

from mother.graph import Edge, ModelGraph, Node, Tree
from mother.index import Index


def star(count: int, name: str = "m") -> ModelGraph:
    """A root with so many children, one of which has a child of its own."""
    ids = ["root", *(f"{name}{k:06}" for k in range(count)), "grandchild"]
    nodes = [Node(id, f"/models/{id}", "npz", "a1", 10) for id in ids]
    edges = [Edge("root", id, "fine-tune", distance=0.1) for id in ids[1:-1]]
    edges.append(Edge(ids[-2], "grandchild", "lora", runner_up="root", runner_up_ratio=2.0))
    return ModelGraph("gram", tuple(nodes), tuple(edges), (Tree("root", tuple(ids)),))


def plant(index: Index, graph: ModelGraph) -> None:
    """Write a family of a graph into an index, as if it had been recovered from models there."""
    catalogue = index._catalogue
    family = None
    with catalogue.writing():
        catalogue.store.write("INSERT OR IGNORE INTO architectures VALUES ('a', x'')")
        for node in graph.nodes:
            number = catalogue.store.write(
                "INSERT INTO models (id, path, architecture, family, sure, stamp, seal,"
                " signature, facts) VALUES (?, ?, 'a', ?, ?, '[]', x'', zeroblob(256), '{}')",
                *(node.id, node.path, family or 0, family or 0),
            )
            family = family or number
        catalogue.store.write("UPDATE models SET family = ?1, sure = ?1 WHERE family = 0", family)
        catalogue.put(family or 0, graph, {}, ())


def planted(folder: Path, *graphs: ModelGraph) -> Path:
    """A new index of such families."""
    with Index.create(folder) as index:
        for graph in graphs:
            plant(index, graph)
    return folder
