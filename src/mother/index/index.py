"""An index: sketches of models, and the forest that they make.

A family, models joined by kinship, is recovered on its own from the sketches of its members, in the
order of their ids. So the forest depends on which models are there and not on when they came: a
newcomer changes the families that it is related to, and no other. Each change is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path

from mother.checkpoints import Checkpoint, Problem, discover, open_checkpoint
from mother.checkpoints.passed_over import passed_over
from mother.checkpoints.tensor import clean
from mother.errors import InputError, UsageError
from mother.graph import ModelGraph
from mother.graph.placement import Placement
from mother.hub import is_address
from mother.index.catalogue import Catalogue, Model
from mother.index.closer import Reader
from mother.index.coming import coming
from mother.index.families import Families
from mother.index.forests import Forests
from mother.index.joined import joined
from mother.index.newcomer import Newcomer, address, is_as_it_was, newcomer, reduced
from mother.index.placing import place
from mother.index.settings import Settings
from mother.index.store import Store
from mother.index.unhidden import unhidden
from mother.index.unlike import Unlike
from mother.methods.refinement import READ
from mother.options import Options
from mother.sketches.windows import BUDGET, SAMPLED_MATRICES

Progress = Callable[[int, int], None]
BATCH = 64  # models that are added in one transaction


@dataclass(frozen=True)
class Added:
    """Ids of the models that came, of those whose files had changed, of those that had not, what
    could not be read, and of those that more bytes were read of, since a decision about them lay
    within its error. unread: files beside them that look like weights and that no reader took."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    problems: tuple[Problem, ...]
    closer: tuple[str, ...] = ()
    unread: tuple[Problem, ...] = ()


class Index:
    """An index in a folder. InputError where there is none, or a damaged or newer one.

    settings: as created; reader: says what more was wanted of models and may not or can't be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Index.create(folder + "/index").close()
    ...     with Index(folder + "/index") as index:
    ...         len(index), index.graph().nodes
    (0, ())
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self._store = Store(Path(folder))
        try:
            self.settings = Settings.of(self._store.settings)
        except (KeyError, ValueError, UsageError):
            raise InputError(folder, "an index with broken settings") from None
        self._options = Options(bootstrap=self.settings.bootstrap, threads=1)
        self._catalogue = Catalogue(self._store, self.settings.seed)
        self._readings = self._catalogue.readings
        self._read_by(self.settings)

    @classmethod
    def create(
        cls,
        folder: str | PathLike[str],
        *,
        budget: int = BUDGET,
        seed: int = 0,
        matrices: int = SAMPLED_MATRICES,
        bootstrap: int = 0,
        read: int = READ,
        download: bool = False,
    ) -> Index:
        """A new index; the settings are those of `Settings`. UsageError, InputError."""
        settings = Settings(budget, seed, matrices, bootstrap, read, download)
        Store.create(Path(folder), settings.stored).close()
        return cls(folder)

    def _read_by(self, settings: Settings) -> None:
        self.settings, self.reader = settings, Reader(settings, self._catalogue)
        self._families = Families(self._catalogue, self.reader, settings.read)
        self._forests = Forests(self._catalogue, self._options, settings.read)
        self._unlike = Unlike(self._catalogue, settings)

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
        """By id."""
        return self._catalogue.models()

    def graph(self) -> ModelGraph:
        """The whole forest, as it is kept. InputError where a part of it is damaged."""
        with self._store.snapshot():
            return joined(self._forests.every(), self._options.recorded)

    # adding and removing

    def add(
        self,
        paths: Sequence[str | PathLike[str]],
        *,
        base: str | PathLike[str] | None = None,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> Added:
        """Sketch checkpoints, or all in folders, and put them where they belong.

        Those whose files are as they were when they were added are left alone; those that changed
        take the place of what they were. Models come in transactions of BATCH: whoever is stopped
        has added some of them, and can go on. A family is recovered when it is twice as large as it
        was, a large one not even then, and when all have come. executor: any of PEP 3148, whose
        workers read and sketch the checkpoints where they are, and recover families; the index is
        written here, and is the same whoever did. progress: called with models done and models in
        all. InputError where the index can't be written, MotherError where the workers are gone.

        At last, more is read of the models that decisions within their error are about, of the
        newcomers and of those that were there (`settle`).
        """
        checkpoints, problems = discover(paths, base=base)
        new: list[str] = []
        changed: list[str] = []
        unchanged: list[str] = []
        fresh: list[Checkpoint] = []
        for checkpoint in checkpoints:
            try:
                where = address(checkpoint)
            except InputError as fault:
                problems.append(Problem(checkpoint.path, fault.fault))
                continue
            rows = self._catalogue.models("path = ?", where)
            with self._store.sound("models"):
                known = any(is_as_it_was(checkpoint, row.stamp) for row in rows)
            if known:
                unchanged.append(rows[0].id)
            else:
                fresh.append(checkpoint)
        done = len(unchanged)
        with (
            self._forests.by(executor),
            closing(coming(fresh, self.settings, executor)) as newcomers,
        ):
            while some := list(islice(newcomers, BATCH)):
                problems += [one for one in some if isinstance(one, Problem)]
                for id, known in self.insert([one for one in some if isinstance(one, Newcomer)]):
                    (changed if known else new).append(id)
                done += len(some)
                if progress is not None:
                    progress(done, len(checkpoints))
            self.insert(self._unlike.joined([*new, *changed]))
            self._forests.catch_up()
            closer = self.settle()
        left = tuple(passed_over([p for p in paths if not is_address(p)], checkpoints, problems))
        return Added(tuple(new), tuple(changed), tuple(unchanged), tuple(problems), closer, left)

    def insert(self, batch: Sequence[Newcomer]) -> list[tuple[str, bool]]:
        """Put newcomers in, in one transaction; each one's id, and whether it takes the place of
        what it was."""
        if not batch:
            return []
        found: list[tuple[str, bool]] = []
        with self._catalogue.writing():
            old = {m.path: m for new in batch for m in self._catalogue.models("path = ?", new.path)}
            self._forget(list(old.values()))
            pool = self._catalogue.pool()
            touched: set[int] = set()
            for new in batch:
                self._catalogue.learn(new)
                known = old.get(new.path)
                id = known.id if known else self._catalogue.free_id(new.id, new.path)
                families, doubtful = self._families.of(new, pool)
                number, family = self._catalogue.insert(new, id, families)
                self._catalogue.doubt((number, other) for other in doubtful)
                pool.join(families, family)
                pool.extend([number], [family], [new.architecture], new.signature[None])
                self._catalogue.glances.keep(number, new.glance)
                touched = (touched - families) | {family}
                found.append((id, known is not None))
            self._regroup(touched, at_once=False)
        return found

    def remove(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Take models out; those that were related only through them part ways. Ids of the models
        that more was read of, as by `settle`. UsageError where an id is unknown, and then nothing
        is removed."""
        with self._catalogue.writing():
            gone: list[Model] = []
            for id in dict.fromkeys(ids):
                rows = self._catalogue.models("id = ?", clean(id))
                if not rows:
                    raise UsageError(f"{id!r} is not in the index; `mother index list` shows them")
                gone += rows
            self._forget(gone)
        return self.settle()

    def settle(self) -> tuple[str, ...]:
        """Read larger sketches of the models that decisions within their error are about, at last
        all of them, and recover their families again, until there are none, or none that can be
        had. Ids of the models that more was read of."""
        asked: set[str] = set()
        while (wanted := self._wanted()) or self._readings.unmeasured():
            if not wanted:
                asked |= self._measured()
                continue
            read = self.reader.read(wanted, self._forests.executor)
            while some := list(islice(read, BATCH)):
                with self._catalogue.writing():
                    found = [(m, level, content) for m, level, content in some if content]
                    families = {self._readings.keep(m.number, at, c) for m, at, c in found}
                    for model, level, _ in some:
                        self._readings.looked_for(model.number, level)
                    self._forests.again({f for f in families if f is not None})
                asked |= {model.id for model, _, _ in found}
            self._forests.catch_up()
        return tuple(sorted(asked))

    def _wanted(self) -> list[tuple[Model, int]]:
        """What larger sketches are to be read of; kinship that waited for some is decided."""
        if self._catalogue.doubts(waiting=True):
            with self._catalogue.writing():
                self._regroup({s for pair in self._catalogue.doubts(waiting=True) for s in pair})
        wanted = self._readings.wanted()
        return [(m, level) for number, level in wanted for m in self._catalogue.numbered([number])]

    def _regroup(self, changed: set[int], at_once: bool = True) -> None:
        """Find the families around some sure families that changed, and recover them. at_once: as
        of `Forests.again`."""
        families, kin = self._families.regroup(changed)
        self._forests.again(families, at_once)
        self._readings.want(kin.wanted)
        self._readings.to_measure(kin.unmeasured)

    def _measured(self) -> set[str]:
        """Look at models in full that this is still to be done of, and recover their families: ids
        of those that could be read. Nobody waits meanwhile."""
        asked: set[str] = set()
        for numbers in self._readings.unmeasured():
            models = self._catalogue.numbered(numbers)
            whole = len(models) == len(numbers)
            content = self.reader.measured(models) if whole else None
            with self._catalogue.writing():
                models = self._catalogue.numbered(numbers)
                if len(models) < len(numbers):  # others took some out meanwhile
                    self._readings.forget_measured(numbers)
                    continue
                self._readings.keep_measured(numbers, content)
                if content:
                    asked |= {m.id for m in models}
                    self._forests.again({m.family for m in models}, at_once=True)
        return asked

    def _forget(self, gone: Sequence[Model]) -> None:
        for model in gone:
            self._catalogue.delete(model.number)
        families = {model.family for model in gone}
        for family in families:
            self._catalogue.forest.clear(family)
        left = {s for family in families for s in self._catalogue.parts(family)}
        parted = (self._catalogue.models("sure = ?", s) for s in sorted({m.sure for m in gone}))
        self._regroup(left.union(*map(self._part, parted)))

    def _part(self, models: Sequence[Model]) -> set[int]:
        """Find the sure families among models afresh."""
        families, doubtful = self._families.partition(models)
        for model, family in zip(models, families, strict=True):
            self._catalogue.move(model.number, family)
        self._catalogue.doubt(doubtful)
        self._catalogue.forget_pool()
        return set(families)

    def recover(
        self, *, download: bool | None = None, executor: Executor | None = None
    ) -> ModelGraph:
        """Find all families afresh and recover each of them, whatever is kept; larger sketches that
        could not be had are looked for again. download: from now on, in place of that setting.
        executor: as of `add`; its workers recover the families."""
        settings = self.settings if download is None else replace(self.settings, download=download)
        with self._forests.by(executor), self._catalogue.writing():
            if settings != self.settings:
                self._catalogue.reset(settings.stored)
            self._readings.look_again()
            for family in sorted({m.family for m in self.models()}):
                self._catalogue.forest.clear(family)
            self._regroup(self._part(self.models()))
        self._read_by(settings)
        with self._forests.by(executor):
            self.settle()
        return self.graph()

    def place(
        self,
        path: str | PathLike[str],
        *,
        base: str | PathLike[str] | None = None,
        closer: bool = True,
    ) -> Placement:
        """Where the checkpoint at a path would hang; nothing is stored. InputError.

        It is recovered together with the families that it is related to, or with the nearest of
        large ones. Where there are none, it is looked for under other labels, and models that are
        likely to be kin so are opened where they lie. closer: more is read of some of them, as when
        it is added.
        """
        checkpoint = open_checkpoint(path, base=base)
        new = self.reduce(checkpoint)
        found = self.place_newcomer(new, closer)
        if found.found != "alone" or not closer:
            return found
        if (seen := self._unlike.seen(checkpoint, new)) is not None:
            return self.place_newcomer(seen, closer)
        return unhidden(checkpoint, new, found, self._catalogue, self._options)

    def place_newcomer(self, new: Newcomer, closer: bool = True) -> Placement:
        """The same for what is reduced already."""
        return place(new, self._families, self._options, closer)

    def reduce(self, checkpoint: Checkpoint) -> Newcomer:
        """A checkpoint as it is stored. InputError where it can't be compared."""
        budget, seed = self.settings.budget, self.settings.seed
        content = reduced(checkpoint, budget, seed=seed, matrices=self.settings.matrices)
        return newcomer(checkpoint, content, seed)

    # checking

    def verify(self, executor: Executor | None = None) -> list[str]:
        """What is wrong with the index, one line each; none where all is well. executor: as of
        `recover`.

        The database's own checks, every model against its seal, and the families and the forest
        against those recovered afresh.
        """
        with self._forests.by(executor), self._store.snapshot():
            if faults := self._store.damage():
                return faults
            self._catalogue.pool()  # what others wrote is known before anything is decided
            if altered := self._catalogue.altered():
                return [f"{id}: not as it was stored" for id in altered]
            models = self.models()
            sure, _ = self._families.partition(models)
            families = self._families.afresh(set(sure))
            faults = [
                f"{model.id}: is not in the family that it is related to"
                for model, own in zip(models, sure, strict=True)
                if (own, families[own]) != (model.sure, model.family)
            ]
            if faults:
                return faults
            members: dict[int, list[Model]] = {}
            for model in models:
                members.setdefault(model.family, []).append(model)
            every = self._forests.recovered(members.values())
            afresh = {own[0].family: found.graph for own, found in every}
            fresh = joined(afresh.values(), self._options.recorded)
            kept = joined(self._forests.every(), self._options.recorded)
            seen = all(self._catalogue.forest.shows(*family) for family in afresh.items())
            if fresh.to_json() != kept.to_json() or not seen:
                return ["the forest is not what its models make; `mother index recover` mends it"]
            return []
