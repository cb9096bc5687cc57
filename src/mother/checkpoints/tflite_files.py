"""TensorFlow Lite: the constant tensors of a model's flatbuffer; no operation is run.

Format: tensorflow/lite/schema/schema.fbs, https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from mother.checkpoints.affine import affine, nibbles
from mother.checkpoints.graph_constants import weights_among
from mother.checkpoints.laid_out import Bytes, Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean
from mother.checkpoints.work import STEP, TENSOR

MAGIC = b"TFL3"
#: entries of one vector that are walked through
MAX_ENTRIES = 1_000_000
_DTYPES = {
    0: "<f4",
    1: "<f2",
    2: "<i4",
    3: "|u1",
    4: "<i8",
    6: "|b1",
    7: "<i2",
    8: "<c8",
    9: "|i1",
    10: "<f8",
    12: "<u8",
    15: "<u4",
    16: "<u2",
    18: ml_dtypes.bfloat16,
}
_STRING, _INT4 = 5, 17


def is_tflite(file: File, start: bytes) -> bool:
    """Whether a file is a TensorFlow Lite model, by its first bytes."""
    return start[4:8] == MAGIC


def read_tflite(file: File) -> Checkpoint:
    """The checkpoint in a model; reads no tensor's values. Raises InputError."""
    reader = _Model(file)
    try:
        reader.walk()
    except (ValueError, struct.error) as error:
        fault = str(error) if type(error) is ValueError else "is damaged or truncated"
        raise file.fault(f"TensorFlow Lite model {fault}") from None
    if not reader.tensors:
        raise file.fault("; ".join(["holds no constant tensors", *reader.notes[:1]]))
    scheme = "TFLite int8" if reader.codes > reader.floats else ""
    notes, tensors = tuple(reader.notes), weights_among(reader.tensors)
    stem, unread = file.path.stem, reader.unread
    return Checkpoint(stem, file.path, "tflite", tensors, notes=notes, scheme=scheme, unread=unread)


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer: where it is, and where each of its fields lies from there."""

    file: File
    at: int

    def field(self, number: int) -> int:
        """The place of a field; 0 where it is not stored."""
        back = self._number(self.at, "<i")
        vtable = self.at - back
        size = self._number(vtable, "<H")
        if 4 + 2 * number + 2 > size:
            return 0
        offset = self._number(vtable + 4 + 2 * number, "<H")
        return self.at + offset if offset else 0

    def number(self, number: int, code: str) -> int:
        """An integer field, 0 where it is not stored."""
        at = self.field(number)
        return self._number(at, code) if at else 0

    def vector(self, number: int) -> tuple[int, int]:
        """Where a vector's entries start, and how many they are."""
        at = self.field(number)
        if not at:
            return 0, 0
        at += self._number(at, "<I")
        return at + 4, self._number(at, "<I")

    def tables(self, number: int) -> list[_Table]:
        """The tables of a vector of tables."""
        at, count = self.vector(number)
        if count > MAX_ENTRIES:
            raise ValueError(f"has a list of {count} entries; {MAX_ENTRIES} are the most")
        self.file.work.spend(STEP * count)
        places = self.file.read(at, 4 * count) if count else b""
        offsets = struct.unpack(f"<{count}I", places)
        return [_Table(self.file, at + 4 * k + offset) for k, offset in enumerate(offsets)]

    def table(self, number: int) -> _Table | None:
        at = self.field(number)
        return _Table(self.file, at + self._number(at, "<I")) if at else None

    def _number(self, at: int, code: str) -> int:
        size = struct.calcsize(code)
        if at < 0 or at + size > self.file.size:
            raise ValueError("is damaged or truncated")
        return int(struct.unpack(code, self.file.read(at, size))[0])

    def values(self, number: int, code: str, most: int = MAX_ENTRIES) -> list[int]:
        """The numbers of a vector."""
        at, count = self.vector(number)
        if count > most:
            raise ValueError(f"has a list of {count} entries; {most} are the most")
        size = struct.calcsize(code) * count
        if at + size > self.file.size:
            raise ValueError("is damaged or truncated")
        self.file.work.spend(STEP * count)
        return list(struct.unpack(f"<{count}{code}", self.file.read(at, size))) if count else []


class _Model:
    def __init__(self, file: File) -> None:
        self.file = file
        self.tensors: dict[str, Tensor] = {}
        self.notes: list[str] = []
        self.unread: dict[str, int] = {}
        self.codes = 0
        self.floats = 0

    def walk(self) -> None:
        (root,) = struct.unpack("<I", self.file.read(0, 4))
        model = _Table(self.file, root)
        buffers = model.tables(4)
        for k, graph in enumerate(model.tables(2)):
            for table in graph.tables(0):
                self.tensor(table, buffers, "" if k == 0 else f"graph{k}/")

    def tensor(self, table: _Table, buffers: list[_Table], before: str) -> None:
        """Keep a tensor if it is a constant: if its buffer holds bytes."""
        number = table.number(2, "<I")
        if number >= len(buffers):
            raise ValueError("names a buffer that is not there")
        start, size = buffers[number].vector(0)
        if not size:  # a model beyond 2 GB keeps its values behind the flatbuffer
            start, size = buffers[number].number(1, "<Q"), buffers[number].number(2, "<Q")
        if size < 1 or (start == 1 and size == 1):
            return
        if start + size > self.file.size:
            raise ValueError("has a tensor beyond its end; it is truncated")
        at, length = table.vector(3)
        name = self.file.read(at, min(length, 4096)).decode("utf-8", "backslashreplace")
        name = before + clean(name)
        self.file.work.spend(TENSOR + len(name))
        while name in self.tensors:
            name += "'"
            self.file.work.spend(STEP + len(name))
        shape = tuple(table.values(0, "i", 64))
        kind = table.number(1, "<b")
        window = Window(self.file, start, size)
        if kind == _INT4:
            stored = nibbles(name, window, shape, signed=True)
        elif kind in _DTYPES:
            stored = self.laid_out(name, window, np.dtype(_DTYPES[kind]), shape)
        else:
            if kind != _STRING:
                self.notes.append(f"skipped {name!r}: of the data type {kind}")
                self.unread[name] = math.prod(max(side, 0) for side in shape)
            return
        self.tensors[name] = self.numbers(name, stored, table.table(4))

    def laid_out(self, name: str, window: Window, dtype: DType, shape: tuple[int, ...]) -> Tensor:
        try:
            return lay_out(name, window, dtype, shape)
        except ValueError as error:
            raise ValueError(f"has a tensor {name[:200]!r} that {error}") from None

    def numbers(self, name: str, stored: Tensor, how: _Table | None) -> Tensor:
        """The tensor as floats where it is quantized, as `how` tells."""
        scales = how.values(2, "f", 1 << 24) if how is not None else []
        if how is None or not scales or stored.dtype.kind not in "iu":
            self.floats += stored.size if stored.is_weight else 0
            return stored
        zeros = how.values(3, "q", 1 << 24) or [0] * len(scales)
        axis = how.number(6, "<i")
        if len(scales) == 1:
            steps = stored.shape
        else:
            steps = tuple(1 if k == axis else side for k, side in enumerate(stored.shape))
        made = affine(name, stored, _held(scales, "<f4"), _held(zeros, "<i8"), steps)
        self.codes += made.size
        return made


def _held(values: list[int], code: str) -> Tensor:
    data = np.array(values, code).tobytes()
    return lay_out("", Bytes(data), np.dtype(code), (len(values),))
