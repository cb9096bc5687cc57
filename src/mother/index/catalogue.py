"""The rows of an index as objects: models, their sketches, and the family that each is in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.errors import InputError
from mother.graph import ModelGraph
from mother.index.forest_rows import ForestRows
from mother.index.glance import Glances
from mother.index.newcomer import Newcomer, contents_of, seal
from mother.index.readings import Readings
from mother.index.relatives import HOLDERS, Pool
from mother.index.store import Store
from mother.layouts import align
from mother.sketches.labels import LABELS
from mother.sketches.signature import SIGNATURE
from mother.sketches.sketch import layout
from mother.sketches.sketch_bytes import dump, load

CACHED = 512  # sketches held in memory
_MARKS = 4 * SIGNATURE, 4 * SIGNATURE + LABELS  # bytes of a signature, without and with labels
_COLUMNS = "number, id, path, architecture, family, sure, stamp, seal, facts"
_TYPES = int, str, str, str, int, int, str, bytes, str


@dataclass(frozen=True)
class Model:
    """What an index knows of a model beside its sketch. family: the smallest number in it. sure:
    that of the part of the family that first sketches join. stamp: name, size and time of its
    files. seal: of all that is stored of it. facts: JSON of what else its node says."""

    number: int
    id: str
    path: str
    architecture: str
    family: int
    sure: int
    stamp: str
    seal: bytes
    facts: str


class Catalogue:
    """What an index holds. seed: that of its sketches. readings: what is read of them beside.
    forest: the forest of each family."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.seed = store, seed
        self.readings, self.forest = Readings(store, seed), ForestRows(store)
        self._pool: Pool | None = None
        self._seen = -1
        self.sketch = lru_cache(maxsize=CACHED)(self._load)
        self.glances = Glances(self.sketch)
        self.compared = lru_cache(maxsize=None)(self.comparable)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction; what was read meanwhile is forgotten where it fails."""
        try:
            with self.store.transaction():
                self.pool()  # what others wrote is known before anything is decided
                yield
        except BaseException:
            self._pool = None
            self.sketch.cache_clear()  # its numbers are given again
            self.glances.clear()
            self.compared.cache_clear()
            raise

    def reset(self, settings: Mapping[str, str]) -> None:
        """Change what the index was created with."""
        for name, value in settings.items():
            self.store.write("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    # models

    def models(self, condition: str = "1", *values: object) -> list[Model]:
        """Those that meet the condition, by id."""
        query = f"SELECT {_COLUMNS} FROM models WHERE {condition} ORDER BY id"
        return [Model(*row) for row in self.store.typed("models", _TYPES, query, *values)]

    def members(self, sure: int) -> list[Model]:
        """Those of a sure family, by id."""
        return self.models("sure = ?", sure)

    def numbered(self, numbers: Iterable[int]) -> list[Model]:
        """Those of these numbers that are there, in that order."""
        return [model for n in numbers for model in self.models("number = ?", n)]

    def _load(self, number: int) -> Checkpoint:
        """The sketch of a model, known by its number for good."""
        query = "SELECT path, content FROM models JOIN sketches ON model = number WHERE number = ?"
        rows = self.store.typed("sketches", (str, bytes), query, number)
        if not rows:
            raise InputError(self.store.folder, f"the sketch of model {number} is missing")
        return load(rows[0][1], Path(rows[0][0]), seed=self.seed)

    def altered(self) -> list[str]:
        """Ids of the models of which something is not what was stored."""
        return [
            model.id
            for model in self.models()
            if self._sealed(model) != model.seal
            or self.contents(model.number) != contents_of(self.sketch(model.number))
            or self.readings.altered(model.number)
        ]

    def _sealed(self, model: Model) -> bytes | None:
        """The seal of what is there of a model."""
        query = (
            "SELECT content, signature FROM sketches JOIN models ON model = number WHERE number = ?"
        )
        words = model.id, model.path, model.architecture, model.stamp, model.facts
        for content, signature in self.store.typed("sketches", (bytes,) * 2, query, model.number):
            return seal(content, signature, *words)
        return None

    def contents(self, number: int) -> frozenset[int]:
        """What a model holds, as it is looked up."""
        rows = self.store.rows("SELECT hash FROM contents WHERE model = ?", number)
        return frozenset(content for (content,) in rows)

    def shared(self, number: int) -> frozenset[int]:
        """Those of the contents of a model that others hold, too."""
        query = (
            "SELECT hash FROM contents own WHERE model = ? AND EXISTS"
            " (SELECT 1 FROM contents WHERE hash = own.hash AND model <> own.model)"
        )
        return frozenset(content for (content,) in self.store.rows(query, number))

    def holders(self, content: int) -> list[int]:
        """The first HOLDERS models that hold a content."""
        query = f"SELECT model FROM contents WHERE hash = ? ORDER BY model LIMIT {HOLDERS}"
        return self._numbers("contents", query, content)

    def signature(self, number: int) -> NDArray[np.float32]:
        """The signature of a model's sketch."""
        query = "SELECT signature FROM models WHERE number = ?"
        rows = self.store.typed("models", (bytes,), query, number)
        return np.asarray(self._signatures(rows)[0])

    def _signatures(self, rows: list[tuple[Any, ...]]) -> NDArray[np.float32]:
        if any(len(row[-1]) not in _MARKS for row in rows):
            raise InputError(self.store.folder, "a damaged signature")
        marks = np.frombuffer(b"".join(row[-1][: _MARKS[0]] for row in rows), "<f4")
        return np.asarray(marks.astype(np.float32).reshape(-1, SIGNATURE))

    def labels(self, architectures: frozenset[str]) -> tuple[list[int], NDArray[np.int8]]:
        """Numbers and labels of all models of some architectures whose labels are known, (n,) and
        (n, LABELS)."""
        query = "SELECT number, architecture, signature FROM models WHERE length(signature) = ?"
        rows = self.store.typed("models", (int, str, bytes), query, _MARKS[1])
        rows = [row for row in rows if row[1] in architectures]
        held = np.frombuffer(b"".join(row[2][_MARKS[0] :] for row in rows), np.int8)
        return [row[0] for row in rows], held.reshape(-1, LABELS)

    def pool(self) -> Pool:
        """All models as those that a newcomer is compared with; read again when another process
        has written."""
        version = self.store.version
        if self._pool is None or version != self._seen:
            self.compared.cache_clear()
            query = "SELECT number, sure, architecture, signature FROM models ORDER BY number"
            rows = self.store.typed("models", (int, int, str, bytes), query)
            self._pool, self._seen = Pool(self.compared, self.holders), version
            numbers, families, kinds = ([row[k] for row in rows] for k in range(3))
            self._pool.extend(numbers, families, kinds, self._signatures(rows))
        return self._pool

    def insert(self, new: Newcomer, id: str, families: set[int]) -> tuple[int, int]:
        """Store a newcomer, and make one sure family of those that it is surely related to; its
        number and the family's. What families there are then is not yet known (`regroup`)."""
        words = id, new.path, new.architecture, new.stamp, new.facts
        signature = new.signature.astype("<f4").tobytes() + new.labels
        self.store.renew()
        number = self.store.write(
            "INSERT INTO models"
            " (id, path, architecture, stamp, facts, signature, seal, family, sure)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
            *(*words, signature, seal(new.content, signature, *words)),
        )
        self.store.write("INSERT INTO sketches VALUES (?, ?)", number, new.content)
        for content in sorted(new.contents):
            self.store.write("INSERT INTO contents VALUES (?, ?)", content, number)
        family = min((number, *families))
        self.move(number, family)
        for other in families - {family}:
            self.store.write("UPDATE models SET sure = ? WHERE sure = ?", family, other)
        return number, family

    def move(self, number: int, sure: int) -> None:
        """Put a model into another sure family."""
        self.store.write("UPDATE models SET sure = ? WHERE number = ?", sure, number)

    def regroup(self, families: Mapping[int, int]) -> None:
        """Write down the family that each of some sure families is in."""
        for sure, family in families.items():
            self.store.write("UPDATE models SET family = ? WHERE sure = ?", family, sure)

    def homes(self, sure: int) -> set[int]:
        """The families that members of a sure family were last put into; newcomers: none."""
        query = "SELECT DISTINCT family FROM models WHERE sure = ? AND family > 0"
        return set(self._numbers("models", query, sure))

    def parts(self, family: int) -> set[int]:
        """The sure families in a family."""
        query = "SELECT DISTINCT sure FROM models WHERE family = ?"
        return set(self._numbers("models", query, family))

    def doubt(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Remember pairs of models, by number, of which sketches don't tell whether they are
        related."""
        for one, other in pairs:
            pair = min(one, other), max(one, other)
            self.store.write("INSERT OR IGNORE INTO doubtful VALUES (?, ?, 0)", *pair)

    def doubts(self, waiting: bool = False) -> set[tuple[int, int]]:
        """The sure families that such pairs lie in, two by two. waiting: those alone that are not
        decided, since larger sketches are to be read."""
        query = (
            "SELECT a.sure, b.sure FROM doubtful JOIN models a ON a.number = one"
            " JOIN models b ON b.number = other WHERE a.sure <> b.sure"
        )
        rows = self.store.typed("models", (int, int), query + " AND waiting" * waiting)
        return {(min(pair), max(pair)) for pair in rows}

    def wait(self, waiting: set[tuple[int, int]], around: set[int]) -> None:
        """Remember which two of some sure families wait for larger sketches."""
        for one, other in self.doubts():
            if {one, other} <= around:
                ends = "IN (SELECT number FROM models WHERE sure IN (?, ?))"
                statement = f"UPDATE doubtful SET waiting = ? WHERE one {ends} AND other {ends}"
                self.store.write(statement, (one, other) in waiting, *(one, other) * 2)

    def forget_pool(self) -> None:
        """Read all models again when they are next looked at."""
        self._pool = None

    def delete(self, number: int) -> None:
        """Take a model out, with its sketch."""
        self.store.write("DELETE FROM models WHERE number = ?", number)
        self.readings.delete(number)
        self._pool = None

    def learn(self, new: Newcomer) -> None:
        """Know the architecture of a newcomer from now on, so that it can be compared."""
        if not self.knows(new.architecture):
            content = dump(layout(new.sketch), self.seed)
            self.store.write("INSERT INTO architectures VALUES (?, ?)", new.architecture, content)
            self.compared.cache_clear()

    def knows(self, architecture: str) -> bool:
        """Whether there was ever a model of that architecture."""
        query = "SELECT 1 FROM architectures WHERE key = ?"
        return bool(self.store.rows(query, architecture))

    def layouts(self) -> dict[str, Checkpoint]:
        """A model without weights of each architecture."""
        query = "SELECT key, layout FROM architectures"
        return {
            key: load(content, self.store.folder, id=key, seed=self.seed)
            for key, content in self.store.typed("architectures", (str, bytes), query)
        }

    def comparable(self, architecture: str, new: Checkpoint | None = None) -> frozenset[str]:
        """The architectures that one can be compared with. new: a model of it, if none is there."""
        layouts = self.layouts()
        if new is not None:
            layouts[architecture] = replace(layout(new), id=architecture)
        for group in align(list(layouts.values())):
            keys = frozenset(c.id for c in group.checkpoints)
            if architecture in keys:
                return keys
        return frozenset()

    def free_id(self, id: str, path: str = "") -> str:
        """The id, with as many folders of the path before it, or such a number behind it, as tell
        it from those that are there."""
        folders = Path(path).parts[1:-1]
        labels = ["/".join([*folders[len(folders) - k :], id]) for k in range(len(folders) + 1)]
        free = (label for label in labels if not self._taken(label))
        if (label := next(free, None)) is not None:
            return label
        count = 2
        while self._taken(f"{id}#{count}"):
            count += 1
        return f"{id}#{count}"

    def _taken(self, id: str) -> bool:
        return bool(self.store.rows("SELECT 1 FROM models WHERE id = ?", id))

    def _numbers(self, table: str, query: str, *values: object) -> list[int]:
        return [number for (number,) in self.store.typed(table, (int,), query, *values)]

    # their forests

    def put(
        self,
        family: int,
        graph: ModelGraph,
        wanted: Mapping[int, int],
        unmeasured: Iterable[Sequence[int]],
    ) -> None:
        """Write down the forest of a family in place of what it was. wanted: what larger sketches
        would have been looked at, the level by the number of the model; unmeasured: what sets of
        models in full."""
        self.forest.put(family, graph)
        self.readings.forget_wishes(family)
        self.readings.want(wanted)
        self.readings.to_measure(unmeasured)

    def waiting(self) -> list[list[Model]]:
        """The members of each family that has no forest yet, or not that of all of them."""
        return [self.models("family = ?", family) for family in self.forest.waiting()]
