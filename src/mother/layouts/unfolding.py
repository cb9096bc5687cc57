"""The matrices that a tensor can be seen as: with axes in other orders, merged, or taken apart.

A program that stores a layer differently stores the same rows: a dense kernel (in, out) in place
of (out, in), a convolution's (height, width, in, out), all blocks of a model stacked along a first
axis, heads along one of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mother.checkpoints import Tensor
from mother.checkpoints.tensor import Array
from mother.checkpoints.views import permuted, reshaped, rows

#: blocks that a model can be stacked of, and the share of its weights that then lie in stacks
MAX_STACK = 512
_STACKED = 0.5
#: orders of axes, by their number: those of PyTorch, TensorFlow, Flax, TFLite, and back
_ORDERS: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((0, 1), (1, 0)),
    3: ((0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)),
    4: (
        (0, 1, 2, 3),
        (3, 2, 0, 1),
        (2, 3, 1, 0),
        (0, 3, 1, 2),
        (0, 2, 3, 1),
        (2, 3, 0, 1),
        (1, 2, 3, 0),
        (3, 0, 1, 2),
    ),
    5: ((0, 1, 2, 3, 4), (4, 3, 0, 1, 2), (2, 3, 4, 1, 0), (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)),
}


@dataclass(frozen=True)
class Unfolding:
    """One way to see a tensor as a matrix: its elements in another shape, then its axes in another
    order, of which the first one counts the rows."""

    sides: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.sides[self.axes[0]]

    @property
    def length(self) -> int:
        """Of a row."""
        return math.prod(self.sides) // max(self.rows, 1)

    def of(self, values: Array) -> Array:
        """The matrix, (rows, length), of a tensor's elements.

        >>> import numpy as np
        >>> Unfolding((2, 3), (1, 0)).of(np.arange(6)).tolist()
        [[0, 3], [1, 4], [2, 5]]
        """
        return values.reshape(self.sides).transpose(self.axes).reshape(self.rows, -1)

    def view(self, tensor: Tensor) -> Tensor:
        """The same of a tensor, without reading it."""
        turned = reshaped(tensor, self.sides)
        if self.axes != tuple(range(len(self.axes))):
            turned = permuted(turned, self.axes)
        return reshaped(turned, (self.rows, self.length))


def unfoldings(shape: tuple[int, ...]) -> list[Unfolding]:
    """The ways to see a tensor of that shape as a matrix; the one as it is stored is the first.

    >>> [(u.rows, u.length) for u in unfoldings((3, 1, 5))]
    [(3, 5), (5, 3)]
    """
    sides = tuple(side for side in shape if side != 1)
    found = [Unfolding(sides, axes) for axes in _ORDERS.get(len(sides), ())]
    if len(sides) == 3:
        a, b, c = sides
        for merged in ((a, b * c), (a * b, c)):
            found += [Unfolding(merged, axes) for axes in _ORDERS[2]]
    return list(dict.fromkeys(found))


def unstacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with those that hold all blocks of a model taken apart, "layers.kernel" into
    "layers.kernel[0]" and on; as they are where the model is not stacked.

    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> layers = {"w": np.zeros((2, 3, 4), "f4"), "b": np.zeros((2, 4), "f4")}
    >>> apart = unstacked({n: constant(n, v) for n, v in layers.items()})
    >>> [(n, t.shape) for n, t in apart.items()]
    [('w[0]', (3, 4)), ('w[1]', (3, 4)), ('b[0]', (4,)), ('b[1]', (4,))]
    """
    firsts = Counter[int]()
    for tensor in tensors.values():
        if len(tensor.shape) >= 3 and 1 < tensor.shape[0] <= MAX_STACK:
            firsts[tensor.shape[0]] += tensor.size
    whole = sum(tensor.size for tensor in tensors.values())
    blocks = max(firsts, key=lambda first: firsts[first], default=0)
    # a convolution's first axis may be as frequent, but then it has no vectors of that many rows
    if firsts[blocks] < _STACKED * whole or not any(
        len(t.shape) == 2 and t.shape[0] == blocks for t in tensors.values()
    ):
        return dict(tensors)
    return {each.name: each for tensor in tensors.values() for each in _apart(tensor, blocks)}


def _apart(tensor: Tensor, blocks: int) -> Iterator[Tensor]:
    if len(tensor.shape) < 2 or tensor.shape[0] != blocks:
        yield tensor
        return
    for k in range(blocks):
        part = rows(tensor, k, k + 1)
        yield reshaped(part, tensor.shape[1:], f"{tensor.name}[{k}]")
