"""numpy arrays inside a pickle, as np.save writes a dict or list of them; nothing is executed.

Only the pickle's own data is looked at (pickle_data.py). The arrays' bytes lie inside the pickle,
so they are kept in memory, and shared where the pickle shares them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from mother.checkpoints.laid_out import c_strides, lay_out
from mother.checkpoints.pickle_data import PickledArray, read_pickle
from mother.checkpoints.state_dict import MAX_NAME, named
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, DType, Slice, Tensor, clean
from mother.checkpoints.work import TENSOR

MAX_PICKLE = 1 << 30
MAX_DEPTH = 32
_NUMBER = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248]|c8|c16)")


def number_dtype(descr: str) -> DType | None:
    """numpy's dtype of that name if it is one of numbers.

    >>> number_dtype("<f4"), number_dtype("O")
    (dtype('float32'), None)
    """
    return np.dtype(descr) if _NUMBER.fullmatch(descr) else None


def read_arrays(file: File, offset: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The arrays in the pickle at `offset`, named by the keys above them, and notes on what is
    left out. Raises InputError.
    """
    if file.size - offset > MAX_PICKLE:
        raise file.fault(f"holds a pickle of more than {MAX_PICKLE} bytes")
    stream = cast(BinaryIO, file.map(0, file.size))
    stream.seek(offset)
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    latin: set[int] = set()
    try:
        for name, array in _arrays(read_pickle(stream, work=file.work), "", set(), 0):
            file.work.spend(TENSOR + len(name))
            if name in tensors:
                notes.append(f"skipped a second array called {name!r}")
            elif (dtype := number_dtype(array.dtype.descr)) is None:
                notes.append(f"skipped {name!r}: of the dtype {clean(array.dtype.descr)[:40]}")
            else:
                tensors[name] = _tensor(name, array, dtype, latin)
    except ValueError as error:
        raise file.fault(str(error)) from None
    if not tensors:
        raise file.fault("holds pickled Python objects, and no arrays of numbers among them")
    return tensors, tuple(notes)


def _arrays(
    value: Any, name: str, seen: set[int], depth: int
) -> Iterator[tuple[str, PickledArray]]:
    """Arrays of anything but objects below a container, each container once."""
    if isinstance(value, PickledArray) and not isinstance(value.data, list):
        yield name or "array", value
        return
    if depth > MAX_DEPTH or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, PickledArray) and isinstance(value.data, list):
        # np.save puts what it is given into an array without dimensions
        value = value.data[0] if not value.shape and len(value.data) == 1 else value.data
        if isinstance(value, PickledArray):
            yield from _arrays(value, name, seen, depth + 1)
            return
    if isinstance(value, dict):
        children = [(named(k), v) for k, v in value.items()]
    elif isinstance(value, list | tuple):
        children = [(str(k), v) for k, v in enumerate(value)]
    else:
        return
    for key, child in children:
        if len(name) + len(key) > MAX_NAME:
            raise ValueError(f"has an array name of more than {MAX_NAME} characters")
        yield from _arrays(child, clean(f"{name}.{key}" if name else key), seen, depth + 1)


@dataclass(frozen=True, eq=False)
class _Inside:
    """A span of bytes in memory, or of a text of which each character is a byte."""

    data: bytes | str

    @property
    def nbytes(self) -> int:
        return len(self.data)

    def array(self, start: int, stop: int) -> Array:
        part = self.data[start:stop]
        return np.frombuffer(part.encode("latin-1") if isinstance(part, str) else part, np.uint8)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return iter(())


def _tensor(name: str, array: PickledArray, dtype: DType, latin: set[int]) -> Tensor:
    """latin: the texts, by id, that are known to be bytes."""
    data = array.data
    assert not isinstance(data, list)
    if isinstance(data, str) and id(data) not in latin:
        try:
            data.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"array {name!r} holds a text in place of its bytes") from None
        latin.add(id(data))
    if len(data) != math.prod(array.shape) * dtype.itemsize:
        raise ValueError(
            f"array {name!r} of shape {array.shape[:32]} has {len(data)} bytes, "
            f"it should be {math.prod(array.shape) * dtype.itemsize}"
        )
    strides = c_strides(array.shape[::-1])[::-1] if array.fortran else None
    try:
        return lay_out(name, _Inside(data), dtype, array.shape, strides)
    except ValueError as error:
        raise ValueError(f"array {name!r} {error}") from None
