"""Ranges [start, stop) of a file's bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Range = tuple[int, int]


def merged(ranges: Iterable[Range], gap: int = 0) -> list[Range]:
    """In order, those joined that overlap or lie at most `gap` apart; empty ones left out.

    >>> merged([(20, 30), (0, 10), (12, 15), (40, 40)], gap=2)
    [(0, 15), (20, 30)]
    """
    out: list[Range] = []
    for start, stop in sorted(ranges):
        if start >= stop:
            continue
        if out and start <= out[-1][1] + gap:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def missing(held: Iterable[Range], start: int, stop: int) -> Iterator[Range]:
    """What of [start, stop) is in none of the ranges held, which are in order and apart.

    >>> list(missing([(0, 4), (6, 8)], 2, 10))
    [(4, 6), (8, 10)]
    """
    for begin, end in held:
        if end <= start:
            continue
        if begin >= stop:
            break
        if start < begin:
            yield start, begin
        start = end
    if start < stop:
        yield start, stop


def pieces(start: int, stop: int, most: int) -> Iterator[Range]:
    """The range in parts of at most so many bytes.

    >>> list(pieces(0, 10, 4))
    [(0, 4), (4, 8), (8, 10)]
    """
    for at in range(start, stop, most):
        yield at, min(at + most, stop)
