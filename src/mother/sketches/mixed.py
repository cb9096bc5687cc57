"""Measures of models of which some were looked at more closely than the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mother.measures.stream import Measures


def mixed(
    coarse: Measures, fine: Measures, layers: Sequence[int], models: Sequence[int]
) -> Measures:
    """`coarse`, with what `fine` says of pairs among some of the models, in some of the layers.

    What a window happens to hold makes all distances in its layer too long or too short alike. So
    all that is left of the coarse ones is scaled by what the fine ones say of the same pairs, or a
    model would seem nearer to those that were looked at as it was.

    >>> def of(gram, seen):
    ...     shape = ("w",), ((9, 9),), np.array([81]), np.array([gram])
    ...     return Measures(*shape, sampled=np.array([seen]))
    >>> coarse = of([[9.0, 9.0, 9.0], [9.0, 10.0, 9.0], [9.0, 9.0, 13.0]], 9)
    >>> fine = of([[8.0, 8.0], [8.0, 10.0]], 36)
    >>> m = mixed(coarse, fine, [0], [0, 1])
    >>> m.squared_distance[0].tolist()
    [[0.0, 2.0, 8.0], [2.0, 0.0, 10.0], [8.0, 10.0, 0.0]]
    >>> (1 / m.chance[0]).round().tolist()
    [[36.0, 36.0, 9.0], [36.0, 36.0, 9.0], [9.0, 9.0, 9.0]]
    """
    gram, norms = coarse.gram.copy(), coarse.norms.copy()
    chance = np.broadcast_to(coarse.chance, gram.shape)
    seen = np.rint(1 / chance).astype(np.int64)
    own = np.broadcast_to(fine.chance, fine.gram.shape)
    overlap = coarse.overlap.copy()
    far, near = coarse.squared_distance, fine.squared_distance
    for k, layer in enumerate(layers):
        pairs = np.ix_(models, models)
        before, now = np.nansum(far[layer][pairs]), np.nansum(near[k])
        scale = now / before if before > 0 and now > 0 else 1.0
        for whole, part in ((gram, fine.gram), (norms, fine.norms)):
            whole[layer] *= scale
            whole[layer][pairs] = part[k]
        seen[layer][pairs] = np.rint(1 / own[k])
        if len(overlap):
            overlap[layer][pairs] = fine.overlap[k] if len(fine.overlap) else 1.0
    return replace(coarse, gram=gram, shared=norms, overlap=overlap, sampled=seen)
