"""The same weights in another framework: other names, other orders of axes.

A convolution's kernel is (out, in, height, width) in PyTorch and (height, width, in, out) in
TensorFlow, a dense layer's (out, in) and (in, out), and names have nothing in common. What no
order of axes changes are a tensor's sizes, but for ones, its first and last value, and its values
when they are sorted.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.contained import included, pair_of, stars
from mother.copies.duplicates import COMPARED_AT_ONCE, Duplicate
from mother.layouts import Group

#: different values that a model must hold: constant and near-constant ones agree by chance
CONVERTED_VALUES = 64

Sizes = tuple[int, ...]


def find_conversions(groups: Sequence[Group]) -> list[Duplicate]:
    """Copies across groups, each with its original: the first by id of those in other groups. One
    that holds all tensors of another, and more, "contains" it.

    Nothing is read unless all sizes of a model's tensors are among those of a model of another
    group; then the first and last value of each, and all values only where these agree, the
    smallest tensors first. Values must be the same to the last bit, whatever type stores them.

    >>> from pathlib import Path
    >>> from mother.layouts import align
    >>> from mother.checkpoints.tensor import constant
    >>> kernel = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    >>> turned = kernel.transpose(2, 3, 1, 0).copy()
    >>> a = Checkpoint("a", Path("a"), "pytorch", {"conv.weight": constant("conv.weight", kernel)})
    >>> b = Checkpoint("b", Path("b"), "tfjs", {"F_0/kernel": constant("F_0/kernel", turned)})
    >>> [(d.original.id, d.copy.id) for d in find_conversions(align([a, b]))]
    [('a', 'b')]
    """
    held = [(g, c) for g, group in enumerate(groups) for c in group.checkpoints if not c.is_sketch]
    sizes = {c: frozenset(map(_sizes, _weights(c))) for _, c in held}  # no conversion changes them
    some = {(g, sizes[c]) for g, c in held}
    near = {(g, s) for g, s in some if any(g != h and (s <= t or t <= s) for h, t in some)}
    across = [(g, c) for g, c in held if (g, sizes[c]) in near]
    digests = _Digests()
    keyed = [_by_corners(c) for _, c in across]
    inside = included(keyed, digests.equal, lambda i, k: across[i][0] != across[k][0])
    tells = {
        i: sum(digests.values(t) for t in _weights(across[i][1])) >= CONVERTED_VALUES
        for i in {i for i, _ in inside}
    }
    # of many copies each pair is there both ways, which say the same
    once = ((i, k) for i, k in inside if tells[i] and not (i > k and (k, i) in inside and tells[k]))
    pairs = [
        pair_of(*(across[j][1] for j in pair), mutual=pair[::-1] in inside, mutually="converted")
        for pair in sorted(once)
    ]
    return stars(filter(None, pairs))


def _weights(checkpoint: Checkpoint) -> list[Tensor]:
    return [t for t in checkpoint.tensors.values() if t.is_weight and t.size]


def _sizes(tensor: Tensor) -> Sizes:
    return tuple(sorted(n for n in tensor.shape if n > 1))


def _by_corners(checkpoint: Checkpoint) -> dict[Hashable, list[Tensor]]:
    """Its weights by sizes, first and last value, the smallest first."""
    keyed: dict[Hashable, list[Tensor]] = defaultdict(list)
    for tensor in sorted(_weights(checkpoint), key=lambda t: (t.size, t.name)):
        ends = (float(tensor.read(0, 1)[0]) + 0.0, float(tensor.read(-1)[0]) + 0.0)
        keyed[_sizes(tensor), ends].append(tensor)
    return keyed


class _Digests:
    """Of tensors, whatever the order of their axes, each read once; and of how many values."""

    def __init__(self) -> None:
        self._known: dict[Tensor, tuple[bytes, int]] = {}

    def equal(self, a: Tensor, b: Tensor) -> bool:
        return self._of(a)[0] == self._of(b)[0]

    def values(self, tensor: Tensor) -> int:
        return self._of(tensor)[1]

    def _of(self, tensor: Tensor) -> tuple[bytes, int]:
        if tensor not in self._known:
            values = np.sort(tensor.read())
            digest = hashlib.sha256()
            for start in range(0, len(values), COMPARED_AT_ONCE):
                some = values[start : start + COMPARED_AT_ONCE].astype(np.float64)
                digest.update((some + 0.0).tobytes())  # which makes one zero of both
            many = 1 + int(np.count_nonzero(values[1:] != values[:-1]))
            self._known[tensor] = digest.digest(), many
        return self._known[tensor]
