"""What a recovery reads of checkpoints on the Hub, fetched before it starts; and files' hashes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mother.checkpoints import Checkpoint, File, Slice, Tensor, prefetch
from mother.errors import InputError
from mother.layouts import Group

FETCHED = 8  # checkpoints at once


def on_the_hub(groups: Sequence[Group], pattern: str | None) -> dict[Checkpoint, list[Slice]]:
    """Of checkpoints on the Hub, the bytes that recovering reads."""
    return {
        c: [s for t in _read(group, k, pattern) if t.is_weight for s in t.slices()]
        for group in groups
        for k, c in enumerate(group.checkpoints)
        if any(file.remote for file in c.files)
    }


def _read(group: Group, k: int, pattern: str | None) -> Iterable[Tensor]:
    if pattern is None:
        return group.checkpoints[k].tensors.values()
    found = (layer for layer in group.layers if re.search(pattern, layer.name))
    return [t for x in found for m, t in zip(x.members, x.tensors, strict=True) if m == k]


def fetched(
    cold: Mapping[Checkpoint, Sequence[Slice]], report: Callable[[int], None] | None
) -> dict[Checkpoint, str]:
    """Get those bytes, which are read more than once; the checkpoints that failed, and why."""
    lost: dict[Checkpoint, str] = {}

    def fetch(checkpoint: Checkpoint) -> None:
        try:
            prefetch(cold[checkpoint], report)
        except InputError as error:
            lost[checkpoint] = within(checkpoint, error)

    if cold:
        with ThreadPoolExecutor(FETCHED) as threads:
            list(threads.map(fetch, cold))
    return lost


def hashed(
    files: Sequence[File], workers: int, report: Callable[[int], None] | None
) -> tuple[dict[File, str], dict[File, InputError]]:
    """The SHA-256 of each file, and why others have none."""

    def digest(file: File) -> str | InputError:
        try:
            return file.sha256(report)
        except InputError as error:
            return error

    with ThreadPoolExecutor(workers) as threads:
        found = dict(zip(files, threads.map(digest, files), strict=True))
    return (
        {file: d for file, d in found.items() if isinstance(d, str)},
        {file: d for file, d in found.items() if isinstance(d, InputError)},
    )


def within(checkpoint: Checkpoint, error: InputError) -> str:
    """The fault of a file of a checkpoint, as that of the checkpoint."""
    name = error.path.removeprefix(checkpoint.shown).lstrip("/")
    return f"{name}: {error.fault}" if name else error.fault
