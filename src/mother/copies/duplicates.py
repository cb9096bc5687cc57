"""Checkpoints that hold the same weights: bit for bit, in another format, or after conversion to
a coarser number type."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Tensor
from mother.checkpoints.tensor import FEW
from mother.layouts import Group
from mother.measures import is_matrix
from mother.thresholds import TRACE

COMPARED_AT_ONCE = 1 << 20  # weights that are read at once
#: of a model's weights, what may be integers that the other one lacks: positions, counters
_Kind = np.dtype[np.generic] | tuple[np.dtype[np.generic], ...] | None
_HALF_SMALLEST = float(np.finfo(np.float16).smallest_normal)
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
    """`copy` holds the weights of `original`; relation is "duplicate", "converted", "quantized",
    "pruned", or "contains" where one of the two holds more beside; "" of a training. sure: that the
    copy is none of the original's parents. scheme: how it was made, if it is known: "Q4_K_M".
    undirected: which of the two was first is not told. distance: that rounding made, as a share of
    the original's norm, where it was measured."""

    original: Checkpoint
    copy: Checkpoint
    relation: str
    scheme: str = ""
    undirected: bool = False
    distance: float | None = None
    sure: float = 1.0


def find_duplicates(group: Group) -> list[Duplicate]:
    """All copies in a group, each with its original: the most precise, then the one that holds
    nothing twice, then the first by id.

    Models are bucketed by a few of their weights, so only likely copies are compared in full.
    """
    aligned = aligned_tensors(group)
    few = [_few(tensors) for tensors in aligned]
    # stored wide but rounded before is no more precise than what it was rounded to
    order = sorted(
        range(len(aligned)),
        key=lambda i: (
            -_precision(aligned[i]),
            few[i].is_coarse,
            group.checkpoints[i].parameters,
            group.checkpoints[i].id,
        ),
    )
    mixtures = {f.mixture for f in few if len(set(f.mixture)) > 1}
    buckets: dict[tuple[object, bytes], list[int]] = {}
    found = []
    for i in order:
        stored = few[i].fingerprint()
        own = few[i].mixture
        for kind in (None, own, *_COARSE):
            originals = buckets.get((kind, stored), [])
            models = group.checkpoints
            alike = (o for o in originals if _same(aligned[o], aligned[i], kind))
            original = next((o for o in alike if rest_agrees(models[o], models[i])), None)
            if original is not None:
                relation = "duplicate" if kind is None else "converted"
                found.append(Duplicate(group.checkpoints[original], group.checkpoints[i], relation))
                break
        else:
            for kind in (None, *_COARSE, *mixtures):
                buckets.setdefault((kind, few[i].fingerprint(kind)), []).append(i)
    copies = {id(d.copy) for d in found}
    roots = [i for i in order if id(group.checkpoints[i]) not in copies]
    return found + _widened(group, aligned, few, roots, buckets)


def _widened(
    group: Group,
    aligned: Sequence[Aligned],
    few: Sequence[_Few],
    roots: Sequence[int],
    buckets: Mapping[tuple[object, bytes], Sequence[int]],
) -> list[Duplicate]:
    """Copies that are stored wider than their originals, and lost what a type on the way could not
    hold: bfloat16 through float16 to float32. roots: those that are no copies, widest first."""
    found = []
    wider = set[int]()  # than the one looked at, and no copies
    for i in roots:
        for kind in _COARSE[1:]:
            alike = buckets.get((None, few[i].fingerprint(kind)), ())
            for k in sorted(wider.intersection(alike)):
                if _same(aligned[i], aligned[k], kind) and rest_agrees(
                    group.checkpoints[i], group.checkpoints[k]
                ):
                    found.append(Duplicate(group.checkpoints[i], group.checkpoints[k], "converted"))
                    wider.discard(k)
        wider.add(i)
    return found


def rerooted(copies: Sequence[Duplicate], gone: Sequence[Duplicate]) -> list[Duplicate]:
    """The copies, those of a copy among `gone` as copies of its original.

    >>> from pathlib import Path
    >>> a, b, c = (Checkpoint(name, Path(name), "npz", {}) for name in "abc")
    >>> gone = [Duplicate(a, b, "duplicate")]
    >>> [(d.original.id, d.copy.id) for d in rerooted([Duplicate(b, c, "converted")], gone)]
    [('a', 'c')]
    """
    above = {id(d.copy): d for d in gone}

    def root(d: Duplicate) -> Duplicate:
        own = above.get(id(d.original))
        return d if own is None else root(_through(own, d))

    return [root(d) for d in copies]


def _through(own: Duplicate, d: Duplicate) -> Duplicate:
    """What the copy `d` of the copy `own` is to the original of that."""
    if own.relation == "duplicate":
        return replace(d, original=own.original)
    one = d.relation in ("duplicate", own.relation) or own.relation == "quantized"
    scheme = d.copy.scheme or own.scheme
    return replace(own, copy=d.copy, scheme=scheme, relation=own.relation if one else "converted")


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


def aligned_tensors(group: Group) -> list[Aligned]:
    """Per checkpoint its tensors by canonical name; those without a partner by their own. Of a
    tensor that stands twice, as a tied head does, the name that most models have."""
    out: list[Aligned] = [{} for _ in group.checkpoints]
    paired: list[set[str]] = [set() for _ in group.checkpoints]
    for layer in group.layers:
        for member, tensor in zip(layer.members, layer.tensors, strict=True):
            out[member][layer.name, layer.shape] = tensor
            paired[member].add(tensor.name)
    for i, checkpoint in enumerate(group.checkpoints):
        for tensor in checkpoint.tensors.values():
            if tensor.is_weight and tensor.size and tensor.name not in paired[i]:
                out[i][tensor.name, tensor.shape] = tensor.kept
    many = Counter(key for tensors in out for key in tensors)
    return [_once(tensors, many) for tensors in out]


def _once(tensors: Aligned, many: Mapping[tuple[str, tuple[int, ...]], int]) -> Aligned:
    """Without matrices that repeat another one of the same model under a rarer name."""
    by_shape: dict[tuple[int, ...], list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    for key, tensor in tensors.items():
        if is_matrix(key[1]) and tensor.size > FEW:
            by_shape[key[1]].append(key)
    repeats = set()
    for keys in by_shape.values():
        keys.sort(key=lambda key: (-many[key], key))
        first: dict[bytes, Tensor] = {}
        for key in keys:
            few = few_of(tensors[key]).tobytes() if len(keys) > 1 else b""
            other = first.setdefault(few, tensors[key])
            if other is not tensors[key] and equal(other, tensors[key]):
                repeats.add(key)
    return {key: tensor for key, tensor in tensors.items() if key not in repeats}


def few_of(tensor: Tensor) -> NDArray[np.generic]:
    """A few values from its middle: LoRA leaves most tensors as they were."""
    return tensor.few


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape hold the same values, whatever type stores them."""
    return all(np.array_equal(rounded(x, None), rounded(y, None), True) for x, y in chunks(a, b))


def rest_agrees(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether two models whose weights are equal may be called copies: the integers that both hold
    are equal, too, what one of them lacks is a TRACE, and no tensor stayed unread.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> def of(*codes):
    ...     tensors = {"w": constant("w", np.ones(99)), "q": constant("q", np.array(codes))}
    ...     return Checkpoint("a", Path("a"), "npz", tensors)
    >>> rest_agrees(of(1, 2), of(1, 2)), rest_agrees(of(1, 2), of(2, 1))
    (True, False)
    """
    if a.unread or b.unread:
        return False
    mine, other = _integers(a), _integers(b)
    both = _shapes(mine) & _shapes(other)
    if both != _shapes(mine & other):
        return False
    held = [c.weights - c.parameters for c in (a, b)]
    unseen = max(held) if a.is_sketch or b.is_sketch else abs(held[0] - held[1])
    return unseen <= TRACE * max(a.weights, b.weights)


def _integers(checkpoint: Checkpoint) -> Counter[tuple[tuple[int, ...], bytes]]:
    """Shapes and digests of what is no weight; of a sketch, which keeps none, shapes alone."""
    return Counter(
        (tensor.shape, b"" if checkpoint.is_sketch else _digest(tensor))
        for tensor in checkpoint.tensors.values()
        if not tensor.is_weight and tensor.size
    )


def _shapes(held: Counter[tuple[tuple[int, ...], bytes]]) -> Counter[tuple[int, ...]]:
    return Counter(shape for shape, _ in held.elements())


def _digest(tensor: Tensor) -> bytes:
    """Of its values, as 64-bit integers or complex numbers."""
    digest = hashlib.sha256()
    kind = np.complex128 if tensor.dtype.kind == "c" else np.int64
    for start in range(0, tensor.size, COMPARED_AT_ONCE):
        values = tensor.read(start, min(start + COMPARED_AT_ONCE, tensor.size))
        digest.update(
            values.astype(kind if values.dtype.kind in "iubc" else values.dtype).tobytes()
        )
    return digest.digest()


def _precision(tensors: Aligned) -> float:
    """Bits of the significand, averaged over the weights."""
    sizes = Counter[np.dtype[np.generic]]()
    for t in tensors.values():
        sizes[t.dtype] += t.size
    bits = sum(int(ml_dtypes.finfo(dtype).nmant) * size for dtype, size in sizes.items())
    return bits / max(sizes.total(), 1)


def rounded(values: NDArray[np.generic], dtype: np.dtype[np.generic] | None) -> NDArray[np.float64]:
    """As stored in `dtype`, widened to float64 for comparison with any other type."""
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype is not None:
            values = values.astype(np.float32).astype(dtype)
        return values.astype(np.float64)


@dataclass(frozen=True)
class _Few:
    """A few weights from the middle of every tensor: LoRA leaves most of them as they were."""

    stored: tuple[NDArray[np.generic], ...]
    wide: NDArray[np.float64]  # all of them
    _known: dict[_Kind, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def mixture(self) -> tuple[np.dtype[np.generic], ...]:
        """Their types: more than one where a model is of mixed precision."""
        return tuple(values.dtype for values in self.stored)

    def fingerprint(self, kind: _Kind = None) -> bytes:
        """What two copies share, one of them rounded to `kind` before."""
        if kind not in self._known:
            self._known[kind] = self._rounded(kind)
        return self._known[kind]

    def _rounded(self, kind: _Kind) -> bytes:
        if not isinstance(kind, tuple):
            return rounded(self.wide, kind).tobytes()
        if len(kind) != len(self.stored):
            return b""
        return b"".join(rounded(v, t).tobytes() for v, t in zip(self.stored, kind, strict=True))

    @property
    def is_coarse(self) -> bool:
        """Whether they are as if rounded to a type coarser than float32."""
        stored = self.fingerprint()
        return any(self.fingerprint(dtype) == stored for dtype in _COARSE[1:])


def _few(tensors: Aligned) -> _Few:
    stored = [few_of(t) for _, t in sorted(tensors.items())]
    # all of one type in most models: joined before they are widened, which is the slower step
    alike = len({values.dtype for values in stored}) == 1
    parts = stored if alike else [values.astype(np.float64) for values in stored]
    wide = np.concatenate(parts).astype(np.float64) if parts else np.empty(0)
    return _Few(tuple(stored), wide)


def _same(original: Aligned, copy: Aligned, dtype: _Kind) -> bool:
    """dtype: what the original is rounded to first; of a mixture, each tensor to its copy's."""
    if original.keys() != copy.keys():
        return False
    return all(
        agree(a, b, b.dtype if isinstance(dtype, tuple) else dtype)
        for key in original
        for a, b in chunks(original[key], copy[key])
    )


def agree(
    original: NDArray[np.generic],
    copy: NDArray[np.generic],
    dtype: np.dtype[np.generic] | None,
) -> bool:
    """Whether numbers are equal once the original's are rounded to a type, those halfway between
    two to either. What float16 holds no normal number for converters round, flush to zero, or raise
    to the least there is."""
    a, b = rounded(original, dtype), rounded(copy, None)
    if dtype == copy.dtype == np.float16:
        a, b = flushed(a), flushed(b)
    if np.array_equal(a, b, equal_nan=True):
        return True
    apart = a != b
    exact, a, b = rounded(original, None)[apart], a[apart], b[apart]
    with np.errstate(invalid="ignore"):
        return bool((np.abs(a - exact) == np.abs(b - exact)).all() and np.isfinite(a).all())


def flushed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """With 0 for what float16 holds no normal number for."""
    return np.where(np.abs(values) < _HALF_SMALLEST, 0.0, values)


def chunks(a: Tensor, b: Tensor) -> Iterator[tuple[NDArray[np.generic], NDArray[np.generic]]]:
    """The values of two tensors of one size, a part of both at a time."""
    for start in range(0, a.size, COMPARED_AT_ONCE):
        stop = min(start + COMPARED_AT_ONCE, a.size)
        yield a.read(start, stop), b.read(start, stop)
