"""The layers of a large family drawn with replacement: what is known of its pairs by layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mother.evidence.direction import Pairs
from mother.trees.rooting import orient_edges

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
AT_ONCE = 256  # pairs


class Steps:
    """|i - j|^2 of candidate pairs by layer, (E, L), and of others as they are asked for.

    by_layer: of pairs i, j (E,).
    """

    def __init__(
        self, by_layer: Callable[[Indices, Indices], Array], i: Indices, j: Indices
    ) -> None:
        self._by_layer, self._pairs = by_layer, list(zip(i.tolist(), j.tolist(), strict=True))
        self._others: dict[tuple[int, int], Array] = {}
        parts = (slice(at, at + AT_ONCE) for at in range(0, len(i), AT_ONCE))
        self.squared = np.concatenate([by_layer(i[part], j[part]) for part in parts])

    def of(self, i: int, j: int) -> Array:
        """Of any two, (L,)."""
        pair = min(i, j), max(i, j)
        if pair not in self._others:
            self._others[pair] = self._by_layer(*(np.array([k]) for k in pair))[0]
        return self._others[pair]

    def rows(self, n: int, counts: Array) -> list[_Row]:
        """[i][j] |i - j|^2 of n models where layer l counts `counts[l]` times."""
        rows = [_Row(self, k, counts) for k in range(n)]
        for (a, b), far in zip(self._pairs, (self.squared @ counts).tolist(), strict=True):
            rows[a][b] = rows[b][a] = far
        return rows


class _Row(dict[int, float]):
    __slots__ = ("_counts", "_own", "_steps")

    def __init__(self, steps: Steps, own: int, counts: Array) -> None:
        super().__init__()
        self._steps, self._own, self._counts = steps, own, counts

    def __missing__(self, other: int) -> float:
        found = self[other] = float(self._steps.of(self._own, other) @ self._counts)
        return found


class LayerOdds:
    """Log-odds of edges and what each layer adds to them, as they are asked for.

    weighed: what the layers say of pairs i, j (E,). beside: what else is said, of all layers.
    """

    def __init__(
        self,
        weighed: Callable[[Indices, Indices], Pairs],
        beside: Callable[[Indices, Indices], Array],
    ) -> None:
        self._weighed, self._beside = weighed, beside
        self._known: dict[tuple[int, int], tuple[float, Array]] = {}

    def oriented(self, parents: Indices, counts: Array) -> tuple[Indices, Array]:
        """As `orient_edges`, where layer l counts `counts[l]` times."""
        return orient_edges(parents, self._odds(parents, counts - 1))

    def _odds(self, parents: Indices, more: Array) -> Array:
        child = np.flatnonzero(parents >= 0)
        pairs = list(zip(parents[child].tolist(), child.tolist(), strict=True))
        new = np.array([pair for pair in pairs if pair not in self._known], dtype=np.intp)
        for at in range(0, len(new), AT_ONCE):
            said = self._weighed(*new[at : at + AT_ONCE].T)
            whole_odds = said.log_odds + self._beside(said.i, said.j)
            told = whole_odds.tolist(), said.log_odds_by_layer.T
            for i, j, whole, layers in zip(said.i.tolist(), said.j.tolist(), *told, strict=True):
                self._known[i, j], self._known[j, i] = (whole, layers), (-whole, -layers)
        out = np.zeros(len(parents))
        out[child] = [self._known[p][0] + float(more @ self._known[p][1]) for p in pairs]
        return out
