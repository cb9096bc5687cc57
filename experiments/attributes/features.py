"""What weights show of a model and of the step that made it, as figures to learn from.

Of a model: moments and spectra of its layers, averaged. Of a step: how long it is, which layers
moved, moments, spectra and ranks of the difference, and how it lies to what was there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Weights = Mapping[str, Array]
FULL = 1e-4  # singular values smaller than this share of the largest are none
WHOLE = 32  # of a matrix, rows and columns of which the spectrum is told at most
LEAST = 1e-12

OF_MODEL = ("size", "layers", "spread", "kurtosis", "top", "flatness")
OF_STEP = (
    "length",  # logarithm of |d| / |p|
    "kept layers",  # share of layers that did not move
    "kept weights",  # the same of weights
    "kept first",
    "kept last",
    "last",  # logarithm of how much further the last matrix moved than the middle one
    "unevenness",  # spread of the logarithms of |d| / |p| over layers
    "vectors",  # how much further vectors moved than matrices
    "rank",  # logarithm of the middle rank of matrices that moved, 1 more
    "low rank",  # the same as a share of the largest that it could have
    "top",  # share of the squared length that the largest singular value has
    "flatness",  # participation ratio of squared singular values, a share
    "kurtosis",
    "peak",  # logarithm of the largest difference over the middle one
    "evenness",  # logarithm of mean over root of mean square
    "along",  # cosine to what was there: decay
    "drawn",  # shrinkage, -<d, p> / <p, p>
    "polarity",
)


def of_model(weights: Weights) -> Array:
    """(OF_MODEL,) of a model. weights: by layer."""
    matrices = [w for w in weights.values() if w.ndim > 1 and w.size > 1]
    spectra = [_spectrum(w) for w in matrices]
    size = sum(w.size for w in weights.values())
    return np.array(
        [
            np.log(size),
            np.log(len(weights)),
            _mean([np.log(w.std() + LEAST) for w in matrices]),
            _mean([_kurtosis(w) for w in matrices]),
            _mean([s[0] for s in spectra]),
            _mean([_flatness(s) for s in spectra]),
        ]
    )


def of_step(parent: Weights, child: Weights) -> Array:
    """(OF_STEP,) of a step, over the layers that both have in one shape."""
    names = [n for n in parent if n in child and parent[n].shape == child[n].shape]
    before, after = ([w[n] for n in names] for w in (parent, child))
    steps = [b - a for a, b in zip(before, after, strict=True)]
    if not steps:
        return np.zeros(len(OF_STEP))
    p, d = (np.concatenate([x.ravel() for x in some]) for some in (before, steps))
    moved = np.array([bool(x.any()) for x in steps])
    far = np.array([_size(x) / (_size(a) + LEAST) for x, a in zip(steps, before, strict=True)])
    wide = np.array([a.ndim > 1 for a in before])
    logs = np.log(far + LEAST)
    matrices = [x for x, m, w in zip(steps, moved, wide, strict=True) if m and w]
    spectra = [_spectrum(x) for x in matrices]
    ranks = [int((s > FULL**2 * s[0]).sum()) for s in spectra]
    parts = [rank / len(s) for rank, s in zip(ranks, spectra, strict=True)]
    some = np.abs(d[d != 0])
    middle = float(np.median(logs[moved])) if moved.any() else np.log(LEAST)
    along = float(d @ p)
    last = np.flatnonzero(wide)[-1:]
    return np.array(
        [
            np.log(_size(d) / (_size(p) + LEAST) + LEAST),
            1 - moved.mean(),
            1 - len(some) / len(d),
            float(not moved[: max(len(moved) // 4, 1)].any()),
            float(not moved[-max(len(moved) // 4, 1) :].any()),
            float(logs[last[0]] - middle) if len(last) and moved[last[0]] else 0.0,
            float(logs[moved].std()) if moved.any() else 0.0,
            float(np.median(logs[moved & ~wide]) - np.median(logs[moved & wide]))
            if (moved & ~wide).any() and (moved & wide).any()
            else 0.0,
            np.log1p(np.median(ranks)) if ranks else 0.0,
            float(np.median(parts)) if parts else 0.0,
            _mean([s[0] for s in spectra]),
            _mean([_flatness(s) for s in spectra]),
            _mean([_kurtosis(x) for x in matrices]),
            float(np.log(some.max() / np.median(some))) if len(some) else 0.0,
            float(np.log(some.mean() / np.sqrt((some**2).mean()))) if len(some) else 0.0,
            along / (_size(d) * _size(p) + LEAST),
            float(np.arcsinh(-along / (p @ p + LEAST) * 100)),
            float(np.arcsinh(-along / (d @ d + LEAST))),
        ]
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _size(x: Array) -> float:
    return float(np.linalg.norm(x))


def _kurtosis(x: Array) -> float:
    own = x[x != 0] if x.any() else x
    off = own - own.mean()
    return float(np.log((off**4).mean() / (off.var() ** 2 + LEAST) + LEAST))


def _spectrum(x: Array) -> Array:
    """Squared singular values, the largest first, as shares of their sum."""
    flat = x.reshape(len(x), -1)
    if min(flat.shape) > WHOLE:
        flat = flat[:WHOLE] if flat.shape[0] <= flat.shape[1] else flat[:, :WHOLE]
    squares = np.linalg.svd(flat, compute_uv=False) ** 2
    return np.asarray(squares / (squares.sum() + LEAST**2))


def _flatness(shares: Array) -> float:
    return float(1 / ((shares**2).sum() * len(shares) + LEAST))
