"""A folder that holds its model in several formats: whether it is one model in all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from mother.checkpoints.folders import is_folder, is_standard, listing, open_standard
from mother.checkpoints.storage import identity
from mother.checkpoints.tensor import FEW, Array, Checkpoint, Problem, Tensor, clean
from mother.errors import InputError

#: of a number, the most that rounding to bfloat16 or to float16 changes, and near zero
ROUNDED, TINY = 2.0**-7, 2.0**-24


def with_twins(left: Iterable[Problem], checkpoints: Iterable[Checkpoint]) -> list[Problem]:
    """Files that were passed over; of those that hold other weights than the checkpoint in whose
    folder they lie, this is said. A few numbers of each tensor are read, so that what differs in
    others passes for the same."""
    left = list(left)
    found: dict[object, str] = {}
    for checkpoint in checkpoints:
        if any(problem.path.parent == checkpoint.path for problem in left):
            found |= _others(checkpoint)
    return [
        replace(p, fault=told) if (told := found.get(identity(p.path))) is not None else p
        for p in left
    ]


def _others(checkpoint: Checkpoint) -> dict[object, str]:
    """By the real path of each file of another model in a checkpoint's folder, what to say."""
    taken = {identity(file.path) for file in checkpoint.files}
    if not is_folder(checkpoint.path) or any(file.remote for file in checkpoint.files):
        return {}
    found: dict[object, str] = {}
    for name in filter(is_standard, listing(checkpoint.path)):
        if identity(checkpoint.path / name) in taken:
            continue
        try:
            other = open_standard(checkpoint.path, name)
            if _differ(checkpoint, other):
                read = clean(checkpoint.files[0].path.name)
                told = f"other weights than {read}, which was read"
                found |= {identity(file.path): told for file in other.files}
        except InputError:
            continue
    return found


def _differ(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints of the same names hold other numbers than rounding leaves. Where
    most names differ nothing is known: other frameworks call and turn weights in other ways."""
    common = [
        (tensor, same)
        for name, tensor in one.tensors.items()
        if (same := other.tensors.get(name)) is not None and tensor.shape == same.shape
    ]
    if 2 * len(common) < max(len(one.tensors), len(other.tensors)):
        return False
    plain = [(a, b) for a, b in common if a.is_weight and b.is_weight and not a.scheme + b.scheme]
    return any(not _alike(_some(a), _some(b), a.dtype == b.dtype) for a, b in plain)


def _alike(one: Array, other: Array, stored_alike: bool) -> bool:
    if stored_alike:
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.allclose(one, other, rtol=ROUNDED, atol=TINY, equal_nan=True))


def _some(tensor: Tensor) -> Array:
    """Numbers from its beginning and its middle."""
    return np.concatenate([tensor.read(0, FEW), tensor.few]).astype(np.float64)
