"""An index as it is looked at: what hangs below what, a part at a time, as it is at that moment."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, parsed
from mother.index.store import Store
from mother.names import counted

_ITEM = "key, name, above, children, below, family"
COUNTED = 2_000  # children that are put in the order of their numbers
Part = TypeVar("Part", Node, Edge, HiddenAncestor)


@dataclass(frozen=True)
class Seen:
    """A model or hidden ancestor at its place, as `items.Item` has it, and all that is known of
    it."""

    key: int
    name: str
    above: int
    children: int
    below: int
    family: int
    node: Node | None = None
    edge: Edge | None = None
    hidden: HiddenAncestor | None = None


class Browser:
    """Looks at an index that others may write meanwhile. InputError where there is none, or it is
    damaged. Safe to use from several threads."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder)
        self._store, self._opened = Store(self.folder), 1
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()

    @property
    def version(self) -> int:
        """A number that changes when the index does."""
        with self._looking() as store:
            return (self._opened << 32) + store.version

    def counts(self) -> tuple[int, int, int]:
        """How many models, hidden ancestors and trees there are."""
        with self._reading():
            query = "SELECT sum(key % 2 = 0), sum(key % 2), sum(above < 0) FROM items"
            models, hidden, trees = self._store.rows(query)[0]
        return models or 0, hidden or 0, trees or 0

    def count_below(self, key: int | None) -> int:
        """How many hang right below; how many roots there are for None. KeyError."""
        with self._reading():
            if key is not None:
                return int(self._row(key)[3])
            return int(self._store.rows("SELECT count(*) FROM items WHERE above = -1")[0][0])

    def below(self, key: int | None, offset: int, limit: int) -> list[Seen]:
        """So many of what hangs right below, in the order of the numbers in their names, or of very
        many by name; or of the roots for None, the largest trees first."""
        with self._reading():
            if key is not None and self._row(key)[3] <= COUNTED:
                rows = self._store.rows(f"SELECT {_ITEM} FROM items WHERE above = ?", key)
                rows = sorted(rows, key=lambda row: counted(row[1]))
                return [self._seen(row) for row in rows[offset : offset + limit]]
            order = "below DESC, name" if key is None else "name"
            query = f"SELECT {_ITEM} FROM items WHERE above = ? ORDER BY {order} LIMIT ? OFFSET ?"
            rows = self._store.rows(query, -1 if key is None else key, limit, offset)
            return [self._seen(row) for row in rows]

    def path(self, key: int) -> list[Seen]:
        """From the root down to this one. KeyError."""
        with self._reading():
            rows = [self._row(key)]
            while rows[-1][2] >= 0:
                rows.append(self._row(rows[-1][2]))
            return [self._seen(row) for row in reversed(rows)]

    def key(self, id: str) -> int:
        """Of a model by its id. KeyError."""
        with self._reading():
            for (number,) in self._store.rows("SELECT number FROM models WHERE id = ?", id):
                return 2 * int(number)
        raise KeyError(id)

    def search(self, words: list[str], limit: int) -> tuple[int, list[tuple[int, str]]]:
        """How many hold every one of the words, and key and name of so many of them, by name."""
        condition = " AND ".join(["instr(words, ?)"] * len(words)) or "0"
        with self._reading():
            total = self._store.rows(f"SELECT count(*) FROM items WHERE {condition}", *words)
            query = f"SELECT key, name FROM items WHERE {condition} ORDER BY name LIMIT ?"
            return int(total[0][0]), self._store.rows(query, *words, limit)

    def parts(self, limit: int) -> Iterator[dict[str, Any]]:
        """So many nodes and edges as they are stored."""
        with self._reading():
            for table in ("nodes", "edges"):
                query = f"SELECT content FROM {table} LIMIT ?"
                for (content,) in self._store.rows(query, limit):
                    with self._store.sound(table):
                        yield json.loads(content)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._looking() as store, store.snapshot():
            yield

    @contextmanager
    def _looking(self) -> Iterator[Store]:
        """One at a time, at the index that lies in the folder by now."""
        with self._lock:
            if not self._store.is_there():
                there = Store(self.folder)
                self._store.close()
                self._store, self._opened = there, self._opened + 1
            yield self._store

    def _row(self, key: int) -> tuple[Any, ...]:
        for row in self._store.rows(f"SELECT {_ITEM} FROM items WHERE key = ?", key):
            return row
        raise KeyError(key)

    def _seen(self, row: tuple[Any, ...]) -> Seen:
        name, family = row[1], row[5]
        if row[0] % 2:
            found = self._parts("hidden", HiddenAncestor, "family = ?", family)
            return replace(Seen(*row), hidden=next((h for h in found if h.id == name), None))
        nodes = self._parts("nodes", Node, "id = ?", name)
        main = ModelGraph("gram", edges=tuple(self._parts("edges", Edge, "child = ?", name)))
        edge = main.main_edges().get(name)
        return replace(Seen(*row), node=nodes[0] if nodes else None, edge=edge)

    def _parts(self, table: str, kind: type[Part], condition: str, value: object) -> list[Part]:
        rows = self._store.rows(f"SELECT content FROM {table} WHERE {condition}", value)
        with self._store.sound(table):
            return list(parsed(kind, [json.loads(text) for (text,) in rows]))
