"""A few numbers by which near sketches are found among many."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.sketches.sketch import telling
from mother.sketches.windows import alike, number

SIGNATURE = 64  # numbers in a signature
_CORNER = (8, 32)  # of a window, that it is made of


def signature(sketched: Checkpoint) -> NDArray[np.float32]:
    """SIGNATURE numbers, near each other where two models' weights are: a random projection of a
    corner of each window, each of norm 1, so that a scan over many models finds the nearest. What
    is not finite is taken for 0.

    As windows, it does not depend on prefixes of names; a layer that only one model has adds noise.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> from mother.sketches.sketch import sketch
    >>> rng = np.random.default_rng(0)
    >>> w = rng.normal(size=(2, 64, 64)).astype(np.float32)
    >>> def of(x):
    ...     whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", x)})
    ...     return signature(sketch(whole, 4096))
    >>> a, near, far = of(w[0]), of(w[0] + w[1] / 100), of(w[1])
    >>> bool(np.linalg.norm(near - a) < np.linalg.norm(far - a) / 20)
    True
    """
    out = np.zeros(SIGNATURE)
    layers = telling(sketched)
    for key, name in alike(sketched.tensors, layers):
        kept = sketched.tensors[name].kept
        sides = tuple(map(min, kept.shape, _CORNER))
        corner = kept.read().reshape(kept.shape)[: sides[0], : sides[1]]
        with np.errstate(all="ignore"):
            values = np.nan_to_num(corner.astype(np.float64), posinf=0.0, neginf=0.0)
            norm = float(np.sqrt(np.square(values).sum()))
        if norm > 0 and math.isfinite(norm):
            signs = _projection(number(*key, sketched.tensors[name].shape))
            out += np.tensordot(signs[:, : sides[0], : sides[1]], values / norm, 2)
    return np.asarray(out / math.sqrt(SIGNATURE * max(1, len(layers))), dtype=np.float32)


@lru_cache(maxsize=4096)
def _projection(seed: int) -> NDArray[np.int8]:
    bits = np.random.default_rng(seed).integers(0, 2, (SIGNATURE, *_CORNER), dtype=np.int8)
    return np.asarray(2 * bits - 1, dtype=np.int8)
