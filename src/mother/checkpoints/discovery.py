"""From paths to checkpoints: what is one, and what holds several."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from mother.checkpoints.composed import MODULES, PIPELINE
from mother.checkpoints.folders import (
    MAX_DEPTH,
    components_of,
    folder_format,
    is_folder,
    is_training_state,
    kinds,
    leads_out,
    listing,
    open_alone,
    open_model_folder,
    open_shard_set,
    shard_set,
    weights_of,
)
from mother.checkpoints.formats import ending, parts_of, within_bounds
from mother.checkpoints.ids import Found, by_address, identified
from mother.checkpoints.looking import LOOKED, MAX_NAMES
from mother.checkpoints.nothing import NEXT, NOTHING_FOUND, nothing_found
from mother.checkpoints.passed_over import is_weights
from mother.checkpoints.peft import is_adapter, open_adapter
from mother.checkpoints.storage import MISSING, NOWHERE, elsewhere, identity, refusal
from mother.checkpoints.stores import Called, called, fetched, named, searched, within
from mother.checkpoints.stores.place import USUAL, Elsewhere
from mother.checkpoints.tensor import Checkpoint, Problem, clean, printable
from mother.errors import InputError, UsageError
from mother.hub import Mirror, is_address, opened_at, shown

#: checkpoints that a message names
NAMED = 3


def open_checkpoint(
    path: str | PathLike[str],
    *,
    id: str | None = None,
    base: str | PathLike[str] | None = None,
    download: bool = False,
) -> Checkpoint:
    """The one checkpoint at a path; reads headers only. Raises InputError.

    `path` is a file of any format that is read, told by its content, or a folder that is or
    holds one checkpoint, or the address of a repository on the Hub that does,
    hf://owner/name[@revision][/path]. A LoRA adapter is merged into the checkpoint at `base` where
    one is given; its factors are the tensors otherwise. download: from the Hub, fetch the files
    whole, into its library's cache.

    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(folder + "/tiny.npz", w=np.arange(4, dtype=np.float32))
    ...     checkpoint = open_checkpoint(folder + "/tiny.npz")
    ...     checkpoint.id, checkpoint.format, checkpoint.tensors["w"].read(1, 3)
    ('tiny', 'npz', array([1., 2.], dtype=float32))
    """
    over = open_checkpoint(base, download=download) if base is not None else None
    search = _Search(over, alone=True, download=download)
    search.visit_given(path)
    if search.problems:
        raise refusal(search.problems[0].path, search.problems[0].fault)
    found = identified(search.found.values())
    if len(found) != 1:
        some = ", ".join(f"{c.id}: {c.shown}" for c in found[:NAMED])
        more = " …" if len(found) > NAMED else ""
        told = f"holds {len(found)} checkpoints; name one of them"
        raise refusal(Path(path), f"{told}, {some}{more}" if found else told)
    return found[0] if id is None else replace(found[0], id=clean(id))


def discover(
    paths: Sequence[str | PathLike[str]],
    base: str | PathLike[str] | None = None,
    *,
    download: bool = False,
) -> tuple[list[Checkpoint], list[Problem]]:
    """All checkpoints at the paths and in folders below them, by id, and the inputs refused.

    A path may be an address on the Hub, too: hf://owner/name[@revision][/path], or hf://owner for
    all of its models. One bad file never hides the others: it becomes a Problem. Ids are unique.
    download: as in `open_checkpoint`. Raises InputError only where `base` can't be opened.
    """
    over = open_checkpoint(base, download=download) if base is not None else None
    search = _Search(over, download=download)
    for path in paths:
        search.visit_given(path)
    return identified(search.found.values()), search.problems


def _refuse_empty(path: str | PathLike[str]) -> None:
    """An empty path, as of a variable that is not set, would be the current folder."""
    if not os.fspath(path):
        raise UsageError("a path is empty; the current folder is '.'")


@contextmanager
def folders_of(
    paths: Sequence[str | PathLike[str]], *, download: bool = False
) -> Iterator[tuple[list[Path], list[Problem]]]:
    """The paths, in place of addresses of what lies elsewhere the folders that it is mirrored in
    meanwhile, and what was refused."""
    folders: list[Path] = []
    problems: list[Problem] = []
    held: list[Mirror] = []
    for path in paths:
        _refuse_empty(path)
        if not is_address(path):
            folders.append(Path(path))
            continue
        try:
            for found in opened_at(path, download=download):
                if isinstance(found, InputError):
                    problems.append(_problem(found))
                    continue
                held.append(found.mirror)
                folders.append(found.path)
                problems += map(_problem, found.mirror.refused)
        except InputError as error:
            problems.append(_problem(error))
    yield folders, problems


def _problem(error: InputError) -> Problem:
    return Problem(Path(error.path), error.fault)


@dataclass
class _Search:
    """A walk over files and folders; `alone` keeps it from going below a checkpoint's folder."""

    base: Checkpoint | None
    alone: bool = False
    download: bool = False
    #: by the real path of the file or folder that holds the weights
    found: dict[str, Found] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    #: the same by the real paths of all files, for links to each of them make one model, too
    by_files: dict[object, str] = field(default_factory=dict)
    #: and by that of the folder that is the checkpoint, or of its first file
    places: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    #: the folder that was given, without links
    root: str = ""
    repeats: int = 0
    #: in the folders that were looked at
    names: int = 0
    #: places elsewhere, whose folders are there as long as they are
    mirrors: list[Mirror] = field(default_factory=list)

    def visit_given(self, path: str | PathLike[str]) -> None:
        """A path or an address that the user named: it must hold something."""
        _refuse_empty(path)
        if is_address(path):
            self._visit_address(path)
        else:
            self._visit_path(Path(path))

    def _visit_address(self, given: str | PathLike[str]) -> None:
        before = self._reached()
        try:
            for found in opened_at(given, download=self.download):
                if isinstance(found, InputError):
                    self.problems.append(_problem(found))
                    continue
                self.mirrors.append(found.mirror)
                self.problems += map(_problem, found.mirror.refused)
                self.root = os.path.realpath(found.mirror.root)
                known = set(self.found)
                if found.many:
                    self._visit_folder(found.path, 0)
                else:
                    self._visit_path(found.path)
                fresh = [one for real, one in self.found.items() if real not in known]
                for one in fresh:
                    one.called = by_address(one, found.mirror.root, found.mirror.called)
                if found.name and len(fresh) == 1:
                    name = clean(found.name)
                    fresh[0].called = replace(fresh[0].called, short=name, full=name)
        except InputError as error:
            self.problems.append(_problem(error))
        if self._reached() == before:
            self._refuse(Path(given), f"{NOTHING_FOUND}; {NEXT}")

    def _visit_path(self, path: Path) -> None:
        before = self._reached()
        try:
            self.root = os.path.realpath(path)
            if not is_folder(path):
                if (others := named(path)) is not None:
                    self._add_others(others)
                else:
                    self._add_file(path)
                return
            self._visit_folder(path, 0)
            if self._reached() == before:
                self._refuse(path, nothing_found(path))
        except ValueError:
            self._refuse(path, f"no such file or folder{elsewhere(path)}")
        except InputError as error:
            self._refuse(path, error.fault)

    def _reached(self) -> int:
        return len(self.found) + len(self.problems) + self.repeats

    def _refuse(self, path: Path, fault: str) -> None:
        more = fetched(path) if fault.endswith((NOWHERE, MISSING)) else ""
        self.problems.append(Problem(path, fault + printable(more)))

    def _visit_folder(self, folder: Path, depth: int) -> None:
        real = os.path.realpath(folder)
        if real in self.visited:
            self._seen_again(real, folder)
            return
        self.visited.add(real)
        try:
            names = searched(folder, self._listed(folder))
        except InputError as error:
            self._refuse(folder, error.fault)
            return
        folders, links = kinds(folder)
        # links last, so that a model is called as it is stored, not "best"
        ordered = sorted(names, key=links.__contains__)
        children = [name for name in ordered if name in folders]
        inside = self._add_folder(folder, names)
        if inside is None:
            files = [n for n in ordered if n not in folders and not is_training_state(n)]
            self._visit_files(folder, files)
        elif self.alone:
            return
        self._visit_children(folder, [n for n in children if n not in (inside or ())], depth)

    def _listed(self, folder: Path) -> list[str]:
        """The names in a folder, none where too many were looked at. Raises InputError."""
        if self.names > MAX_NAMES:
            return []
        names = listing(folder)
        self.names += len(names)
        LOOKED.names += len(names)
        if self.names > MAX_NAMES:
            most = f"{MAX_NAMES:,} names were looked at, the most of one search"
            raise refusal(folder, f"{most}; from here on nothing is; name folders in it")
        return names

    def _visit_children(self, folder: Path, children: list[str], depth: int) -> None:
        if children and depth >= MAX_DEPTH:
            self._refuse(folder, f"folders deeper than {MAX_DEPTH} are not searched")
            return
        for name in children:
            if leads_out(folder / name, self.root):
                self._visit_linked(folder / name)
            else:
                self._visit_folder(folder / name, depth + 1)

    def _visit_linked(self, folder: Path) -> None:
        """A link out of the folder that was given may lead to one model. It is not searched:
        whoever packed the folder does not decide what else of this machine is read."""
        real = os.path.realpath(folder)
        if real in self.visited:
            self._seen_again(real, folder)
            return
        try:
            if self._add_folder(folder, listing(folder)) is not None:
                self.visited.add(real)
        except InputError as error:
            self._refuse(folder, error.fault)

    def _add_folder(self, folder: Path, names: list[str]) -> list[str] | None:
        """Add the checkpoint that the folder is, or the Problem in its place.

        Returns the subfolders that belong to it; None where the folder is no checkpoint.
        """
        weights, whole = weights_of(names), folder_format(names)
        listed = {PIPELINE, MODULES} & set(names)
        if not (is_adapter(names) or listed or weights or whole):
            return None
        # a folder's one file of weights may be named on its own, too
        several = is_adapter(names) or bool(listed)
        alone = weights is not None and not weights.endswith(".json") and not several
        real = identity(folder / weights) if weights and alone else os.path.realpath(folder)
        if real in self.found:
            self._seen_again(real, folder)
            return []
        try:
            if is_adapter(names):
                opened: Checkpoint | None = open_adapter(folder, names, self.base)
            else:
                opened = open_model_folder(folder)
            if opened is not None:
                self._keep(real, opened, called(folder, whole=True))
            inside = list(components_of(folder, names)) if listed else []
            if opened is None and not inside:
                return None
            return [*inside, *filter(whole.inside, names)] if whole else inside
        except InputError as error:
            at = Path(error.path).name
            self._refuse(folder, error.fault if at == folder.name else f"{at}: {error.fault}")
            return []

    def _visit_files(self, folder: Path, files: list[str]) -> None:
        present = set(files)
        done = {part for name in files for part in parts_of(name, present)}
        for name in files:
            if name in done:
                continue
            shards = shard_set(name)
            try:
                if (others := named(folder / name)) is not None:
                    self._add_others(others)
                elif not (ending(name) or is_weights(folder / name)):
                    continue
                elif shards and len(shards[1]) > 1:
                    done.update(shards[1])
                    self._add_shards(folder, *shards)
                else:
                    self._add_file(folder / name)
            except InputError as error:
                self._refuse(folder / name, error.fault)

    def _add_shards(self, folder: Path, stem: str, shards: list[str]) -> None:
        opened = open_shard_set(folder, stem, shards)
        # shards of a name that every model's have are told by their folder
        by = called(folder if stem in USUAL else folder / stem, whole=True)
        self._keep(os.path.join(os.path.realpath(folder), stem), opened, by)  # noqa: PTH118

    def _add_others(self, others: Sequence[Elsewhere]) -> None:
        """Add the weights that a file names; of those of one model, the model where one is
        wanted."""
        for each in others:
            if each.fault:
                self._refuse(each.path, each.fault)
            elif not (self.alone and each.part):
                self._add_file(each.path, within(each.place))

    def _add_file(self, path: Path, by: Called | None = None) -> None:
        real = identity(path)
        if real in self.found or real in self.places:
            self._seen_again(real, path, by)
            return
        self._keep(real, open_alone(path), by or called(path, whole=False))

    def _keep(self, real: str, opened: Checkpoint, by: Called) -> None:
        files = ((name, identity(file.path)) for name, file in opened.named_files.items())
        # what an adapter makes of its base stands beside its weights
        first = real if opened.base else self.by_files.setdefault(tuple(files) or real, real)
        if first == real:
            self.found[real] = Found(within_bounds(opened), by)
            self.places.setdefault(os.path.realpath(opened.path), real)
        else:
            self._seen_again(first, opened.path)

    def _seen_again(self, real: str, path: Path, by: Called | None = None) -> None:
        self.repeats += 1
        first = self.found.get(self.places.get(real, real))
        if first is None:
            return
        if by is not None:
            first.also.append(f"also called {printable(by.short)}")
        elif path != first.checkpoint.path:
            first.also.append(f"also at {printable(shown(path))}")
