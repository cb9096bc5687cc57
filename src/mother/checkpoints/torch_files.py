"""PyTorch checkpoints: zip archives since 1.6, chained pickles before; no torch, no code run.

Format: torch/serialization.py, `_save` and `_legacy_save`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, cast

import numpy as np

from mother.checkpoints.affine import affine
from mother.checkpoints.counted import torch_counts
from mother.checkpoints.laid_out import Span, Window, lay_out
from mother.checkpoints.pickle_data import read_pickle
from mother.checkpoints.pickled_objects import Storage, StridedView
from mother.checkpoints.state_dict import View, pick_tensors
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, constant, dtype_of, scheme_of
from mother.checkpoints.zip_archive import Member, content, read_members, span
from mother.errors import InputError

MAX_PICKLE = 64 << 20
#: bytes of a file on the Hub that its pickles are looked for in at first
_HEAD = 1 << 18
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: torch's names that numpy has otherwise
_NUMPY_NAMES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "Untyped": "uint8",
    "ComplexDouble": "complex128",
    "ComplexFloat": "complex64",
    "QInt8": "int8",
    "QUInt8": "uint8",
    "QInt32": "int32",
    "qint8": "int8",
    "quint8": "uint8",
    "qint32": "int32",
    "double": "float64",
    "float": "float32",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


def looks_like_legacy_torch(start: bytes) -> bool:
    """Whether a file's first bytes are those of a torch file from before version 1.6."""
    return start[:1] == b"\x80" and LEGACY_MAGIC.to_bytes(10, "little") in start[:32]


def has_torch_members(names: Iterable[str]) -> bool:
    """Whether an archive with these members is a torch one."""
    return any(name.split("/")[-1] == "data.pkl" for name in names)


@dataclass(frozen=True)
class TorchFile:
    """What torch.save wrote into a zip archive: its data, with views in place of tensors."""

    file: File
    tree: Any
    where: Callable[[Storage], Span]
    little: bool

    @classmethod
    def of(cls, file: File, members: Mapping[str, Member] | None = None) -> TorchFile:
        """Opens an archive; reads its data.pkl only. Raises InputError."""
        members = read_members(file) if members is None else members
        pickles = [name for name in members if name.split("/")[-1] == "data.pkl"]
        if not pickles:
            raise file.fault("a zip archive without PyTorch data")
        home = min(pickles, key=len).removesuffix("data.pkl")
        text = content(file, members[f"{home}data.pkl"], MAX_PICKLE)
        try:
            tree = read_pickle(io.BytesIO(text), work=file.work)
        except ValueError as error:
            raise file.fault(str(error)) from None

        spans: dict[
            str, Span
        ] = {}  # one for all views of a storage: where it is deflated, they share

        def where(storage: Storage) -> Span:
            if storage.key not in spans:
                member = members.get(f"{home}data/{storage.key}")
                if member is None:
                    raise ValueError(f"lies in the missing storage {storage.key[:200]!r}")
                spans[storage.key] = span(file, member)
            return spans[storage.key]

        return cls(file, tree, where, _is_little(file, members.get(f"{home}byteorder")))

    def steps(self) -> dict[str, Tensor]:
        """What optimizers counted whose states it holds."""
        return _steps(self.tree, self.where, self.little)

    def tensor(self, name: str, view: StridedView) -> Tensor:
        """The tensor that a view is of. Raises ValueError, one line without the name."""
        return _strided(name, view, self.where, self.little)


def read_torch_zip(file: File, members: Mapping[str, Member]) -> Checkpoint:
    """The checkpoint in a torch zip archive; reads its data.pkl only. Raises InputError."""
    held = TorchFile.of(file, members)
    return _checkpoint(file, held.tree, held.where, held.little)


def steps_in(file: File) -> dict[str, Tensor]:
    """What the optimizers counted whose states torch.save wrote into a file of their own; nothing
    where it can't be read: the model beside is as whole without it."""
    try:
        held = TorchFile.of(file)
    except InputError:
        return {}
    return held.steps()


def _is_little(file: File, member: Member | None) -> bool:
    return member is None or content(file, member, 64).strip() != b"big"


def read_legacy_torch(file: File) -> Checkpoint:
    """The checkpoint in a torch file from before version 1.6. Raises InputError."""
    storages: dict[str, Storage] = {}
    try:
        system, tree, keys, end = _legacy_pickles(file, storages)
        spans = _legacy_spans(file, end, keys, storages)
    except ValueError as error:
        raise file.fault(str(error)) from None

    def where(storage: Storage) -> Span:
        if storage.key not in spans:
            raise ValueError(f"lies in the missing storage {storage.key!r}")
        return spans[storage.key]

    little = not isinstance(system, dict) or system.get("little_endian") is not False
    return _checkpoint(file, tree, where, little)


def _legacy_pickles(file: File, storages: dict[str, Storage]) -> tuple[Any, Any, Any, int]:
    """The system that wrote it, what was saved, the keys of its storages, and where those begin."""
    most = min(file.size, MAX_PICKLE)
    length = min(_HEAD, most) if file.remote else most
    while True:
        # the map ends where the pickles must have ended, and so does every read from it
        head = file.map(0, length)
        stream = cast(BinaryIO, head)
        storages.clear()
        try:
            _, _, system, tree, keys = (
                read_pickle(stream, storages, work=file.work) for _ in range(5)
            )
        except ValueError:
            if length == most:
                raise
            length = min(8 * length, most)
        else:
            return system, tree, keys, head.tell()


def _legacy_spans(
    file: File, offset: int, keys: Any, storages: dict[str, Storage]
) -> dict[str, Span]:
    """Each storage is a count of elements in 8 bytes, then the elements. The pickle tells the
    counts, too, and is believed for a file on the Hub that ends where it should by them."""
    spans: dict[str, Span] = {}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("lacks the list of its storages")
    if any(key not in storages for key in keys):
        raise ValueError("lists a storage that its tensors do not mention")
    whole = sum(8 + storages[k].count * _storage_dtype(storages[k]).itemsize for k in keys)
    told = file.remote and offset + whole == file.size
    told = told and all(storages[key].count >= 0 for key in keys)
    for key in keys:
        dtype = _storage_dtype(storages[key])
        count = storages[key].count if told else int.from_bytes(file.read(offset, 8), "little")
        offset += 8
        if offset + count * dtype.itemsize > file.size:
            raise ValueError(f"storage {key!r} ends beyond the file; it is truncated")
        spans[key] = Window(file, offset, count * dtype.itemsize)
        offset += count * dtype.itemsize
    return spans


def _storage_dtype(storage: Storage) -> DType:
    return _dtype(storage.kind.removesuffix("Storage"))


def _dtype(name: str) -> DType:
    dtype = dtype_of(_NUMPY_NAMES.get(name, name))
    if dtype is None or dtype.kind not in "biufcV" or not dtype.itemsize:
        raise ValueError(f"is of the unknown dtype {name[:40]!r}")
    return dtype


def _checkpoint(
    file: File, tree: Any, where: Callable[[Storage], Span], little: bool
) -> Checkpoint:
    unread: dict[str, int] = {}
    try:
        views, notes = pick_tensors(tree, unread, file.work)
    except ValueError as error:
        raise file.fault(str(error)) from None
    tensors: dict[str, Tensor] = {}
    for name, view in views.items():
        try:
            tensors[name] = _tensor(name, view, where, little)
        except ValueError as error:
            raise file.fault(f"tensor {name!r} {error}") from None
    if not tensors:
        why = [note for note in notes if note.startswith("skipped")][:1]
        raise file.fault("; ".join(["holds no tensors", *why]))
    told = tuple(notes)
    found = Checkpoint(file.path.stem, file.path, "pytorch", tensors, notes=told, unread=unread)
    steps = _steps(tree, where, little)
    return replace(found, scheme=scheme_of(tensors.values()), steps=steps)


def _steps(tree: Any, where: Callable[[Storage], Span], little: bool) -> dict[str, Tensor]:
    """What optimizers counted; of what can't be read as one number nothing is said."""
    found = dict[str, Tensor]()
    for name, held in torch_counts(tree).items():
        if isinstance(held, int) and 0 <= held < 1 << 53:
            found[name] = constant(name, np.array([held], np.int64))
        elif isinstance(held, StridedView) and math.prod(held.shape) == 1:
            with suppress(ValueError):
                found[name] = _strided(name, held, where, little)
    return found


def _tensor(name: str, view: View, where: Callable[[Storage], Span], little: bool) -> Tensor:
    if isinstance(view, StridedView):
        return _strided(name, view, where, little)
    codes = _strided(name, view.codes, where, little)
    scale, zero = (
        _strided(name, held, where, little)
        if isinstance(held, StridedView)
        else constant(name, np.array([held], kind))
        for held, kind in ((view.scale, np.float64), (view.zero, np.int64))
    )
    steps = [1 if axis == view.axis else n for axis, n in enumerate(codes.shape)]
    tensor = affine(name, codes, scale, zero, steps, np.dtype(np.float32))
    extent = "per tensor" if view.axis is None else "per channel"
    return replace(tensor, scheme=f"torch {codes.dtype} {extent}")


def _strided(
    name: str, view: StridedView, where: Callable[[Storage], Span], little: bool
) -> Tensor:
    dtype = _dtype(view.dtype) if view.dtype else _storage_dtype(view.storage)
    if dtype.kind in "iufc" and not little:
        dtype = dtype.newbyteorder(">")
    span, offset = where(view.storage), view.offset * dtype.itemsize
    return lay_out(name, span, dtype, view.shape, view.strides, offset)
