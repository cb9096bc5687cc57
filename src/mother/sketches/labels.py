"""What relabelling leaves of a model: cosines between the rows that its labels have, of a
vocabulary, positions or pixels, and a few numbers that stand for them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.layouts.units import LABELS_COMPARED, directions, gram, labelled_rows, spread, values_of
from mother.layouts.wiring import chain_of, matrices, natural, stream_of

LABELS = 64  # numbers that stand for a model's labels, a byte each
LABELS_LARGEST = 1 << 26  # weights of a tensor that is read for them
LABELS_MATRICES = 12  # that are looked at where it is not known which have them
LABELS_LEAST = 8  # labels along an axis that may have them


def labelled(checkpoint: Checkpoint) -> tuple[str, NDArray[np.float64]]:
    """The tensor that ties a model to labels, and the cosines between some of their rows, centred
    and of length 1: those of two models are alike by their inner product. None where no wiring is
    known."""
    tensors = {n: t for n, t in checkpoint.tensors.items() if t.is_weight}
    shapes = matrices({name: t.shape for name, t in tensors.items()})
    stream = stream_of(shapes)
    if stream is not None:
        name = max(stream.labelled, key=lambda n: (stream.labelled[n], tensors[n].size, n))
        axis, width = stream.labelled[name], stream.width
    elif (chain := chain_of(shapes)) is not None:
        name, axis = chain.matrices[0], 0
        width = shapes[name][0]
    else:
        return "", np.zeros(0)
    if axis == 0 and tensors[name].size > LABELS_LARGEST:
        return "", np.zeros(0)
    rows = labelled_rows(tensors[name], axis, width, LABELS_COMPARED)
    if stream is None:  # units of a chain may be scaled, and are not mixed
        rows = directions(rows.T).T
    return name, gram(rows)


def all_labelled(checkpoint: Checkpoint) -> dict[str, NDArray[np.float64]]:
    """The same of each axis that labels may stand along, by a name for it, if no stream says which
    do: of the first and last ones of a model, rows and what they read."""
    name, values = labelled(checkpoint)
    found = {name: values}
    tensors = {n: t for n, t in checkpoint.tensors.items() if t.is_weight}
    shapes = matrices({n: t.shape for n, t in tensors.items()})
    if stream_of(shapes) is not None:
        return found
    order = sorted((n for n in shapes if tensors[n].size <= LABELS_LARGEST), key=natural)
    for name in dict.fromkeys([*order[: LABELS_MATRICES // 2], *order[-LABELS_MATRICES // 2 :]]):
        rows = values_of(tensors[name]).reshape(shapes[name][0], -1)
        for axis, units in enumerate((rows, rows.T)):
            if len(units) >= LABELS_LEAST:
                some = directions(units.T).T[spread(range(len(units)), LABELS_COMPARED)]
                found[f"{axis} of {name}"] = gram(some)
    return found


def labels(checkpoint: Checkpoint) -> NDArray[np.int8]:
    """The same in LABELS numbers, by random signs, (LABELS,): cosines of two such are those of
    theirs, within 1 / sqrt(LABELS). None where there are none.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> draw = np.random.default_rng(0)
    >>> def net(*weights):
    ...     tensors = {f"{k}.weight": constant(f"{k}.weight", w) for k, w in enumerate(weights)}
    ...     return Checkpoint("a", Path("a"), "npz", tensors)
    >>> first, second = draw.normal(size=(64, 16)), draw.normal(size=(32, 64))
    >>> one, other = labels(net(first, second)), labels(net(first[::-1], second[:, ::-1]))
    >>> bool(np.abs(one.astype(int) - other).max() <= 1)
    True
    """
    _, values = labelled(checkpoint)
    if not values.any():
        return np.zeros(0, np.int8)
    found = _signs(len(values)) @ values
    return np.asarray(np.round(127 * found / np.abs(found).max()), np.int8)


@lru_cache(maxsize=8)
def _signs(many: int) -> NDArray[np.int8]:
    bits = np.random.default_rng(many).integers(0, 2, (LABELS, many), dtype=np.int8)
    return np.asarray(2 * bits - 1, dtype=np.int8)
