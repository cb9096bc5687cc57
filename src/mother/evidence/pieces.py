"""Merges in which chance or size decides, weight by weight, what is kept of whom: TIES (Yadav and
others 2023), DARE (Yu and others 2024) and their kin.

Each weight of such a model t is that of a start o, or o plus a multiple of one parent's step, or of
a few together, and the multiples are the same for all weights of a kind:

    t - o = sum over S of c_s (s - o),        S another set of parents from weight to weight.

No training does that. The multiples of a set are found by solving for a few weights drawn at random
and counting the others that agree (RANSAC; Fischler and Bolles 1981), up to what rounding leaves.
What shuffled weights agree in is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Group
from mother.measures import is_matrix
from mother.thresholds import MOST, NEARLY_ALL, PRECISE, ROUNDED_AGAIN, SLIGHT

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
PIECED_MATRICES = 6  # matrices that are looked at
WINDOWS, WINDOW_WIDTH = 4, 512  # that are read of each, and weights of one
STARTS_TRIED = 4  # models tried as the start
STEPS_TRIED = 5  # models tried as parents
SETS = 3  # parents whose steps one weight holds together, at most
DRAWS = 32  # of weights that multiples are solved for, for each of them
PIECE = 0.02  # of the weights, that agree in a set's multiples at least
BY_CHANCE = 4.0  # times what agrees among shuffled weights, likewise
PLAIN_STEP = 8.0  # times what rounding leaves, that a step which tells is at least
TELLING_WEIGHTS = 256  # weights that tell
GLANCE_OF_MATRIX = 128  # of a matrix, that tell which models have some as they are
HALF_A_STEP = 2.5  # times the error of rounding, that it moves a weight by at most
FROM_START = 0.002  # of the weights, that a model has from its start at least


@dataclass(frozen=True)
class Piece:
    """The weights that are the start plus multiples of some models' steps; none of these where they
    are the start's alone. share: of all weights, a mean over matrices."""

    parents: tuple[int, ...]
    multiples: tuple[float, ...]
    share: float


@dataclass(frozen=True)
class Pieces:
    """A model as pieces of others.

    parents: those whose steps it holds, the start among them where a part is its own. left: share
    of the weights that nothing explains. negative: the mean over weights of multiples below 0: what
    was made holds steps, its parents are what is left when others' are taken away. start: what the
    steps are from. pieces: those of PIECE of the weights or more, the largest first.
    """

    child: int
    parents: tuple[int, ...]
    left: float
    negative: float
    start: int
    pieces: tuple[Piece, ...] = ()


def sampled(group: Group) -> list[Array]:
    """Some weights of each model, (n, W) of some matrices that all have."""
    n = len(group.checkpoints)
    whole = [x for x in group.layers if len(x.members) == n and is_matrix(x.shape)]
    large = [x for x in whole if x.tensors[0].size >= WINDOWS * WINDOW_WIDTH] or whole
    found = []
    chosen = np.unique(np.linspace(0, len(large) - 1, PIECED_MATRICES).astype(int)).tolist()
    for k in chosen if large else ():
        tensors = large[k].tensors
        last = max(tensors[0].size - WINDOW_WIDTH, 0)
        starts = np.unique(np.linspace(0, last, WINDOWS).astype(int)).tolist()
        rows = [np.concatenate([t.read(at, at + WINDOW_WIDTH) for at in starts]) for t in tensors]
        found.append(np.stack([row.astype(np.float64) for row in rows]))
    return found


def glances(layers: Sequence[Array]) -> list[Array]:
    """Fewer of these weights, (n, W)."""
    return [np.ascontiguousarray(w[:, :: max(1, w.shape[1] // GLANCE_OF_MATRIX)]) for w in layers]


def alike(layers: Sequence[Array], error: Array, t: int, among: Sequence[int]) -> list[int]:
    """Those of some models that have some of t's weights as they are, but not whole matrices, those
    that have most of them first. layers: glances.

    >>> o, a, b = np.random.default_rng(0).standard_normal((3, 400))
    >>> w = [np.stack([o, a, b, np.where(a > 1, a, o)])]
    >>> alike(w, np.full(4, 1e-7), 3, [0, 1, 2])
    [0, 1]
    """
    others = np.array([k for k in among if k != t], dtype=np.intp)
    many = np.zeros(len(others))
    for w in layers:
        part, own = w[others], w[t]
        slack = ROUNDED_AGAIN * (error[others, None] * np.abs(part) + error[t] * np.abs(own))
        same = (np.abs(part - own) <= slack).mean(axis=1)
        many += np.where(same > 1 - PIECE, 0.0, same)
    order = np.argsort(-many, kind="stable")[:STARTS_TRIED].tolist()
    return [int(others[k]) for k in order if many[k] > FROM_START * len(layers)]


def left_alone(layers: Sequence[Array], error: Array, t: int, o: int) -> bool:
    """Whether a part of t's weights are o's as they are, but for rounding, and the others are not,
    in most matrices: steps have no density at 0 that they don't have beside it.

    >>> rng = np.random.default_rng(0)
    >>> o, step = rng.standard_normal((2, 4000))
    >>> w = [np.stack([o, o + step / 9, o + (step > 0) * step / 9])]
    >>> [left_alone(w, np.full(3, 1e-3), t, 0) for t in (1, 2)]
    [False, True]
    """
    found = 0
    for w in layers:
        rounded = HALF_A_STEP * (error[t] + error[o]) * np.abs(w[o])
        far = np.abs(w[t] - w[o])
        same = float((far <= rounded).mean())
        beside = float((far <= 3 * rounded).mean() - same) / 2
        moved = 1 - same - 2 * beside  # beyond what a narrow step reaches
        alone = same > max(beside + SLIGHT, BY_CHANCE * beside)
        found += alone and moved > max(SLIGHT, MOST * (1 - same))
    return 2 * found > len(layers)


def pieced(layers: Sequence[Array], error: Array, t: int, near: Sequence[int]) -> Pieces | None:
    """Model t as pieces of those `near`; None where it is none.

    Args:
        layers: (n, W) weights of all models, of some matrices.
        error: (n,) relative error of rounding of each.

    >>> rng = np.random.default_rng(0)
    >>> o, a, b = rng.standard_normal((3, 4000)) * [[1], [0.1], [0.1]]
    >>> keep, other = rng.random((2, 4000)) < 0.5
    >>> dare = o + 0.7 * keep * a + 0.7 * other * b
    >>> w = [np.stack([o, o + a, o + b, dare, o + 0.7 * a])]
    >>> found = pieced(w, np.full(5, 1e-7), 3, [1, 2, 0, 4])
    >>> found.parents, found.left < 0.01
    ((0, 1, 2), True)
    >>> pieced(w, np.full(5, 1e-7), 4, [0, 2]) is None
    True
    """
    near = [s for s in near if error[s] <= PRECISE]
    if error[t] > PRECISE or len(near) < 2:
        return None
    some = [t, *near]
    found = _of_first([w[some] for w in layers], error[some])
    if found is None:
        return None
    parents = tuple(sorted(some[p] for p in found.parents))
    pieces = tuple(replace(x, parents=tuple(some[p] for p in x.parents)) for x in found.pieces)
    return replace(found, child=t, parents=parents, start=some[found.start], pieces=pieces)


def _of_first(layers: Sequence[Array], error: Array) -> Pieces | None:
    """The same of the first of some models, as pieces of the others."""
    t, near = 0, range(1, len(error))
    off = [error[:, None] * np.abs(w) for w in layers]
    same = {
        o: [
            np.abs(w[t] - w[o]) <= ROUNDED_AGAIN * (e[t] + e[o])
            for w, e in zip(layers, off, strict=True)
        ]
        for o in near
    }
    share = {o: float(np.mean([mask.mean() for mask in masks])) for o, masks in same.items()}
    starts = list[int]()
    for o in sorted(near, key=lambda o: -share[o]):
        new = all(np.mean([(w[o] == w[p]).all() for w in layers]) < MOST for p in starts)
        if new and FROM_START <= share[o] <= 1 - FROM_START:
            starts.append(o)
    best = None
    for o in starts[:STARTS_TRIED]:
        found = _pieces(layers, off, t, o, [s for s in near if s != o][:STEPS_TRIED], same[o])
        if found is not None and (best is None or found.left < best.left):
            best = found
            if best.left < SLIGHT:
                break
    return best


def _pieces(
    layers: Sequence[Array],
    off: Sequence[Array],
    t: int,
    o: int,
    others: list[int],
    same: Sequence[Mask],
) -> Pieces | None:
    held, left, negative, many = np.zeros(1 + len(others)), 0.0, 0.0, 0
    plain, pieces = True, list[Piece]()
    every = [
        [np.abs(w[t] - w[s]) <= ROUNDED_AGAIN * (e[t] + e[s]) for s in others]
        for w, e in zip(layers, off, strict=True)
    ]
    told = [  # but those that were taken whole, or left alone
        k for k, x in enumerate(every) if max(float(y.mean()) for y in (same[k], *x)) <= 1 - PIECE
    ]
    if any(same[k].mean() < FROM_START / 4 for k in told):  # they were trained
        return None
    for k in told:
        w, mask = layers[k], same[k]
        unlike = [i for i, s in enumerate(others) if not _among(w[s], w[[o, *others[:i]]])]
        part = _part(w, off[k], t, o, [others[i] for i in unlike], mask)
        if part is None or not part.held.any():
            return None
        if part.plain and any(_left_alone(mask, every[k][i]) for i in unlike):
            return None
        plain &= part.plain
        held[[0, *(1 + i for i in unlike)]] += part.held
        left, many = left + part.left, many + 1
        negative += part.negative
        pieces += part.pieces
    if not many:
        return None
    parents = [x for x, much in zip([o, *others], held, strict=True) if much >= PIECE * many]
    # a start that is not there leaves what is none of its parents'
    if len(parents) < 2 or left > (1 - (MOST if plain else NEARLY_ALL)) * many:
        return None
    return Pieces(
        t, tuple(sorted(parents)), left / many, negative / many, o, _over_all(pieces, many)
    )


def _among(weights: Array, others: Array) -> bool:
    """Whether a model holds the same of a matrix as one of some others."""
    return bool((others == weights).all(axis=1).any())


def _over_all(pieces: Sequence[Piece], many: int) -> tuple[Piece, ...]:
    """Those of so many matrices as pieces of the whole, by whose steps they hold."""
    of: dict[tuple[int, ...], list[Piece]] = {}
    for piece in pieces:
        of.setdefault(piece.parents, []).append(piece)
    found = (
        Piece(
            parents,
            tuple(np.median([x.multiples for x in some], axis=0).tolist()),
            sum(x.share for x in some) / many,
        )
        for parents, some in of.items()
    )
    kept = (x for x in found if x.share >= PIECE)
    return tuple(sorted(kept, key=lambda x: (-x.share, x.parents)))


def _left_alone(one: Mask, other: Mask) -> bool:
    """Whether two models are as a third one in parts that have nothing to do with each other: what
    a training left alone of their parent. Parts that were put together leave each other out."""
    return bool(min(one.mean(), other.mean()) >= PIECE) and bool(
        (one & other).mean() > 0.5 * one.mean() * other.mean()
    )


@dataclass(frozen=True)
class _Part:
    """held: (1 + k,) shares of the weights that are the start's alone, and that hold a step of each
    of the others. plain: whether each of these is as it is in one of them."""

    held: Array
    left: float
    negative: float
    plain: bool
    pieces: tuple[Piece, ...]


def _part(w: Array, off: Array, t: int, o: int, others: list[int], same: Mask) -> _Part | None:
    step, left = w[t] - w[o], ~same
    held, apart = np.zeros(1 + len(others)), np.zeros(len(step), dtype=bool)
    moved = np.rint(step[left] / np.maximum(off[t] + off[o], 1e-300)[left])
    if len(np.unique(np.abs(moved))) < MOST * len(moved):  # as in coarse formats
        return None
    negative, plain, pieces = 0.0, True, [Piece((), (), float(same.mean()))]
    rng = np.random.default_rng(0)
    for many in range(1, SETS + 1):
        for chosen in combinations(range(len(others)), many):
            if left.mean() < SLIGHT / 2:
                break
            s = [others[k] for k in chosen]
            error = 2 * (off[t] + off[o] + off[s].sum(axis=0))
            found = _agreeing(step, w[s] - w[o], error, left, rng)
            if found is not None:
                agree, multiples = found
                beside = [q for q in others if q not in s]
                if many == 1 and _on_one_line(
                    *(w[x][..., agree] - w[o, agree] for x in (s[0], beside))
                ):
                    return None
                plain &= len(s) == 1 and bool(abs(multiples[0] - 1) < 1e-3)
                negative -= float(np.minimum(multiples, 0).sum() * agree.mean())
                left &= ~agree
                pieces.append(Piece(tuple(s), tuple(multiples.tolist()), float(agree.mean())))
                held[[1 + k for k in chosen]] += agree.mean()
                apart |= (np.abs(w[s] - w[o]) > PLAIN_STEP * error).all(axis=0)
    held[0] = (same & apart).mean()
    return _Part(held, float(left.mean()), negative, plain, tuple(pieces))


def _on_one_line(step: Array, steps: Array) -> bool:
    """Whether weights that hold the same multiple of a step, (W,), do so in all relatives, whose
    steps are (k, W), and not all as they were before or after it: where gradients have vanished,
    momentum takes all weights of a run on by the same multiples."""
    multiples = steps / np.where(step == 0, np.nan, step)
    middle = np.nanmedian(multiples, axis=1, keepdims=True)
    together = np.abs(multiples - middle) <= PIECE * np.maximum(np.abs(middle), 1)
    between = np.abs(middle - np.rint(middle)) > PIECE
    return bool((together.mean(axis=1) > MOST).all() and between.any())


def _agreeing(
    step: Array, steps: Array, error: Array, left: Mask, rng: np.random.Generator
) -> tuple[Mask, Array] | None:
    """The weights, of those left, that are the same multiples of these steps, and the multiples,
    (k,); None if they are too few."""
    tells = np.flatnonzero(left & (np.abs(steps) > PLAIN_STEP * error).all(axis=0))
    if len(tells) < max(TELLING_WEIGHTS, PIECE * len(step)):
        return None
    drawn = rng.choice(tells, (DRAWS * len(steps), len(steps)))
    square = steps[:, drawn].transpose(1, 2, 0)  # (draws, weight, parent)
    told = np.abs(np.linalg.det(square)) > 1e-12 * np.abs(square).max(axis=(1, 2)) ** len(steps)
    if not told.any():
        return None
    tried = np.linalg.solve(square[told], step[drawn[told]][..., None])[..., 0]
    tried = tried[(np.abs(tried) > PIECE).all(axis=1) & (np.abs(tried) < 1 / PIECE).all(axis=1)]
    if not len(tried):
        return None
    shuffled = rng.permutation(step[tells])
    among, slack = steps[:, tells], error[tells] * (1 + np.abs(tried).sum(axis=1))[:, None]
    agree = np.abs(step[tells] - tried @ among) <= slack
    best = int(agree.sum(axis=1).argmax())
    chance = int((np.abs(shuffled - tried @ among) <= slack).sum(axis=1).max())
    if agree[best].sum() < max(PIECE * len(step), BY_CHANCE * chance):
        return None
    within = error * (1 + np.abs(tried[best]).sum())
    return left & (np.abs(step - tried[best] @ steps) <= within), tried[best]
