"""Change by layer and block in a terminal: a cell of colour, or of one digit in a pipe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.text import Text

from mother.views.blocks import grid
from mother.views.terminal import printable, shortened

_WIDTH = 34  # of a layer's name
_COLD, _HOT = (38, 44, 56), (120, 200, 255)  # red, green, blue of no change and of the largest


def heat(names: Sequence[str], changes: Sequence[float | None]) -> Iterator[Text]:
    """Kinds of layer down, blocks across. A digit is ten times the square root of the share of the
    largest change, so that one layer trained anew leaves the others apart; "·" is no change.

    >>> for line in heat(["h.0.a", "h.1.a", "h.2.a", "h.0.b"], [0.1, 0.25, 0.0, None]):
    ...     print(line.plain.rstrip())
    change by block, 9: 0.25, 5: a quarter of that, and so on by square roots
                                       0 1 2
    a                                  6 9 ·
    b                                  ?
    """
    table = grid(names)
    at = dict(zip(table.cells, changes, strict=True))
    top = max((change for change in changes if change is not None), default=0.0)
    yield Text(f"change by block, 9: {top:.3g}, 5: a quarter of that, and so on by square roots")
    wide = max(2, *(len(block) + 1 for block in table.blocks)) if table.blocks else 2
    yield Text(" " * (_WIDTH + 1) + "".join(f"{block:<{wide}}" for block in table.blocks), "dim")
    for row, kind in enumerate(table.kinds):
        line = Text(f"{shortened(printable(kind), _WIDTH):{_WIDTH}} ")
        for column in range(len(table.blocks)):
            if (row, column) in at:
                line.append(*_cell(at[row, column], top))
                line.append(" " * (wide - 1))
            else:
                line.append(" " * wide)
        yield line


def _cell(change: float | None, top: float) -> tuple[str, str]:
    if change is None:
        return "?", "dim"
    if change == 0.0 or top == 0.0:
        return "·", "dim"
    share = math.sqrt(change / top)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_COLD, _HOT, strict=True))
    ink = "black" if share > 0.5 else "white"
    return str(min(9, int(10 * share))), f"{ink} on rgb({red},{green},{blue})"
