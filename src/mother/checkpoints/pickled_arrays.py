"""numpy arrays inside a pickle: as np.save writes a dict or list of them, as PaddlePaddle's
`.pdparams` and Detectron's `.pkl` hold them; nothing is executed.

Only the pickle's own data is looked at (pickle_data.py). Arrays that are stored as bytes are read
from where they lie, those that Python 2 or an old protocol stored as texts are kept in memory.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from mother.checkpoints.laid_out import Window, c_strides, lay_out
from mother.checkpoints.pickle_data import read_pickle
from mother.checkpoints.pickled_objects import PickledArray, Stored
from mother.checkpoints.safetensors import looks_like_safetensors
from mother.checkpoints.state_dict import MAX_NAME, named
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Checkpoint, DType, Slice, Tensor, clean
from mother.checkpoints.work import STEP, TENSOR, Work

#: bytes of a pickle beside its arrays
MAX_PICKLE = 1 << 30
MAX_DEPTH = 32
#: bytes of an array that stay where they lie
APART = 1 << 10
#: bytes that are read at a time
_BUFFER = 1 << 14
#: bytes in which a pickle of arrays names numpy
_HEAD = 1 << 12
#: what paddle.save adds to the parameters
_PADDLE = "StructuredToParameterName@@"
_NUMBER = re.compile(r"[<>=|]?(?:b1|[iu][1248]|f[248]|c8|c16)")


def number_dtype(descr: str) -> DType | None:
    """numpy's dtype of that name if it is one of numbers.

    >>> number_dtype("<f4"), number_dtype("O")
    (dtype('float32'), None)
    """
    return np.dtype(descr) if _NUMBER.fullmatch(descr) else None


def is_pickle(file: File, start: bytes) -> bool:
    """Whether a file begins as pickles of protocol 2 and later do."""
    told = start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return told and not looks_like_safetensors(start)  # whose length may begin so


def holds_arrays(file: File, start: bytes) -> bool:
    """Whether a file is a pickle that soon names numpy: then there may be weights in it."""
    return is_pickle(file, start) and b"numpy" in file.read(0, min(file.size, _HEAD))


def read_pickled(file: File) -> Checkpoint:
    """The checkpoint in a pickle of numpy arrays. Raises InputError."""
    if b"joblib.numpy_pickle" in file.read(0, min(file.size, _HEAD)):
        raise file.fault("a pickle by joblib, which is not read; save its weights as .npz")
    tensors, notes = read_arrays(file, 0)
    return Checkpoint(file.path.stem, file.path, "pickle", tensors, notes=notes)


class _Raw(io.RawIOBase):
    """A file from a place on, for a buffer over it, which reads no more than MAX_PICKLE of it."""

    def __init__(self, file: File, offset: int) -> None:
        self._file, self._at, self._left = file, offset, MAX_PICKLE

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        many = max(0, min(len(buffer), self._file.size - self._at))
        self._left -= many
        if self._left < 0:
            raise ValueError(f"holds a pickle of more than {MAX_PICKLE} bytes beside its arrays")
        buffer[:many] = self._file.read(self._at, many)
        self._at += many
        return many


class _Stream(io.BufferedReader):
    """The same with a buffer; a read that is told to be longer than the file gets what is there,
    where the buffer would take memory for all of it."""

    def __init__(self, file: File, offset: int) -> None:
        super().__init__(_Raw(file, offset), _BUFFER)
        self._size = file.size

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > _BUFFER:
            size = min(size, max(self._size - self.tell(), 0))
        return super().read(size)


def read_arrays(file: File, offset: int) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The arrays in the pickle at `offset`, named by the keys above them, and notes on what is
    left out. Raises InputError.
    """
    stream = _Stream(file, offset)
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    latin: set[int] = set()
    try:
        tree = read_pickle(stream, work=file.work, apart=APART)
        # which has bfloat16 as the bits, and no numbers of that type beside
        brain = isinstance(tree, dict) and _PADDLE in tree
        for name, array in _arrays(tree, "", set(), 0, file.work):
            file.work.spend(TENSOR + len(name))
            if name in tensors:
                notes.append(f"skipped a second array called {name!r}")
            elif (dtype := number_dtype(array.dtype.descr)) is None:
                notes.append(f"skipped {name!r}: of the dtype {clean(array.dtype.descr)[:40]}")
            else:
                if brain and dtype == np.uint16:
                    dtype = np.dtype(ml_dtypes.bfloat16)
                tensors[name] = _tensor(file, name, array, dtype, latin)
    except ValueError as error:
        raise file.fault(str(error)) from None
    if not tensors:
        raise file.fault("holds pickled Python objects, and no arrays of numbers among them")
    return tensors, tuple(notes)


def _arrays(
    value: Any, name: str, seen: set[int], depth: int, work: Work
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
            yield from _arrays(value, name, seen, depth + 1, work)
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
        work.spend(STEP + len(name))  # which is spelled again for each
        yield from _arrays(child, clean(f"{name}.{key}" if name else key), seen, depth + 1, work)


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


def _tensor(file: File, name: str, array: PickledArray, dtype: DType, latin: set[int]) -> Tensor:
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
    if isinstance(data, Stored) and data.stop > file.size:
        raise ValueError(f"is truncated: array {name!r} ends beyond it")
    strides = c_strides(array.shape[::-1])[::-1] if array.fortran else None
    where = Window(file, data.start, len(data)) if isinstance(data, Stored) else _Inside(data)
    try:
        return lay_out(name, where, dtype, array.shape, strides)
    except ValueError as error:
        raise ValueError(f"array {name!r} {error}") from None
