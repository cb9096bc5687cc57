"""MindSpore's .ckpt: a protocol buffer of tensors by name; a large one is cut into several of its
name, one after another.

Format: https://gitee.com/mindspore/mindspore/blob/master/mindspore/ccsrc/utils/checkpoint.proto
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Window, lay_out
from mother.checkpoints.protobuf import Field, Messages
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean
from mother.checkpoints.views import Tile, tiled
from mother.checkpoints.work import TENSOR

_DTYPES = {
    "Float64": "<f8",
    "Float32": "<f4",
    "Float16": "<f2",
    "BFloat16": ml_dtypes.bfloat16,
    "Int64": "<i8",
    "Int32": "<i4",
    "Int16": "<i2",
    "Int8": "|i1",
    "UInt64": "<u8",
    "UInt32": "<u4",
    "UInt16": "<u2",
    "UInt8": "|u1",
    "Bool": "|b1",
}
#: bytes of a name
MAX_NAME = 4096


def is_mindspore(file: File, start: bytes) -> bool:
    """Whether a file is taken for MindSpore's: by its ending, and by how its first tensor begins,
    with a name."""
    if file.path.suffix.lower() != ".ckpt" or start[:1] != b"\n":
        return False
    messages = Messages(Window(file, 0, file.size))
    try:
        value = next(messages.fields())
        name = next(messages.inside(value))
    except (StopIteration, ValueError):
        return False
    return name.number == 1 and 0 < name.stop - name.start <= MAX_NAME


def read_mindspore(file: File) -> Checkpoint:
    """The checkpoint in a .ckpt of MindSpore's; reads no values. Raises InputError."""
    messages = Messages(Window(file, 0, file.size))
    parts: dict[str, list[Tensor]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    notes: list[str] = []
    try:
        for value in messages.fields():
            if value.number != 1 or value.value >= 0:
                continue
            name, tensor = "", None
            for field in messages.inside(value):
                if field.number == 1 and field.value < 0:
                    name = clean(messages.text(field, MAX_NAME))
                elif field.number == 2 and field.value < 0:
                    tensor = field
            if tensor is None:
                notes.append(f"skipped {name!r}: no tensor")
                continue
            file.work.spend(TENSOR)
            shape, part = _part(file, messages, tensor, name)
            if shapes.setdefault(name, shape) != shape:
                raise ValueError(f"repeats the name {name[:200]!r}")
            parts.setdefault(name, []).append(part)
        tensors = {name: _joined(name, shapes[name], some) for name, some in parts.items()}
    except ValueError as error:
        raise file.fault(f"MindSpore checkpoint {error}") from None
    if not tensors:
        raise file.fault("holds no tensors")
    return Checkpoint(file.path.stem, file.path, "mindspore", tensors, notes=tuple(notes))


def _part(
    file: File, messages: Messages, tensor: Field, name: str
) -> tuple[tuple[int, ...], Tensor]:
    """The shape of a tensor, and what is here of its elements, in one dimension."""
    shape: list[int] = []
    kind, content = "", None
    for field in messages.inside(tensor):
        if field.number == 1:
            shape += messages.numbers(field, 10 * MAX_DIMENSIONS)
        elif field.number == 2 and field.value < 0:
            kind = messages.text(field)
        elif field.number == 3 and field.value < 0:
            content = field
    if len(shape) > MAX_DIMENSIONS or any(n < 0 for n in shape):
        raise ValueError(f"has a tensor {name[:200]!r} of no valid shape")
    if kind not in _DTYPES or content is None:
        raise ValueError(f"has a tensor {name[:200]!r} of the type {clean(kind)[:40]!r}")
    dtype: DType = np.dtype(_DTYPES[kind])
    nbytes = content.stop - content.start
    if nbytes % dtype.itemsize:
        raise ValueError(f"has a tensor {name[:200]!r} of {nbytes} bytes")
    window = Window(file, content.start, nbytes)
    return tuple(shape), lay_out(name, window, dtype, (nbytes // dtype.itemsize,))


def _joined(name: str, shape: tuple[int, ...], parts: list[Tensor]) -> Tensor:
    many = sum(part.size for part in parts)
    # a single number has no side, or, from old versions, one of 1
    if math.prod(shape) != many or len({part.dtype for part in parts}) > 1:
        raise ValueError(f"has a tensor {name[:200]!r} of shape {shape[:32]} and {many} elements")
    start, tiles = 0, list[Tile]()
    for part in parts:
        tiles.append(Tile((start,), part))
        start += part.size
    whole = tiled(name, parts[0].dtype, (many,), tiles)
    return Tensor(name, whole.dtype, shape, whole.source)
