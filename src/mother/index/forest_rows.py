"""The rows of an index of its forests: the graph of each family, and its items to look at."""

from __future__ import annotations

import json
from typing import Any

from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Tree, parsed, plain
from mother.index.items import Item, items
from mother.index.store import Store

#: the families whose forest is that of all their models
_FORESTS = "SELECT family FROM nodes EXCEPT SELECT family FROM waiting"
#: the tables of the forest and what their rows are
_PARTS: dict[str, type] = {"nodes": Node, "edges": Edge, "hidden": HiddenAncestor, "trees": Tree}


class ForestRows:
    """The forest of each family, by the number of the family."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def put(self, family: int, graph: ModelGraph) -> None:
        """Write down the forest of a family in place of what it was."""
        self.clear(family)
        for node in graph.nodes:
            self.store.write("INSERT INTO nodes VALUES (?, ?, ?)", node.id, family, _text(node))
        for edge in graph.edges:
            row = edge.child, edge.parent, family, _text(edge)
            self.store.write("INSERT INTO edges VALUES (?, ?, ?, ?)", *row)
        for table, parts in (("hidden", graph.hidden), ("trees", graph.trees)):
            for part in parts:
                self.store.write(f"INSERT INTO {table} VALUES (?, ?)", family, _text(part))
        for item in self._items(family, graph):
            place = item.key, family, item.name, item.above, item.children, item.below, item.words
            self.store.write("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", *place)

    def shows(self, family: int, graph: ModelGraph) -> bool:
        """Whether what is looked at of a family is this graph, or the family waits for one."""
        if self.store.rows(f"SELECT 1 WHERE ? NOT IN ({_FORESTS})", family):
            return True
        kept = {
            "key, name, above, children, below, words FROM items": [
                (i.key, i.name, i.above, i.children, i.below, i.words)
                for i in self._items(family, graph)
            ],
            "id FROM nodes": sorted((node.id,) for node in graph.nodes),
            "child, parent FROM edges": sorted((edge.child, edge.parent) for edge in graph.edges),
        }
        return all(
            self.store.rows(f"SELECT {columns} WHERE family = ? ORDER BY 1", family) == rows
            for columns, rows in kept.items()
        )

    def _items(self, family: int, graph: ModelGraph) -> list[Item]:
        query = "SELECT id, number FROM models WHERE family = ?"
        found = items(graph, dict(self.store.rows(query, family)))
        return sorted(found, key=lambda item: item.key)

    def clear(self, family: int) -> None:
        """Forget the forest of a family."""
        for table in ("waiting", "items", *_PARTS):
            self.store.write(f"DELETE FROM {table} WHERE family = ?", family)

    def put_off(self, family: int) -> None:
        """Remember that a family waits for a new forest; meanwhile it is seen in its old one."""
        self.store.write("INSERT OR IGNORE INTO waiting VALUES (?)", family)

    def waiting(self) -> list[int]:
        """The families that have no forest yet, or not that of all their models."""
        query = f"SELECT DISTINCT family FROM models WHERE family NOT IN ({_FORESTS})"
        return sorted(family for (family,) in self.store.typed("models", (int,), query))

    def sizes(self, family: int) -> tuple[int, int]:
        """How many models a family has, and how many are in its forest."""
        query = "SELECT count(*) FROM {} WHERE family = ?"
        has, seen = (self.store.rows(query.format(t), family)[0][0] for t in ("models", "nodes"))
        return int(has), int(seen)

    def parents(self, number: int) -> list[int]:
        """The number of a model's parent, if it has one."""
        query = (
            "SELECT p.number FROM models c JOIN edges e ON e.child = c.id"
            " JOIN models p ON p.id = e.parent WHERE c.number = ?"
        )
        return [up for (up,) in self.store.typed("models", (int,), query, number)]

    def graphs(self) -> list[ModelGraph]:
        """Of each family that does not wait. InputError where a part is damaged."""
        found: dict[int, dict[str, list[Any]]] = {}
        for table, kind in _PARTS.items():
            query = f"SELECT family, content FROM {table} WHERE family IN ({_FORESTS})"
            for family, content in self.store.rows(query):
                parts = found.setdefault(family, {name: [] for name in _PARTS})
                with self.store.sound(table):
                    parts[table] += parsed(kind, [json.loads(content)])
        return [
            ModelGraph(
                "gram",
                tuple(parts["nodes"]),
                tuple(parts["edges"]),
                tuple(parts["trees"]),
                tuple(parts["hidden"]),
            )
            for parts in found.values()
        ]


def _text(part: Any) -> str:
    return json.dumps(plain(part), separators=(",", ":"))
