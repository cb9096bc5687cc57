"""A small sample of every layer that stands for a whole checkpoint.

Inner products survive sampling: <w_i, w_j> over a part of a layer, times what the part is of the
whole, estimates that of the layer, and all that the default method knows of models are such
products. So a checkpoint is reduced once, to the same window of each layer in every checkpoint
(windows.py), and its sketch is a `Checkpoint` whose layers are those windows: the method's code
runs on it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Slice, Tensor, prefetch
from mother.checkpoints.tensor import constant
from mother.errors import InputError
from mother.measures.shapes import as_matrix
from mother.measures.windows import BUDGET, Window, windows

BAND = 1 << 15  # bytes of whole rows that are read at once rather than a part of each


def sketch(
    checkpoint: Checkpoint, budget: int = BUDGET, *, seed: int = 0, matrices: int | None = None
) -> Checkpoint:
    """The checkpoint with samples in place of its weights, all of them in memory. Arguments as
    those of `windows`. Reads little more than it keeps.

    >>> from pathlib import Path
    >>> whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", np.eye(64))})
    >>> sketch(whole, 1024).tensors["w"].kept.shape, sketch(whole, 1024).tensors["w"].shape
    ((4, 32), (64, 64))
    """
    chosen = windows(checkpoint.tensors, budget, seed=seed, matrices=matrices)
    prefetch(
        part
        for name, window in chosen.items()
        for run in window.slices(checkpoint.tensors[name].shape)
        for part in checkpoint.tensors[name].slices(*run)
    )
    tensors = {
        name: _sampled(tensor, chosen[name]) if name in chosen else absent(tensor)
        for name, tensor in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def _sampled(tensor: Tensor, window: Window) -> Tensor:
    _, width = as_matrix(tensor.shape)
    bands = window.bands(tensor.shape)
    size = window.rows * width * tensor.dtype.itemsize
    if tensor.nbytes <= BAND:
        values = tensor.read().reshape(-1, width)[np.ix_(*window.places(tensor.shape))]
    elif window.columns == width or (size <= BAND and len(bands) < window.rows):
        rows = np.concatenate([tensor.read(*band) for band in bands]).reshape(-1, width)
        values = rows[:, window.places(tensor.shape)[1]]
    else:
        values = np.concatenate([tensor.read(*run) for run in window.slices(tensor.shape)])
    return standing(tensor, window, values)


def standing(tensor: Tensor, window: Window, values: NDArray[Any]) -> Tensor:
    """A tensor of which only the window is at hand: its values, rows after rows."""
    sample = constant(tensor.name, values.reshape(window.rows, window.columns))
    return replace(tensor, source=Absent(tensor.name, window), sample=sample)


def absent(tensor: Tensor) -> Tensor:
    """A tensor of which nothing is at hand."""
    sample = constant(tensor.name, np.zeros((0, 0), tensor.dtype))
    return replace(tensor, source=Absent(tensor.name, None), sample=sample)


def window_of(tensor: Tensor) -> Window | None:
    """What a sketch kept of a tensor, if anything."""
    return tensor.source.window if isinstance(tensor.source, Absent) else None


@dataclass(frozen=True)
class Absent:
    """The source of a tensor of which a sketch keeps a window, or nothing."""

    name: str
    window: Window | None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        raise InputError(self.name, "a sketch holds but a sample of it")

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return iter(())


def layout(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint's tensors without any weights: all that alignment asks of it."""
    return replace(checkpoint, tensors={n: absent(t) for n, t in checkpoint.tensors.items()})
