"""Directional weight scores (paper, eq. 3 and sec. 6.3): one number a model, a sum over layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mother.measures import Measures

Array = NDArray[np.float64]


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Zero where a layer is constant: it says nothing about direction."""
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.where(denominator > 0, numerator / safe, 0.0)


def kurtosis(m: Measures) -> Array:
    """Eq. 3: sum over layers of E[(w - mean)^4] / E[(w - mean)^2]^2, (n,)."""
    size, second, fourth = m.sizes[:, None], m.moments[..., 1], m.moments[..., 3]
    return np.asarray(_ratio(fourth * size, second**2).sum(axis=0))


def skewness(m: Measures) -> Array:
    """Sum over layers of E[(w - mean)^3] / E[(w - mean)^2]^1.5, (n,)."""
    size, second, third = m.sizes[:, None], m.moments[..., 1], m.moments[..., 2]
    return np.asarray(_ratio(third * np.sqrt(size), np.maximum(second, 0) ** 1.5).sum(axis=0))


def variance(m: Measures) -> Array:
    """Sum over layers of E[(w - mean)^2], (n,)."""
    return np.asarray((m.moments[..., 1] / m.sizes[:, None]).sum(axis=0))


def mean(m: Measures) -> Array:
    """Sum over layers of E[w], (n,)."""
    return np.asarray(m.moments[..., 0].sum(axis=0))


def entropy(m: Measures) -> Array:
    """Sum over layers of -sum p log p over a histogram of bins common to the layer, (n,), nats."""
    counts = m.histogram.astype(np.float64)
    p = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=(0, 2)))


SCORES: dict[str, Callable[[Measures], Array]] = {
    "kurtosis": kurtosis,
    "mean": mean,
    "variance": variance,
    "skewness": skewness,
    "entropy": entropy,
}
