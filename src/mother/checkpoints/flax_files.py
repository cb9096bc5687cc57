"""Flax's msgpack files: nested maps of arrays; nothing but numbers and names is taken from them.

The msgpack library builds every array in memory; this walks over the file and steps over them.
Format: https://github.com/msgpack/msgpack/blob/master/spec.md, flax/serialization.py
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from mother.checkpoints.counted import counts_among
from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, Tensor, clean, constant, dtype_of
from mother.checkpoints.views import Tile, reshaped, tiled

MAX_DEPTH = 64
MAX_NAME = 2000
#: values that are walked through in one file
MAX_VALUES = 5_000_000
#: maps of a training run's state beside the weights
_TRAINING = ("opt_state", "optimizer", "step", "rng")
_CHUNKED = "__msgpack_chunked_array__"
_ARRAY = 1
#: of each first byte from 0xc0 on: what follows it, and the width of its length or value
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_EXTRA = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_LISTS, _MAPS = {0xDC: 2, 0xDD: 4}, {0xDE: 2, 0xDF: 4}


def is_flax(file: File, start: bytes) -> bool:
    """Whether a file is taken for one of Flax's: a map at its start, and its ending."""
    named = file.path.suffix.lower() in (".msgpack", ".flax")
    return named and (start[0] >> 4 == 8 or start[0] in _MAPS)


def read_flax(file: File) -> Checkpoint:
    """The checkpoint in a msgpack file; reads no array's values. Raises InputError."""
    notes: list[str] = []
    tensors: dict[str, Tensor] = {}
    try:
        walk = _Walk(file, notes)
        tree = walk.value(0)
        if not isinstance(tree, dict):
            raise ValueError("holds no map")
        training = {key: tree.pop(key) for key in _TRAINING if key in tree}
        notes += [f"left out {key!r}" for key in training]
        _flatten(tree, "", tensors)
        numbers = {k: n for k, n in training.items() if isinstance(n, int) and n < 1 << 53}
        left_out = {k: constant(k, np.array([n], np.int64)) for k, n in numbers.items()}
        with suppress(ValueError):  # without it the model is as whole
            _flatten(training, "", left_out)
    except ValueError as error:
        raise file.fault(f"msgpack file {error}") from None
    if not tensors:
        raise file.fault("; ".join(["msgpack file holds no arrays", *notes[:1]]))
    told, unread, steps = tuple(notes), walk.unread, counts_among(left_out)
    name = file.path.stem
    return Checkpoint(name, file.path, "flax", tensors, notes=told, unread=unread, steps=steps)


def _flatten(tree: dict[str, Any], name: str, out: dict[str, Tensor]) -> None:
    """Collect the arrays by the keys above them; those that were stored in chunks are joined."""
    for key, value in tree.items():
        label = f"{name}.{key}" if name else key
        if len(label) > MAX_NAME:
            raise ValueError(f"has a name of more than {MAX_NAME} characters")
        if isinstance(value, Tensor):
            out[label] = replace(value, name=label)
        elif isinstance(value, dict) and _CHUNKED in value:
            out[label] = _joined(label, value)
        elif isinstance(value, dict):
            _flatten(value, label, out)


def _joined(name: str, value: dict[str, Any]) -> Tensor:
    shape, chunks = value.get("shape"), value.get("chunks")
    if not isinstance(shape, dict) or not isinstance(chunks, dict):
        raise ValueError(f"holds a malformed array {name[:200]!r}")
    sides = [shape[str(k)] for k in range(len(shape)) if str(k) in shape]
    parts = [chunks[str(k)] for k in range(len(chunks)) if str(k) in chunks]
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise ValueError(f"holds a malformed array {name[:200]!r}")
    tiles, at = [], 0
    for part in parts:
        tiles.append(Tile((at,), reshaped(part, (part.size,))))
        at += part.size
    if not _sizes(sides) or math.prod(sides) != at:
        raise ValueError(f"holds an array {name[:200]!r} with {at} elements in its chunks")
    return reshaped(tiled(name, parts[0].dtype, (at,), tiles), sides, name)


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in values)


class _Place(NamedTuple):
    """A text or bytes: where they start, and how many they are."""

    start: int
    size: int


@dataclass
class _Walk:
    """A place in a file that only moves on, over a buffer."""

    file: File
    notes: list[str]
    at: int = 0
    count: int = 0
    held: bytes = b""
    start: int = 0
    unread: dict[str, int] = field(default_factory=dict)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.enough(count)
        if not self.start <= self.at <= self.at + count <= self.start + len(self.held):
            self.start = self.at
            self.held = self.file.read(self.at, min(max(count, 1 << 14), self.file.size - self.at))
        first = self.at - self.start
        self.at += count
        return self.held[first : first + count]

    def enough(self, count: int) -> None:
        if count > self.file.size - self.at:
            raise ValueError("is damaged or truncated")

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def value(self, depth: int) -> Any:
        """The next value: maps as dicts, lists, integers, arrays as tensors, None for others; of
        a text or bytes, where they lie."""
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_VALUES:
            raise ValueError(f"holds more than {MAX_VALUES} values or {MAX_DEPTH} levels")
        code = self.number(1)
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code < 0x90 or code in _MAPS:
            return self.map(self.number(_MAPS[code]) if code in _MAPS else code & 15, depth)
        if code < 0xA0 or code in _LISTS:
            many = self.number(_LISTS[code]) if code in _LISTS else code & 15
            self.enough(many)
            return [self.value(depth + 1) for _ in range(many)]
        if code < 0xC0 or code in _BYTES:
            return _Place(*self.stretch(_BYTES.get(code, 0), code & 31))
        if code in _FIXED:
            number = self.number(_FIXED[code])
            return number if 0xCC <= code <= 0xCF else None
        if code in _EXTRA or 0xD4 <= code <= 0xD8:
            size = self.number(_EXTRA[code]) if code in _EXTRA else 1 << code - 0xD4
            return self.extra(self.number(1), size, depth)
        raise ValueError("is damaged")

    def stretch(self, width: int, size: int) -> tuple[int, int]:
        """Step over bytes; width: of their count, if it is not `size`."""
        size = self.number(width) if width else size
        self.enough(size)
        begin = self.at
        self.at += size
        return begin, size

    def text(self, value: Any) -> str:
        if not isinstance(value, _Place) or value.size > MAX_NAME:
            return str(value)[:MAX_NAME]
        inside = value.start - self.start
        if inside >= 0 and inside + value.size <= len(self.held):
            data = self.held[inside : inside + value.size]
        else:
            data = self.file.read(*value)
        return clean(data.decode("utf-8", "backslashreplace"))

    def map(self, many: int, depth: int) -> dict[str, Any]:
        self.enough(2 * many)
        made: dict[str, Any] = {}
        for _ in range(many):
            key = self.text(self.value(depth + 1))
            if key in made:
                raise ValueError(f"names {key[:200]!r} twice")
            made[key] = self.value(depth + 1)
        return made

    def extra(self, kind: int, size: int, depth: int) -> Tensor | None:
        """An array, as Flax stores one: its shape, the name of its dtype, its bytes."""
        self.enough(size)
        end = self.at + size
        parts = self.value(depth + 1) if kind == _ARRAY else None
        if self.at > end:
            raise ValueError("is damaged")
        self.at = end
        if parts is None:
            return None
        if not isinstance(parts, list) or len(parts) != 3 or not isinstance(parts[2], _Place):
            raise ValueError("holds a malformed array")
        shape, place = parts[0], parts[2]
        dtype = dtype_of(self.text(parts[1]))
        if dtype is None or dtype.kind not in "biufcV" or not dtype.itemsize:
            self.notes.append(f"skipped an array of the dtype {self.text(parts[1])[:40]!r}")
            many = math.prod(shape) if _sizes(shape) else 1
            self.unread[f"array {len(self.unread)}"] = many
            return None
        if not _sizes(shape):
            raise ValueError("holds an array without a shape")
        try:
            return lay_out("", Window(self.file, *place), dtype, tuple(shape))
        except ValueError as error:
            raise ValueError(f"holds an array that {error}") from None
