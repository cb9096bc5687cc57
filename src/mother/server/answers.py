"""What `web/source.js` asks, answered from the graph: the same questions, the same answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mother.graph import Edge, ModelGraph, Node
from mother.server.confinement import readable
from mother.views.page import view

_EDGE = ("relation", "grade", "stage", "support", "distance", "polarity", "direction_probability")
_NODE = ("format", "dtype", "architecture", "parameters")
UNKNOWN = "direction unknown, direction open"
_NO_COLOUR = {"path", "duplicate_of", "identical_to", "runner_up", "runner"}


class Answers:
    """A graph by keys, which are the places of its models in preorder.

    >>> nodes = tuple(Node(name, f"/m/{name}", "npz", "a1", 10) for name in "ab")
    >>> answers = Answers(ModelGraph("gram", nodes, (Edge("a", "b", "lora"),)), "Two")
    >>> [entry["name"] for entry in answers.entries(answers.children(None))]
    ['a']
    >>> answers.children(0), answers.search("lora")
    ([1], [1])
    """

    def __init__(self, graph: ModelGraph, title: str) -> None:
        seen = view(graph, title)
        self.items: list[dict[str, Any]] = seen["items"]
        self.nodes: dict[str, Node] = {node.id: node for node in graph.nodes}
        self.edges: dict[str, Edge] = graph.main_edges()
        self._layers = graph.layers
        self._grids = seen["grids"]
        self._children: list[list[int]] = [[] for _ in self.items]
        self._roots: list[int] = []
        self._below = [0] * len(self.items)
        for key, item in enumerate(self.items):
            (self._children[item["p"]] if item["p"] >= 0 else self._roots).append(key)
        for key in range(len(self.items) - 1, -1, -1):
            if (parent := self.items[key]["p"]) >= 0:
                self._below[parent] += 1 + self._below[key]
        self._keys = {item["name"]: key for key, item in enumerate(self.items)}
        self._words = [_words(item) for item in self.items]
        hidden = sum("hidden" in item for item in self.items)
        self._about: dict[str, Any] = {
            **seen["about"],
            "models": len(self.items) - hidden,
            "hidden": hidden,
            "trees": len(self._roots),
            "attributes": attributes(map(values, self.items)),
            "whole": True,
            "version": None,
        }

    def about(self) -> dict[str, Any]:
        """The graph as a whole."""
        return self._about

    def below(
        self, keys: Sequence[int | None], offset: int, limit: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many hang right below these, None for the roots, and so many of them."""
        found = [k for key in keys for k in self.children(key)]
        return len(found), self.entries(found[offset : offset + limit])

    def matches(self, text: str, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many models a search finds, and so many of them."""
        keys = self.search(text)
        return len(keys), [{"key": k, "name": self.items[k]["name"]} for k in keys[:limit]]

    def every(self, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many entries there are, and so many of them, in the order of the forest."""
        return len(self.items), self.entries(range(offset, min(offset + limit, len(self.items))))

    def key(self, id: str) -> int:
        """Of a model or hidden ancestor. KeyError."""
        return self._keys[id]

    def path_of(self, id: str) -> str:
        """Where a model lies. KeyError."""
        return self.nodes[id].path

    def placing(self, path: Path, folders: Sequence[Path]) -> dict[str, Any]:
        """What is to be done to place a checkpoint."""
        paths = {node.id: node.path for node in self.nodes.values()}
        return {"models": readable(paths, folders, but=path)}

    def children(self, key: int | None) -> list[int]:
        """Keys of what hangs right below; of the roots for None. KeyError for an unknown key."""
        return self._roots if key is None else self._children[self._known(key)]

    def entries(self, keys: Iterable[int]) -> list[dict[str, Any]]:
        """What a list or a drawing shows of each."""
        return [self._entry(key) for key in keys]

    def path(self, key: int) -> list[int]:
        """Keys from the root down to this one. KeyError for an unknown key."""
        keys = [self._known(key)]
        while (above := self.items[keys[-1]]["p"]) >= 0:
            keys.append(above)
        return keys[::-1]

    def details(self, key: int) -> dict[str, Any]:
        """Everything known of one model. KeyError for an unknown key."""
        path = self.entries(self.path(key))
        item = self.items[key]
        grid = self._grids.get(item["node"].get("architecture")) if "changes" in item else None
        values = [None if x == "-" else float(x) for x in item.get("changes", "").split()]
        return {
            "entry": path[-1],
            "path": path,
            "node": item.get("node"),
            "edge": item.get("edge"),
            "hidden": item.get("hidden"),
            "told": item.get("told", []),
            "changes": {"grid": grid, "values": values} if grid else None,
            "stated": item.get("stated"),
            "inferred": item.get("inferred"),
        }

    def edge(self, child: str) -> dict[str, Any]:
        """The edge to a model as in graph.json, its changes by layer. KeyError if it has none."""
        edge = self.edges[child]
        node = self.nodes.get(child)
        names: Sequence[str] = self._layers.get(node.architecture, ()) if node else ()
        changes = [
            {"layer": name, "change": change}
            for name, change in zip(names, edge.changes, strict=False)
        ]
        return {**asdict(edge), "changes": changes}

    def search(self, text: str) -> list[int]:
        """Keys of all models that hold every word of the text, in the order of the forest."""
        wanted = text.lower().split()
        if not wanted:
            return []
        return [k for k, words in enumerate(self._words) if all(w in words for w in wanted)]

    def _known(self, key: int) -> int:
        if not 0 <= key < len(self.items):
            raise KeyError(key)
        return key

    def _entry(self, key: int) -> dict[str, Any]:
        item = self.items[key]
        return shown(item, key, len(self._children[key]), self._below[key])


def shown(item: dict[str, Any], key: int, children: int, below: int) -> dict[str, Any]:
    """What a list or a drawing shows of an entry of the page."""
    return {
        "key": key,
        "parent": item["p"] if item["p"] >= 0 else None,
        "id": item["name"],
        "name": item.get("called", item["name"]),
        "needs": item.get("needs", []),
        "hidden": "hidden" in item,
        "children": children,
        "below": below,
        "edge": _scalars(item.get("edge")),
        "values": values(item),
    }


def values(item: dict[str, Any]) -> dict[str, Any]:
    """What an entry of the page can be coloured by, and how sure its edge is."""
    known = {**(_scalars(item.get("node")) or {}), **(_scalars(item.get("edge")) or {})}
    for mark, part in (("~", "stated"), ("?", "inferred")):
        known |= {f"{mark}{name}": of["value"] for name, of in item.get(part, {}).items()}
    grade = item.get("told", [""])[0]
    return {**known, "grade": grade} if grade else known


def _scalars(known: dict[str, Any] | None) -> dict[str, Any] | None:
    """Without lists: files, notes and reasons are looked at one model at a time."""
    if known is None:
        return None
    return {k: v for k, v in known.items() if isinstance(v, str | int | float)}


def _words(item: dict[str, Any]) -> str:
    node, edge = item.get("node", {}), item.get("edge", {})
    grade, unknown = item.get("told", [""])[0], UNKNOWN if edge.get("undirected") else ""
    files = [
        text for f in node.get("files", ()) for text in (f.get("name", ""), f.get("sha256", ""))
    ]
    told = [item["name"], item.get("called", ""), grade, node.get("path", "")]
    told += [edge.get("relation", ""), unknown]
    return "\n".join([*told, *node.get("notes", ()), *files]).lower()


def attributes(parts: Iterable[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """What the models can be coloured by: figures with their range, words with what they say; and
    which of it is inferred of any model: for figures, whether some is. parts: what is known of
    nodes and edges."""
    seen: dict[str, Counter[Any]] = {}
    guessed: dict[str, set[Any]] = {}
    for part in parts:
        for key, value in (_scalars(part) or {}).items():
            if key not in _NO_COLOUR:
                # one scale for what is stated and what is inferred
                of = f"~{key[1:]}" if key.startswith("?") else key
                seen.setdefault(of, Counter())[value] += 1
                if key.startswith("?"):
                    guessed.setdefault(of, set()).add(value)
    order = {key: k for k, key in enumerate((*_EDGE, *_NODE))}
    found: list[dict[str, Any]] = []
    for key in sorted(seen, key=lambda key: (order.get(key, len(order)), key)):
        values = seen[key]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            known: dict[str, Any] = {"low": min(values), "high": max(values)}
            known |= {"guessed": True} if key in guessed else {}
        else:
            words = sorted(values, key=lambda v: (-values[v], _utf16(v)))
            known = {"values": words}
            if key in guessed:
                known["guessed"] = [word for word in words if word in guessed[key]]
        found.append({"key": key, **known})
    return found


def _utf16(value: Any) -> bytes:
    """In the order that JavaScript compares strings by."""
    return str(value).encode("utf-16-be", "surrogatepass")
