"""The rows of an index of what is read of models beside their first sketches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mother.checkpoints import Checkpoint
from mother.index.newcomer import digest
from mother.index.store import Store
from mother.sketches.sketch_bytes import load


class Readings:
    """Larger sketches of models, by their numbers, and what was measured of sets of them in full:
    what is here, what is still to be read, and what was looked for in vain. seed: that of the
    sketches."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store, self.seed = store, seed

    def larger(self, number: int, level: int) -> Checkpoint | None:
        """A larger sketch of a model, if it is here."""
        query = (
            "SELECT path, content FROM models JOIN larger ON model = number"
            " WHERE number = ? AND level = ?"
        )
        for path, content in self.store.typed("larger", (str, bytes), query, number, level):
            return load(content, Path(path), seed=self.seed)
        return None

    def of(self, numbers: Sequence[int]) -> Kept:
        """What is here of some models, and what was looked for."""
        larger: dict[tuple[int, int], tuple[Path, bytes]] = {}
        tried: set[tuple[int, int]] = set()
        query = (
            "SELECT level, path, content FROM models JOIN larger ON model = number WHERE number = ?"
        )
        for number in numbers:
            for level, path, content in self.store.typed(
                "larger", (int, str, bytes), query, number
            ):
                larger[number, level] = Path(path), content
            looked = "SELECT level FROM wanted WHERE model = ? AND tried"
            tried |= {(number, level) for (level,) in self.store.rows(looked, number)}
        own, measured = set(numbers), dict[tuple[int, ...], bytes | None]()
        for number in numbers:
            # sets of which it is the first, in the order of their text: ! comes after the space
            for some in self._sets(
                "tried AND models BETWEEN ? AND ?", f" {number} ", f" {number}!"
            ):
                if own.issuperset(some):
                    measured[some] = self.measured(some)
        return Kept(larger, frozenset(tried), measured, self.seed)

    def keep(self, number: int, level: int, content: bytes) -> int | None:
        """Store a larger sketch; the family of its model, if that is still there."""
        for (family,) in self.store.rows("SELECT family FROM models WHERE number = ?", number):
            row = number, level, digest(content), content
            self.store.write("INSERT OR IGNORE INTO larger VALUES (?, ?, ?, ?)", *row)
            return int(family)
        return None

    def wanted(self) -> list[tuple[int, int]]:
        """The models that larger sketches are wanted of and were not yet looked for, with the level
        of each."""
        query = "SELECT model, level FROM wanted WHERE NOT tried ORDER BY 1, 2"
        return [(number, level) for number, level in self.store.typed("wanted", (int, int), query)]

    def want(self, wanted: Mapping[int, int]) -> None:
        """Remember that larger sketches are to be read, the level by the number of the model."""
        for number, level in wanted.items():
            self.store.write("INSERT OR IGNORE INTO wanted VALUES (?, ?, 0)", number, level)

    def looked_for(self, number: int, level: int) -> None:
        """Remember that a larger sketch was looked for, found or not."""
        statement = "INSERT OR REPLACE INTO wanted SELECT number, ?, 1 FROM models WHERE number = ?"
        self.store.write(statement, level, number)

    def tried(self, number: int, level: int) -> bool:
        """Whether a larger sketch was looked for."""
        query = "SELECT 1 FROM wanted WHERE model = ? AND level = ? AND tried"
        return bool(self.store.rows(query, number, level))

    def measured(self, numbers: Sequence[int]) -> bytes | None:
        """What was measured of a set of models in full, if it was."""
        query = "SELECT content FROM measured WHERE models = ? AND content IS NOT NULL"
        rows = self.store.typed("measured", (bytes,), query, _set(numbers))
        return next((content for (content,) in rows), None)

    def measured_in_vain(self, numbers: Sequence[int]) -> bool:
        """Whether a set of models was to be measured in full and could not be."""
        query = "SELECT 1 FROM measured WHERE models = ? AND tried AND content IS NULL"
        return bool(self.store.rows(query, _set(numbers)))

    def unmeasured(self) -> list[tuple[int, ...]]:
        """The sets of models that are still to be measured in full."""
        return self._sets("NOT tried")

    def _sets(self, condition: str, *values: object) -> list[tuple[int, ...]]:
        query = f"SELECT models FROM measured WHERE {condition} ORDER BY models"
        with self.store.sound("measured"):
            return [tuple(map(int, m.split())) for (m,) in self.store.rows(query, *values)]

    def to_measure(self, sets: Iterable[Sequence[int]]) -> None:
        """Remember sets of models to be measured in full."""
        for numbers in sets:
            statement = "INSERT OR IGNORE INTO measured VALUES (?, 0, NULL, NULL)"
            self.store.write(statement, _set(numbers))

    def keep_measured(self, numbers: Sequence[int], content: bytes | None) -> None:
        """Store what was measured of a set of models in full, or that it could not be."""
        row = _set(numbers), digest(content) if content else None, content
        self.store.write("INSERT OR REPLACE INTO measured VALUES (?, 1, ?, ?)", *row)

    def forget_measured(self, numbers: Sequence[int]) -> None:
        """Forget a set of models that was to be measured in full."""
        self.store.write("DELETE FROM measured WHERE models = ?", _set(numbers))

    def forget_wishes(self, family: int) -> None:
        """Forget what was to be read of a family's models."""
        inside = "SELECT number FROM models WHERE family = ?"
        self.store.write(f"DELETE FROM wanted WHERE NOT tried AND model IN ({inside})", family)
        own = {int(number) for (number,) in self.store.rows(inside, family)}
        for numbers in self.unmeasured():
            if own & set(numbers):
                self.forget_measured(numbers)

    def delete(self, number: int) -> None:
        """Forget what was measured of a model that is taken out: its larger sketches go with it."""
        self.store.write("DELETE FROM measured WHERE models LIKE ?", f"% {number} %")

    def look_again(self) -> None:
        """Forget what could not be found."""
        self.store.write("UPDATE wanted SET tried = 0")
        self.store.write("UPDATE measured SET tried = 0 WHERE content IS NULL")

    def altered(self, number: int) -> bool:
        """Whether some of what was read of a model is not what was stored."""
        larger = "SELECT content, digest FROM larger WHERE model = ?"
        measured = "SELECT content, digest FROM measured WHERE models LIKE ? AND content NOTNULL"
        types = bytes, bytes
        kept = self.store.typed("larger", types, larger, number)
        kept += self.store.typed("measured", types, measured, f"% {number} %")
        return any(digest(content) != stored for content, stored in kept)


@dataclass(frozen=True)
class Kept:
    """What is read of some models, apart from an index: larger sketches by number and level, what
    was looked for likewise, and what was measured in full of sets of them, None in vain."""

    sketches: Mapping[tuple[int, int], tuple[Path, bytes]]
    looked_for: frozenset[tuple[int, int]]
    whole: Mapping[tuple[int, ...], bytes | None]
    seed: int

    @property
    def nbytes(self) -> int:
        """Of all that is read."""
        return sum(len(x) for _, x in self.sketches.values()) + sum(
            len(x) for x in self.whole.values() if x is not None
        )

    def larger(self, number: int, level: int) -> Checkpoint | None:
        """As of `Readings`."""
        if (found := self.sketches.get((number, level))) is None:
            return None
        path, content = found
        return load(content, path, seed=self.seed)

    def tried(self, number: int, level: int) -> bool:
        """As of `Readings`."""
        return (number, level) in self.looked_for

    def measured(self, numbers: Sequence[int]) -> bytes | None:
        """As of `Readings`."""
        return self.whole.get(tuple(numbers))

    def measured_in_vain(self, numbers: Sequence[int]) -> bool:
        """As of `Readings`."""
        return self.whole.get(tuple(numbers), b"") is None


def _set(numbers: Sequence[int]) -> str:
    return f" {' '.join(map(str, numbers))} "
