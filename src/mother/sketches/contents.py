"""What a layer holds as one number, so that models with equal layers are found by looking it up."""

from __future__ import annotations

import hashlib

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.sketches.sketch import telling
from mother.sketches.windows import LONE_COLUMNS

HASHED = LONE_COLUMNS  # weights of a window: those that it has in any budget and number type


def contents(sketched: Checkpoint) -> dict[str, int]:
    """A hash of each layer that tells of kinship, by name, a signed 64-bit number: BLAKE2b of the
    layer's shape and the first weights of its window.

    Equal weights have equal hashes, as float16 or float64, in a sketch of any budget of one seed,
    with any prefix of names; -0 is 0. Layers whose first weights are all equal tell nothing and
    have no hash, nor have those where some are not finite. A layer of which a step changed but
    other rows has the hash that it had: hashes find models, and don't compare them.

    Of two layers with other names the same weights are looked at in other places, so the name need
    not be hashed. Of layers smaller than HASHED, and where a budget leaves fewer weights of each,
    what there is is hashed.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> from mother.sketches.sketch import sketch
    >>> w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float16)
    >>> def of(**layers):
    ...     tensors = {name: constant(name, x) for name, x in layers.items()}
    ...     return contents(sketch(Checkpoint("a", Path("a"), "npz", tensors), 1024))
    >>> of(v=w, w=w + 1) == of(v=w.astype(np.float32), w=w + 1)
    True
    >>> of(v=w, w=w - w)
    {'v': -5724909333387675201}
    """
    tensors = {name: sketched.tensors[name] for name in telling(sketched)}
    hashes = {name: _hash(tensor) for name, tensor in tensors.items()}
    return {name: found for name, found in hashes.items() if found is not None}


def _hash(tensor: Tensor) -> int | None:
    with np.errstate(all="ignore"):
        values = tensor.kept.read(0, HASHED).astype(np.float64) + 0.0  # -0 + 0 is 0
    if not np.isfinite(values).all() or (values == values[0]).all():
        return None
    held = repr(tensor.shape).encode() + values.astype("<f8").tobytes()
    return int.from_bytes(hashlib.blake2b(held, digest_size=8).digest(), "little", signed=True)
