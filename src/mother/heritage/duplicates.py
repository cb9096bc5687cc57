"""Checkpoints that hold the same weights: bit for bit, in another format, or after conversion to
a coarser number type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Group, Tensor

_CHUNK = 1 << 20
_Kind = np.dtype[np.generic] | tuple[np.dtype[np.generic], ...] | None
_COARSE = tuple(
    np.dtype(t)
    for t in (
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e5m2,
    )
)


@dataclass(frozen=True)
class Duplicate:
    """`copy` holds the weights of `original`; relation is "duplicate" or "converted"."""

    original: Checkpoint
    copy: Checkpoint
    relation: str


def find_duplicates(group: Group) -> list[Duplicate]:
    """All copies in a group, each with its original: the most precise, then the first by id.

    Models are bucketed by a few of their weights, so only likely copies are compared in full.
    """
    aligned = _aligned_tensors(group)
    few = [_few(tensors) for tensors in aligned]
    # stored wide but rounded before is no more precise than what it was rounded to
    order = sorted(
        range(len(aligned)),
        key=lambda i: (-_precision(aligned[i]), _is_coarse(few[i]), group.checkpoints[i].id),
    )
    mixtures = {m for m in map(_mixture, few) if len(set(m)) > 1}
    buckets: dict[tuple[object, bytes], list[int]] = {}
    found = []
    for i in order:
        stored = _fingerprint(few[i], None)
        own = _mixture(few[i])
        for kind in (None, own, *_COARSE):
            originals = buckets.get((kind, stored), [])
            original = next((o for o in originals if _same(aligned[o], aligned[i], kind)), None)
            if original is not None:
                relation = "duplicate" if kind is None else "converted"
                found.append(Duplicate(group.checkpoints[original], group.checkpoints[i], relation))
                break
        else:
            for kind in (None, *_COARSE, *mixtures):
                buckets.setdefault((kind, _fingerprint(few[i], kind)), []).append(i)
    return found


def originals(group: Group, duplicates: Sequence[Duplicate]) -> NDArray[np.intp]:
    """What each of the group's checkpoints is a copy of, (n,), -1 where it is none."""
    at = {id(c): k for k, c in enumerate(group.checkpoints)}
    out = np.full(len(at), -1, dtype=np.intp)
    for d in duplicates:
        if id(d.copy) in at:
            out[at[id(d.copy)]] = at[id(d.original)]
    return out


def without(group: Group, duplicates: Sequence[Duplicate]) -> list[Checkpoint]:
    """The group's checkpoints that are no copies."""
    copies = {id(d.copy) for d in duplicates}
    return [c for c in group.checkpoints if id(c) not in copies]


Aligned = dict[tuple[str, tuple[int, ...]], Tensor]


def _aligned_tensors(group: Group) -> list[Aligned]:
    """Per checkpoint its tensors by canonical name; those without a partner by their own."""
    out: list[Aligned] = [{} for _ in group.checkpoints]
    paired: list[set[int]] = [set() for _ in group.checkpoints]
    for layer in group.layers:
        for member, tensor in zip(layer.members, layer.tensors, strict=True):
            out[member][layer.name, layer.shape] = tensor
            paired[member].add(id(tensor))
    for i, checkpoint in enumerate(group.checkpoints):
        for tensor in checkpoint.tensors.values():
            if tensor.is_weight and tensor.size and id(tensor) not in paired[i]:
                out[i][tensor.name, tensor.shape] = tensor
    return out


def _precision(tensors: Aligned) -> float:
    """Bits of the significand, averaged over the weights."""
    bits = sum(int(ml_dtypes.finfo(t.dtype).nmant) * t.size for t in tensors.values())
    return bits / max(sum(t.size for t in tensors.values()), 1)


def _rounded(
    values: NDArray[np.generic], dtype: np.dtype[np.generic] | None
) -> NDArray[np.generic]:
    """As stored in `dtype`, widened to float64 for comparison with any other type."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype is not None:
            values = values.astype(np.float32).astype(dtype)
        return values.astype(np.float64)


def _few(tensors: Aligned) -> list[NDArray[np.generic]]:
    """A few weights from the middle of every tensor: LoRA leaves most of them as they were."""
    return [t.read(t.size // 2, min(t.size // 2 + 16, t.size)) for _, t in sorted(tensors.items())]


def _mixture(few: Sequence[NDArray[np.generic]]) -> tuple[np.dtype[np.generic], ...]:
    """The types of those few weights: more than one where a model is of mixed precision."""
    return tuple(values.dtype for values in few)


def _is_coarse(few: Sequence[NDArray[np.generic]]) -> bool:
    stored = _fingerprint(few, None)
    return any(_fingerprint(few, dtype) == stored for dtype in _COARSE[1:])


def _fingerprint(few: Sequence[NDArray[np.generic]], dtype: _Kind) -> bytes:
    if not isinstance(dtype, tuple):
        wide = [values.astype(np.float64) for values in few]
        return _rounded(np.concatenate(wide), dtype).tobytes() if wide else b""
    if len(dtype) != len(few):
        return b""
    return b"".join(_rounded(v, t).tobytes() for v, t in zip(few, dtype, strict=True))


def _same(original: Aligned, copy: Aligned, dtype: _Kind) -> bool:
    """dtype: what the original is rounded to first; of a mixture, each tensor to its copy's."""
    if original.keys() != copy.keys():
        return False
    return all(
        np.array_equal(
            _rounded(a, b.dtype if isinstance(dtype, tuple) else dtype),
            _rounded(b, None),
            equal_nan=True,
        )
        for key in original
        for a, b in _chunks(original[key], copy[key])
    )


def _chunks(a: Tensor, b: Tensor) -> Iterator[tuple[NDArray[np.generic], NDArray[np.generic]]]:
    for start in range(0, a.size, _CHUNK):
        stop = min(start + _CHUNK, a.size)
        yield a.read(start, stop), b.read(start, stop)
