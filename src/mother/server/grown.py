"""The same questions as answers.py, answered from an index, as it is when they are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mother import __version__
from mother.graph import Edge, parsed
from mother.graph.grades import grade
from mother.index.browser import Browser, Seen
from mother.server.answers import attributes, shown
from mother.server.looked import looks
from mother.views.outline import Item
from mother.views.page import PALETTE, called, entry

COLOURED = 10_000  # models that tell what models can be coloured by


class Grown:
    """An index by keys, as `mother.index.items` has them."""

    def __init__(self, folder: Path, title: str) -> None:
        self._browser, self._title = Browser(folder), title
        self._folder = folder.resolve()
        self._known: tuple[int, dict[str, Any]] | None = None

    def about(self) -> dict[str, Any]:
        """The forest as a whole."""
        version = self._browser.version
        models, hidden, trees = self._browser.counts()
        return {
            "title": self._title,
            "method": "gram",
            "refused": [],
            "palette": PALETTE,
            "models": models,
            "hidden": hidden,
            "trees": trees,
            **self._looked(version),
            "tool": __version__,
            "inferred": False,
            "claims": False,
            "whole": False,
            "version": version,
        }

    def _looked(self, version: int) -> dict[str, Any]:
        """What models can be coloured by, how architectures are called, what needs a look."""
        if self._known is None or self._known[0] != version:
            parts = list(self._browser.parts(COLOURED))
            nodes = ((x["architecture"], x["id"]) for x in parts if "architecture" in x)
            known: dict[str, Any] = {
                "attributes": attributes(map(_told, parts)),
                "called": called(nodes),
            }
            known["looks"] = looks(parts, self._browser.key, COLOURED)
            self._known = version, known
        return self._known[1]

    def below(
        self, keys: Sequence[int | None], offset: int, limit: int
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many hang right below these, None for the roots, and so many of them. KeyError."""
        counts = [self._browser.count_below(key) for key in keys]
        found: list[Seen] = []
        for key, count in zip(keys, counts, strict=True):
            if offset < count and len(found) < limit:
                found += self._browser.below(key, offset, limit - len(found))
            offset = max(0, offset - count)
        return sum(counts), [self._entry(seen) for seen in found]

    def details(self, key: int) -> dict[str, Any]:
        """Everything known of one model. KeyError."""
        path = self._browser.path(key)
        item = _item(path[-1], self._named(path[-1]))
        entries = [self._entry(seen) for seen in path]
        return {
            "entry": entries[-1],
            "path": entries,
            "node": item.get("node"),
            "edge": item.get("edge"),
            "hidden": item.get("hidden"),
            "told": item.get("told", []),
            "changes": None,
        }

    def edge(self, child: str) -> dict[str, Any]:
        """The edge to a model as in graph.json. KeyError if it has none."""
        edge = self._browser.path(self._browser.key(child))[-1].edge
        if edge is None:
            raise KeyError(child)
        return {**asdict(edge), "changes": []}

    def matches(self, text: str, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """How many models a search finds, and so many of them, by name."""
        total, found = self._browser.search(text.lower().split(), limit)
        return total, [{"key": key, "name": name} for key, name in found]

    def every(self, offset: int, limit: int) -> tuple[int, list[dict[str, Any]]]:
        """None: an index is looked at a part at a time."""
        return 0, []

    def key(self, id: str) -> int:
        """Of a model. KeyError."""
        return self._browser.key(id)

    def path_of(self, id: str) -> str:
        """Where a model lies. KeyError."""
        node = self._browser.path(self._browser.key(id))[-1].node
        if node is None:
            raise KeyError(id)
        return node.path

    def placing(self, path: Path, folders: Sequence[Path]) -> dict[str, Any]:
        """What is to be done to place a checkpoint: nothing but its own files is read."""
        return {"index": str(self._folder)}

    def _named(self, seen: Seen) -> dict[str, int]:
        """Keys of models that are named in what is known of another."""
        runner = seen.edge.runner_up if seen.edge else None
        try:
            return {} if runner is None else {runner: self._browser.key(runner)}
        except KeyError:
            return {}

    def _entry(self, seen: Seen) -> dict[str, Any]:
        return shown(_item(seen, {}), seen.key, seen.children, seen.below)


def _told(part: dict[str, Any]) -> dict[str, Any]:
    """Without names and what is empty; of an edge its grade, too."""
    known = {
        key: value
        for key, value in part.items()
        if key not in ("id", "parent", "child") and not (value is None or value is False)
        if value not in ("", [])
    }
    if "child" in part:
        (edge,) = parsed(Edge, [part])
        known["grade"] = grade(edge)
    return known


def _item(seen: Seen, named: dict[str, int]) -> dict[str, Any]:
    item = Item(seen.name, seen.above, 0, (), seen.below, seen.node, seen.edge, seen.hidden)
    return entry(item, named)
