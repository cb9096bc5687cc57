"""An index: sketches of models, and the forest that they make.

A family, models joined by kinship, is recovered on its own from the sketches of its members, in the
order of their ids. So the forest depends on which models are there and not on when they came: a
newcomer changes the families that it is related to, and no other. Each change is one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Problem, align, discover, open_checkpoint
from mother.errors import InputError, UsageError
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Tree, WeightFile, parsed, plain
from mother.index.joined import joined
from mother.index.newcomer import Newcomer, address, digest, newcomer, stamp
from mother.index.relatives import Pool, related
from mother.index.store import Store
from mother.measures.sketch import BUDGET, SIGNATURE, dump, layout, load
from mother.placement import Placement, placement
from mother.recovery import Options, recover_checkpoints

Progress = Callable[[int, int], None]
MOST = 64  # relatives that a checkpoint is placed with, where its family is larger than LARGE
LARGE = 256
BATCH = 64  # models that are added in one transaction
CACHED = 512  # sketches held in memory
LEAST_BUDGET, MOST_BUDGET = 1 << 10, 1 << 30
_COLUMNS = "number, id, path, architecture, family, stamp, digest, facts"
#: the tables of the forest and what their rows are
_PARTS: dict[str, type] = {"nodes": Node, "edges": Edge, "hidden": HiddenAncestor, "trees": Tree}


@dataclass(frozen=True)
class Model:
    """What an index knows of a model beside its sketch. stamp: name, size and time of its files."""

    number: int
    id: str
    path: str
    architecture: str
    family: int
    stamp: str
    digest: bytes
    facts: str


@dataclass(frozen=True)
class Added:
    """Ids of the models that came, of those whose files had changed, of those that had not, and
    what could not be read."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    problems: tuple[Problem, ...]


class Index:
    """An index in a folder. InputError where there is none, or a damaged or newer one.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Index.create(folder + "/index").close()
    ...     with Index(folder + "/index") as index:
    ...         len(index), index.graph().nodes
    (0, ())
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._store = Store(Path(folder))
        self._pool: Pool | None = None
        self._seen = -1
        settings = self._store.settings
        try:
            self.budget, self.seed = int(settings["budget"]), int(settings["seed"])
            self.matrices = int(settings["matrices"]) or None
            self._options = Options(bootstrap=int(settings["bootstrap"]), threads=1)
        except (KeyError, ValueError, UsageError):
            raise InputError(folder, "an index with broken settings") from None
        self._sketch = lru_cache(maxsize=CACHED)(self._load)
        self._compare = lru_cache(maxsize=None)(self._comparable)

    @classmethod
    def create(
        cls,
        folder: str | PathLike[str],
        *,
        budget: int = BUDGET,
        seed: int = 0,
        matrices: int | None = None,
        bootstrap: int = 0,
    ) -> Index:
        """A new index. budget: bytes of weights in a sketch. matrices: that are sampled at most.
        bootstrap: replicates that `support` is taken from. UsageError, InputError."""
        if not LEAST_BUDGET <= budget <= MOST_BUDGET:
            raise UsageError(f"budget must lie in {LEAST_BUDGET}..{MOST_BUDGET}, not {budget}")
        for name, value in (("seed", seed), ("matrices", matrices or 0), ("bootstrap", bootstrap)):
            if not 0 <= value < 1 << 31:
                raise UsageError(f"{name} must lie in 0..2147483647, not {value}")
        settings = {
            "budget": str(budget),
            "seed": str(seed),
            "matrices": str(matrices or 0),
            "bootstrap": str(bootstrap),
        }
        Store.create(Path(folder), settings).close()
        return cls(folder)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()

    def __len__(self) -> int:
        return int(self._store.rows("SELECT count(*) FROM models")[0][0])

    def models(self) -> list[Model]:
        """All models by id."""
        query = f"SELECT {_COLUMNS} FROM models ORDER BY id"
        return [Model(*row) for row in self._store.rows(query)]

    # adding and removing

    def add(
        self,
        paths: Sequence[str | PathLike[str]],
        *,
        base: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Added:
        """Sketch checkpoints, or all in folders, and put them where they belong.

        Those whose files are as they were when they were added are left alone; those that changed
        take the place of what they were. Models come in transactions of BATCH: whoever is stopped
        has added some of them, and can go on. InputError where the index can't be written.
        """
        checkpoints, problems = discover(paths, base=base)
        new: list[str] = []
        changed: list[str] = []
        unchanged: list[str] = []
        for start in range(0, len(checkpoints), BATCH):
            batch = []
            for checkpoint in checkpoints[start : start + BATCH]:
                try:
                    if (id := self._unchanged(checkpoint)) is not None:
                        unchanged.append(id)
                    else:
                        batch.append(self._reduced(checkpoint))
                except InputError as fault:
                    problems.append(Problem(Path(fault.path), fault.fault))
            for id, known in self._insert(batch) if batch else ():
                (changed if known else new).append(id)
            if progress is not None:
                progress(min(start + BATCH, len(checkpoints)), len(checkpoints))
        return Added(tuple(new), tuple(changed), tuple(unchanged), tuple(problems))

    def _unchanged(self, checkpoint: Checkpoint) -> str | None:
        rows = self._store.rows("SELECT id, stamp FROM models WHERE path = ?", address(checkpoint))
        return str(rows[0][0]) if rows and rows[0][1] == stamp(checkpoint) else None

    def _reduced(self, checkpoint: Checkpoint) -> Newcomer:
        return newcomer(checkpoint, self.budget, seed=self.seed, matrices=self.matrices)

    def _insert(self, batch: Sequence[Newcomer]) -> list[tuple[str, bool]]:
        """Put newcomers in; each one's id, and whether it takes the place of what it was."""
        found = []
        with self._writing():
            paths = [new.path for new in batch]
            old = {m.path: m for path in paths for m in self._where("path = ?", path)}
            self._forget(list(old.values()))
            pool = self._models()
            touched: set[int] = set()
            for new in batch:
                id = old[new.path].id if new.path in old else self._free_id(new.id, new.path)
                touched.add(self._insert_one(new, id, pool))
                found.append((id, new.path in old))
            here = {int(f) for f in pool.families[: pool.size]}
            for family in sorted(touched & here):
                self._recover_family(family)
        return found

    def _insert_one(self, new: Newcomer, id: str, pool: Pool) -> int:
        """Its family, which all families that it is related to have become."""
        key = new.architecture
        if not self._store.rows("SELECT 1 FROM architectures WHERE key = ?", key):
            content = dump(layout(new.sketch), self.seed)
            self._store.write("INSERT INTO architectures VALUES (?, ?)", key, content)
            self._compare.cache_clear()
        families = self._families_of(new.sketch, key, new.signature, pool)
        number = self._store.write(
            "INSERT INTO models (id, path, architecture, family, stamp, digest, signature, facts)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *(id, new.path, key, min(families, default=0), new.stamp, digest(new.content)),
            *(new.signature.tobytes(), new.facts),
        )
        self._store.write("INSERT INTO sketches VALUES (?, ?)", number, new.content)
        family = min(families, default=number)
        if not families:
            self._store.write("UPDATE models SET family = ? WHERE number = ?", family, number)
        for other in families - {family}:
            self._store.write("UPDATE models SET family = ? WHERE family = ?", family, other)
            self._clear_family(other)
        pool.join(families, family)
        pool.extend([number], [family], [key], new.signature[None])
        return family

    def _families_of(
        self,
        new: Checkpoint,
        architecture: str,
        mark: NDArray[np.float32],
        pool: Pool,
        without: str = "",
    ) -> set[int]:
        """The families in the pool that a model is related to. without: a path not to look at."""
        places = pool.candidates(architecture, mark)
        others = [self._sketch(number) for number in pool.numbers[places].tolist()]
        kept = [k for k, other in enumerate(others) if str(other.path) != without]
        joined = related(new, [others[k] for k in kept])
        return {int(pool.families[places[k]]) for k, ok in zip(kept, joined, strict=True) if ok}

    def remove(self, ids: Iterable[str]) -> None:
        """Take models out; those that were only related through them part ways. UsageError where
        an id is unknown, and then nothing is removed."""
        with self._writing():
            gone = []
            for id in dict.fromkeys(ids):
                rows = self._where("id = ?", id)
                if not rows:
                    raise UsageError(f"{id!r} is not in the index; `mother index list` shows them")
                gone += rows
            self._forget(gone)

    def _forget(self, gone: Sequence[Model]) -> None:
        for model in gone:
            self._store.write("DELETE FROM models WHERE number = ?", model.number)
        if gone:
            self._pool = None
        for family in sorted({model.family for model in gone}):
            self._clear_family(family)
            self._part(self._where("family = ?", family))

    def _part(self, models: Sequence[Model]) -> None:
        """Find the families among models afresh, and recover each."""
        for family, members in _by_family(models, self._partition(models)).items():
            for model in members:
                self._store.write(
                    "UPDATE models SET family = ? WHERE number = ?", family, model.number
                )
            self._recover_family(family)

    def _partition(self, models: Sequence[Model]) -> list[int]:
        """The family of each, as if they had come in this order."""
        pool = Pool(self._compare)
        for model in models:
            small, mark = self._sketch(model.number), self._signature(model.number)
            families = self._families_of(small, model.architecture, mark, pool)
            family = min((model.number, *families))
            pool.join(families, family)
            pool.extend([model.number], [family], [model.architecture], mark[None])
        return [int(f) for f in pool.families[: pool.size]]

    # recovering

    def _recover_family(self, family: int) -> None:
        """Write down the forest of a family."""
        graph = self._recovered(self._where("family = ?", family))
        self._clear_family(family)
        for node in graph.nodes:
            self._store.write("INSERT INTO nodes VALUES (?, ?, ?)", node.id, family, _text(node))
        for edge in graph.edges:
            self._store.write(
                "INSERT INTO edges VALUES (?, ?, ?, ?)",
                edge.child,
                edge.parent,
                family,
                _text(edge),
            )
        for hidden in graph.hidden:
            self._store.write("INSERT INTO hidden VALUES (?, ?)", family, _text(hidden))
        for tree in graph.trees:
            self._store.write("INSERT INTO trees VALUES (?, ?)", family, _text(tree))

    def _clear_family(self, family: int) -> None:
        for table in _PARTS:
            self._store.write(f"DELETE FROM {table} WHERE family = ?", family)

    def _recovered(self, models: Sequence[Model]) -> ModelGraph:
        """The graph of models alone, from their sketches."""
        members = [replace(self._sketch(m.number), id=m.id) for m in models]
        graph = recover_checkpoints(members, self._options)
        facts = {m.id: json.loads(m.facts) for m in models}
        nodes = tuple(
            replace(
                node,
                notes=tuple(facts[node.id]["notes"]),
                files=tuple(WeightFile(**f) for f in facts[node.id]["files"]),
            )
            for node in graph.nodes
        )
        return replace(graph, nodes=nodes)

    def graph(self) -> ModelGraph:
        """The whole forest, as it is kept. InputError where a part of it is damaged."""
        with self._store.snapshot():
            return self._kept()

    def _kept(self) -> ModelGraph:
        parts: dict[int, dict[str, list[Any]]] = {}
        for table, kind in _PARTS.items():
            for family, content in self._store.rows(f"SELECT family, content FROM {table}"):
                part = parts.setdefault(family, {name: [] for name in _PARTS})
                part[table] += self._parsed(kind, content)
        graphs = [
            replace(ModelGraph("gram"), **{name: tuple(rows) for name, rows in part.items()})
            for part in parts.values()
        ]
        return joined(graphs, self._options.recorded)

    def _parsed(self, kind: type, content: str) -> list[Any]:
        try:
            return list(parsed(kind, [json.loads(content)]))
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise InputError(self._store.folder, f"a damaged {kind.__name__.lower()}") from None

    def recover(self) -> ModelGraph:
        """Find all families afresh and recover each of them, whatever is kept."""
        with self._writing():
            for table in _PARTS:
                self._store.write(f"DELETE FROM {table}")
            self._part(self.models())
        return self.graph()

    def place(
        self, path: str | PathLike[str], *, base: str | PathLike[str] | None = None
    ) -> Placement:
        """Where the checkpoint at a path would hang; nothing is stored. InputError.

        It is recovered together with the families that it is related to, or, where they hold more
        than LARGE models, with its MOST nearest relatives and their parents.
        """
        new = self._reduced(open_checkpoint(path, base=base))
        pool, key = self._models(), new.architecture
        if not self._store.rows("SELECT 1 FROM architectures WHERE key = ?", key):
            comparable = self._comparable(key, new.sketch)
            pool = replace(pool, comparable=lambda _: comparable)
        families = self._families_of(new.sketch, key, new.signature, pool, without=new.path)
        inside = np.isin(pool.families[: pool.size], sorted(families))
        numbers = pool.numbers[: pool.size][inside].tolist()
        if len(numbers) > LARGE:
            near = pool.nearest(key, new.signature, MOST)
            numbers = pool.numbers[near[np.isin(pool.families[near], sorted(families))]].tolist()
            numbers += self._parents(numbers)
        rows = [m for n in sorted(set(numbers)) for m in self._where("number = ?", n)]
        members = [m for m in rows if m.path != new.path]
        id = self._other_id(new.id)
        sketches = [replace(self._sketch(m.number), id=m.id) for m in members]
        graph = recover_checkpoints([replace(new.sketch, id=id), *sketches], self._options)
        return placement(graph, id, int(pool.comparable_to(key).sum()))

    def _parents(self, numbers: Sequence[int]) -> list[int]:
        query = (
            "SELECT p.number FROM models c JOIN edges e ON e.child = c.id"
            " JOIN models p ON p.id = e.parent WHERE c.number = ?"
        )
        return [int(row[0]) for number in numbers for row in self._store.rows(query, number)]

    # checking

    def verify(self) -> list[str]:
        """What is wrong with the index, one line each; none where all is well.

        The database's own checks, every sketch against its hash, the families and the forest
        against those recovered afresh.
        """
        with self._store.snapshot():
            faults = self._store.damage() or self._altered()
            if faults:
                return faults
            models = self.models()
            labels = self._partition(models)
            for model, family in zip(models, labels, strict=True):
                if family != model.family:
                    faults.append(f"{model.id}: its family is not the one it is related to")
            graphs = [self._recovered(part) for part in _by_family(models, labels).values()]
            fresh = joined(graphs, self._options.recorded)
            if not faults and fresh.to_json() != self._kept().to_json():
                faults.append(
                    "the forest is not what its models make; `mother index recover` helps"
                )
            return faults

    def _altered(self) -> list[str]:
        """Models whose sketch is not the one that was stored."""
        faults = []
        for model in self.models():
            row = self._store.rows("SELECT content FROM sketches WHERE model = ?", model.number)
            if not row or digest(row[0][0]) != model.digest:
                faults.append(f"{model.id}: its sketch is not the one that was stored")
        return faults

    # what is kept

    def _where(self, condition: str, value: object) -> list[Model]:
        query = f"SELECT {_COLUMNS} FROM models WHERE {condition} ORDER BY id"
        return [Model(*row) for row in self._store.rows(query, value)]

    def _load(self, number: int) -> Checkpoint:
        """The sketch of a model, known by its number for good."""
        query = "SELECT path, content FROM models JOIN sketches ON model = number WHERE number = ?"
        rows = self._store.rows(query, number)
        if not rows:
            raise InputError(self._store.folder, f"the sketch of model {number} is missing")
        return load(rows[0][1], Path(rows[0][0]), seed=self.seed)

    def _signature(self, number: int) -> NDArray[np.float32]:
        rows = self._store.rows("SELECT signature FROM models WHERE number = ?", number)
        return np.frombuffer(rows[0][0], np.float32)

    def _models(self) -> Pool:
        """All models that are there; read again when another process has written."""
        version = self._store.version
        if self._pool is None or version != self._seen:
            self._compare.cache_clear()
            rows = self._store.rows(
                "SELECT number, family, architecture, signature FROM models ORDER BY number"
            )
            marks = np.frombuffer(b"".join(row[3] for row in rows), np.float32)
            self._pool, self._seen = Pool(self._compare), version
            numbers, families, kinds = ([row[k] for row in rows] for k in range(3))
            self._pool.extend(numbers, families, kinds, marks.reshape(-1, SIGNATURE))
        return self._pool

    def _comparable(self, architecture: str, new: Checkpoint | None = None) -> frozenset[str]:
        """The architectures that one can be compared with. new: a model of it that is not there."""
        layouts = {
            key: load(content, self._store.folder, id=key, seed=self.seed)
            for key, content in self._store.rows("SELECT key, layout FROM architectures")
        }
        if new is not None:
            layouts[architecture] = replace(layout(new), id=architecture)
        for group in align(list(layouts.values())):
            keys = frozenset(c.id for c in group.checkpoints)
            if architecture in keys:
                return keys
        return frozenset()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction; what was read before it is forgotten where it fails."""
        try:
            with self._store.transaction():
                yield
        except BaseException:
            self._pool = None
            self._sketch.cache_clear()  # numbers are given again
            self._compare.cache_clear()
            raise

    def _free_id(self, id: str, path: str) -> str:
        """The id, with as many folders before it as tell it from those that are there."""
        folders = Path(path).parts[1:-1]
        for depth in range(len(folders) + 1):
            label = "/".join([*folders[len(folders) - depth :], id])
            if not self._store.rows("SELECT 1 FROM models WHERE id = ?", label):
                return label
        return self._other_id(label)

    def _other_id(self, id: str) -> str:
        label, count = id, 1
        while self._store.rows("SELECT 1 FROM models WHERE id = ?", label):
            count += 1
            label = f"{id}#{count}"
        return label


def _by_family(models: Sequence[Model], families: Sequence[int]) -> dict[int, list[Model]]:
    out: dict[int, list[Model]] = {}
    for model, family in zip(models, families, strict=True):
        out.setdefault(family, []).append(model)
    return out


def _text(part: Any) -> str:
    return json.dumps(plain(part), separators=(",", ":"))
