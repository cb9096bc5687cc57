"""CTranslate2's model.bin: variables one behind the other, int8 ones with a scale for each row.

Format: ctranslate2/specs/model_spec.py, `_serialize`
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import replace

import ml_dtypes
import numpy as np

from mother.checkpoints.affine import affine
from mother.checkpoints.graph_constants import weights_among
from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean

#: versions of the format, and variables in one file
_VERSIONS = range(2, 8)
MAX_VARIABLES = 1_000_000
_DTYPES: tuple[DType, ...] = (
    np.dtype("<f4"),
    np.dtype("|i1"),
    np.dtype("<i2"),
    np.dtype("<i4"),
    np.dtype("<f2"),
    np.dtype(ml_dtypes.bfloat16),
)


def is_ctranslate2(file: File, start: bytes) -> bool:
    """Whether a file is one of CTranslate2's: a version, then a name that ends in "Spec"."""
    if len(start) < 8 or int.from_bytes(start[:4], "little") not in _VERSIONS:
        return False
    end = 6 + int.from_bytes(start[4:6], "little")
    return end <= len(start) and start[end - 5 : end] == b"Spec\0"


def read_ctranslate2(file: File) -> Checkpoint:
    """The checkpoint in a model.bin; reads no variable's values. Raises InputError."""
    try:
        stored, aliases = _variables(_Cursor(file))
        tensors, scheme = _numbers(stored)
        again = {a: replace(tensors[n], name=a) for a, n in aliases.items() if n in tensors}
        tensors = weights_among(tensors | again)
    except ValueError as error:
        raise file.fault(f"CTranslate2 model {error}") from None
    if not tensors:
        raise file.fault("holds no variables")
    return Checkpoint(file.path.stem, file.path, "ctranslate2", tensors, scheme=scheme)


class _Cursor:
    """A place in a file that only moves on, over a buffer."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.at = self.start = 0
        self.held = b""

    def take(self, count: int) -> bytes:
        if count > self.file.size - self.at:
            raise ValueError("is truncated")
        if not self.start <= self.at <= self.at + count <= self.start + len(self.held):
            self.start = self.at
            self.held = self.file.read(self.at, min(max(count, 4096), self.file.size - self.at))
        first = self.at - self.start
        self.at += count
        return self.held[first : first + count]

    def number(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0])

    def text(self) -> str:
        data = self.take(self.number("H"))
        return clean(data.removesuffix(b"\0").decode("utf-8", "backslashreplace"))

    def skip(self, count: int) -> None:
        if count > self.file.size - self.at:
            raise ValueError("is truncated")
        self.at += count


def _variables(cursor: _Cursor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The variables as stored, and other names of some of them."""
    version = cursor.number("I")
    cursor.text()
    cursor.number("I")
    found: dict[str, Tensor] = {}
    for _ in range(_counted(cursor)):
        name = cursor.text()
        shape = tuple(cursor.number("I") for _ in range(cursor.number("B")))
        if version >= 4:
            kind, size = cursor.number("B"), cursor.number("I")
            if kind >= len(_DTYPES):
                raise ValueError(f"has a variable {name[:200]!r} of the data type {kind}")
            dtype = _DTYPES[kind]
        else:
            width, count = cursor.number("B"), cursor.number("I")
            kinds = {4: _DTYPES[0], 2: _DTYPES[2], 1: _DTYPES[1]}
            if width not in kinds:
                raise ValueError(f"has a variable {name[:200]!r} of {width} bytes each")
            dtype, size = kinds[width], width * count
        begin = cursor.at
        cursor.skip(size)
        if name in found:
            raise ValueError(f"names {name[:200]!r} twice")
        try:
            found[name] = lay_out(name, Window(cursor.file, begin, size), dtype, shape)
        except ValueError as error:
            raise ValueError(f"has a variable {name[:200]!r} that {error}") from None
    aliases = {}
    if version >= 3:
        for _ in range(_counted(cursor)):
            alias = cursor.text()
            aliases[alias] = cursor.text()
    return found, aliases


def _counted(cursor: _Cursor) -> int:
    count = cursor.number("I")
    if count > MAX_VARIABLES or 2 * count > cursor.file.size - cursor.at:
        raise ValueError(f"claims {count} variables")
    return count


def _numbers(stored: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The variables with quantized ones as numbers, and how most of them are quantized."""
    found: dict[str, Tensor] = {}
    schemes = Counter[str]()
    for name, tensor in stored.items():
        scale = stored.get(f"{name}_scale")
        if name.endswith("_scale") and name.removesuffix("_scale") in stored:
            continue
        if scale is None or tensor.dtype.kind != "i":
            found[name] = tensor
            continue
        own = scale.size > 1
        steps = tuple(1 if own and k == 0 else side for k, side in enumerate(tensor.shape))
        found[name] = affine(name, tensor, scale, None, steps, divide=True)
        schemes[f"CTranslate2 int{8 * tensor.dtype.itemsize}"] += tensor.size
    return found, max(schemes, key=lambda each: schemes[each], default="")
