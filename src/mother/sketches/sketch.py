"""A small sample of every layer that stands for a whole checkpoint.

Inner products survive sampling: <w_i, w_j> over a part of a layer, times what the part is of the
whole, estimates that of the layer, and all that the default method knows of models are such
products. So a checkpoint is reduced once, to the same window of each layer in every checkpoint
(windows.py), and its sketch is a `Checkpoint` whose layers are those windows: the method's code
runs on it unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Slice, Tensor, prefetch
from mother.checkpoints.tensor import constant
from mother.errors import InputError, UsageError
from mother.measures.cells import cells_of
from mother.measures.shapes import WIDEST, as_matrix, is_matrix, spans
from mother.sketches.windows import BUDGET, FAR_APART, SAMPLED_MATRICES, Window, windows

CODED = 64  # rows of a quantized matrix that tell how coarse its codes are
CODED_WEIGHTS = 1 << 13  # of these rows, about: codes are as coarse in one as in the next
CODED_GLANCE = 3, 8  # largest matrices, and rows of each, that tell whether floats were codes


def sketch(
    checkpoint: Checkpoint,
    budget: int = BUDGET,
    *,
    seed: int = 0,
    matrices: int = SAMPLED_MATRICES,
    apart: int = FAR_APART,
) -> Checkpoint:
    """The checkpoint with samples in place of its weights, all of them in memory. Arguments as
    those of `windows`. Of a matrix it reads all where that is small, else the rows of its window.

    >>> from pathlib import Path
    >>> whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", np.eye(64))})
    >>> sketch(whole, 1024).tensors["w"].kept.shape, sketch(whole, 1024).tensors["w"].shape
    ((4, 32), (64, 64))
    """
    chosen = windows(checkpoint.tensors, budget, seed=seed, matrices=matrices, apart=apart)
    prefetch(
        part
        for name, window in chosen.items()
        for run in runs(checkpoint.tensors[name], window)
        for part in checkpoint.tensors[name].slices(*run)
    )
    coded = _may_be_coded([(checkpoint.tensors[name], w) for name, w in chosen.items()])
    tensors = {
        name: sampled(tensor, chosen[name], coded=coded) if name in chosen else absent(tensor)
        for name, tensor in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def _may_be_coded(chosen: Sequence[tuple[Tensor, Window]]) -> bool:
    """Whether weights that are stored as floats repeat along whole rows, at a glance: then they
    were decoded from codes, which the columns of a window can't show."""
    matrices = [(t, w) for t, w in chosen if is_matrix(t.shape) and not t.scheme]
    largest = sorted(matrices, key=lambda each: (-each[0].size, each[0].name))[: CODED_GLANCE[0]]
    glances = (_rows(tensor, window, CODED_GLANCE[1]) for tensor, window in largest)
    return any(cells_of(rows.astype(np.float64)).few for rows in glances)


def runs(tensor: Tensor, window: Window) -> list[tuple[int, int]]:
    """The runs of elements that are read: whole rows, or all where they are scattered."""
    return window.bands(tensor.shape) if window.step == 1 else [(0, tensor.size)]


def sampled(tensor: Tensor, window: Window, *, coded: bool = False) -> Tensor:
    """The tensor of which only the window is at hand, read now. coded: look for the cells of codes,
    too, where it is stored as floats."""
    _, width = as_matrix(tensor.shape)
    if width > WIDEST:
        return _of_wide(tensor, window, coded=coded)
    whole = _rows(tensor, window)
    if (tensor.scheme or coded) and is_matrix(tensor.shape):
        seen = whole[: min(CODED, max(1, CODED_WEIGHTS // width))]
        tensor = replace(tensor, cell=cells_of(seen.astype(np.float64)).squared)
    return standing(tensor, window, whole[:, window.places(tensor.shape)[1]])


def _of_wide(tensor: Tensor, window: Window, *, coded: bool) -> Tensor:
    """The same of a tensor whose rows are so long that they are read a part at a time."""
    _, width = as_matrix(tensor.shape)
    rows, columns = window.places(tensor.shape)
    if (tensor.scheme or coded) and is_matrix(tensor.shape):
        seen = _rows(tensor, window, 1)
        tensor = replace(tensor, cell=cells_of(seen.astype(np.float64)).squared)
    values = np.empty((len(rows), len(columns)), tensor.dtype)
    for at in range(0, width, WIDEST):
        here = np.flatnonzero((columns >= at) & (columns < at + WIDEST))
        for own, row in zip(values, rows.tolist(), strict=True):
            if len(here):
                part = tensor.read(row * width + at, row * width + min(at + WIDEST, width))
                own[here] = part[columns[here] - at]
    return standing(tensor, window, values)


def _rows(tensor: Tensor, window: Window, most: int | None = None) -> NDArray[Any]:
    """The rows of a window, (rows, width), their first WIDEST columns; the first so many."""
    _, width = as_matrix(tensor.shape)
    if width > WIDEST:
        rows = window.places(tensor.shape)[0][:most].tolist()
        return np.stack([tensor.read(*span) for span in spans(tensor.shape, rows)])
    if window.step != 1:
        return tensor.read().reshape(-1, width)[window.places(tensor.shape)[0][:most]]
    found, many = [], window.rows if most is None else most
    for start, stop in runs(tensor, window):
        found.append(tensor.read(start, min(stop, start + many * width)).reshape(-1, width))
        many -= len(found[-1])
        if many <= 0:
            break
    return np.concatenate(found)


def standing(tensor: Tensor, window: Window, values: NDArray[Any]) -> Tensor:
    """A tensor of which only the window is at hand: its values, rows after rows."""
    sample = constant(tensor.name, values.reshape(window.rows, window.columns))
    sample = replace(sample, scheme=tensor.scheme, cell=tensor.cell)
    return replace(tensor, source=Absent(tensor.name, window), sample=sample)


def absent(tensor: Tensor) -> Tensor:
    """A tensor of which nothing is at hand."""
    sample = constant(tensor.name, np.zeros((0, 0), tensor.dtype))
    return replace(tensor, source=Absent(tensor.name, None), sample=sample)


def agree(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two sketches can be of one checkpoint: the same tensors, with the same values where
    both have looked.

    >>> from pathlib import Path
    >>> a, b = (
    ...     Checkpoint("a", Path("a"), "npz", {"w": constant("w", w)})
    ...     for w in (np.eye(64), np.ones((64, 64)))
    ... )
    >>> agree(sketch(a, 1024), sketch(a, 4096)), agree(sketch(a, 1024), sketch(b, 4096))
    (True, False)
    """
    return one.tensors.keys() == other.tensors.keys() and all(
        (t.shape, t.dtype) == (other.tensors[name].shape, other.tensors[name].dtype)
        and _same(t, other.tensors[name])
        for name, t in one.tensors.items()
    )


def _same(one: Tensor, other: Tensor) -> bool:
    looked = window_of(one), window_of(other)
    if looked[0] is None or looked[1] is None:
        return True
    places = [window.places(one.shape) for window in looked if window is not None]
    rows, columns = (
        np.intersect1d(*of, return_indices=True)[1:] for of in zip(*places, strict=True)
    )
    held = (t.kept.read().reshape(t.kept.shape) for t in (one, other))
    parts = (x[np.ix_(*at)] for x, at in zip(held, zip(rows, columns, strict=True), strict=True))
    return len({part.tobytes() for part in parts}) == 1


def check_alike(checkpoints: Sequence[Checkpoint]) -> None:
    """UsageError unless these are sketches all, or none, and hold the same windows of what they
    have in common: other weights of two models tell nothing of them."""
    sketched = [c for c in checkpoints if c.is_sketch]
    if sketched and len(sketched) < len(checkpoints):
        whole = next(c.id for c in checkpoints if not c.is_sketch)
        raise UsageError(f"{sketched[0].id} is a sketch and {whole} is not; sketch all or none")
    known: dict[tuple[str, tuple[int, ...]], tuple[Window, str]] = {}
    for c in sketched:
        for name, tensor in c.tensors.items():
            if window := window_of(tensor):
                other, id_ = known.setdefault((name, tensor.shape), (window, c.id))
                if other != window:
                    raise UsageError(
                        f"{id_} and {c.id} hold other parts of {name}; sketch them by one budget,"
                        " number of matrices and seed"
                    )


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


def telling(sketched: Checkpoint) -> list[str]:
    """Names of the layers that tell of kinship, of those that something is kept of: matrices, where
    there are any."""
    kept = [name for name, tensor in sketched.tensors.items() if tensor.kept.size]
    return [name for name in kept if is_matrix(sketched.tensors[name].shape)] or kept


def layout(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint's tensors without any weights: all that alignment asks of it."""
    return replace(checkpoint, tensors={n: absent(t) for n, t in checkpoint.tensors.items()})
