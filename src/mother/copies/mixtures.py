"""Mixtures whose experts were other models: each matrix is, bit for bit, one of theirs.

A mixture of experts that is made of dense models takes the experts of each block from several, and
what they have in common from one of these or from another one. None of them is whole within it but
the last. It is a merge by parts, and known by the parts alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mother.checkpoints import Checkpoint, Tensor
from mother.copies.contained import by_values, nested
from mother.copies.duplicates import agree, chunks
from mother.measures import is_matrix
from mother.thresholds import NEARLY_ALL, TRACE


@dataclass(frozen=True)
class Mixture:
    """shares: (k,) of the weights that are found, which of each parent, the largest first. left:
    of all weights, those that nobody holds."""

    model: Checkpoint
    parents: tuple[Checkpoint, ...]
    shares: tuple[float, ...]
    left: float


def find_mixtures(models: Sequence[Checkpoint]) -> list[Mixture]:
    """Those of some models that were put together from the parts of at least two others.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from mother.checkpoints.tensor import constant
    >>> def of(id, weights):
    ...     return Checkpoint(id, Path(id), "npz", {n: constant(n, w) for n, w in weights.items()})
    >>> w = np.random.default_rng(0).standard_normal((4, 8, 9)).astype(np.float32)
    >>> a, b = ({"h.0.attn": w[0], "h.0.mlp": w[1]}, {"h.0.attn": w[2], "h.0.mlp": w[3]})
    >>> both = {"h.0.attn": w[0], "h.0.experts.0.mlp": w[1], "h.0.experts.1.mlp": w[3]}
    >>> (found,) = find_mixtures([of("a", a), of("b", b), of("both", both)])
    >>> [c.id for c in found.parents], np.round(found.shares, 2).tolist()
    (['a', 'b'], [0.67, 0.33])
    """
    whole = [c for c in models if not c.is_sketch]
    mixed = [c for c in whole if len(nested(c)) > 1]
    dense = [c for c in whole if c not in mixed]
    return [x for c in mixed if (x := _made_of(c, dense)) is not None]


def _made_of(mixture: Checkpoint, models: Sequence[Checkpoint]) -> Mixture | None:
    parts = [t for t in mixture.tensors.values() if t.is_weight and is_matrix(t.shape)]
    size = sum(t.size for t in mixture.tensors.values() if t.is_weight)
    held = [_held(parts, c) for c in models]
    if sum(parts[k].size for k in set[int]().union(*held)) < NEARLY_ALL * size:  # gates are its own
        return None
    taken: dict[int, int] = {}
    missing = set[int]().union(*held)
    while missing:
        best = max(range(len(models)), key=lambda i: (_size(parts, held[i] & missing), -i))
        taken[best] = _size(parts, held[best] & missing)
        missing -= held[best]
    found = sum(taken.values())
    kept = [i for i in taken if taken[i] >= TRACE * found]
    if len(kept) < 2:
        return None
    return Mixture(
        mixture,
        tuple(models[i] for i in kept),
        tuple(taken[i] / found for i in kept),
        1 - found / size,
    )


def _held(parts: Sequence[Tensor], model: Checkpoint) -> set[int]:
    """Which of some parts a model holds, if rounded to the type that stores them."""
    found = set[int]()
    for kind in dict.fromkeys(t.dtype for t in parts):
        keyed = by_values((t for t in model.tensors.values() if t.is_weight), kind)
        for k, part in enumerate(parts):
            own = by_values([part] if part.dtype == kind else [], kind)
            if any(_same(t, own[key][0]) for key in own for t in keyed.get(key, ())):
                found.add(k)
    return found


def _same(one: Tensor, part: Tensor) -> bool:
    return all(agree(x, y, part.dtype) for x, y in chunks(one, part))


def _size(parts: Sequence[Tensor], some: set[int]) -> int:
    return sum(parts[k].size for k in some)
