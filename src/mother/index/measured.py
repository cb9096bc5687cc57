"""Inner products of models in full, as an index stores them: no pass over weights is made twice.

They belong to a set of models, and are known by their numbers. Layers are known by what a model
calls them, for what they are called in a group depends on who else is in it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from zipfile import BadZipFile

import numpy as np

from mother.checkpoints import Checkpoint
from mother.layouts import Group, align
from mother.measures import Measures, measure

MEMORY = 1 << 28  # bytes of blocks that are being read


def measured(models: Sequence[Checkpoint]) -> bytes | None:
    """The inner products of opened models, as bytes; None where they can't be compared, or their
    files are torn by now."""
    groups = align(models)
    if len(groups) > 1:
        return None
    (group,) = groups
    m = measure(group, moments=True, memory=MEMORY)
    layers = [[list(x.members), [t.name for t in x.tensors]] for x in group.layers]
    out = io.BytesIO()
    named = np.frombuffer(json.dumps(layers).encode(), np.uint8)
    np.savez(out, layers=named, gram=m.gram, shared=m.shared, overlap=m.overlap)
    return out.getvalue()


def of_group(content: bytes, group: Group) -> Measures | None:
    """The same for the layers of a group of these models that are found and are finite; None where
    it is no such content.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> def model(id, name, weights):
    ...     return Checkpoint(id, Path(id), "npz", {name: constant(name, weights)})
    >>> pair = [model("a", "w", np.eye(2)), model("b", "vit.w", np.ones((2, 2)))]
    >>> m = of_group(measured(pair), align(pair)[0])
    >>> m.names, m.gram.tolist()
    (('w',), [[[2.0, 2.0], [2.0, 4.0]]])
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            layers = json.loads(arrays["layers"].tobytes())
            gram, shared, overlap = (arrays[name] for name in ("gram", "shared", "overlap"))
    except (ValueError, OSError, KeyError, BadZipFile):
        return None
    stored = {
        tuple(zip(members, names, strict=True)): k for k, (members, names) in enumerate(layers)
    }
    own = [
        tuple((m, t.name) for m, t in zip(x.members, x.tensors, strict=True)) for x in group.layers
    ]
    found = [
        (layer, stored[key])
        for layer, key in zip(group.layers, own, strict=True)
        if key in stored
        and np.isfinite(gram[stored[key]][np.ix_(layer.members, layer.members)]).all()
    ]
    at = [k for _, k in found]
    return Measures(
        tuple(layer.name for layer, _ in found),
        tuple(layer.shape for layer, _ in found),
        np.array([layer.size for layer, _ in found], dtype=np.int64),
        gram[at],
        shared=shared[at] if len(shared) else shared,
        overlap=overlap[at] if len(overlap) else overlap,
    )
