"""MXNet's .params: arrays one after another, and their names behind them.

Format: `NDArray::Save` in https://github.com/apache/mxnet/blob/master/src/ndarray/ndarray.cc
"""

from __future__ import annotations

import math
import struct

import ml_dtypes
import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean
from mother.checkpoints.work import STEP

MAGIC = (0x112).to_bytes(8, "little")
MAX_NAME = 4096
#: versions of an array; before the first of them there was no magic, and sides had 32 bits
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = {
    0: "<f4",
    1: "<f8",
    2: "<f2",
    3: "|u1",
    4: "<i4",
    5: "|i1",
    6: "<i8",
    7: "|b1",
    8: "<i2",
    9: "<u2",
    10: "<u4",
    11: "<u8",
    12: ml_dtypes.bfloat16,
}
#: what `Module` puts before the names of parameters and of running means
_KINDS = ("arg:", "aux:")


def is_mxnet(file: File, start: bytes) -> bool:
    """Whether a file is a list of MXNet's arrays, by its first bytes."""
    return start.startswith(MAGIC)


class _Cursor:
    """Numbers of a file, one after another."""

    def __init__(self, file: File) -> None:
        self.file, self.at = file, len(MAGIC) + 8  # eight are reserved

    def take(self, kind: str, many: int = 1) -> tuple[int, ...]:
        """So many integers of one of struct's kinds."""
        self.file.work.spend(STEP)
        layout = f"<{many}{kind}"
        data = self.file.read(self.at, struct.calcsize(layout))
        self.at += len(data)
        return struct.unpack(layout, data)

    def text(self) -> str:
        """A name, behind its length."""
        (length,) = self.take("Q")
        if length > MAX_NAME:
            raise ValueError(f"has a name of {length} bytes; {MAX_NAME} are the most")
        data = self.file.read(self.at, length)
        self.at += length
        return clean(data.decode("utf-8", "surrogateescape"))


def read_mxnet(file: File) -> Checkpoint:
    """The checkpoint in a list of arrays; reads no values. Raises InputError."""
    cursor = _Cursor(file)
    try:
        (many,) = cursor.take("Q")
        arrays = [_array(cursor) for _ in range(min(many, file.size))]
        (named,) = cursor.take("Q")
        if named not in (0, many):
            raise ValueError(f"has {many} arrays and {named} names")
        names = [cursor.text() for _ in range(named)] or [str(k) for k in range(many)]
        tensors: dict[str, Tensor] = {}
        for name, array in zip(_plain(names), arrays, strict=True):
            if array is None:
                continue
            if name in tensors:
                raise ValueError(f"repeats the name {name[:200]!r}")
            dtype, shape, offset = array
            nbytes = math.prod(shape) * dtype.itemsize
            tensors[name] = lay_out(name, Window(file, offset, nbytes), dtype, shape)
    except ValueError as error:
        raise file.fault(f"MXNet file {error}") from None
    if not tensors:
        raise file.fault("holds no arrays")
    return Checkpoint(file.path.stem, file.path, "mxnet", tensors)


def _plain(names: list[str]) -> list[str]:
    """Names without what `Module` puts before them, unless two would be the same."""
    short = [name.removeprefix(_KINDS[0]).removeprefix(_KINDS[1]) for name in names]
    return short if len(set(short)) == len(names) else names


def _array(cursor: _Cursor) -> tuple[DType, tuple[int, ...], int] | None:
    """Its dtype, its shape, and where its values lie; None of one that has none."""
    (version,) = cursor.take("I")
    if version in (_V2, _V3):
        (storage,) = cursor.take("i")
        if storage != 0:
            raise ValueError("holds a sparse array, which is not read")
    if version in (_V1, _V2, _V3):
        (sides,), wide = cursor.take("i"), "q"
    else:
        sides, wide = version, "I"
    if sides < 0 or (sides == 0 and version != _V3):
        return None
    if sides > MAX_DIMENSIONS:
        raise ValueError(f"has an array of {sides} dimensions; {MAX_DIMENSIONS} are the most")
    shape = cursor.take(wide, sides)
    _, _, kind = cursor.take("i", 3)  # where it lay: a device and its number
    if kind not in _DTYPES or any(n < 0 for n in shape):
        raise ValueError(f"has an array of the type {kind} and shape {shape}")
    dtype: DType = np.dtype(_DTYPES[kind])
    offset = cursor.at
    cursor.at += math.prod(shape) * dtype.itemsize
    if cursor.at > cursor.file.size:
        raise ValueError("has an array that ends beyond it; it is truncated")
    return dtype, shape, offset
