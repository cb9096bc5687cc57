"""Caffe's .caffemodel: the blobs of a network's layers; the network is not built.

A blob has no name: it is called by its layer's and its place there, as `net.params["conv1"][0]` is
in Caffe.
Format: https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto
"""

from __future__ import annotations

import math

import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Window, lay_out
from mother.checkpoints.protobuf import Field, Messages
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean
from mother.checkpoints.work import STEP, TENSOR

#: of a network's fields, those that are layers: in each the numbers of its name and of its blobs
_LAYERS = {100: (1, 7), 2: (4, 6)}  # LayerParameter, and V1LayerParameter of before 2015
#: of a blob's fields, those that are values
_FLOATS = {5: "<f4", 8: "<f8"}
_RAW, _RAW_KIND = 12, 10
#: of values as bytes, which NVIDIA's Caffe and OpenCV write
_RAW_TYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
#: bytes of a name, and of one field of a shape
MAX_NAME, MAX_SHAPE = 4096, 10 * MAX_DIMENSIONS


def is_caffe(file: File, start: bytes) -> bool:
    """Whether a file is taken for Caffe's: by its ending, since it has no magic."""
    return file.path.suffix.lower() == ".caffemodel"


def read_caffe(file: File) -> Checkpoint:
    """The checkpoint in a .caffemodel; reads no values. Raises InputError."""
    messages = Messages(Window(file, 0, file.size))
    tensors: dict[str, Tensor] = {}
    try:
        for layer in messages.fields():
            if layer.number not in _LAYERS or layer.value >= 0:
                continue
            name, blobs = _layer(messages, layer)
            for k, blob in enumerate(blobs):
                called = f"{name}.{k}"
                while called in tensors:  # layers may be called alike
                    called += "'"
                    file.work.spend(STEP + len(called))
                file.work.spend(TENSOR + len(called))
                tensors[called] = _tensor(file, messages, blob, called)
    except ValueError as error:
        raise file.fault(f"Caffe model {error}") from None
    if not tensors:
        raise file.fault("holds no layers with weights")
    return Checkpoint(file.path.stem, file.path, "caffe", tensors)


def _layer(messages: Messages, layer: Field) -> tuple[str, list[Field]]:
    named, holds = _LAYERS[layer.number]
    name, blobs = "", []
    for field in messages.inside(layer):
        if field.number == named and field.value < 0:
            name = clean(messages.text(field, MAX_NAME))
        elif field.number == holds and field.value < 0:
            blobs.append(field)
    return name, blobs


def _tensor(file: File, messages: Messages, blob: Field, name: str) -> Tensor:
    shape: tuple[int, ...] | None = None
    sides = dict.fromkeys((1, 2, 3, 4), 1)  # num, channels, height, width
    kind, held = 1, list[tuple[str, Field]]()
    for field in messages.inside(blob):
        if field.number in sides and field.value >= 0:
            sides[field.number] = field.value
        elif field.number == 7 and field.value < 0:
            inside = (x for x in messages.inside(field) if x.number == 1)
            shape = tuple(n for x in inside for n in messages.numbers(x, MAX_SHAPE))
            if len(shape) > MAX_DIMENSIONS:  # whose product alone would take as long as it likes
                raise ValueError(f"has a blob {name[:200]!r} of {len(shape)} dimensions")
        elif field.number == _RAW_KIND:
            kind = field.value
        elif field.number in (*_FLOATS, _RAW) and field.value < 0:
            held.append((_FLOATS.get(field.number, ""), field))
    if len(held) != 1:
        raise ValueError(f"has a blob {name[:200]!r} with its values in {len(held)} parts")
    (stored, field), nbytes = held[0], held[0][1].stop - held[0][1].start
    if not stored and kind not in _RAW_TYPES:
        raise ValueError(f"has a blob {name[:200]!r} of the type {kind}")
    dtype: DType = np.dtype(stored or _RAW_TYPES[kind])
    shape = _of_four(sides) if shape is None else shape
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != nbytes:
        raise ValueError(f"has a blob {name[:200]!r} of shape {shape[:32]} and {nbytes} bytes")
    try:
        return lay_out(name, Window(file, field.start, nbytes), dtype, shape)
    except ValueError as error:
        raise ValueError(f"has a blob {name[:200]!r} that {error}") from None


def _of_four(sides: dict[int, int]) -> tuple[int, ...]:
    """The shape of a blob that an old version gave four sides; a vector's and a matrix' first are
    1."""
    shape = tuple(sides.values())
    if shape[:3] == (1, 1, 1):
        return shape[3:]
    return shape[2:] if shape[:2] == (1, 1) else shape
