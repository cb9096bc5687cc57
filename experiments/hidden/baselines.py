"""The statistics of four papers for the small decoder, not checked against their authors' code.

CSU and MATCH: Zhu et al. 2025, Independence Tests for Language Models (arXiv 2502.12292).
HuRef: Zeng et al. 2024 (arXiv 2312.04828). AWM: Zeng et al. 2025 (arXiv 2510.06738).
All are larger, the surer that two models are kin.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2, spearmanr

from experiments.hidden.nets import (
    BLOCKS,
    GROUPS,
    HEAD,
    HEADS,
    LETTERS,
    Weights,
    hidden_inputs,
)

Array = NDArray[np.floating]
TOKENS = 64  # inputs of MATCH, rows of HuRef


def _match(a: Array, b: Array) -> NDArray[np.intp]:
    """Rows of b for rows of a, by the largest sum of cosines."""
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return np.asarray(linear_sum_assignment(one @ two.T, maximize=True)[1])


def _fisher(p: list[float]) -> float:
    """-log10 of the combined p, by Fisher."""
    return float(-chi2.logsf(-2 * np.log(np.maximum(p, 1e-300)).sum(), 2 * len(p)) / np.log(10))


def _rank(one: Array, two: Array) -> float:
    return float(spearmanr(one, two, alternative="greater").pvalue)


def csu(a: Weights, b: Weights) -> float:
    """Units of the up-projections matched by weights, against the order that they have."""
    ups = [(a[f"layers.{k}.up.weight"], b[f"layers.{k}.up.weight"]) for k in range(BLOCKS)]
    return _fisher([_rank(_match(*up), np.arange(len(up[0]))) for up in ups])


def match(a: Weights, b: Weights) -> float:
    """Units matched by what their gates, and by what their up-projections make of the same letters;
    the two orders against each other."""
    letters = torch.randint(0, LETTERS, (4, 32), generator=torch.Generator().manual_seed(0))
    inputs = [hidden_inputs({n: torch.as_tensor(v) for n, v in x.items()}, letters) for x in (a, b)]
    found = []
    for k in range(BLOCKS):
        orders = []
        for part in ("gate", "up"):
            made = [
                w[f"layers.{k}.{part}.weight"] @ x[k].T for w, x in zip((a, b), inputs, strict=True)
            ]
            orders.append(_match(*made))
        found.append(_rank(*orders))
    return _fisher(found)


def huref(a: Weights, b: Weights) -> float:
    """Cosine of the invariants X Wq' Wk X', X Wv' Wo' X' and X W1' W2' X' of embedding rows X."""
    one, two = (_invariants(w) for w in (a, b))
    return float(one @ two / (np.linalg.norm(one) * np.linalg.norm(two)))


def _invariants(w: Weights) -> Array:
    x = w["embed.weight"][:TOKENS]
    out = []
    for k in range(BLOCKS):
        q, key, v, o, up, down = (
            w[f"layers.{k}.{n}.weight"] for n in ("q", "k", "v", "o", "up", "down")
        )
        key, v = (
            t.reshape(GROUPS, HEAD, -1).repeat(HEADS // GROUPS, 0).reshape(len(q), -1)
            for t in (key, v)
        )
        for middle in (q.T @ key, v.T @ o.T, up.T @ down.T):
            found = (x @ middle @ x.T).ravel()
            out.append(found / np.linalg.norm(found))
    return np.concatenate(out)


def awm(a: Weights, b: Weights) -> float:
    """Unbiased CKA of queries and keys, their inputs permuted and flipped as the embeddings are."""
    cosine = _cosines(a["embed.weight"].T, b["embed.weight"].T)
    rows, order = linear_sum_assignment(np.abs(cosine), maximize=True)
    sign = np.sign(cosine[rows, order])
    found = []
    for k in range(BLOCKS):
        for part in ("q", "k"):
            name = f"layers.{k}.{part}.weight"
            found.append(abs(_unbiased(a[name].T, (b[name][:, order] * sign).T)))
    return float(np.mean(found))


def _cosines(a: Array, b: Array) -> Array:
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return one @ two.T


def _unbiased(a: Array, b: Array) -> float:
    return _hsic(a, b) / np.sqrt(abs(_hsic(a, a) * _hsic(b, b)))


def _hsic(a: Array, b: Array) -> float:
    """Song et al. 2012, of linear kernels over rows."""
    k, m = (x @ x.T for x in (a, b))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    n = len(k)
    whole = k.sum() * m.sum() / ((n - 1) * (n - 2))
    cross = k.sum(axis=0) @ m.sum(axis=0) * 2 / (n - 2)
    return float(((k * m).sum() + whole - cross) / (n * (n - 3)))


BASELINES: dict[str, Callable[[Weights, Weights], float]] = {
    "CSU": csu,
    "MATCH": match,
    "HuRef": huref,
    "AWM": awm,
}
