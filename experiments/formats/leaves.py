"""What is read of a copy in each format, and what is said of it beside its family."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest

import mother
from experiments.formats.writers.told import END, PREFIX, digest
from experiments.tests.loopback_hub import Record, client_of, serve
from mother.checkpoints import Checkpoint, open_checkpoint
from mother.index import Index
from mother.sketches.sketch import sketch
from mother.sketches.sketch_bytes import dump

SLICES = 8  # of each tensor


@dataclass(frozen=True)
class Copy:
    """A copy as its writer left it, with what is right of it. values: shape and digest of each."""

    name: str
    path: Path
    writer: str
    how: str
    scheme: str
    relations: Sequence[str]
    values: Sequence[tuple[list[int], str]]

    @property
    def by(self) -> str:
        """Who wrote it, by what."""
        return f"{self.writer}, {self.how}" if self.how else self.writer


def copies(folder: Path) -> Iterator[Copy]:
    """The copies in a folder, by name."""
    for told in sorted(folder.glob(f"*{END}")):
        path = folder / told.name.removesuffix(END)
        text = json.loads(told.read_text())
        name = told.name.removeprefix(PREFIX).removesuffix(END)
        values = list(text["values"].values())
        parts = (text[k] for k in ("writer", "how", "scheme", "relations"))
        yield Copy(name, path, *parts, values)


@dataclass(frozen=True)
class Reading:
    """Of the tensors that the writer's library dequantizes, how many are read bit for bit, and how
    many of those in slices. share: the bytes of the file that half of its largest is read from."""

    told: int
    equal: int
    sliced: int
    share: float


def read(copy: Copy) -> Reading:
    found = open_checkpoint(copy.path)
    # names are the reader's own, which has units of length one more or less
    wanted = {(tuple(n for n in shape if n != 1), sha) for shape, sha in copy.values}
    equal = sliced = 0
    for tensor in found.tensors.values():
        whole = tensor.read()
        shape = tuple(n for n in tensor.shape if n != 1)
        if (shape, digest(whole)) not in wanted:
            continue
        equal += 1
        draw = Random(tensor.name)
        ends = [
            sorted((draw.randint(0, tensor.size), draw.randint(0, tensor.size)))
            for _ in range(SLICES)
        ]
        parts = [(tensor.read(a, b), whole[a:b]) for a, b in ends]
        sliced += all(a.tobytes() == b.tobytes() for a, b in parts)
    return Reading(len(wanted), equal, sliced, _share(found))


def _share(found: Checkpoint) -> float:
    largest = max(found.tensors.values(), key=lambda t: t.size)
    half, whole = (
        sum(s.stop - s.start for s in set(largest.slices(0, n)))
        for n in (largest.size // 2, largest.size)
    )
    return half / whole if whole else 1.0


@dataclass(frozen=True)
class Ranged:
    """Of a copy on a Hub: whether its sketch is the same as from the disk, and the share of its
    bytes that came for its header and the last row of its largest tensor."""

    same: bool
    share: float


def on_a_hub(copy: Copy) -> Ranged:
    """The copy, read by ranges from a Hub on this machine."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        models, spool = Path(name) / "hub" / "models", Path(name) / "spool"
        spool.mkdir()
        patch.setattr("mother.hub.mirrors._spool", spool)
        there = models / "org" / "copy"
        if copy.path.is_dir():
            shutil.copytree(copy.path, there)
        else:
            there.mkdir(parents=True)
            for file in copy.path.parent.glob(f"{copy.path.name}*"):
                if not file.name.endswith(END):
                    shutil.copy(file, there)
        size = sum(file.stat().st_size for file in there.rglob("*") if file.is_file())
        record = Record()
        with serve(models.parent, record) as endpoint:
            client_of(endpoint, Path(name), patch)
            found = open_checkpoint("hf://org/copy")
            largest = max(found.tensors.values(), key=lambda t: t.size)
            largest.read(largest.size - largest.shape[-1], largest.size)
            share = record.served.total() / size
            same = dump(sketch(found)) == dump(sketch(open_checkpoint(copy.path)))
    return Ranged(same, share)


@dataclass(frozen=True)
class Verdict:
    """What was said of one copy: its parent, its relation and scheme, and whether any other edge,
    hidden ancestor or model was another one beside it."""

    parent: str
    relation: str
    scheme: str
    moved: bool


def judged(copy: Copy, family: Path, alone: mother.ModelGraph) -> Verdict:
    """The copy beside its family. alone: the family's graph without it."""
    return _verdict(mother.recover([family, copy.path]), alone)


def index_of(family: Path, folder: Path) -> mother.ModelGraph:
    """Makes an index of the family in the folder, and returns its forest."""
    with Index.create(folder) as index:
        index.add([family])
        return index.graph()


def in_an_index(copy: Copy, family: Path, folder: Path, alone: mother.ModelGraph) -> Verdict:
    """The copy, added to a copy of the family's index in a folder. alone: its forest before. It is
    `moved`, too, where the forest is another when the copy comes first."""
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(folder, Path(name) / "last")
        with Index(Path(name) / "last") as index:
            index.add([copy.path])
            last = index.graph()
        with Index.create(Path(name) / "first") as index:
            index.add([copy.path])
            index.add([family])
            first = index.graph()
    found = _verdict(last, alone)
    return replace(found, moved=found.moved or first.to_json() != last.to_json())


def _verdict(graph: mother.ModelGraph, alone: mother.ModelGraph) -> Verdict:
    (node,) = {n.id for n in graph.nodes} - {n.id for n in alone.nodes}
    own = [e for e in graph.edges if e.child == node]
    moved = (
        [e for e in graph.edges if e not in own] != list(alone.edges)
        or graph.hidden != alone.hidden
        or [n for n in graph.nodes if n.id != node] != list(alone.nodes)
    )
    edge = own[0] if own else mother.Edge("none", node, "none")
    return Verdict(edge.parent, edge.relation, edge.scheme, moved)
