"""The single streaming pass: every weight of every checkpoint of a group is read once, in blocks
that follow one another in the file, and reduced to small matrices per layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.layouts import Group, Layer
from mother.measures import kernel, reference
from mother.measures.compression import common_norms, pruned_or_rounded
from mother.measures.numpy_kernel import Sums, known
from mother.measures.products import Array, Indices, Products

Progress = Callable[[int], None]
VALUE_BINS = 256
CLUSTERED = 4.0  # variance of a sum over a window, to that over weights drawn one by one: 2 to 12
PRODUCTS_AT_ONCE = 1 << 22  # inner products turned at once
BLOCK_MAX = 1 << 20  # weights: below, calls and page tables cost; above, threads wait


@dataclass(frozen=True)
class Measures:
    """What one pass yields for n checkpoints and L layers. NaN stands where a layer is absent.
    Sums over samples of layers are scaled to all of their weights.

    names, sizes    (L,)       canonical layer names; weights in each
    shapes          (L,)
    gram            (L, n, n)  <w_i, w_j>
    linf, l1        (L, n, n)  max |w_i - w_j| and mean |w_i - w_j|; empty unless asked
    moments         (L, n, 6)  mean, sums of 2nd to 4th powers about it, min, max; likewise
    histogram       (L, n, b)  counts in b equal bins of a range common to the layer
    shared          (L, n, n)  |w_i|^2 over the weights that j has, without what rounding added to
                               it; empty where no model was pruned or rounded: then it is |w_i|^2
    overlap         (L, n, n)  share of the weights that both have; likewise
    sampled         (L,)       weights looked at in each layer, as many as would tell as much had
                               they been drawn one by one, or (L, n, n) where more of some models
                               were than of others; empty where all were looked at
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    sizes: NDArray[np.int64]
    gram: Array
    linf: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    l1: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    moments: Array = field(default_factory=lambda: np.zeros((0, 0, 6)))
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int64))
    shared: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    overlap: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    sampled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def seen(self) -> NDArray[np.int64]:
        """Weights looked at in each layer of every model, (L,)."""
        if self.sampled.ndim > 1:
            return np.asarray(self.sampled.min(axis=(1, 2)))
        return self.sampled if len(self.sampled) else self.sizes

    @property
    def chance(self) -> Array:
        """The variance of a cosine there, (L, n, n), or (L, 1, 1) where it is one for all pairs."""
        seen = self.sampled if len(self.sampled) else self.sizes
        return np.asarray(1 / seen.reshape(len(seen), *(seen.shape[1:] or (1, 1))))

    @property
    def norms(self) -> Array:
        """|w_i|^2 per layer as it is compared with j, (L, n, n) indexed [layer, i, j]."""
        if len(self.shared):
            return self.shared
        norm = np.diagonal(self.gram, axis1=1, axis2=2)
        return np.broadcast_to(norm[:, :, None], self.gram.shape)

    @property
    def squared_distance(self) -> Array:
        """|w_i - w_j|^2 per layer, (L, n, n); carried to all weights where not all are common."""
        norms = self.norms
        gap = np.maximum(norms + norms.transpose(0, 2, 1) - 2 * self.gram, 0.0)
        return self._whole(gap)

    @property
    def loss(self) -> Array:
        """What of p is gone in c: <p - c, p> per layer, (L, n, n) indexed [layer, p, c]."""
        return self._whole(self.norms - self.gram)

    def _whole(self, sums: Array) -> Array:
        """Sums over the weights that both have, carried to all."""
        if not len(self.overlap):
            return np.asarray(sums)
        kept = np.diagonal(self.overlap, axis1=1, axis2=2)
        return np.asarray(sums / _common(kept[:, :, None], kept[:, None], self.overlap))

    def __len__(self) -> int:
        """How many models there are, n."""
        return int(self.gram.shape[1])

    def pairs(self, i: Indices, j: Indices) -> Products:
        """What is known of pairs of models by layer."""
        ii, jj = self._norms(i, j), self._norms(j, i)
        chance = 1 / self.sampled[:, i, j] if self.sampled.ndim > 1 else self.chance[:, 0]
        common = (
            _common(*(self.overlap[:, a, b] for a, b in ((i, i), (j, j), (i, j))))
            if len(self.overlap)
            else None
        )
        return Products(ii, jj, self.gram[:, i, j], chance, common)

    def _norms(self, i: Indices, j: Indices) -> Array:
        return self.shared[:, i, j] if len(self.shared) else self.gram[:, i, i]

    def squared_norms(self) -> Array:
        """|w|^2 of each model in each layer, (L, n)."""
        return np.diagonal(self.gram, axis1=1, axis2=2)

    def changed(self) -> NDArray[np.bool_]:
        """The layers that differ between some models, (L,)."""
        return np.asarray(np.nan_to_num(self.squared_distance).max(axis=(1, 2), initial=0.0) > 0)

    def over(self, layers: NDArray[np.bool_]) -> Measures:
        """The same for some of the layers, (L,) bool."""
        if layers.all():
            return self
        chosen = np.flatnonzero(layers)

        def of(values: Array) -> Array:
            return values[chosen] if len(values) else values

        return Measures(
            tuple(self.names[i] for i in chosen),
            tuple(self.shapes[i] for i in chosen),
            self.sizes[chosen],
            self.gram[chosen],
            of(self.linf),
            of(self.l1),
            of(self.moments),
            self.histogram[chosen] if len(self.histogram) else self.histogram,
            of(self.shared),
            of(self.overlap),
            self.sampled[chosen] if len(self.sampled) else self.sampled,
        )

    def two(self, i: int, j: int) -> Measures:
        """The same for two of the checkpoints, (L, 2, 2)."""
        return self.among([i, j])

    def among(self, models: Sequence[int] | Indices) -> Measures:
        """The same for some of the checkpoints."""
        pick = np.asarray(models, dtype=np.intp)

        def of(pairs: NDArray[Any]) -> NDArray[Any]:
            return pairs[:, pick[:, None], pick] if len(pairs) else pairs

        return Measures(
            self.names,
            self.shapes,
            self.sizes,
            of(self.gram),
            of(self.linf),
            of(self.l1),
            self.moments[:, pick] if len(self.moments) else self.moments,
            self.histogram[:, pick] if len(self.histogram) else self.histogram,
            of(self.shared),
            of(self.overlap),
            of(self.sampled) if self.sampled.ndim > 1 else self.sampled,
        )


def _common(kept: Array, others: Array, both: Array) -> Array:
    """The share of a layer that sums over the weights that both models have stand for.

    Of two pruned models those are fewer than either has: which weights moved across the threshold
    is no chance, they moved far. A step of variance s^2 takes k - o of the weights across each way,
    if k is the share that the one that has fewer has and o what both have, and by E|s|^3 / E|s| =
    2 s^2 in the mean square, twice that of the others. So what is common stands for o - (k - o) of
    all weights.
    """
    crossed = np.minimum(kept, others) - both
    return np.maximum(np.maximum(both - crossed, both / 2), 1e-6)


@dataclass(frozen=True)
class _Part:
    """What one block of one layer adds; the histogram is None where it was not asked for."""

    sums: Sums
    histogram: NDArray[np.int64] | None


def block_length(n: int, memory: int, threads: int) -> int:
    """Weights in a block, such that all threads' blocks of n models fit in half of `memory`.

    >>> block_length(21, 2 << 30, 2)
    1048576
    >>> block_length(1000, 1 << 30, 2)
    67108
    """
    return max(4096, min(BLOCK_MAX, memory // (2 * threads * n * 4)))


def measure(
    group: Group,
    *,
    distances: bool = False,
    l1: bool = True,
    moments: bool = False,
    entropy: bool = False,
    threads: int = 1,
    memory: int = 1 << 30,
    progress: Progress | None = None,
) -> Measures:
    """Read every weight of `group` once and reduce it to matrices per layer.

    distances: also l-infinity and, unless it is not wanted, l1 (paper, eq. 1 and sec. 5.2).
    moments, entropy: also those of each layer. memory: bytes that blocks in work may hold, all
    threads together. progress: called with the number of bytes read since the last call. The
    result does not depend on `threads`.
    """
    n = len(group.checkpoints)
    samples = reference.evened(reference.sample(group.layers, n))
    distance = reference.squared_distances(samples) if samples else np.zeros((n, n))
    trees = {
        members: reference.reference_tree(distance[np.ix_(members, members)])
        for members in {layer.members for layer in group.layers}
    }
    ranges = [_range(reference.middle(layer, n)) for layer in group.layers] if entropy else []
    # Blocks do not depend on the thread count, or sums would differ in their last bits.
    length = block_length(n, memory, 2)

    def reduce(index: int, layer: Layer, start: int, stop: int) -> _Part:
        blocks = [tensor.read(start, stop) for tensor in layer.tensors]
        part = _Part(
            kernel.sums(
                blocks,
                trees[layer.members],
                linf=distances,
                l1=distances and l1,
                moments=moments,
            ),
            np.stack([kernel.histogram(b, *ranges[index], VALUE_BINS) for b in blocks])
            if entropy
            else None,
        )
        if progress is not None:
            progress(sum(b.nbytes for b in blocks))
        return part

    shape = (len(group.layers), n)
    gram = np.full((*shape, n), np.nan)
    linf = np.full((*shape, n) if distances else (0, 0, 0), np.nan)
    mean_gap = np.full((*shape, n) if distances and l1 else (0, 0, 0), np.nan)
    moment = np.full((*shape, 6) if moments else (0, 0, 6), np.nan)
    histogram = np.zeros((*shape, VALUE_BINS) if entropy else (0, 0, 0), dtype=np.int64)
    jobs = (
        (index, layer, start, min(start + length, layer.tensors[0].size))
        for index, layer in enumerate(group.layers)
        for start in range(0, layer.tensors[0].size, length)
    )
    for (index, layer, start, stop), part in _in_order(jobs, reduce, threads):
        rows = np.array(layer.members, dtype=np.intp)
        pair = (index, rows[:, None], rows)
        found = part.sums
        gram[pair] = known(found.gram) + (gram[pair] if start else 0)
        if found.linf is not None:
            linf[pair] = np.fmax(linf[pair], found.linf)
        if found.l1 is not None:
            mean_gap[pair] = np.nan_to_num(mean_gap[pair]) + found.l1 / layer.tensors[0].size
        if found.moments is not None:
            moment[index, rows] = _merge(moment[index, rows], start, found.moments, stop - start)
        if part.histogram is not None:
            histogram[index, rows] += part.histogram
    for members, tree in trees.items():
        alike = [k for k, layer in enumerate(group.layers) if layer.members == members]
        step = max(1, PRODUCTS_AT_ONCE // len(members) ** 2)
        for some in (alike[at : at + step] for at in range(0, len(alike), step)):
            pairs = np.ix_(some, members, members)
            gram[pairs] = reference.from_increments(gram[pairs], tree)
    compressed = pruned_or_rounded(samples, group)
    common = common_norms(group, gram, *compressed, threads) if np.any(compressed) else ()
    shared, overlap = common or (np.zeros((0, 0, 0)),) * 2
    sizes = np.array([layer.size for layer in group.layers], dtype=np.int64)
    held = np.array([layer.tensors[0].size for layer in group.layers], dtype=np.int64)
    scale = (sizes / held)[:, None, None]
    if moments:
        moment[..., 1:4] *= scale
    return Measures(
        tuple(layer.name for layer in group.layers),
        tuple(layer.shape for layer in group.layers),
        sizes,
        gram * scale,
        linf,
        mean_gap,
        moment,
        histogram,
        shared * scale if len(shared) else shared,
        overlap,
        as_if_drawn(sizes, held) if (held < sizes).any() else held[:0],
    )


def as_if_drawn(sizes: NDArray[np.int64], held: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many single weights tell as much as a window of so many, (L,): rows and columns differ in
    how much they change, so what lies in few of them tells less than what lies everywhere.

    >>> as_if_drawn(np.array([1000, 1000]), np.array([1000, 400]))
    array([1000,  142])
    """
    drawn = 1 / (1 / sizes + CLUSTERED * (1 / held - 1 / sizes))
    return np.asarray(np.maximum(drawn, 1), dtype=np.int64)


_Job = tuple[int, Layer, int, int]


def _in_order(
    jobs: Iterator[_Job], work: Callable[..., _Part], threads: int
) -> Iterator[tuple[_Job, _Part]]:
    """Run jobs on `threads` threads, yield results in the jobs' order, few of them waiting."""
    if threads <= 1:
        for job in jobs:
            yield job, work(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: list[tuple[_Job, Future[_Part]]] = []
        try:
            for job in jobs:
                waiting.append((job, pool.submit(work, *job)))
                if len(waiting) > 2 * threads:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _range(rows: Array) -> tuple[float, float]:
    """A range that holds nearly all weights of a layer: mean -+ 8 standard deviations."""
    finite = rows[np.isfinite(rows)]
    if finite.size == 0:
        return 0.0, 1.0
    centre, spread = float(finite.mean()), float(finite.std())
    spread = spread or abs(centre) or 1.0
    return centre - 8 * spread, centre + 8 * spread


def _merge(a: Array, count_a: int, b: Array, count_b: int) -> Array:
    """Moments of two blocks together (Pebay, SAND2008-6212, eq. 2.1 and 3.1); rows are models."""
    if count_a == 0:
        return b
    na, nb = float(count_a), float(count_b)
    n = na + nb
    mean_a, a2, a3, a4, low_a, high_a = a.T
    mean_b, b2, b3, b4, low_b, high_b = b.T
    d = mean_b - mean_a
    m4 = a4 + b4 + d**4 * na * nb * (na**2 - na * nb + nb**2) / n**3
    m4 += 6 * d**2 * (na**2 * b2 + nb**2 * a2) / n**2 + 4 * d * (na * b3 - nb * a3) / n
    m3 = a3 + b3 + d**3 * na * nb * (na - nb) / n**2 + 3 * d * (na * b2 - nb * a2) / n
    m2 = a2 + b2 + d**2 * na * nb / n
    low, high = np.minimum(low_a, low_b), np.maximum(high_a, high_b)
    return np.stack([mean_a + d * nb / n, m2, m3, m4, low, high], axis=1)
