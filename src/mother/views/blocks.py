"""Layers as a table: what kind of layer it is down, the block it stands in across."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"(?<=\.)\d{1,6}(?=\.)|^\d{1,6}(?=\.)", re.ASCII)


@dataclass(frozen=True)
class Grid:
    """cells: for each layer its (row in kinds, column in blocks). Column 0 holds the layers
    outside any block, if there are any; its heading is then ""."""

    kinds: tuple[str, ...]
    blocks: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]


def grid(names: Sequence[str]) -> Grid:
    """The table of layers by name. A block is counted by the number in the names that takes the
    most values; what stands before it is left out where all blocks share it.

    >>> table = grid(["embed.weight", "h.0.attn.weight", "h.0.mlp.weight", "h.1.attn.weight"])
    >>> table.kinds
    ('embed.weight', 'attn.weight', 'mlp.weight')
    >>> table.blocks, table.cells
    (('', '0', '1'), ((0, 0), (1, 1), (2, 1), (1, 2)))
    """
    counted = _counters(names)
    split = [_split(name, counted) for name in names]
    before = {kind.partition("*")[0] for kind, block in split if block is not None}
    if len(before) == 1:
        split = [(k if b is None else k.partition("*.")[2] or k, b) for k, b in split]
    kinds = list(dict.fromkeys(kind for kind, _ in split))
    numbers = sorted({block for _, block in split if block is not None})
    blocks = ([""] if any(block is None for _, block in split) else []) + [str(n) for n in numbers]
    column = {block: k for k, block in enumerate(blocks)}
    row = {kind: k for k, kind in enumerate(kinds)}
    cells = tuple((row[kind], column["" if b is None else str(b)]) for kind, b in split)
    return Grid(tuple(kinds), tuple(blocks), cells)


def _counters(names: Sequence[str]) -> dict[str, int]:
    """How many values each counting place of the names takes."""
    values: dict[str, set[str]] = {}
    for name in names:
        for match in _NUMBER.finditer(name):
            values.setdefault(_NUMBER.sub("#", name[: match.start()]), set()).add(match[0])
    return {place: len(seen) for place, seen in values.items()}


def _split(name: str, counted: dict[str, int]) -> tuple[str, int | None]:
    places = list(_NUMBER.finditer(name))
    if not places:
        return name, None
    block = max(places, key=lambda m: (counted[_NUMBER.sub("#", name[: m.start()])], -m.start()))
    return f"{name[: block.start()]}*{name[block.end() :]}", int(block[0])
