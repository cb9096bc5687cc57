"""Which axes of a model's matrices hold units that may stand in any order, by names and shapes.

Two wirings are known. In a stream (a transformer) all blocks read and write one axis, which the
tensors outside of blocks tie to labels: rows of the vocabulary, positions, pixels. In a chain (a
convolutional or dense network) each matrix reads what one before it wrote, from pixels to classes.
A wiring that is taken wrongly finds no agreement: it costs power, and makes no kin.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]
#: names and shapes of matrices, and of stacks of them
Shapes = Mapping[str, Shape]

FEWEST_UNITS = 4  # units of an axis that is looked at
_NUMBER = re.compile(r"\d+")
_BLOCK = re.compile(r"^(?:.*[./])?\d+[./]")


@dataclass(frozen=True)
class Hidden:
    """Units inside a block: `written` are matrices with a row for each, `read` with a column."""

    units: int
    written: tuple[str, ...]
    read: tuple[str, ...]


@dataclass(frozen=True)
class Stream:
    """width: of the stream. labelled: tensors that tie it to labels, by the axis, first (0) or last
    (-1), that is the stream's. hidden: in the order of blocks."""

    width: int
    labelled: Mapping[str, int]
    hidden: tuple[Hidden, ...]


@dataclass(frozen=True)
class Chain:
    """matrices: in order. source: for each but those that read labels, the one whose rows its
    columns are. shapes: (rows, columns, ...), of one that reads maps unrolled (rows, maps, ...)."""

    matrices: tuple[str, ...]
    source: Mapping[str, str]
    shapes: Shapes


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names as numbers.

    >>> sorted(["h.10.w", "h.9.w"], key=natural)
    ['h.9.w', 'h.10.w']
    """
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def block(name: str) -> str:
    """The block that a tensor lies in, by the last number in its name.

    >>> block("model.layers.3.mlp.up.weight"), block("fc1.weight")
    ('model.layers.3.', '')
    """
    found = _BLOCK.match(name)
    return found[0] if found else ""


def stream_of(shapes: Shapes) -> Stream | None:
    """The stream that most weights touch; None where no tensor ties one to labels, or no block has
    units of its own.

    >>> shapes = {"embed": (100, 8)}
    >>> for k in (0, 1):
    ...     shapes |= {f"h.{k}.up": (32, 8), f"h.{k}.down": (8, 32)}
    >>> stream_of(shapes)
    Stream(width=8, labelled={'embed': -1}, hidden=(Hidden(units=32, written=('h.0.up',), \
read=('h.0.down',)), Hidden(units=32, written=('h.1.up',), read=('h.1.down',))))
    """
    alike = Counter((_NUMBER.sub("#", name), shape) for name, shape in shapes.items())
    once = {n: s for n, s in shapes.items() if alike[_NUMBER.sub("#", n), s] == 1}
    touched: Counter[int] = Counter()
    for name, shape in shapes.items():
        if name not in once and len(shape) == 2:
            touched.update(dict.fromkeys(set(shape), math.prod(shape)))
    for width, _ in sorted(touched.items(), key=lambda pair: (-pair[1], pair[0])):
        labelled = {n: 0 if s[0] == width else -1 for n, s in once.items() if _ends(s, width) == 1}
        hidden = _inside(shapes, width)
        if labelled and hidden:
            return Stream(width, labelled, hidden)
    return None


def _ends(shape: Shape, width: int) -> int:
    return (shape[0] == width) + (shape[-1] == width)


def _inside(shapes: Shapes, width: int) -> tuple[Hidden, ...]:
    """Axes of blocks that some of its matrices write and others read, from and to the stream."""
    written: dict[tuple[str, int], list[str]] = defaultdict(list)
    read: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name in sorted(shapes, key=natural):
        shape = shapes[name]
        if len(shape) == 2 and _ends(shape, width) == 1:
            first = shape[0] != width
            units = shape[0] if first else shape[1]
            (written if first else read)[block(name), units].append(name)
    return tuple(
        Hidden(key[1], tuple(written[key]), tuple(read[key]))
        for key in written
        if key in read and key[1] >= FEWEST_UNITS
    )


def chain_of(shapes: Shapes) -> Chain | None:
    """The chain of matrices (out, in, ...), each reading the nearest one before it that has as many
    rows; None where it is shorter than two.

    >>> chain_of({"net.0": (16, 3, 3, 3), "net.2": (32, 16, 3, 3), "net.10": (10, 32)})
    Chain(matrices=('net.0', 'net.2', 'net.10'), source={'net.2': 'net.0', 'net.10': 'net.2'}, \
shapes={'net.0': (16, 3, 3, 3), 'net.2': (32, 16, 3, 3), 'net.10': (10, 32)})
    >>> chain_of({"conv": (16, 3, 3, 3), "fc": (10, 16 * 49)}).shapes["fc"]
    (10, 16, 49)
    """
    shapes = _rolled(shapes)
    rows = {shape[0] for shape in shapes.values()}
    columns = {shape[1] for shape in shapes.values()}
    # what reads labels comes first and what writes them last, however names are sorted
    order = sorted(
        shapes, key=lambda n: (shapes[n][0] not in columns, shapes[n][1] in rows, natural(n))
    )
    source: dict[str, str] = {}
    last: dict[int, str] = {}
    for name in order:
        if shapes[name][1] in last:
            source[name] = last[shapes[name][1]]
        last[shapes[name][0]] = name
    return Chain(tuple(order), source, shapes) if source else None


def _rolled(shapes: Shapes) -> Shapes:
    """The shapes, matrices that read all places of the last kernels' maps as kernels, too."""
    rows = {shape[0] for shape in shapes.values()}
    kernels = sorted((n for n, shape in shapes.items() if len(shape) > 2), key=natural)
    if not kernels:
        return shapes
    maps = shapes[kernels[-1]][0]
    return {
        name: (shape[0], maps, shape[1] // maps)
        if len(shape) == 2 and shape[1] not in rows and shape[1] % maps == 0
        else shape
        for name, shape in shapes.items()
    }


def units_of(chain: Chain) -> list[tuple[str, str]]:
    """Pairs of a matrix that writes units and the first that reads them."""
    first: dict[str, str] = {}
    for name in chain.matrices:
        if name in chain.source:
            first.setdefault(chain.source[name], name)
    return list(first.items())


def matrices(shapes: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    """The shapes without sides of one at the front, and those of two sides or more.

    >>> matrices({"positions": (1, 17, 8), "bias": (8,)})
    {'positions': (17, 8)}
    """
    found = {}
    for name, shape in shapes.items():
        while len(shape) > 2 and shape[0] == 1:
            shape = shape[1:]
        if len(shape) > 1 and min(shape[0], shape[-1]) > 0:
            found[name] = tuple(shape)
    return found
