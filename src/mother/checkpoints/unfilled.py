"""Files that were laid out in full and never filled, as some programs do that fetch in pieces: from
some byte on they hold zeros, and their tables of contents tell nothing of it."""

from __future__ import annotations

from collections.abc import Iterable

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import clean

PAGE = 1 << 12  # bytes of zeros at a file's end, from which it is looked at
WORD = 8  # bytes of the longest number: a small one ends in zeros
BLOCK = 1 << 20  # bytes that are looked at together, from the end on


def refuse_unfilled(file: File, tensors: Iterable[tuple[int, int, int, str]]) -> None:
    """Raises InputError where zeros begin within a row of a tensor, and go on beyond that row to
    the end of the last tensor. A row or a tensor of zeros is no fault: padding of a vocabulary,
    what begins at zero. tensors: first byte, the byte after the last, rows and name of each.

    Of what lies on a hub nothing is looked at, for only what is written here is laid out before.
    """
    every = sorted(tensors)
    end = max((stop for _, stop, _, _ in every), default=0)
    if file.remote or end <= PAGE or any(file.read(end - PAGE, PAGE)):
        return
    zeros = _zeros_from(file, min(start for start, *_ in every), end)
    for start, stop, rows, name in every:
        row = (stop - start) // max(rows, 1)
        held = -(-(zeros - start) // WORD) * WORD
        if start < zeros < stop and held % row and zeros + row < end:
            raise file.fault(
                f"holds nothing but zeros from byte {zeros} of {file.size} on, within tensor "
                f"{clean(name)!r}: it was laid out and not filled; fetch it again"
            )


def _zeros_from(file: File, start: int, end: int) -> int:
    """The byte after the last one between the two that is not zero."""
    for stop in range(end, start, -BLOCK):
        begin = max(start, stop - BLOCK)
        if held := file.read(begin, stop - begin).rstrip(b"\0"):
            return begin + len(held)
    return start
