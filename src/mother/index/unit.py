"""A checkpoint to sketch as it is sent to another process or machine, and what is done there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import mother
from mother.checkpoints import Checkpoint, Problem, open_checkpoint
from mother.checkpoints.discovery import folders_of
from mother.checkpoints.folders import open_shard_set, shard_set
from mother.errors import InputError
from mother.hub import is_address
from mother.index.newcomer import base_of, reduced, stamp, whereabouts
from mother.layouts.content import plan_of


@dataclass(frozen=True)
class Unit:
    """path: in full, or an address on the Hub with its commit; base: likewise. files: what `seen`
    tells of each, of the base's, too. budget, seed, matrices: as for `sketch`. version: of the
    mother that sends it. like: path of the model in whose layout it is seen, where that is not its
    own."""

    path: str
    base: str | None
    files: tuple[tuple[str | int, ...], ...]
    budget: int
    seed: int
    matrices: int
    version: str
    like: str | None = None


def unit(checkpoint: Checkpoint, budget: int, seed: int, matrices: int) -> Unit:
    """What a worker must know to sketch the checkpoint."""
    path, base = whereabouts(checkpoint), base_of(checkpoint)
    files = seen(path, stamp(checkpoint))
    return Unit(path, base, files, budget, seed, matrices, mother.__version__)


def sketched(unit: Unit) -> bytes | Problem:
    """The sketch, or what is wrong with the checkpoint as it is seen from here."""
    try:
        same_version(unit.version, unit.path)
        checkpoint = laid_out(unit, opened(unit))
        return reduced(checkpoint, unit.budget, seed=unit.seed, matrices=unit.matrices)
    except InputError as fault:
        return Problem(Path(fault.path), fault.fault)


def same_version(sent: str, path: str) -> None:
    """InputError naming a model where a worker has another version of mother than who sends it."""
    if sent != mother.__version__:
        here = f"the worker has mother {mother.__version__}, this is {sent}"
        raise InputError(path, f"{here}; install the same")


def opened(unit: Unit, *, download: bool = False) -> Checkpoint:
    """The checkpoint, as it is seen from here. download: as in `open_checkpoint`. InputError, also
    where its files are others than those told of, or have other sizes."""
    checkpoint = _opened(unit, download)
    if seen(unit.path, stamp(checkpoint)) != unit.files:
        raise InputError(unit.path, "other files there, or of other sizes, than were seen before")
    return checkpoint


def laid_out(unit: Unit, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint in the layout that it is seen in. InputError where it is not found in the
    model of that layout any more."""
    if unit.like is None:
        return checkpoint
    plan = plan_of(checkpoint, open_checkpoint(unit.like))
    if plan is None:
        raise InputError(unit.path, "is not found any more in the model whose layout it is seen in")
    return plan.seen(checkpoint)


def _opened(unit: Unit, download: bool) -> Checkpoint:
    shards = shard_set(Path(unit.path).name)
    if shards is None or len(unit.files) == 1:
        return open_checkpoint(unit.path, base=unit.base, download=download)
    with folders_of([unit.path], download=download) as (paths, problems):
        if problems:
            raise InputError(problems[0].shown, problems[0].fault)
        return open_shard_set(paths[0].parent, *shards)


def seen(path: str, stamp: str) -> tuple[tuple[str | int, ...], ...]:
    """What all machines see alike of the files in the stamp of a model: name and size, and of what
    lies elsewhere what stands for its time.

    >>> seen("/lab/a", '[["a", 9, 7], ["/s3://lab/base", 5, 6]]')
    (('a', 9), ('/s3://lab/base', 5, 6))
    """

    def count(name: str) -> int:
        return 3 if is_address(name[1:] if name.startswith("/") else path) else 2

    return tuple(tuple(row[: count(row[0])]) for row in json.loads(stamp))
