"""Which part of each layer stands for it.

A window is some rows and columns of the layer seen as a matrix, from a place that only the layer's
shape, the end of its name with the last numbers in it, and a seed decide; a larger one at the same
place holds a smaller one. A part of a matrix keeps what makes matrices tell: the rank of a change,
the grid of a row. In each layer it is another place, for what one coordinate of a residual stream
does it does in all layers.

Its rows lie far apart, at golden steps, so that any number of them is spread evenly: rows that are
neighbours, the tokens of an embedding, the neurons of a head, change alike. On a hub each stretch
of a file costs a request. So in a matrix that is too large to be read whole they follow one
another, and what lies apart are its columns, which costs nothing; and of a large model no more than
SAMPLED_MATRICES are sampled, the same ones of all models of an architecture.

A high matrix that there is one of is mostly an embedding, and its rows are tokens: those that
training never reached tell who came from whom. So its window has many rows and few columns. Of a
wide one, as a head is where it is stored the other way round, many rows would be most of it.

What a layer says of direction grows with the weights seen in it, but little beyond some thousands,
and its share of the distance grows with its size: so a layer gets bytes by the square root of its
size, a small one all that it has, and of what is no matrix, which only breaks ties, VECTOR weights.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Tensor
from mother.measures.shapes import as_matrix, is_matrix

Shape = tuple[int, ...]
Key = tuple[str, str, int]  # end of a name, the last numbers in it, how many alike come before
BUDGET = 256 << 10  # bytes of weights that a sketch holds
VECTOR = 64  # weights of a tensor that is no matrix
SMALL = 1 << 22  # weights of a model that is sampled everywhere: a hub sends it in one request
SAMPLED_MATRICES = 40  # that are sampled of a larger one
FAR_APART = 1 << 15  # weights of a matrix whose rows are taken far apart: one request to a hub
WIDER = 24  # times what is kept of a larger one may be read: its rows whole
NARROWEST = 32  # columns of a window, where the matrix has them
HIGH = 2  # times as many rows as columns has what is taken for an embedding
LONE_COLUMNS = 16  # columns of a window in one that blocks don't repeat, until it has
TALLEST = 512  # rows: as many as are looked at
NUMBERS = 2  # in a name, that tell layers apart; a program may put others before them
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Window:
    """`rows` x `columns` of a matrix from (top, left) on, each row `step` further than the one
    before, each column `across`; past the last row or column of the matrix the first follows.

    >>> Window(2, 3, 2, 2).places((3, 4)), Window(2, 3, 2, 2).bands((3, 4))
    ((array([2, 0]), array([3, 0])), [(8, 12), (0, 4)])
    >>> Window(1, 0, 2, 2, step=2).places((3, 4))
    (array([1, 0]), array([0, 1]))
    """

    top: int
    left: int
    rows: int
    columns: int
    step: int = 1
    across: int = 1

    def places(self, shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Its rows and its columns in the matrix, (rows,) and (columns,)."""
        height, width = as_matrix(shape)
        rows = (self.top + self.step * np.arange(self.rows)) % height
        return rows, (self.left + self.across * np.arange(self.columns)) % width

    def bands(self, shape: Shape) -> list[tuple[int, int]]:
        """The runs [start, stop) of a tensor's elements in C order that its rows lie in, whole and
        in its own order."""
        _, width = as_matrix(shape)
        rows = self.places(shape)[0]
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        runs = zip(rows[starts].tolist(), np.diff(starts, append=len(rows)).tolist(), strict=True)
        return [(row * width, (row + many) * width) for row, many in runs]


def windows(
    tensors: Mapping[str, Tensor],
    budget: int = BUDGET,
    *,
    seed: int = 0,
    matrices: int | None = SAMPLED_MATRICES,
    apart: int = FAR_APART,
) -> dict[str, Window]:
    """Which part of each weight tensor is sampled, by name, within `budget` bytes; one weight of
    each at the least.

    matrices: of a model of more than SMALL weights at most so many are, and no other tensors, where
    it has matrices; None for all of its tensors. apart: weights of a matrix whose rows are taken
    far apart.

    >>> from mother.checkpoints.tensor import constant
    >>> tensors = {n: constant(n, np.zeros((64, 64), np.float32)) for n in ("a.weight", "b.weight")}
    >>> [w.rows * w.columns for w in windows(tensors, 8192).values()]
    [1024, 1024]
    """
    chosen = {n: t for n, t in tensors.items() if t.is_weight and t.size}
    if matrices is not None and sum(tensor.size for tensor in chosen.values()) > SMALL:
        chosen = _drawn(chosen, matrices, seed) or chosen
    shares = _shares(chosen, budget)
    return {
        name: _window((seed, *key), chosen[name].shape, shares[name], apart)
        for key, name in alike(chosen, shares)
    }


def alike(tensors: Mapping[str, Tensor], names: Iterable[str]) -> Iterator[tuple[Key, str]]:
    """What each name is known by, whatever is put before it; and itself. Of equal shapes, no two
    are known by the same.

    >>> from mother.checkpoints.tensor import constant
    >>> names = [f"layer.{k}.{kind}.weight" for k in (0, 1) for kind in "qv"]
    >>> tensors = {n: constant(n, np.zeros((8, 8), np.float32)) for n in names}
    >>> [key for key, _ in alike(tensors, names)]
    [('weight', '0', 0), ('weight', '0', 1), ('weight', '1', 0), ('weight', '1', 1)]
    """
    before: Counter[tuple[str, str, Shape]] = Counter()
    for name in sorted(names, key=_natural):
        *others, end = re.split(r"[./]", name)
        place = ".".join([part for part in others if part.isdecimal()][-NUMBERS:])
        kind = end, place, tensors[name].shape
        yield (end, place, before[kind]), name
        before[kind] += 1


def _drawn(tensors: dict[str, Tensor], most: int, seed: int) -> dict[str, Tensor]:
    """So many of the matrices: of each kind that blocks have as many as of the others, from blocks
    spread as evenly; and the largest of those that there is one of, an eighth of all.

    Another head, or a prefix, changes nothing of it.

    >>> from mother.checkpoints.tensor import constant
    >>> names = ["head", *(f"layer.{k}.{kind}.weight" for k in range(3) for kind in "qvo")]
    >>> drawn = _drawn({n: constant(n, np.zeros((8, 8), np.float32)) for n in names}, 8, 0)
    >>> sorted(name[6:9] for name in drawn if name != "head")
    ['0.o', '0.q', '0.v', '1.o', '1.q', '2.o', '2.v']
    """
    matrices = {name: tensor for name, tensor in tensors.items() if is_matrix(tensor.shape)}
    if len(matrices) <= most:
        return matrices
    kinds: dict[str, list[tuple[Key, str]]] = defaultdict(list)
    for key, name in alike(matrices, matrices):
        kinds[_kind(name) if key[1] else name].append((key, name))
    heaviest = sorted(kinds, key=lambda k: (-sum(matrices[n].size for _, n in kinds[k]), k))
    repeated = [kinds[kind] for kind in heaviest if len(kinds[kind]) > 1]
    turns = [
        (turn, kind, name)
        for kind, members in enumerate(repeated)
        for turn, name in enumerate(_spread(members, kind / len(repeated), seed))
    ]
    drawn = [name for *_, name in sorted(turns)[: most - most // 8]]
    alone = [members[0] for members in kinds.values() if len(members) == 1]
    alone.sort(key=lambda of: (-matrices[of[1]].size, of[0]))
    drawn += [name for _, name in alone[: most - len(drawn)]]
    return {name: matrices[name] for name in drawn}


def _spread(members: Iterable[tuple[Key, str]], start: float, seed: int) -> list[str]:
    """Names in an order of which any first part is spread evenly over the blocks: by multiples of
    the golden section and of two roots, whichever other blocks there are. Those of two kinds lie as
    far apart as their starts."""
    before: Counter[str] = Counter()
    places: list[tuple[float, str]] = []
    start += number(seed) / 2**64
    for (_, numbers, _), name in members:
        *outer, inner = (int(part[-6:]) for part in numbers.split("."))
        place = GOLDEN * inner + math.sqrt(2) * sum(outer) + math.sqrt(3) * before[numbers]
        places.append(((place + start) % 1, name))
        before[numbers] += 1
    return [name for _, name in sorted(places)]


def _kind(name: str) -> str:
    """What follows the last number in a name.

    >>> _kind("model.layers.3.mlp.down_proj.weight")
    'mlp.down_proj.weight'
    """
    parts = re.split(r"[./]", name)
    return ".".join(parts[1 + max(k for k, part in enumerate(parts) if part.isdecimal()) :])


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def _shares(tensors: Mapping[str, Tensor], budget: int) -> dict[str, int]:
    """Weights to take of each: by the square root of what could be taken, or all of it."""
    most = {n: t.size if is_matrix(t.shape) else min(t.size, VECTOR) for n, t in tensors.items()}
    shares: dict[str, int] = {}
    waiting, left = dict(most), float(budget)
    while waiting:
        wish = {n: math.sqrt(m) * tensors[n].dtype.itemsize for n, m in waiting.items()}
        unit = max(left, 0.0) / sum(wish.values())
        whole = [n for n, m in waiting.items() if unit * math.sqrt(m) >= m]
        for name in whole or list(waiting):
            most_of = waiting.pop(name)
            shares[name] = max(1, min(most_of, int(unit * math.sqrt(most_of))))
            left -= shares[name] * tensors[name].dtype.itemsize
        if not whole:
            break
    return shares


def _window(place: tuple[object, ...], shape: Shape, many: int, apart: int) -> Window:
    """A window of about so many weights, nearly square but for NARROWEST and WIDER; tall where
    rows are tokens."""
    height, width = as_matrix(shape)
    near, (_, _, blocks, _) = height * width > apart, place
    columns = max(NARROWEST, 1 << round(math.log2(many) / 2))
    if not blocks and height >= HIGH * width:
        columns = min(columns, max(LONE_COLUMNS, many // TALLEST))
    elif near:
        columns = max(columns, -(-width // WIDER))
    columns = min(width, columns, many)
    rows = min(height, many // columns)
    columns = min(width, many // rows)
    return Window(
        number(*place, shape, "top") % height,
        number(*place, shape, "left") % width,
        rows,
        columns,
        1 if near else golden(height),
        golden(width) if near else 1,
    )


def square(name: str, shape: Shape, side: int) -> Window:
    """So many rows and columns of a layer, all of them where it has no more.

    >>> square("w", (48, 48), 64), square("w", (512, 512), 4).step
    (Window(top=0, left=0, rows=48, columns=48, step=1, across=1), 1)
    """
    height, width = as_matrix(shape)
    rows, columns = min(height, side), min(width, side)
    near = height * width > FAR_APART
    return Window(
        number(name, shape, "top") % height if rows < height else 0,
        number(name, shape, "left") % width if columns < width else 0,
        rows,
        columns,
        1 if near or rows == height else golden(height),
        golden(width) if near and columns < width else 1,
    )


@lru_cache(maxsize=1024)
def golden(height: int) -> int:
    """The step over so many rows, near their golden section, that comes by all of them and spreads
    any number of them most evenly: the quotients of step / height as a continued fraction are
    small.

    >>> step = golden(10)
    >>> step, [k * step % 10 for k in range(10)]
    (7, [0, 7, 4, 1, 8, 5, 2, 9, 6, 3])
    """
    near = round(GOLDEN * height)
    steps = [k for k in range(max(1, near - 32), min(near + 33, height)) if gcd(k, height) == 1]
    return min(steps, key=lambda k: (max(_quotients(k, height)), abs(k - near)), default=1)


def _quotients(a: int, b: int) -> Iterator[int]:
    while a:
        yield b // a
        a, b = b % a, a


def number(*of: object) -> int:
    """A number that all that it is made of decides."""
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:8], "little")
