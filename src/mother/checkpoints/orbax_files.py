"""Orbax checkpoints: a folder of arrays that TensorStore holds, in one database or a folder each.

Read by TensorStore, since its database (OCDBT) is a format of its own and its chunks come in four
compressions. Every array is checked against the bytes that are there before it is read.
Format: https://orbax.readthedocs.io, https://google.github.io/tensorstore/kvstore/ocdbt
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mother.checkpoints.counted import counts_among
from mother.checkpoints.storage import File, prefetch, refusal
from mother.checkpoints.tensor import Array, Checkpoint, DType, Slice, Tensor, clean, dtype_of
from mother.checkpoints.work import Work

MANIFEST = "manifest.ocdbt"
METADATA = "_METADATA"
MAX_METADATA = 64 << 20
#: elements of a chunk, which is decompressed as a whole
MAX_CHUNK = 1 << 28
#: what opening an array costs, in units of work: a millisecond
_OPENING = 1 << 14
_INSIDE = re.compile(r"d|array_metadatas|ocdbt\.process_\d+")
_TRAINING = ("opt_state", "optimizer", "step", "rng")
#: of these, what counts steps
_COUNTS = ("step", "count")
NEEDS = "needs TensorStore: pip install tensorstore"


def is_orbax(names: list[str]) -> bool:
    """Whether a folder with these names is an Orbax checkpoint of a tree of arrays.

    >>> is_orbax(["_METADATA", "d", "manifest.ocdbt"])
    True
    """
    return MANIFEST in names or METADATA in names


def is_of_orbax(name: str) -> bool:
    """Whether a subfolder of that name belongs to a checkpoint: the database, of all processes.

    >>> is_of_orbax("ocdbt.process_12"), is_of_orbax("params")
    (True, False)
    """
    return _INSIDE.fullmatch(name) is not None


def read_orbax(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; reads metadata. Raises InputError, also without TensorStore."""
    try:
        store = importlib.import_module("tensorstore")
    except ImportError:
        raise refusal(folder, f"an Orbax checkpoint, which {NEEDS}") from None
    database = (folder / MANIFEST).is_file()
    files = [File(path) for path in sorted(folder.rglob("*")) if path.is_file()][:100_000]
    work = Work(sum(file.size for file in files))
    # TensorStore knows nothing of bytes that come when they are read
    prefetch(Slice(file, 0, file.size) for file in files)
    tensors: dict[str, Tensor] = {}
    left_out: dict[str, Tensor] = {}
    notes: list[str] = []
    unread: dict[str, int] = {}
    paths, driver = _told(folder)
    for path in paths:
        training, name = path[0] in _TRAINING, ".".join(path)
        if training:
            notes.append(f"left out {name!r}")
        if training and path[-1] not in _COUNTS:
            continue
        try:
            work.spend(_OPENING)
        except ValueError as error:
            raise refusal(folder, str(error)) from None
        try:
            opened = _open(store, folder, name, driver, database)
        except ValueError as error:
            fault, many = clean(str(error)).splitlines()[0][:200], 1
        else:
            shape, dtype = tuple(opened.shape), dtype_of(opened.dtype.name)
            if dtype is not None and math.prod(opened.chunk_layout.read_chunk.shape) <= MAX_CHUNK:
                held = left_out if training else tensors
                held[name] = Tensor(name, dtype, shape, _Stored(opened, shape, dtype, tuple(files)))
                continue
            fault, many = f"of {opened.dtype.name}, or in chunks too large", math.prod(shape)
        if not training:
            notes.append(f"skipped {name!r}: {fault}")
            unread[name] = many
    if not tensors:
        raise refusal(folder, "; ".join(["an Orbax checkpoint without arrays", *notes[:1]]))
    return Checkpoint(
        folder.name,
        folder,
        "orbax",
        tensors,
        notes=tuple(notes),
        files=tuple(files),
        unread=unread,
        steps=counts_among(left_out),
    )


def _told(folder: Path) -> tuple[list[tuple[str, ...]], str]:
    """The keys above each array, and TensorStore's driver of them, as the metadata tells."""
    file = File(folder / METADATA)
    if file.size > MAX_METADATA:
        raise file.fault(f"has {file.size} bytes; {MAX_METADATA} are the most")
    try:
        told = json.loads(file.read(0, file.size))
        entries = [entry["key_metadata"] for entry in told["tree_metadata"].values()]
        driver = "zarr3" if told.get("use_zarr3") is True else "zarr"
        paths = [tuple(clean(str(key["key"])) for key in entry) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise file.fault("does not tell what arrays there are") from None
    plain = (p for p in paths if not any("/" in key or key in ("", ".", "..") for key in p))
    return list(filter(None, plain)), driver


def _open(store: Any, folder: Path, name: str, driver: str, database: bool) -> Any:
    if database:
        where = {
            "driver": "ocdbt",
            "base": {"driver": "file", "path": f"{folder.absolute()}/"},
            "path": f"{name}/",
        }
    else:
        where = {"driver": "file", "path": f"{folder.absolute()}/{name}/"}
    return store.open({"driver": driver, "kvstore": where}, open=True, read=True).result()


@dataclass(frozen=True, eq=False)
class _Stored:
    """An array in a store; read by rows along the outermost axis that has more than one place."""

    array: Any
    shape: tuple[int, ...]
    dtype: DType
    files: tuple[File, ...]

    def read(self, start: int, stop: int) -> Array:
        axis = next((a for a, n in enumerate(self.shape) if n > 1), 0)
        inner = math.prod(self.shape[axis + 1 :])
        low, high = start // inner, -(-stop // inner)
        try:
            part = self.array[(0,) * axis + (slice(low, high),)] if self.shape else self.array
            values = np.ascontiguousarray(part.read().result(), self.dtype).reshape(-1)
        except ValueError as error:
            fault = clean(str(error)).splitlines()[0][:200]
            raise self.files[0].fault(f"an array can't be read: {fault}") from None
        return values[start - low * inner : stop - low * inner]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        for file in self.files:
            yield Slice(file, 0, file.size)
