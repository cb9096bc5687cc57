"""Files that were laid out in full and never filled, as some programs do that fetch in pieces: from
some byte on they hold zeros, and their tables of contents tell nothing of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import clean

PAGE = 1 << 12  # bytes of zeros at a file's end, from which it is looked at
PAGES = 64  # that are looked at after it, and before where zeros begin
WORD = 8  # bytes of the longest number: a small one ends in zeros
LONGER = 2  # times as long as any before, zeros are none of a model's


def refuse_unfilled(file: File, tensors: Iterable[tuple[int, int, int, str]]) -> None:
    """Raises InputError where zeros begin within a row of a tensor, go on beyond that row in the
    same tensor, and to the end of the last one. A row or a tensor of zeros is no fault: padding of
    a vocabulary, what begins at zero. Nor is the end of a row, where it is no longer than zeros
    are in the tensor before: padding of columns, pruning.
    tensors: first byte, the byte after the last, rows and name of each.

    Of what lies on a hub nothing is looked at, for only what is written here is laid out before.
    """
    every = list(tensors)
    end = max((stop for _, stop, _, _ in every), default=0)
    if file.remote or end <= PAGE or any(file.read(end - PAGE, PAGE)):
        return
    zeros = _zeros_from(file, min(start for start, *_ in every), end)
    for start, stop, rows, name in every:
        row = (stop - start) // max(rows, 1)
        if not start < zeros < stop:
            continue
        left = row - -(-(zeros - start) // WORD) * WORD % row
        if left < row and zeros + row < stop and left > LONGER * _longest(file, start, zeros):
            raise file.fault(
                f"from byte {zeros} of {file.size} on, within tensor {clean(name)!r}, zeros stand "
                "wherever it was looked at: it was laid out and not filled; fetch it again"
            )


def _zeros_from(file: File, start: int, end: int) -> int:
    """The byte from which a file holds zeros up to the end, if it was filled up to some byte: found
    by halving, without reading it all. `end` where some page after it is not zeros."""
    low, high = start, end - PAGE
    while high - low > PAGE:
        middle = (low + high) // 2
        if any(file.read(middle, PAGE)):
            low = middle
        else:
            high = middle
    zeros = low + len(file.read(low, high - low).rstrip(b"\0"))
    after = range(high, end - PAGE, max(PAGE, (end - high) // PAGES))
    return end if any(any(file.read(at, PAGE)) for at in after) else zeros


def _longest(file: File, start: int, stop: int) -> int:
    """Of the bytes before one, as far as is looked, how many zeros stand in a row at most."""
    near = max(start, stop - PAGES * PAGE)
    filled = np.flatnonzero(np.frombuffer(file.read(near, stop - near), np.uint8))
    return int(np.diff(filled, prepend=-1).max()) - 1
