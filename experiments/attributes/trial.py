"""One attribute of one world, partly hidden, by every method."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from experiments.attributes.methods import (
    METHODS,
    NETWORK,
    STEPS,
    Method,
    adjacency,
    like_steps,
    parents,
    standard,
    step_features,
)
from experiments.attributes.network import graph_network
from experiments.attributes.worlds import World
from mother.attributes.columns import Column, column
from mother.attributes.guesses import Guesses, guessed
from mother.attributes.pedigree import Pedigree, pedigree

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Row = dict[str, object]
Key = tuple[str, ...]
OURS = "ancestral states"
BINS = 10
SURE = 0.95
TRIAL = ("world", "seed", "hidden", "by", "graph", "attribute", "method")


def key(row: Mapping[str, object]) -> Key:
    """What a row is of."""
    return tuple(str(row[name]) for name in TRIAL)


def hidden(whole: Pedigree, share: float, by_subtree: bool, rng: np.random.Generator) -> Mask:
    """(models,) which models nothing is stated of: a share of all, one by one, or subtrees of no
    more than a tenth of all models until there are as many."""
    n = whole.models
    if not by_subtree:
        return np.asarray(rng.permutation(n) < share * n)
    below: dict[int, list[int]] = {}
    for child, parent in enumerate(whole.first_parent.tolist()):
        below.setdefault(parent, []).append(child)
    out = np.zeros(n, dtype=bool)
    for top in rng.permutation(n).tolist():
        if out.sum() >= share * n:
            break
        waiting, seen = [top], list[int]()
        while waiting and len(seen) <= n / 10:
            seen.append(waiting.pop())
            waiting += below.get(seen[-1], [])
        out[seen] = True
    return out


@dataclass(frozen=True)
class Told:
    """Of hidden cells: right, whether the best guess is; chance, its probability."""

    right: Mask
    chance: Array

    def figures(self) -> Row:
        return {
            "accuracy": float(self.right.mean()),
            "calibration": calibration(self.right, self.chance),
            "coverage": coverage(self.right, self.chance),
            "bins": bins(self.right, self.chance),
        }


def bins(right: Mask, chance: Array) -> str:
    """Of each bin how many cells there are, how many are right and how many should be."""
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    sums = [np.bincount(place, x, BINS) for x in (np.ones(len(chance)), right, chance)]
    return " ".join(f"{n:.0f}/{r:.0f}/{c:.2f}" for n, r, c in zip(*sums, strict=True))


def calibration(right: Mask, chance: Array) -> float:
    """Expected calibration error over bins of equal width: mean |accuracy - mean probability|."""
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    off = [abs(right[place == k].sum() - chance[place == k].sum()) for k in range(BINS)]
    return float(sum(off) / max(len(right), 1))


def coverage(right: Mask, chance: Array) -> float:
    """The largest share of cells, the surest first, of which 95 % are right."""
    order = np.argsort(-chance, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # cells of one probability are taken together or not at all
    ends = np.append(np.diff(chance[order]) != 0, True) if len(order) else np.zeros(0, bool)
    good = np.flatnonzero((share >= SURE) & ends)
    return float((good[-1] + 1) / len(order)) if len(good) else 0.0


def trials(
    worlds: Mapping[str, World],
    share: float,
    by_subtree: bool,
    seed: int,
    tried: Collection[str],
    compared: Collection[str] = (),
    names: Sequence[str] | None = None,
    known: Mapping[Key, Row] = MappingProxyType({}),
) -> Iterator[Row]:
    """Rows, one an attribute, a graph and a method. worlds: the same models by different graphs,
    the true one first; the same cells are hidden of all. tried: graphs that rows are of. compared:
    those with which methods other than the default are tried. names: of attributes; all, where
    none. known: rows that there are already."""
    rng = np.random.default_rng((seed, round(100 * share), by_subtree))
    first = next(iter(worlds.values()))
    chosen = hidden(pedigree(first.graph), share, by_subtree, rng)
    gone = {node.id for node, x in zip(first.graph.nodes, chosen.tolist(), strict=True) if x}
    for name, world in worlds.items():
        if name not in tried:
            continue
        shut = np.array([node.id in gone for node in world.graph.nodes])
        methods = _methods(world, first=not seed) if name in compared else {}
        at = {"graph": name, "world": world.name, "seed": seed, "hidden": share}
        at["by"] = "subtrees" if by_subtree else "cells"
        yield from _of_world(world, shut, methods, at, names, known)


def _methods(world: World, *, first: bool) -> dict[str, Method]:
    """Those that see weights where there are some, and with the first seed only: they take long."""
    if world.figures is None or not first:
        return METHODS
    seen = standard(np.concatenate([step_features(world.graph), world.figures], axis=1))
    network = graph_network(parents(world.graph), seen)
    return {**METHODS, STEPS: like_steps(seen), NETWORK: network}


def _of_world(
    world: World,
    shut: Mask,
    methods: dict[str, Method],
    at: Row,
    names: Sequence[str] | None,
    known: Mapping[Key, Row],
) -> Iterator[Row]:
    whole, joined = pedigree(world.graph), adjacency(world.graph)
    for name, values in world.truth.items():
        if names is not None and name not in names:
            continue
        keys = {m: key({**at, "attribute": name, "method": m}) for m in (*methods, OURS)}
        yield from (known[k] for k in keys.values() if k in known)
        new = {m: run for m, run in methods.items() if keys[m] not in known}
        if not new and keys[OURS] in known:
            continue
        true = column(name, values)
        kept = [None if h else v for v, h in zip(values, shut.tolist(), strict=True)]
        open_ = shut & np.array([v is not None for v in values])
        stated = column(name, kept, true.kind)
        found = None if keys[OURS] in known else guessed(whole, stated)
        of = {**at, "n": int(open_.sum()), "attribute": name, "kind": true.kind}
        case = _Case(of, true, stated, found, open_, joined, new)
        if true.numbers is not None:
            yield from _numbers(case, world)
        elif true.held is not None:
            yield from _sets(case)
        else:
            yield from _values(case)


@dataclass(frozen=True)
class _Case:
    """An attribute as it is, as it is stated, and guessed; who is joined to whom."""

    at: Row
    true: Column
    stated: Column
    found: Guesses | None
    open: Mask
    joined: csr_array
    methods: dict[str, Method]


def _values(case: _Case) -> Iterator[Row]:
    at, true, stated, found, open_ = case.at, case.true, case.stated, case.found, case.open
    assert true.codes is not None
    assert stated.codes is not None
    joined = case.joined
    names = [true.names[k] for k in true.codes[open_]]
    told = np.zeros((joined.shape[0], 1, len(stated.names)))
    rows = np.flatnonzero(stated.codes >= 0)
    told[rows, 0, stated.codes[rows]] = 1
    for method, run in case.methods.items():
        chance = run(joined, told)[: len(open_), 0][open_]
        best = chance.argmax(1)
        right = np.array([stated.names[k] == n for k, n in zip(best, names, strict=True)])
        yield {**at, "method": method, **Told(right, chance.max(1)).figures()}
    if found is not None:
        assert found.best is not None
        assert found.chance is not None
        best = found.best[open_]
        right = np.array([stated.names[k] == n for k, n in zip(best, names, strict=True)])
        figures = Told(right, found.chance[open_]).figures()
        yield {**at, "method": OURS, **figures, "bits": found.bits, "follows": found.follows}


def _sets(case: _Case) -> Iterator[Row]:
    """By element: whether it is there or not."""
    at, true, stated, found, open_ = case.at, case.true, case.stated, case.found, case.open
    assert true.held is not None
    assert stated.held is not None
    joined = case.joined
    place = {n: k for k, n in enumerate(true.names)}
    order = [place[n] for n in stated.names]
    truth = true.held[open_][:, order] == 1
    told = np.zeros((joined.shape[0], len(order), 2))
    for k in range(2):
        told[: len(open_), :, k] = stated.held == k
    for method, run in case.methods.items():
        chance = run(joined, told)[: len(open_)][open_, :, 1]
        yield {**at, "method": method, **_binary(truth, chance)}
    if found is not None and found.held is not None:
        figures = _binary(truth, found.held[open_])
        yield {**at, "method": OURS, **figures, "bits": found.bits, "follows": found.follows}


def _binary(truth: Mask, chance: Array) -> Row:
    right = (chance >= 0.5) == truth
    return Told(right.ravel(), np.maximum(chance, 1 - chance).ravel()).figures()


def _numbers(case: _Case, world: World) -> Iterator[Row]:
    at, true, stated, found, open_ = case.at, case.true, case.stated, case.found, case.open
    assert true.numbers is not None
    assert stated.numbers is not None
    joined = case.joined
    scale = np.log if at["attribute"] in world.logarithms else np.asarray
    y, given = scale(true.numbers), scale(stated.numbers)
    rows = np.flatnonzero(np.isfinite(given))
    mean, spread = given[rows].mean(), np.nanstd(y)
    told = np.zeros((joined.shape[0], 1, 2))
    low, high = given[rows].min(), given[rows].max()
    told[rows, 0, 1] = (given[rows] - low) / (high - low)
    told[rows, 0, 0] = 1 - told[rows, 0, 1]
    for method, run in case.methods.items():
        guess = low + (high - low) * run(joined, told)[: len(open_), 0, 1]
        guess = np.full_like(guess, mean) if method == "majority" else guess
        error = float(np.sqrt(np.mean((guess - y)[open_] ** 2)) / spread)
        yield {**at, "method": method, "error": error}
    if found is not None and found.ends is not None:
        middle, low, high = scale(found.ends)
        error = float(np.sqrt(np.mean((middle - y)[open_] ** 2)) / spread)
        inside = float(((low <= y) & (y <= high))[open_].mean())
        row = {**at, "method": OURS, "error": error, "inside": inside}
        yield {**row, "bits": found.bits, "follows": found.follows}
