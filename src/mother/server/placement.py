"""Where a checkpoint would hang in a graph: it is recovered together with its relatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, open_checkpoint
from mother.errors import InputError
from mother.graph.placement import Placement, placement
from mother.layouts import Group, align
from mother.measures.comparable import no_weights
from mother.options import Options
from mother.recovery import recover_checkpoints

MOST = 64  # relatives that it is recovered with
SAMPLED = 4096  # weights of a layer that tell near from far


def place(
    path: str | PathLike[str], models: Mapping[str, str | PathLike[str]], most: int = MOST
) -> Placement:
    """Place the checkpoint at a path among models, which are paths by id. Nothing is stored.

    Where more than `most` models are comparable, the nearest by a sample of weights are taken.
    InputError if the checkpoint can't be read.
    """
    new = open_checkpoint(path)
    if fault := no_weights(new):
        raise InputError(new.shown, fault)
    id_, count = new.id, 1
    while id_ in models:
        count += 1
        id_ = f"{new.id}#{count}"
    new = replace(new, id=id_)
    others: list[Checkpoint] = []
    for model, at in models.items():
        try:
            other = open_checkpoint(at, id=model)
        except InputError:
            continue
        if not no_weights(other):
            others.append(other)
    group = align([new, *others])[0]
    relatives = _nearest(group, most)
    graph = recover_checkpoints([new, *relatives], Options())
    for refused in graph.refused:
        if refused.path == new.shown:
            raise InputError(refused.path, refused.fault)
    return placement(graph, id_, len(group.checkpoints) - 1, len(models) - len(others))


def _nearest(group: Group, most: int) -> list[Checkpoint]:
    """At most so many of the others, by distance to the first over the first weights of every
    layer that both have, as a share of the first's norm."""
    n = len(group.checkpoints)
    if n - 1 <= most:
        return list(group.checkpoints[1:])
    apart: NDArray[np.float64] = np.zeros(n)
    shared: NDArray[np.float64] = np.zeros(n)
    for layer in group.layers:
        if layer.members[0] != 0:
            continue
        own, *tensors = (t.read(0, SAMPLED).astype(np.float64) for t in layer.tensors)
        norm = float(own @ own)
        if not norm or not np.isfinite(norm):
            continue
        for k, theirs in zip(layer.members[1:], tensors, strict=True):
            step = theirs - own
            apart[k] += float(step @ step) / norm
            shared[k] += 1
    mean = np.divide(apart, shared, out=np.full(n, np.inf), where=shared > 0)
    mean = np.where(np.isfinite(mean), mean, np.inf)
    nearest = np.argsort(mean[1:], kind="stable")[:most] + 1
    return [group.checkpoints[int(k)] for k in np.sort(nearest)]
