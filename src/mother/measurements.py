"""What the weights of models say, as matrices that users hold: the numbers below every forest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, prefetch
from mother.checkpoints.memory import Model, Models, Place, opened, opened_one
from mother.errors import InputError, UsageError
from mother.evidence import kinship as kin
from mother.graph import Refused
from mother.layouts import Group, align
from mother.measures import Measures, is_matrix, rank_distances
from mother.measures import measure as read
from mother.measures.comparable import (
    NotFiniteError,
    comparable_part,
    finite_layers,
    no_weights,
)
from mother.methods import paper
from mother.methods.scores import SCORES
from mother.options import Options
from mother.sketches.sketch import check_alike
from mother.sketches.sketch import sketch as sketched
from mother.sketches.windows import BUDGET, SAMPLED_MATRICES

Array = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Measurements:
    """n models of one architecture, measured in the L layers that some of them share.

    ids         (n,)    of the models
    layers      (L,)    names of the layers, as the models have them in common
    shapes      (L,)    of each layer
    refused             inputs that could not be read, and why
    not_compared        tensors that found no partner: model, name and the reason

    `gram` is measured at once; what needs more than inner products reads the weights again when it
    is asked for, so files must stay where they are. NaN stands where a model lacks a layer.

    >>> models = {"a": {"w": np.eye(64)}, "b": {"w": np.eye(64) + 0.01}}
    >>> m = measure(models)
    >>> m
    Measurements(2 models, 1 layer, 4096 weights each)
    >>> m.gram.round(2).tolist()
    [[[64.0, 64.64], [64.64, 65.69]]]
    """

    ids: tuple[str, ...]
    layers: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    refused: tuple[Refused, ...]
    not_compared: tuple[str, ...]
    _group: Group = field(repr=False, compare=False)
    _measures: Measures = field(repr=False, compare=False)
    _options: Options = field(repr=False, compare=False)

    def __repr__(self) -> str:
        n, L = len(self.ids), len(self.layers)
        size = int(self._measures.sizes.sum())
        plural = "s" * (L != 1)
        return f"Measurements({n} model{'s' * (n != 1)}, {L} layer{plural}, {size} weights each)"

    @property
    def gram(self) -> Array:
        """Inner products <w_i, w_j> of the models in each layer, (L, n, n) float64. Of sketches,
        scaled to all weights."""
        return self._measures.gram.copy()

    @property
    def kinship(self) -> Array:
        """Median over layers of the cosine of two models' weights, about their means, against what
        chance allows, (n, n): above 1 for relatives (docs/method.md)."""
        return kin.kinship(self._measures)

    def distances(self, kind: str = "relative") -> Array:
        """Distances of all pairs, (n, n) float64, symmetric with a diagonal of 0.

        "relative": each layer against its own norm, the root of the mean over layers, by weights,
        of |w_i - w_j|^2 / ((|w_i|^2 + |w_j|^2) / 2). 0 for copies, near 1.4 for strangers;
        what pruning or rounding took is left out. "euclidean": |w_i - w_j| over all layers. "ft":
        the paper's eq. 1, max over layers of max |u - v|, each layer scaled to 0..1 over the
        models. "lora": the paper's eq. 2, max over layers of the rank of u - v, up to 160. "l1":
        the paper's sec. 5.2, mean of |u - v|.

        The paper's kinds look at the matrices that all models have. NaN where two models share no
        layer. UsageError for another kind.

        >>> models = {"a": {"w": np.eye(64)}, "b": {"w": np.eye(64) + 0.01}}
        >>> measure(models).distances("euclidean").round(2).tolist()
        [[0.0, 0.64], [0.64, 0.0]]
        """
        return _chosen("kind", kind, DISTANCES)(self)

    def scores(self, score: str = "kurtosis") -> Array:
        """A directional score of each model (paper, eq. 3 and sec. 6.3), summed over the matrices
        that all models have, (n,) float64: "kurtosis", "mean", "variance", "skewness" or "entropy"
        (in nats). UsageError for another score.

        >>> rows = {"a": {"w": np.eye(64)}, "b": {"w": np.eye(64) + 0.01}}
        >>> measure(rows).scores("mean").round(4).tolist()
        [0.0156, 0.0256]
        """
        of = _chosen("score", score, SCORES)
        return of(self._again(moments=True, entropy=score == "entropy"))

    def among(self, ids: Iterable[str]) -> Measurements:
        """The same for some of the models, in this order. UsageError for ids that it hasn't."""
        wanted = [ids] if isinstance(ids, str) else list(ids)
        places = [_place(self.ids, id_, "model") for id_ in wanted]
        if len(set(places)) < len(places) or not places:
            raise UsageError("name each model once, and one at least")
        part = replace(self, ids=tuple(wanted), _group=self._group.among(places))
        return replace(part, _measures=self._measures.among(places))

    def over(self, layers: str | Sequence[str]) -> Measurements:
        """The same for some of the layers: those whose names a regular expression finds, or those
        named. UsageError where there are none.

        >>> m = measure({x: {"u": np.eye(9), "v.bias": np.ones(9)} for x in "ab"})
        >>> m.over("bias").layers
        ('v.bias',)
        """
        if isinstance(layers, str):
            try:
                kept = np.array([re.search(layers, name) is not None for name in self.layers])
            except re.error as fault:
                said = f"layers {layers!r} is no regular expression: {fault}"
                raise UsageError(said) from None
            if not kept.any():
                raise UsageError(f"layers {layers!r} finds no layer, such as {self.layers[0]!r}")
        else:
            kept = np.zeros(len(self.layers), dtype=bool)
            kept[[_place(self.layers, name, "layer") for name in layers]] = True
            if not kept.any():
                raise UsageError("no layers are named")
        return self._over(kept)

    def _over(self, kept: NDArray[np.bool_]) -> Measurements:
        part = replace(self, _group=self._group.over(kept), _measures=self._measures.over(kept))
        return replace(part, layers=part._measures.names, shapes=part._measures.shapes)

    def _again(
        self, *, distances: bool = False, moments: bool = False, entropy: bool = False
    ) -> Measures:
        """`_common`, read again for more than inner products."""
        return read(
            self._common()[0],
            distances=distances,
            moments=moments,
            entropy=entropy,
            threads=self._options.workers,
            memory=self._options.memory,
        )

    def _common(self) -> tuple[Group, Measures]:
        """The matrices that all models have, or where there are none all such layers. UsageError
        where the models have no layer in common."""
        shared = np.asarray(np.isfinite(self._measures.gram).all(axis=(1, 2)), dtype=bool)
        matrix = np.array([is_matrix(shape) for shape in self.shapes], dtype=bool)
        both: NDArray[np.bool_] = np.logical_and(shared, matrix)
        chosen = both if both.any() else shared
        if not chosen.any():
            raise UsageError("these models have no layer in common, finite in all of them")
        everyone = np.arange(len(self.ids))
        return paper.restricted(self._group, everyone, chosen), self._measures.over(chosen)


def _relative(m: Measurements) -> Array:
    norms, squared = m._measures.norms, m._measures.squared_distance
    scale = (norms + norms.transpose(0, 2, 1)) / 2
    share = np.where(scale > 0, squared / np.where(scale > 0, scale, 1.0), 0.0)
    share = np.where(np.isfinite(m._measures.gram), share, np.nan)
    return np.sqrt(_mean(share, m._measures.sizes))


def _mean(values: Array, sizes: NDArray[np.int64]) -> Array:
    """Over the layers that a pair shares, by their weights."""
    weight = np.where(np.isfinite(values), sizes[:, None, None], 0)
    total = weight.sum(axis=0)
    summed = np.nansum(values * weight, axis=0)
    return np.asarray(np.where(total > 0, summed / np.maximum(total, 1), np.nan))


def _euclidean(m: Measurements) -> Array:
    gram = m._measures.gram
    norm = np.diagonal(gram, axis1=1, axis2=2)
    squared = np.maximum(norm[:, :, None] + norm[:, None] - 2 * gram, 0.0)
    none = ~np.isfinite(squared).any(axis=0)
    return np.asarray(np.where(none, np.nan, np.sqrt(np.nansum(squared, axis=0))))


def _ft(m: Measurements) -> Array:
    return paper.ft_distance(m._again(distances=True, moments=True))


def _l1(m: Measurements) -> Array:
    return paper.l1_distance(m._again(distances=True))


def _lora(m: Measurements) -> Array:
    group, measures = m._common()
    norm = np.diagonal(measures.gram, axis1=1, axis2=2)
    threads = m._options.workers
    ranks = rank_distances(group.layers, len(m.ids), norm, seed=0, threads=threads)
    return ranks.astype(np.float64)


#: kinds of `Measurements.distances`
DISTANCES: dict[str, Callable[[Measurements], Array]] = {
    "relative": _relative,
    "euclidean": _euclidean,
    "ft": _ft,
    "lora": _lora,
    "l1": _l1,
}


def measure(
    models: Models,
    *,
    base: Place | None = None,
    layers: str | None = None,
    download: bool = False,
    threads: int = 0,
    memory: int = 1 << 30,
) -> Measurements:
    """Measure models of one architecture: every weight is read once.

    Args:
        models: paths, hf:// addresses, or {id: {name: array}}, as for `recover`. Sketches
            (`mother.sketch`) stand for their models where they are given by id.
        base: checkpoint that LoRA adapters among them are merged into.
        layers: regular expression; only layers whose name it finds are measured.
        download: keep what comes from the Hub, in its library's cache.
        threads, memory: 0 for all cores; bytes that blocks in work may hold.

    Raises:
        InputError: nothing among `models` can be read. Where only some can't, they are in
            `Measurements.refused`.
        UsageError: it is no model, the models are of several architectures, or `layers` finds none.

    >>> draw = np.random.default_rng(0)
    >>> base = {"w": draw.standard_normal((64, 64))}
    >>> tuned = {"w": base["w"] + 0.1 * draw.standard_normal((64, 64))}
    >>> measure({"base": base, "tuned": tuned}).distances().round(1).tolist()
    [[0.0, 0.1], [0.1, 0.0]]
    """
    options = Options(layers=layers, threads=threads, memory=memory)
    checkpoints, problems = opened(models, base=base, download=download)
    refused = [Refused(p.shown, p.fault) for p in problems]
    refused += [Refused(c.shown, fault) for c in checkpoints if (fault := no_weights(c))]
    usable = [c for c in checkpoints if not no_weights(c)]
    left: list[str] = []
    try:
        group, measures = _read(usable, refused, options)
        finite_layers(group, measures)
    except NotFiniteError as found:
        parts = {c.id: comparable_part(c) for c, _ in found.bad}
        refused += [Refused(c.shown, fault) for c, fault in found.bad if parts[c.id] is None]
        left = [f"{n}: {name}" for n, part in parts.items() if part for name in part.unread]
        usable = [part for c in usable if (part := parts.get(c.id, c)) is not None]
        group, measures = _read(usable, refused, options)
    alone = tuple(
        f"{c.id}: {reason}"
        for c, reasons in zip(group.checkpoints, group.unaligned, strict=True)
        for reason in reasons
    )
    m = Measurements(
        tuple(c.id for c in group.checkpoints),
        tuple(layer.name for layer in group.layers),
        tuple(layer.shape for layer in group.layers),
        tuple(refused),
        (*alone, *(f"{name} (NaN or infinite weights, or too large)" for name in left)),
        group,
        measures,
        options,
    )
    return m if layers is None else m.over(layers)


def _read(
    usable: Sequence[Checkpoint], refused: Sequence[Refused], options: Options
) -> tuple[Group, Measures]:
    """What models of one architecture have in common, and its measures. Raises as `measure`."""
    check_alike(usable)
    if not usable:
        if not refused:
            raise UsageError("no models are given")
        first, *others = (InputError(r.path, r.fault) for r in refused)
        raise InputError(first.path, first.fault, tuple(others))
    prefetch(s for c in usable for t in c.tensors.values() if t.is_weight for s in t.slices())
    groups = align(usable)
    if len(groups) > 1:
        some = ", ".join(g.checkpoints[0].id for g in groups[:3])
        raise UsageError(
            f"these models are of {len(groups)} architectures ({some}, …); measure each by itself"
        )
    (group,) = groups
    return group, read(group, moments=True, threads=options.workers, memory=options.memory)


def sketch(
    model: Model,
    budget: int = BUDGET,
    *,
    id: str | None = None,
    seed: int = 0,
    matrices: int = SAMPLED_MATRICES,
    base: Place | None = None,
    download: bool = False,
) -> Checkpoint:
    """A small sample of a model that stands for it: windows of its layers, all in memory.

    Sketches of one budget and seed hold the same weights of every model of an architecture, so
    they can be measured, compared and recovered in place of the models: `measure({"a": sketch(a),
    "b": sketch(b)})`.

    Args:
        model: a path, an hf:// address, or {name: array}.
        budget: bytes of weights that it keeps.
        id: what it is called; from its path if None.
        seed: of where the windows lie.
        matrices: that are sampled of a large model at most.

    Raises InputError, UsageError as `measure`.

    >>> small = sketch({"w": np.eye(64)}, 1024, id="a")
    >>> small.tensors["w"].shape, small.tensors["w"].kept.shape
    ((64, 64), (4, 32))
    """
    found = opened_one(model, id=id, base=base, download=download)
    return sketched(found, budget, seed=seed, matrices=matrices)


def _chosen(what: str, name: str, known: dict[str, T]) -> T:
    if name not in known:
        raise UsageError(f"{what} {name!r} is not one of {', '.join(known)}")
    return known[name]


def _place(names: Sequence[str], name: str, what: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise UsageError(f"no {what} is called {name!r}; there is {names[0]!r}, …") from None
