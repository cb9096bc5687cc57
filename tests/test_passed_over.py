"""What ranks say of the way between two models, against numpy's ranks."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.evidence.looks import Look
from mother.evidence.ways import Ways
from mother.layouts import Group, align
from mother.measures import Measures, measure
from mother.methods import gram
from mother.options import Options
from mother.recovery import recover_checkpoints

SIDE, LAYERS = 64, 3
Weights = dict[str, np.ndarray]
QUERIES = [f"block.{k}.query" for k in range(LAYERS)]


def root() -> Weights:
    rng = np.random.default_rng(0)
    names = [*QUERIES, *(f"block.{k}.dense" for k in range(LAYERS))]
    return {
        n: rng.normal(0, 1 / np.sqrt(SIDE), (SIDE, SIDE)).astype(np.float32) for n in sorted(names)
    }


def factors(seed: int, rank: int) -> np.ndarray:
    """Of the queries' steps, (layers, 2, side, rank)."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3 / np.sqrt(SIDE), (LAYERS, 2, SIDE, rank)) * SIDE**-0.25


def passed_over(group: Group, m: Measures, parents: np.ndarray) -> np.ndarray:
    """Models whose edge leads over another, (n,)."""
    nearest = np.argsort(m.squared_distance.sum(axis=0), axis=1)[:, 1:].tolist()
    ways = Ways(m, [Look.of(group)], np.arange(len(m)))
    return ways.objections(parents, nearest.__getitem__)


def trained(start: Weights, steps: np.ndarray, size: float = 1.0) -> Weights:
    """By LoRA on the queries, merged."""
    moved = {
        n: start[n] + np.float32(size) * (a @ b.T) for n, (a, b) in zip(QUERIES, steps, strict=True)
    }
    return start | {n: w.astype(np.float32) for n, w in moved.items()}


def family() -> dict[str, Weights]:
    """c undoes most of what made b of a, though not in quite the directions that b was trained in;
    d and e are b's siblings."""
    a, step = root(), factors(1, 2)
    b = trained(a, step)
    c = trained(b, step + 0.4 * factors(2, 2), -0.8)
    return {"a": a, "b": b, "c": c, "d": trained(a, factors(3, 3)), "e": trained(a, factors(4, 3))}


def checkpoints(models: dict[str, Weights]) -> list[Checkpoint]:
    return [
        Checkpoint(i, Path(i), "npz", {n: constant(n, w) for n, w in m.items()})
        for i, m in models.items()
    ]


def aligned(models: dict[str, Weights]) -> Group:
    (group,) = align(checkpoints(models))
    return group


def test_it_is_nearer_to_its_grandparent_and_its_rank_is_not() -> None:
    a, b, c, *_ = family().values()
    for n in QUERIES:
        assert np.linalg.norm(c[n] - a[n]) < 0.8 * np.linalg.norm(c[n] - b[n])
        assert np.linalg.matrix_rank(c[n] - a[n], tol=1e-4) == 4
        assert np.linalg.matrix_rank(c[n] - b[n], tol=1e-4) == 2


def test_an_edge_is_passed_over_where_numpys_ranks_add_up() -> None:
    models = family()
    group = aligned(models)
    w = [models[c.id] for c in group.checkpoints]

    def ranks(i: int, j: int) -> list[int]:
        return [int(np.linalg.matrix_rank(w[i][n] - w[j][n], tol=1e-4)) for n in QUERIES]

    m = measure(group)
    for p, c in permutations(range(5), 2):
        parents = np.full(5, -1, dtype=np.intp)
        parents[c] = p
        between = any(
            ranks(p, c) == [x + y for x, y in zip(ranks(p, k), ranks(k, c), strict=True)]
            for k in range(5)
            if k not in (p, c)
        )
        found = passed_over(group, m, parents)
        assert found[c] == between
        assert found.sum() == between


def test_the_parent_whose_rank_is_least() -> None:
    """By distances alone c hangs from a."""
    models = family()
    by_distance = gram.recover(measure(aligned(models))).parents
    assert by_distance[2] == 0
    graph = recover_checkpoints(checkpoints(models), Options())
    assert ("b", "c") in {(e.parent, e.child) for e in graph.edges} | {
        (e.child, e.parent) for e in graph.edges
    }
    assert not any({e.parent, e.child} == {"a", "c"} for e in graph.edges)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=str)
def test_where_rounding_hides_the_rank_nothing_is_said(dtype: type) -> None:
    rounded = {
        i: {n: w.astype(dtype).astype(np.float32) for n, w in m.items()}
        for i, m in family().items()
    }
    group = aligned(rounded)
    assert not passed_over(group, measure(group), np.array([-1, 0, 0, 0, 0])).any()


def test_full_fine_tuning_is_not_looked_at() -> None:
    a = root()
    rng = np.random.default_rng(5)
    models = {
        f"m{k}": {n: w + rng.normal(0, 0.01, w.shape).astype(np.float32) for n, w in a.items()}
        for k in range(3)
    }
    group = aligned({"a": a, **models})
    assert not passed_over(group, measure(group), np.array([-1, 0, 0, 0])).any()
