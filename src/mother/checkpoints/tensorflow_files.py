"""TensorFlow: checkpoints (name.index beside name.data-00000-of-00001) and SavedModel folders.

The index is a sorted table of keys, in which a protocol buffer says of each tensor where it lies.
A SavedModel's graph is not looked at, nor run; its variables are such a checkpoint.
Format: tensorflow/core/util/tensor_bundle, and
https://github.com/google/leveldb/blob/main/doc/table_format.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes
import numpy as np

from mother.checkpoints.counted import counts_among
from mother.checkpoints.laid_out import MAX_DIMENSIONS, Bytes, Window, lay_out
from mother.checkpoints.protobuf import Field, Messages
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean
from mother.checkpoints.work import STEP

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
#: bytes of a block of the index, and entries in all of them
MAX_BLOCK = 256 << 20
MAX_ENTRIES = 2_000_000
#: bytes of the graph of objects, which tells what variables are called
MAX_OBJECTS = 64 << 20
_FOOTER = 48
_DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    8: "<c8",
    9: "<i8",
    10: "|b1",
    14: ml_dtypes.bfloat16,
    17: "<u2",
    18: "<c16",
    19: "<f2",
    22: "<u4",
    23: "<u8",
    24: ml_dtypes.float8_e5m2,
    25: ml_dtypes.float8_e4m3fn,
}
_STRING = 7
#: resources and variants, which stand for what is elsewhere
_HANDLES = (20, 21)
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
#: of an optimizer, or the state of a run
_TRAINING = re.compile(
    # of an optimizer all but the model's variables, which it holds, too
    r"(?:.*/)?(?:\.OPTIMIZER_SLOT/.*|_?optimizer(?!/_trainable_variables/)(?:/.*)?"
    r"|(?:save_counter|keras_api|_CHECKPOINTABLE)(?:/.*)?"
    r"|global_step|beta[12]_power|(?:Adam|adam_[mv]|Momentum|RMSProp|AdamWeightDecay\w*)(?:_\d)?)"
)

#: of these, what counts steps
_COUNTS = re.compile(r"(?:.*/)?(?:iter|iterations|_iterations|global_step)")


def is_tf_index(file: File, start: bytes) -> bool:
    """Whether a file is the index of a TensorFlow checkpoint, by its last bytes."""
    return file.size >= _FOOTER and file.read(file.size - 8, 8) == MAGIC


def data_parts(name: str, names: Set[str]) -> Set[str]:
    """The files with the values of an index.

    >>> data_parts("a.index", {"a.index", "a.data-00000-of-00001", "b.data-00000-of-00001"})
    {'a.data-00000-of-00001'}
    """
    stem = name.removesuffix(".index")
    return {each for each in names if each.startswith(f"{stem}.data-")}


def is_saved_model(names: list[str]) -> bool:
    """Whether a folder with these names is a SavedModel."""
    return "saved_model.pb" in names and "variables" in names


def read_saved_model(folder: Path) -> Checkpoint:
    """The checkpoint in a SavedModel folder. Raises InputError."""
    index = folder / "variables" / "variables.index"
    if not index.is_file():
        raise refusal(folder, "a SavedModel without variables/variables.index")
    read = read_tf_index(File(index))
    return Checkpoint(
        folder.name,
        folder,
        "savedmodel",
        read.tensors,
        notes=read.notes,
        files=read.files,
        unread=read.unread,
        steps=read.steps,
    )


def read_tf_index(file: File) -> Checkpoint:
    """The checkpoint that an index is of; reads the index alone. Raises InputError."""
    bundle = _Bundle(file)
    try:
        for key, value in _entries(file):
            bundle.add(key, value)
        tensors = bundle.named()
    except ValueError as error:
        raise file.fault(f"TensorFlow checkpoint {error}") from None
    if not tensors:
        raise file.fault("; ".join(["holds no tensors of numbers", *bundle.notes[:1]]))
    files = (file, *bundle.shards.values())
    return Checkpoint(
        file.path.stem,
        file.path,
        "tensorflow",
        tensors,
        notes=tuple(bundle.notes),
        files=files,
        unread=bundle.unread,
        steps=counts_among(bundle.left_out),
    )


@dataclass
class _Entry:
    """Where a tensor lies, as the index has it."""

    kind: int = 0
    shape: list[int] = field(default_factory=list)
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    sliced: bool = False


class _Bundle:
    """The tensors of one index."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.count = 1
        self.little = True
        self.shards: dict[int, File] = {}
        self.tensors: dict[str, Tensor] = {}
        self.left_out: dict[str, Tensor] = {}
        self.notes: list[str] = []
        self.unread: dict[str, int] = {}
        self.called: dict[str, str] = {}
        #: of each tensor, its shape and the checksum of its values
        self.sums: dict[str, tuple[int, ...]] = {}

    def add(self, key: bytes, value: bytes) -> None:
        """Keep one entry; the first one, of the empty key, is the header."""
        messages = Messages(Bytes(value))
        if not key:
            self._header(messages)
            return
        name = clean(key.decode("utf-8", "surrogateescape"))
        if key[:1] == b"\0":  # a slice of a tensor that has an entry of its own
            return
        entry = _entry(messages)
        if name == _OBJECTS:
            self._objects(entry)
        elif _TRAINING.fullmatch(name.removesuffix(_VALUE)):
            self.notes.append(f"left out {name!r}")
            if _COUNTS.fullmatch(name.removesuffix(_VALUE)) and entry.kind in _DTYPES:
                with suppress(ValueError):  # without it the model is as whole
                    self.left_out[name] = self._tensor(name, entry)
        elif entry.sliced:
            self.notes.append(f"skipped {name!r}: stored in slices")
            self.unread[name] = int(np.prod(entry.shape, dtype=object))
        elif entry.kind in _DTYPES:
            self.tensors[name] = self._tensor(name, entry)
            self.sums[name] = (*entry.shape, entry.kind, entry.checksum)
        elif entry.kind not in (_STRING, *_HANDLES):
            self.notes.append(f"skipped {name!r}: of the data type {entry.kind}")
            self.unread[name] = int(np.prod(entry.shape, dtype=object))

    def named(self) -> dict[str, Tensor]:
        """The tensors by what the variables are called, where the graph of objects tells. A
        variable that was stored twice with the same values is one."""
        keys: dict[str, list[str]] = {}
        for key in self.tensors:
            keys.setdefault(self.called.get(key) or key.removesuffix(_VALUE), []).append(key)
        found = {}
        for called, same in keys.items():
            alike = len({self.sums[key] for key in same}) == 1
            self.notes += [f"left out {key!r}: {called!r} again" for key in same[1:] if alike]
            for key in same[:1] if alike else same:
                tensor = self.tensors[key]
                name = called if alike else key.removesuffix(_VALUE)
                found[name] = Tensor(name, tensor.dtype, tensor.shape, tensor.source)
        return found

    def _header(self, messages: Messages) -> None:
        for each in messages.fields():
            if each.number == 1:
                self.count = each.value
            elif each.number == 2:
                self.little = each.value == 0
        if not 1 <= self.count <= 99_999:
            raise ValueError(f"claims {self.count} files of values")

    def _shard(self, number: int) -> File:
        if number not in self.shards:
            if not 0 <= number < self.count:
                raise ValueError(f"names the file {number} of {self.count}")
            end = f".data-{number:05}-of-{self.count:05}"
            path = self.file.path
            self.shards[number] = File(path.with_name(path.name.removesuffix(".index") + end))
        return self.shards[number]

    def _window(self, entry: _Entry) -> Window:
        file = self._shard(entry.shard)
        if entry.offset < 0 or entry.size < 0 or entry.offset + entry.size > file.size:
            raise ValueError("names bytes beyond the end of its values; these are truncated")
        return Window(file, entry.offset, entry.size)

    def _tensor(self, name: str, entry: _Entry) -> Tensor:
        dtype: DType = np.dtype(_DTYPES[entry.kind])
        if not self.little and dtype.kind in "iufc":
            dtype = dtype.newbyteorder(">")
        try:
            return lay_out(name, self._window(entry), dtype, tuple(entry.shape))
        except ValueError as error:
            raise ValueError(f"has a tensor {name[:200]!r} that {error}") from None

    def _objects(self, entry: _Entry) -> None:
        """Learn variables' names from the graph of objects: a length, a checksum, its bytes."""
        window = self._window(entry)
        if not 16 <= window.nbytes <= MAX_OBJECTS:
            return
        self.file.work.spend(window.nbytes)
        data = window.array(0, window.nbytes).tobytes()
        start = next((k for k, byte in enumerate(data[:10]) if byte < 128), 0) + 1 + 4
        messages = Messages(Bytes(data[start:]))
        for node in messages.fields():
            for part in messages.inside(node) if node.number == 1 and node.value < 0 else ():
                if part.number == 2 and part.value < 0:
                    told = {
                        f.number: messages.text(f) for f in messages.inside(part) if f.value < 0
                    }
                    self.called[clean(told.get(3, ""))] = clean(told.get(2, ""))


def _entry(messages: Messages) -> _Entry:
    entry = _Entry()
    for each in messages.fields():
        if each.number == 1:
            entry.kind = each.value
        elif each.number == 2:
            entry.shape = _shape(messages, each)
        elif each.number == 3:
            entry.shard = each.value
        elif each.number == 4:
            entry.offset = each.value
        elif each.number == 5:
            entry.size = each.value
        elif each.number == 6:
            entry.checksum = int.from_bytes(messages.content(each), "little")
        elif each.number == 7:
            entry.sliced = True
    return entry


def _shape(messages: Messages, shape: Field) -> list[int]:
    sides = []
    for side in messages.inside(shape):
        if side.number == 2 and side.value < 0:
            size = [f.value for f in messages.inside(side) if f.number == 1]
            sides.append(size[-1] if size else 0)
    if len(sides) > MAX_DIMENSIONS or any(not 0 <= side < 1 << 62 for side in sides):
        raise ValueError("has a tensor of a negative size, or of too many dimensions")
    return sides


def _entries(file: File) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table, in their order."""
    if file.size < _FOOTER:
        raise ValueError("has an index that is truncated")
    footer = file.read(file.size - _FOOTER, _FOOTER)
    if footer[-8:] != MAGIC:
        raise ValueError("has an index that is damaged or truncated")
    at = 0
    for _ in range(2):  # past the handle of the block of metadata
        _, at = _varint(footer, at)
    handle = footer[at:]
    count = 0
    for _, block in _block(_load(file, handle)):
        for key, value in _block(_load(file, block)):
            count += 1
            if count > MAX_ENTRIES:
                raise ValueError(f"has more than {MAX_ENTRIES} entries")
            file.work.spend(STEP + len(key) + len(value))
            yield key, value


def _load(file: File, handle: bytes) -> bytes:
    """The block at a handle, without its list of restarts."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    if size > MAX_BLOCK or offset + size + 5 > file.size:
        raise ValueError("has an index with a block beyond its end")
    file.work.spend(size)
    data = file.read(offset, size + 5)
    if data[size]:
        raise ValueError("has an index that is compressed, which is not read")
    restarts = int.from_bytes(data[size - 4 : size], "little")
    end = size - 4 - 4 * restarts
    if end < 0:
        raise ValueError("has an index that is damaged")
    return data[:end]


def _block(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    key, at = b"", 0
    while at < len(data):
        shared, at = _varint(data, at)
        own, at = _varint(data, at)
        size, at = _varint(data, at)
        if shared > len(key) or at + own + size > len(data):
            raise ValueError("has an index that is damaged")
        key = key[:shared] + data[at : at + own]
        if len(key) > 1 << 16:
            raise ValueError("has a key of more than 65536 bytes")
        yield key, data[at + own : at + own + size]
        at += own + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return value, at + k + 1
    raise ValueError("has an index that is damaged")
