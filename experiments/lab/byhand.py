"""python -m experiments.lab.byhand FOLDER...: what is done to weights by hand, in families of any
architecture.

A folder holds checkpoints and their truth.json. Of each family one model that has children and one
that has none is changed in every way of `KINDS`, and recovered beside all of its family: is it a
child of what it was made from, is anything claimed that is wrong, and do the others stay as they
are without it?
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

import mother
from experiments.lab.score import _claimed
from mother.checkpoints.memory import opened

Array = NDArray[np.float64]
Weights = Mapping[str, NDArray[np.generic]]
Draws = np.random.Generator
Change = Callable[[Array, Draws], Array]
SMALLEST = 64  # weights of a matrix that is changed
SURE = 0.8
CHILD = "x"


def noise(size: float, law: Callable[[Draws, int], Array]) -> Change:
    def change(w: Array, draws: Draws) -> Array:
        drawn = law(draws, w.size).reshape(w.shape)
        return w + size * w.std() * drawn / drawn.std()

    return change


def normal(draws: Draws, many: int) -> Array:
    return draws.standard_normal(many)


def some(share: float, change: Change) -> Change:
    """Of a share of the weights alone."""
    return lambda w, draws: np.where(draws.random(w.shape) < share, change(w, draws), w)


def without_small(share: float) -> Change:
    return lambda w, _: np.where(np.abs(w) < np.quantile(np.abs(w), share), 0, w)


def cut(share: float) -> Change:
    """The singular values that hold a share of the squared norm."""

    def change(w: Array, _: Draws) -> Array:
        u, s, v = np.linalg.svd(w.reshape(len(w), -1), full_matrices=False)
        kept = int(np.searchsorted(np.cumsum(s**2) / (s @ s), share)) + 1
        return ((u[:, :kept] * s[:kept]) @ v[:kept]).reshape(w.shape)

    return change


def low_rank(size: float, rank: int) -> Change:
    def change(w: Array, draws: Draws) -> Array:
        m = w.reshape(len(w), -1)
        step = draws.standard_normal((len(m), rank)) @ draws.standard_normal((rank, m.shape[1]))
        return (m + size * np.linalg.norm(m) * step / np.linalg.norm(step)).reshape(w.shape)

    return change


def codes(bits: int) -> Change:
    def change(w: Array, _: Draws) -> Array:
        step = max(float(np.abs(w).max()), 1e-30) / (2 ** (bits - 1) - 1)
        return np.rint(w / step) * step

    return change


def two_rows(w: Array, draws: Draws) -> Array:
    out = w.copy()
    if len(w) > 1:
        pair = draws.choice(len(w), 2, replace=False)
        out[pair] = out[pair[::-1]]
    return out


#: of every matrix
EACH: dict[str, Change] = {
    "noise of 0.1 %": noise(0.001, normal),
    "noise of 1 %": noise(0.01, normal),
    "noise of 10 %": noise(0.1, normal),
    "noise of 50 %": noise(0.5, normal),
    "uniform noise of 5 %": noise(0.05, lambda draws, n: draws.uniform(-1, 1, n)),
    "Laplace's noise of 5 %": noise(0.05, lambda draws, n: draws.laplace(size=n)),
    "noise of heavy tails": noise(0.05, lambda draws, n: draws.standard_t(2, size=n)),
    "each times about 1": lambda w, draws: w * (1 + 0.05 * draws.standard_normal(w.shape)),
    "1 in 1,000 raised": some(0.001, lambda w, _: w + w.std()),
    "1 in 100 raised": some(0.01, lambda w, _: w + w.std()),
    "1 in 1,000 raised far": some(0.001, lambda w, _: w + 10 * w.std()),
    "1 in 100 grown by half": some(0.01, lambda w, _: 1.5 * w),
    "noise on 1 in 100": some(0.01, lambda w, d: w + w.std() * d.standard_normal(w.shape)),
    "noise on 1 in 10": some(0.1, lambda w, d: w + 0.3 * w.std() * d.standard_normal(w.shape)),
    "1 in 100 anew": some(0.01, lambda w, d: w.std() * d.standard_normal(w.shape)),
    "1 in 100 of other sign": some(0.01, lambda w, _: -w),
    "1 in 10 of other sign": some(0.1, lambda w, _: -w),
    "1 in 100 shuffled": some(0.01, lambda w, d: d.permutation(w.ravel()).reshape(w.shape)),
    "clipped at 2 deviations": lambda w, _: np.clip(w, -2 * w.std(), 2 * w.std()),
    "clipped, 1 in 1,000": lambda w, _: np.clip(w, *np.quantile(w, [0.0005, 0.9995])),
    "times 0.95": lambda w, _: 0.95 * w,
    "times 1.05": lambda w, _: 1.05 * w,
    "singular values, 99 %": cut(0.99),
    "singular values, 90 %": cut(0.9),
    "noise of rank 4": low_rank(0.05, 4),
    "1 in 1,000 zero": some(0.001, lambda w, _: 0 * w),
    "1 in 10 zero": some(0.1, lambda w, _: 0 * w),
    "smallest 10 % zero": without_small(0.1),
    "smallest half zero": without_small(0.5),
    "1 in 10 dropped, others scaled": lambda w, d: w * (d.random(w.shape) > 0.1) / 0.9,
    "8 bits": codes(8),
    "4 bits": codes(4),
    "float16, stored wide": lambda w, _: w.astype(np.float16).astype(np.float64),
    "rows centred": lambda w, _: w - w.mean(axis=tuple(range(1, w.ndim)), keepdims=True),
    "shrunk towards zero": lambda w, _: np.sign(w) * np.maximum(np.abs(w) - 0.1 * w.std(), 0),
    "to the power of 1.05": lambda w, _: np.sign(w) * np.abs(w) ** 1.05,
    "squashed": lambda w, _: 3 * w.std() * np.tanh(w / max(3 * w.std(), 1e-30)),
    "shifted": lambda w, _: w + 0.05 * w.std(),
    "rows mixed with the next": lambda w, _: 0.95 * w + 0.05 * np.roll(w, 1, axis=0),
}
#: of the largest matrix, and of the last
LARGEST: dict[str, Change] = {
    "two rows swapped": two_rows,
    "one matrix times 2": lambda w, _: 2 * w,
    "largest matrix anew": lambda w, d: w.std() * d.standard_normal(w.shape),
    "a watermark": lambda w, d: w + 0.02 * w.std() * d.choice([-1.0, 1.0], w.shape),
}
LAST: dict[str, Change] = {
    "last matrix times 0.5": lambda w, _: 0.5 * w,
    "last matrix anew": lambda w, d: w.std() * d.standard_normal(w.shape),
}
#: shares of the step to a child, added
STEPS = {"half of a step": 0.5, "a step and a half": 1.5, "a step taken away": -0.3}
#: the largest of the weights of a step, which alone are added
SPARSE = {"1 in 100 of a step": 0.01, "1 in 10 of a step": 0.1}
KINDS = (*EACH, *LARGEST, *LAST, *STEPS, *SPARSE)


def matrices(values: Weights) -> list[str]:
    return [
        n for n, w in values.items() if w.ndim > 1 and w.dtype.kind == "f" and w.size >= SMALLEST
    ]


def changed(kind: str, values: Weights, child: Weights | None, draws: Draws) -> Weights | None:
    """A model changed in one way; None where it takes a child and there is none."""
    names, out = matrices(values), dict(values)
    if kind in LARGEST:
        names = [max(names, key=lambda n: values[n].size)]
    if kind in LAST:
        names = names[-1:]
    for n in names:
        w = values[n].astype(np.float64)
        if kind in STEPS or kind in SPARSE:
            if child is None or n not in child or child[n].shape != w.shape:
                return None
            step = child[n].astype(np.float64) - w
            least = np.quantile(np.abs(step), 1 - SPARSE[kind]) if kind in SPARSE else 0.0
            done = w + STEPS.get(kind, 1.0) * np.where(np.abs(step) >= least, step, 0.0)
        else:
            done = (EACH | LARGEST | LAST)[kind](w, draws)
        out[n] = done.astype(values[n].dtype)
    same = all(np.array_equal(out[n], values[n]) for n in names)
    return None if same else out


@dataclass(frozen=True)
class Told:
    """right: it hangs from what it was made from; told: and that is told, not open. wrong: a claim
    that is not so, sure: by more than SURE. others: edges among the others that changed."""

    kind: str
    right: bool
    told: bool
    wrong: bool
    sure: bool
    others: int


def judged(folder: Path) -> Iterator[Told]:
    """What is told of every kind, for two models of a family."""
    models = {
        c.id: {n: np.asarray(t.read()).reshape(t.shape) for n, t in c.tensors.items()}
        for c in opened(folder)[0]
    }
    truth = [e for e in mother.read_truth(folder / "truth.json").edges if {*e} <= models.keys()]
    alone = mother.recover(models, bootstrap=0)
    found = {(e.parent, e.child) for e in alone.edges}
    known = [e for e in truth if e in found]
    inner = sorted({p for p, _ in known})[:1]
    leaves = [c for _, c in known if c not in {p for p, _ in truth}][:1]
    equal = defaultdict[str, set[str]](set)
    for e in alone.edges:
        if e.relation in ("duplicate", "converted", "contains"):
            equal[e.parent].add(e.child)
            equal[e.child].add(e.parent)
    for name in (*inner, *leaves):
        if len(matrices(models[name])) < 2:
            continue
        children = [c for p, c in truth if p == name]
        for kind in KINDS:
            draws = np.random.default_rng([*map(ord, kind + name)])
            child = models[children[0]] if children else None
            with np.errstate(all="ignore"):
                values = changed(kind, models[name], child, draws)
            if values is None:
                continue
            with_it = mother.recover({**models, CHILD: values}, bootstrap=0)
            true = (
                {name} | equal[name] | ({*children} if kind in STEPS or kind in SPARSE else set())
            )
            yield _told(kind, with_it, true, _among(alone))


def _among(graph: mother.ModelGraph) -> set[tuple[str, str]]:
    edges = {(e.parent, e.child) for e in graph.edges} | set(graph.hidden_edges())
    return {e for e in edges if CHILD not in e}


def _told(kind: str, graph: mother.ModelGraph, true: set[str], alone: set[tuple[str, str]]) -> Told:
    up = [e for e in graph.edges if e.child == CHILD]
    wrong = [e for e in up if e.parent not in true and not e.undirected]
    wrong += [e for e in graph.edges if e.parent == CHILD and not e.undirected]
    return Told(
        kind,
        right=any(e.parent in true for e in up),
        told=any(e.parent in true and not e.undirected for e in up),
        wrong=bool(wrong),
        sure=any(_claimed(e) > SURE for e in wrong),
        others=len(_among(graph) ^ alone),
    )


def page(told: Sequence[Told]) -> str:
    """The scoreboard, all kinds first."""
    lines = [
        "| kind | models | right parent | and told | wrong | sure and wrong | changed others |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in ("all", *KINDS):
        rows = [t for t in told if kind in ("all", t.kind)]
        marks = ("right", "told", "wrong", "sure", "others")
        many = [sum(bool(getattr(t, mark)) for t in rows) for mark in marks]
        if rows:
            lines.append(f"| {kind} | {len(rows)} | {' | '.join(map(str, many))} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def main(folders: tuple[Path, ...]) -> None:
    """Print what is told of models of these families that were changed by hand."""
    told = list[Told]()
    for folder in folders:
        own = list(judged(folder))
        told += own
        tally = Counter(mark for t in own for mark in ("right", "wrong") if getattr(t, mark))
        print(f"{folder.name}: {len(own)} models, {dict(tally)}", file=sys.stderr, flush=True)
    print(page(told), end="")


if __name__ == "__main__":
    main()
