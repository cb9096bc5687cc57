"""Checkpoints on their way into an index: sketched here, or by the workers of an executor."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from mother.checkpoints import Checkpoint, Problem
from mother.errors import InputError
from mother.index.executors import Lost, in_order
from mother.index.newcomer import Newcomer, newcomer, reduced
from mother.index.settings import Settings
from mother.index.unit import sketched, unit

AHEAD, HELD = 1024, 256 << 20  # checkpoints out at workers at once; bytes of their sketches


def coming(
    checkpoints: Sequence[Checkpoint],
    settings: Settings,
    executor: Executor | None = None,
) -> Generator[Newcomer | Problem, None, None]:
    """Each checkpoint as it is stored, or why it can't be, in their order."""

    def here(checkpoint: Checkpoint) -> bytes | Problem:
        try:
            return reduced(
                checkpoint, settings.budget, seed=settings.seed, matrices=settings.matrices
            )
        except InputError as fault:
            return Problem(Path(fault.path), fault.fault)

    found: Iterator[bytes | Problem | Lost] = map(here, checkpoints)
    if executor is not None:
        sampled = settings.budget, settings.seed, settings.matrices
        units = (unit(checkpoint, *sampled) for checkpoint in checkpoints)
        found = in_order(executor, sketched, units, max(1, min(AHEAD, HELD // settings.budget)))
    for checkpoint, content in zip(checkpoints, found, strict=True):
        if isinstance(content, Lost):
            yield Problem(checkpoint.path, content.fault)
        elif isinstance(content, Problem):
            yield content
        else:
            yield newcomer(checkpoint, content, settings.seed)
