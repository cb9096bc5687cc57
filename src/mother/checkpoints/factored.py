"""What each kind of adapter writes to a module's matrix and reads from it, from the parts that it
is stored in.

W + P of LoRA (Hu and others 2021), LoHa (Hyeon-Woo and others 2022), LoKr (Yeh and others 2024) and
VeRA (Kopiczko and others 2024), or W R of OFT (Qiu and others 2023), BOFT (Liu and others 2024) and
HRA (Yuan and others 2024): P writes along its columns and reads along its rows; R - 1 reads and
writes what W reads. Of what is wide a sketch is enough, for only norms are asked of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints.tensor import Tensor

Array = NDArray[np.float64]
#: a part of a module's adapter by its name, such as "w1_b"; None where there is none
Parts = Callable[[str], Tensor | None]
LARGEST = 1 << 26  # weights of what an adapter writes
THIN = 64  # columns of a sketch


@dataclass(frozen=True)
class Factor:
    """rows: as many as the module's matrix has, or columns. read: (rows, r) weights."""

    rows: int
    read: Callable[[], Array]


def stored(tensor: Tensor) -> list[Factor]:
    """A factor as it is stored, by both of its sides: one of them is that of the rank."""
    if not tensor.is_weight or len(tensor.shape) < 2 or not 0 < tensor.size <= LARGEST:
        return []
    return _sides(tensor.shape[0], tensor.shape[1], lambda: _values(tensor))


def hadamard(part: Parts, name: str) -> list[Factor]:
    """(w1_a @ w1_b) * (w2_a @ w2_b)."""
    w1, w2 = _product(part, "w1"), _product(part, "w2")
    if w1 is None or w2 is None or w1.shape != w2.shape or math.prod(w1.shape) > LARGEST:
        return []
    return _sides(*w1.shape, lambda: w1.read() * w2.read())


def kronecker(part: Parts, name: str) -> list[Factor]:
    """w1 (x) w2, each whole or a product."""
    w1, w2 = _product(part, "w1"), _product(part, "w2")
    if w1 is None or w2 is None or math.prod(w1.shape) * math.prod(w2.shape) > LARGEST:
        return []
    rows, columns = (a * b for a, b in zip(w1.shape, w2.shape, strict=True))
    return _sides(rows, columns, lambda: np.kron(w1.read(), w2.read()).astype(np.float64))


def shared(part: Parts, name: str) -> list[Factor]:
    """diag(b) B diag(d) A, of which all modules have the first rows of B and columns of A in
    common."""
    b, d, left, right = (part(x) for x in ("lambda_b", "lambda_d", "B", "A"))
    if b is None or d is None or left is None or right is None:
        return []
    fits = len(left.shape) == len(right.shape) == 2 and b.size <= left.shape[0]
    if not fits or not left.shape[1] == d.size == right.shape[0] or left.size > LARGEST:
        return []

    def written() -> Array:
        return _values(b).reshape(-1, 1) * _values(left)[: b.size] * _values(d).reshape(1, -1)

    return [Factor(b.size, written)]


def turned(part: Parts, name: str) -> list[Factor]:
    """Blocks of s columns, each turned by a skew matrix: (blocks, s (s - 1) / 2) entries above the
    diagonal, or (..., blocks, s, s) of which it is the skew part, the first of several turns."""
    tensor = part(name)
    if tensor is None or len(tensor.shape) < 2:
        return []
    whole = len(tensor.shape) > 2 and tensor.shape[-1] == tensor.shape[-2]
    blocks = tensor.shape[-3] if whole else tensor.shape[0]
    held = tensor.size // tensor.shape[0]
    side = tensor.shape[-1] if whole else (1 + math.isqrt(1 + 8 * held)) // 2
    if side < 2 or not (whole or side * (side - 1) // 2 == held) or (blocks * side) ** 2 > LARGEST:
        return []

    def read() -> Array:
        values = _values(tensor).reshape(-1, *((side, side) if whole else (held,)))[:blocks]
        skew = values if whole else np.zeros((blocks, side, side))
        if not whole:
            skew[:, *np.triu_indices(side, 1)] = values
        out = np.zeros((blocks, side, blocks, side))
        each = np.arange(blocks)
        out[each, :, each] = skew - skew.swapaxes(1, 2)
        return out.reshape(blocks * side, blocks * side)

    return [Factor(blocks * side, lambda: _thin(read()))]


def reflected(part: Parts, name: str) -> list[Factor]:
    """R - 1, R the product of reflections at the columns of u, (columns, r)."""
    u = part(name)
    if u is None or len(u.shape) != 2 or u.size > LARGEST:
        return []

    def read() -> Array:
        start = _directions(u.shape[0])
        found = start.copy()
        for v in _values(u).T[::-1]:
            found -= 2 * np.outer(v, v @ found) / max(float(v @ v), np.finfo(np.float64).tiny)
        return found - start

    return [Factor(u.shape[0], read)]


@dataclass(frozen=True)
class _Product:
    """A matrix as it is stored, or in two factors."""

    shape: tuple[int, int]
    read: Callable[[], Array]


def _product(part: Parts, name: str) -> _Product | None:
    if (whole := part(name)) is not None and len(whole.shape) > 1:
        shape = whole.shape[0], whole.size // whole.shape[0]
        return _Product(shape, lambda: _values(whole).reshape(shape))
    a, b = part(f"{name}_a"), part(f"{name}_b")
    if a is None or b is None or not len(a.shape) == len(b.shape) == 2:
        return None
    if a.shape[1] != b.shape[0]:
        return None
    return _Product((a.shape[0], b.shape[1]), lambda: _values(a) @ _values(b))


def _sides(rows: int, columns: int, read: Callable[[], Array]) -> list[Factor]:
    """What is written and what is read by a matrix, or by (rows, columns, ...) weights."""

    def side(axis: int) -> Array:
        values = np.moveaxis(read(), axis, 0)
        return _thin(values.reshape(len(values), -1))

    return [Factor(rows, lambda: side(0)), Factor(columns, lambda: side(1))]


def _values(tensor: Tensor) -> Array:
    return tensor.read().astype(np.float64).reshape(tensor.shape)


def _thin(values: Array) -> Array:
    return values if values.shape[1] <= THIN else values @ _directions(values.shape[1])


def _directions(rows: int) -> Array:
    return np.random.default_rng(0).standard_normal((rows, THIN)) / math.sqrt(THIN)
