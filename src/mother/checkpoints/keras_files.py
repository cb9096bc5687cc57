"""Keras: whole models and weights in HDF5 (.h5, .weights.h5), and .keras archives that hold one.

Only arrays are read. A Lambda layer's code and the configuration are never looked at.
Format: https://keras.io/guides/serialization_and_saving/
"""

from __future__ import annotations

from collections.abc import Mapping

from mother.checkpoints.counted import counts_among
from mother.checkpoints.cudnn import in_keras_layout
from mother.checkpoints.hdf5 import MAGIC, read_datasets
from mother.checkpoints.laid_out import Span, Window
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint
from mother.checkpoints.zip_archive import Member, span

#: the member of a .keras archive with the weights
WEIGHTS = "model.weights.h5"
#: groups with the state of a training run
_TRAINING = ("optimizer_weights", "optimizer")


def is_hdf5(file: File, start: bytes) -> bool:
    """Whether a file's first bytes are those of an HDF5 file."""
    return start.startswith(MAGIC)


def read_hdf5(file: File) -> Checkpoint:
    """The checkpoint in an HDF5 file; reads no values. Raises InputError."""
    return _checkpoint(file, Window(file, 0, file.size), "hdf5")


def read_keras_zip(file: File, members: Mapping[str, Member]) -> Checkpoint:
    """The checkpoint in a .keras archive; reads no values. Raises InputError."""
    return _checkpoint(file, span(file, members[WEIGHTS]), "keras")


def _checkpoint(file: File, where: Span, kind: str) -> Checkpoint:
    try:
        found, notes, unread = read_datasets(where, file.work)
    except ValueError as error:
        raise file.fault(f"HDF5 file {error}") from None
    left_out = {n: t for n, t in found.items() if n.split("/")[0] in _TRAINING}
    notes += [f"left out {name!r}" for name in left_out]
    tensors = {n: t for n, t in found.items() if n not in left_out}
    if not tensors:
        raise file.fault("; ".join(["HDF5 file holds no arrays of numbers", *notes[:1]]))
    tensors, layers = in_keras_layout(tensors)
    if layers:
        notes.append(f"cuDNN's layers are seen as Keras's own: {', '.join(layers)}")
    told, steps, name = tuple(notes), counts_among(left_out), file.path.stem
    return Checkpoint(name, file.path, kind, tensors, notes=told, unread=unread, steps=steps)
