"""A hub whose truth is known: families of models that grew by attachment, and their sketches.

Families. The largest holds a tenth of all models, the k-th 1/k of that (Zipf); models that are
left are strangers to all (STRANGERS of them) or families of two and three. Each family has an
architecture, some have the same.

Trees. A newcomer hangs from a model drawn at random or, with HUBS, from that one's parent
(redirection: Krapivsky and Redner 2001), which makes degrees heavy-tailed: hubs. MISSING of the
models that have children are taken away in the end: their children are siblings then.

Steps. Each is that of an edge of the families that were measured (steps.csv): its length relative
to the parent's norm, how it spreads over layers, what is frozen, what decay left of the parent, how
it goes on in the direction of the step before and how much it resembles its siblings. Kinds
(fine-tuned, continued, LoRA, ...) meet as they do in the split "mixed": the root's children are of
any, and what comes from them is of their kind. Families of the FAINT kind keep to themselves,
unless told otherwise: a child that moved a hundred times as far as its parent had come could be the
grandparent's as well, and a sketch of 4 KB can't tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.hub.steps import FIGURES, read_steps
from mother.sketches.samples import Samples

Indices = NDArray[np.intp]
Array = NDArray[np.float64]
LAYERS, SEEN = 8, 256  # layers of a sketch, weights seen of each: 8 KB a model
SHAPE = (1024, 1024)
LARGEST = 0.1
STRANGERS = 0.15
SMALLEST = 4  # of the families that Zipf's law tells the size of
HUBS = 0.75
ALIKE = 4  # siblings that resemble each other: as many as the measured families have
FAINT = "ft-light"
MISSING = 0.05
FAMILIES_OF_ONE_KIND = 50
HELD = 4096  # models drawn at once


@dataclass(frozen=True)
class Hub:
    """samples: of n models, all with the same layers. architecture, family: (n,), parents: (n,), -1
    where there is none among them."""

    samples: Samples
    architecture: Indices
    family: Indices
    parents: Indices


def family_sizes(n: int, rng: np.random.Generator) -> Indices:
    """How many models each family has, strangers' families of one last; sums to n.

    >>> sizes = family_sizes(1000, np.random.default_rng(0))
    >>> int(sizes.sum()), int(sizes.max()), sizes[:4].tolist()
    (1000, 100, [100, 50, 33, 25])
    """
    alone = int(STRANGERS * n)
    ranked = (LARGEST * n / np.arange(1, n)).astype(np.intp)
    ranked = ranked[ranked >= SMALLEST]
    ranked = ranked[np.cumsum(ranked) <= n - alone]
    left = n - alone - int(ranked.sum())
    small = rng.integers(2, 4, left)
    small = small[: int(np.searchsorted(np.cumsum(small), left, side="right"))]
    alone += left - int(small.sum())
    return np.concatenate([ranked, small, np.ones(alone, dtype=np.intp)])


def grown(n: int, rng: np.random.Generator) -> Indices:
    """The parents of n models in the order in which they came, -1 for the first."""
    drawn = (rng.random(n) * np.arange(n)).astype(np.intp).tolist()
    redirected = (rng.random(n) < HUBS).tolist()
    parents = [-1] * n
    for v in range(1, n):
        u = drawn[v]
        parents[v] = parents[u] if redirected[v] and u > 0 else u
    return np.array(parents, dtype=np.intp)


@dataclass(frozen=True)
class Steps:
    """Measured edges, (edges, FIGURES); those of a kind from `first` up to `last`, the faint kind
    last."""

    rows: Array
    first: Indices
    last: Indices

    @staticmethod
    def read() -> Steps:
        table = sorted(read_steps(), key=lambda row: (FAINT in row["split"], row["split"]))
        splits = [row["split"] for row in table]
        kinds = list(dict.fromkeys(splits))
        first = np.array([splits.index(kind) for kind in kinds], dtype=np.intp)
        many = np.array([splits.count(kind) for kind in kinds], dtype=np.intp)
        rows = np.array([[float(row[f]) for f in FIGURES] for row in table])
        return Steps(rows, first, first + many)

    def drawn(
        self, depth: Indices, parents: Indices, rng: np.random.Generator, *, mixed: bool = False
    ) -> Array:
        """One measured edge for each model, (n, FIGURES). mixed: faint ones meet others."""
        n, edges = len(parents), len(self.rows)
        low, high = 0, edges
        if not mixed:
            low, high = (self.first[-1], edges) if self._is_faint(rng) else (0, self.first[-1])
        kind = np.searchsorted(self.first, rng.integers(low, high, n), side="right") - 1
        for level in range(2, int(depth.max(initial=0)) + 1):
            here = np.flatnonzero(depth == level)
            kind[here] = kind[parents[here]]
        many = (self.last - self.first)[kind]
        return np.asarray(self.rows[self.first[kind] + (rng.random(n) * many).astype(np.intp)])

    def _is_faint(self, rng: np.random.Generator) -> bool:
        return bool(rng.integers(len(self.rows)) >= self.first[-1])


def depths(parents: Indices) -> Indices:
    """Edges up to the root; models come after their parents."""
    depth = [0] * len(parents)
    for v, p in enumerate(parents.tolist()):
        if p >= 0:
            depth[v] = depth[p] + 1
    return np.array(depth, dtype=np.intp)


def weights(parents: Indices, steps: Steps, *seed: int, mixed: bool = False) -> NDArray[np.float32]:
    """Sketches of one family, (n, LAYERS * SEEN)."""
    rng = np.random.default_rng(seed)
    n = len(parents)
    depth = depths(parents)
    step, frozen, spread, shrink, turn, alike = np.nan_to_num(
        steps.drawn(depth, parents, rng, mixed=mixed).T
    )
    turn[depth < 2] = 0  # there is no step before
    x = np.empty((n, LAYERS, SEEN), dtype=np.float32)
    moved = np.zeros_like(x)
    x[0] = rng.standard_normal((LAYERS, SEEN), dtype=np.float32)
    for level in range(1, int(depth.max(initial=0)) + 1):
        at_level = np.flatnonzero(depth == level)
        for here in np.array_split(at_level, -(-len(at_level) // HELD)):
            here = here[np.argsort(parents[here], kind="stable")]
            p, many = parents[here], len(here)
            way = rng.standard_normal((many, LAYERS, SEEN), dtype=np.float32)
            way = _mixed(way, _of_siblings(p, seed), np.sqrt(np.clip(alike[here], 0, 0.9)))
            way = _mixed(way, SEEN**0.5 * _unit(moved[p]), np.clip(turn[here], -0.9, 0.9))
            trained = _trained(frozen[here])
            length = trained * np.exp(spread[here, None] * rng.standard_normal((many, LAYERS)))
            length *= (step[here] / np.sqrt(np.square(length).mean(axis=1)))[:, None]
            length *= np.sqrt(np.square(x[p]).mean(axis=2))
            moved[here] = way * length.astype(np.float32)[..., None]
            left = (1 - shrink[here, None] * trained).astype(np.float32)
            x[here] = left[..., None] * x[p] + moved[here]
    return x.reshape(n, LAYERS * SEEN)


def _of_siblings(parents: Indices, seed: tuple[int, ...]) -> NDArray[np.float32]:
    """A direction that siblings share, ALIKE of them, (n, LAYERS, SEEN); parents ascend."""
    order = np.arange(len(parents)) - np.searchsorted(parents, parents)
    _, which = np.unique(parents * len(parents) + order // ALIKE, return_inverse=True)
    rng = np.random.default_rng((*seed, len(parents), int(parents[0])))
    drawn = rng.standard_normal((int(which.max()) + 1, LAYERS, SEEN), dtype=np.float32)
    return np.asarray(drawn[which])


def _mixed(a: NDArray[np.float32], b: NDArray[np.float32], cosine: Array) -> NDArray[np.float32]:
    """Of a's length, with this cosine to b where the two are orthogonal."""
    c = cosine.astype(np.float32)[:, None, None]
    return np.sqrt(1 - c * c) * a + c * b


def _unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt(np.square(x).sum(axis=2, keepdims=True))
    return x / np.where(length > 0, length, 1)


def _trained(frozen: Array) -> NDArray[np.bool_]:
    """Which layers are not frozen, (n, LAYERS), at least one; the same where as many are, as LoRA
    adapts layers by what they are called."""
    many = np.maximum(1, np.round((1 - frozen) * LAYERS))
    return np.asarray(np.arange(LAYERS) * 3 % LAYERS < many[:, None])


def draw(n: int, seed: int, folder: Path, *, mixed: bool = False) -> Hub:
    """A hub of n models in an order that tells nothing; its sketches lie in a file of `folder`."""
    rng = np.random.default_rng([seed, n])
    steps = Steps.read()
    sizes = family_sizes(n, rng)
    kinds = max(1, len(sizes) // FAMILIES_OF_ONE_KIND)
    likely = 1 / (np.arange(kinds) + 10.0)
    kind = rng.choice(kinds, len(sizes), p=likely / likely.sum())
    trees = [grown(int(size), rng) for size in sizes]
    left = [_left(parents, rng) for parents in trees]
    total = sum(int(kept.sum()) for kept in left)
    place = rng.permutation(total)
    rows = np.lib.format.open_memmap(
        folder / "sketches.npy", "w+", np.float32, (total, LAYERS * SEEN)
    )
    family, architecture = np.empty((2, total), dtype=np.intp)
    above = np.full(total, -1, dtype=np.intp)
    at = 0
    alone = 0
    for k, (parents, kept) in enumerate(zip(trees, left, strict=True)):
        if len(parents) == 1:
            alone += 1
            continue
        x = weights(parents, steps, seed, n, k, mixed=mixed)[kept]
        here = place[at : at + len(x)]
        rows[here] = x
        family[here], architecture[here] = k, kind[k]
        where = np.full(len(parents) + 1, -1, dtype=np.intp)
        where[:-1][kept] = here
        above[here] = where[parents[kept]]
        at += len(x)
    family[place[at:]] = np.arange(len(sizes) - alone, len(sizes))  # strangers come last
    architecture[place[at:]] = kind[len(sizes) - alone :]
    for start in range(at, total, HELD):
        here = place[start : start + HELD]
        rows[here] = rng.standard_normal((len(here), LAYERS * SEEN), dtype=np.float32)
    names = tuple(f"layer{k}" for k in range(LAYERS))
    columns = np.arange(LAYERS + 1) * SEEN
    return Hub(Samples(names, (SHAPE,) * LAYERS, columns, rows), architecture, family, above)


def _left(parents: Indices, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which models are there: MISSING of those that have children are not."""
    has = np.zeros(len(parents), dtype=bool)
    has[parents[parents >= 0]] = True
    return ~(has & (rng.random(len(parents)) < MISSING))
