"""The same weights in another framework: other names, other orders of axes.

A convolution's kernel is (out, in, height, width) in PyTorch and (height, width, in, out) in
TensorFlow, a dense layer's (out, in) and (in, out), and names have nothing in common. What no
order of axes changes are a tensor's sizes, but for ones, its first and last value, and its values
when they are sorted.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.duplicates import Duplicate
from mother.layouts import Group

#: different values that a model must hold: constant and near-constant ones agree by chance
MIN_VALUES = 64
_CHUNK = 1 << 20

Sizes = tuple[int, ...]


def find_conversions(groups: Sequence[Group]) -> list[Duplicate]:
    """Copies across groups, each with its original: the first by id of those in other groups.

    Nothing is read unless models of different groups hold tensors of the same sizes; then the first
    and last value of each, and all values only of models that agree in these, the smallest tensors
    first. Values must be the same to the last bit, whatever type stores them.

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
    if len(groups) < 2:
        return []
    alike: dict[tuple[tuple[Sizes, int], ...], list[_Candidate]] = defaultdict(list)
    for index, group in enumerate(groups):
        for checkpoint in group.checkpoints:
            if checkpoint.is_sketch:
                continue  # what a conversion keeps is not in a sample
            candidate = _Candidate(index, checkpoint)
            alike[candidate.signature].append(candidate)
    found: list[Duplicate] = []
    for signature, candidates in alike.items():
        for same in _refined(candidates, [sizes for sizes, _ in signature]):
            same.sort(key=lambda c: c.checkpoint.id)
            for copy in same[1:]:
                original = same[0]
                if original.group != copy.group and copy.values >= MIN_VALUES:
                    found.append(Duplicate(original.checkpoint, copy.checkpoint, "converted"))
    return found


class _Candidate:
    """A checkpoint, its tensors by their sizes, and how many values were seen in those read."""

    def __init__(self, group: int, checkpoint: Checkpoint) -> None:
        self.group = group
        self.checkpoint = checkpoint
        self.values = 0
        self.tensors: dict[Sizes, list[Tensor]] = defaultdict(list)
        for tensor in checkpoint.tensors.values():
            if tensor.is_weight and tensor.size:
                self.tensors[tuple(sorted(n for n in tensor.shape if n > 1))].append(tensor)
        counts = Counter({sizes: len(tensors) for sizes, tensors in self.tensors.items()})
        self.signature = tuple(sorted(counts.items(), key=lambda x: (math.prod(x[0]), x[0])))

    def corners(self) -> tuple[tuple[Sizes, float, float], ...]:
        """Sizes, first and last value of all tensors, in an order of their own."""
        return tuple(
            sorted(
                (sizes, float(tensor.read(0, 1)[0]) + 0.0, float(tensor.read(-1)[0]) + 0.0)
                for sizes, tensors in self.tensors.items()
                for tensor in tensors
            )
        )

    def digests(self, sizes: Sizes) -> tuple[bytes, ...]:
        """Of the tensors of those sizes, whatever their order and that of their axes."""
        return tuple(sorted(self._digest(tensor) for tensor in self.tensors[sizes]))

    def _digest(self, tensor: Tensor) -> bytes:
        values = np.sort(tensor.read())
        self.values += 1 + int(np.count_nonzero(values[1:] != values[:-1]))
        digest = hashlib.sha256()
        for start in range(0, len(values), _CHUNK):
            # + 0.0 makes one zero of both
            digest.update((values[start : start + _CHUNK].astype(np.float64) + 0.0).tobytes())
        return digest.digest()


def _refined(candidates: list[_Candidate], order: Sequence[Sizes]) -> Iterator[list[_Candidate]]:
    """Sets of candidates of more than one group that agree in all tensors."""
    sets = _split([candidates], _Candidate.corners)
    for sizes in order:
        sets = _split(list(sets), partial(_Candidate.digests, sizes=sizes))
    return filter(_across, sets)


def _split(
    sets: Iterable[list[_Candidate]], key: Callable[[_Candidate], Hashable]
) -> Iterator[list[_Candidate]]:
    """The sets that are across groups, each into those of one key."""
    for each in filter(_across, sets):
        parts: dict[Hashable, list[_Candidate]] = defaultdict(list)
        for candidate in each:
            parts[key(candidate)].append(candidate)
        yield from parts.values()


def _across(candidates: Iterable[_Candidate]) -> bool:
    return len({candidate.group for candidate in candidates}) > 1
