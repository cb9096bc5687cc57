"""Models as users hold them: paths, addresses on the Hub, or arrays in memory.

Arrays come by numpy, by DLPack or by the buffer protocol, without a copy where they lie in memory
as numpy wants them; the library that made them is never imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mother.checkpoints.discovery import discover, open_checkpoint
from mother.checkpoints.tensor import Array, Checkpoint, Problem, clean, constant, dtype_of
from mother.checkpoints.tensor import is_floating as floating
from mother.errors import UsageError

FORMAT = "memory"
Place = str | PathLike[str]
#: tensors by name: numpy's, torch's, or what else speaks DLPack or the buffer protocol
Arrays = Mapping[str, Any]
#: a Checkpoint is one that was opened, or its sketch
Model = Place | Arrays | Checkpoint
Models = Place | Iterable[Place] | Mapping[str, Model]

_WANTED = "models are paths, hf:// addresses, or {id: {name: array}}"
_KINDS = "fiubc"  # numbers
_WIDEST = 8  # bytes of a float: what is wider differs from machine to machine


def opened(
    models: Models, *, base: Place | None = None, download: bool = False
) -> tuple[list[Checkpoint], list[Problem]]:
    """The checkpoints, by id, and the paths refused. Raises UsageError where it is nothing of the
    kind, InputError where `base` can't be opened, or a path that was given by its id.

    >>> found, _ = opened({"a": {"w": np.zeros((2, 2))}})
    >>> found[0].id, found[0].format, found[0].parameters
    ('a', 'memory', 4)
    """
    if isinstance(models, Mapping):
        if not models:
            raise UsageError("no models are given")
        return [opened_one(m, id=_name(k), base=base, download=download)
                for k, m in models.items()], []  # fmt: skip
    if isinstance(models, str | PathLike):
        return discover([models], base=base, download=download)
    if isinstance(models, bytes) or not isinstance(models, Iterable):
        raise UsageError(f"{_WANTED}, not {_kind(models)}")
    places = list(models)
    for place in places:
        if not isinstance(place, str | PathLike):
            raise UsageError(f"{_WANTED}; one of the paths is {_kind(place)}")
    return discover(places, base=base, download=download)


def opened_one(
    model: Model, *, id: str | None = None, base: Place | None = None, download: bool = False
) -> Checkpoint:
    """The checkpoint that it is, under that id, or called as its path is. Raises as `opened`."""
    if isinstance(model, str | PathLike):
        return open_checkpoint(model, id=id, base=base, download=download)
    id = clean("model" if id is None else id)
    if isinstance(model, Checkpoint):
        return replace(model, id=id)
    if not isinstance(model, Mapping):
        wanted = "a model is a path, an hf:// address, or {name: array}"
        raise UsageError(f"{id}: {wanted}, not {_kind(model)}")
    tensors = {}
    for name, values in model.items():
        named = _name(name)
        try:
            tensors[named] = constant(named, _array(values))
        except (TypeError, ValueError, BufferError, RuntimeError) as fault:
            said = " ".join(str(fault).split())[:200]
            raise UsageError(f"{id}: {named}: {_kind(values)} is no array: {said}") from None
    return Checkpoint(id, Path(id), FORMAT, tensors)


def _name(name: object) -> str:
    if not isinstance(name, str) or not name:
        raise UsageError(f"{_WANTED}; {name!r:.80} is no name")
    return clean(name)


def _kind(value: object) -> str:
    of = type(value)
    return of.__name__ if of.__module__ == "builtins" else f"{of.__module__}.{of.__qualname__}"


def _array(values: Any) -> Array:
    """As numpy's, in native order. TypeError, ValueError, BufferError or RuntimeError where it
    can't be."""
    found = values if isinstance(values, np.ndarray) else _taken(values)
    if type(found) is not np.ndarray and not isinstance(found, np.memmap):
        raise TypeError("of a kind that hides some of its values")
    if not floating(found.dtype) and found.dtype.kind not in _KINDS:
        raise TypeError(f"it holds {found.dtype}, not numbers")
    if found.dtype.kind == "f" and found.dtype.itemsize > _WIDEST:
        raise TypeError(f"{found.dtype} is wider than 64 bits")
    return np.asarray(found).astype(found.dtype.newbyteorder("="), copy=False)


def _taken(values: Any) -> Array:
    if hasattr(values, "detach"):  # torch's: without its graph, in this computer's memory
        return _torchs(values.detach().cpu())
    if hasattr(values, "__array__"):  # first, for some know bfloat16 this way alone
        return np.asarray(values)
    if hasattr(values, "__dlpack__"):
        return np.from_dlpack(values)
    return np.asarray(memoryview(values))


def _torchs(tensor: Any) -> Array:
    """DLPack as numpy has it knows no bfloat16 and no 8-bit floats: their bits are taken."""
    short = dtype_of(str(tensor.dtype).removeprefix("torch."))
    if short is None or short.kind in _KINDS:
        return np.from_dlpack(tensor)
    none = tensor.new_empty(0)
    bits = none.byte().dtype if short.itemsize == 1 else none.short().dtype
    return np.from_dlpack(tensor.contiguous().view(bits)).view(short)
