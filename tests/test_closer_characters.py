"""Ranks and rows are looked at more closely where windows are too small to tell."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.evidence.looks import Look
from mother.evidence.ranks import highest
from mother.evidence.rows import Rows
from mother.evidence.untouched import RowsOf, Untouched
from mother.evidence.ways import Ways
from mother.index.measured import measured, of_group
from mother.layouts import align
from mother.measures import measure
from mother.methods.refinement import Refinement
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.levels import TIMES
from mother.sketches.sketch import sketch, window_of

SIDE, RANK = 256, 12
BUDGET = 6 * 4 * 20 * 32  # windows of 20 rows, 32 columns
Weights = dict[str, np.ndarray]


def model(id: str, weights: Weights) -> Checkpoint:
    return Checkpoint(id, Path(id), "npz", {n: constant(n, w) for n, w in weights.items()})


def chain() -> list[Checkpoint]:
    return list(_chain())


@cache
def _chain() -> tuple[Checkpoint, ...]:
    """Steps of LoRA: c, trained from b, undoes most of what made b of a; d and e are others' of
    b."""
    rng = np.random.default_rng(0)
    a = {
        f"block.{k}.{kind}": rng.normal(0, 1 / 16, (SIDE, SIDE)).astype(np.float32)
        for k in range(3)
        for kind in ("dense", "query")
    }

    def factors() -> dict[str, tuple[np.ndarray, np.ndarray]]:
        sides = (SIDE, RANK), (RANK, SIDE)
        return {n: tuple(rng.normal(0, 0.05, s) for s in sides) for n in a if "query" in n}

    def stepped(start: Weights, by: dict[str, np.ndarray]) -> Weights:
        return {n: (w + by.get(n, 0)).astype(np.float32) for n, w in start.items()}

    first = factors()
    b = stepped(a, {n: x @ y for n, (x, y) in first.items()})
    back = {n: (x + 0.3 * rng.normal(0, 0.05, x.shape), -0.7 * y) for n, (x, y) in first.items()}
    away = {n: (x, y + 0.3 * rng.normal(0, 0.05, y.shape)) for n, (x, y) in back.items()}
    c = stepped(b, {n: x @ y for n, (x, y) in away.items()})
    others = [stepped(b, {n: x @ y for n, (x, y) in factors().items()}) for _ in range(2)]
    return tuple(model(i, w) for i, w in zip("abcde", [a, b, c, *others], strict=True))


def test_steps_of_lora_whose_ranks_a_window_is_too_small_for():
    models = {m.id: m for m in chain()}
    gap = {
        (i, j): np.linalg.matrix_rank(
            np.subtract(*(models[k].tensors["block.0.query"].read() for k in (i, j))).reshape(
                SIDE, SIDE
            ),
            tol=1e-4,
        )
        for i, j in (("a", "b"), ("b", "c"), ("a", "c"))
    }
    assert gap["a", "b"] + gap["b", "c"] == gap["a", "c"] == 2 * RANK
    budget, asked = BUDGET, []

    def more(checkpoint: Checkpoint, level: int) -> Checkpoint:
        asked.append((checkpoint.id, level))
        return sketch(models[checkpoint.id], budget * TIMES**level)

    small = [sketch(m, budget) for m in models.values()]
    (group,) = align(small)
    assert RANK <= highest(group.layers[0]) < 2 * RANK

    graph = recover_checkpoints(small, Options(bootstrap=0), refinement=Refinement(more))
    full = recover_checkpoints(list(models.values()), Options(bootstrap=0))
    assert {frozenset((e.parent, e.child)): e.rank for e in graph.edges} == {
        frozenset((e.parent, e.child)): e.rank for e in full.edges
    }
    assert asked


def test_a_rank_too_high_for_a_window_is_a_doubt_and_a_larger_window_settles_it():
    models = chain()
    small, large = (align([sketch(m, size) for m in models])[0] for size in (BUDGET, 16 * BUDGET))
    m, hung = measure(align(models)[0]), np.array([-1, 0, 0, 1, 1])
    nearest = np.argsort(m.squared_distance.sum(axis=0), axis=1)[:, 1:].tolist()

    def against(looks: list[Look], parents: np.ndarray, doubting: bool) -> list[int]:
        ways = Ways(m, looks, np.arange(5))
        found = ways.objections(parents, nearest.__getitem__, doubting=doubting)
        return np.flatnonzero(found).tolist()

    first = Look.of(small)
    assert against([first], hung, False) == []
    assert 2 in against([first], hung, True)
    closer = [first, Look((0, 1, 2), align(list(large.checkpoints[:3]))[0])]
    for doubting in (False, True):
        assert against(closer, hung, doubting)[:1] == [2]
    assert against(closer, np.array([-1, 0, 1, -1, -1]), True) == []


def test_windows_of_all_rows_and_columns_ask_for_nothing():
    models = chain()
    whole = [sketch(m, 1 << 30) for m in models]

    def more(*_: object) -> Checkpoint:
        raise AssertionError("there is no more")

    recover_checkpoints(whole, Options(bootstrap=0), refinement=Refinement(more))


def differing(rows: Rows) -> np.ndarray:
    """In how many rows models differ, (n, n)."""
    weight = np.ones(rows.state.shape[1]) if rows.weight is None else rows.weight
    return np.array([[(a != b) @ weight for b in rows.state] for a in rows.state])


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_numbers_of_rows_stray_as_those_of_other_rows_do(share):
    """Independent: there other rows are looked at, here the same ones count more or less."""
    rng = np.random.default_rng(0)
    height, many = 2000, 5
    state = (rng.random((many, height)) < rng.random(height)).astype(np.intp)
    looked = int(share * height)
    there, here = [], []
    for seed in range(60):
        chosen = state[:, rng.permutation(height)[:looked]]
        rows = Rows(chosen, np.ones(chosen.shape), np.ones(many, dtype=bool), looked=(share,))
        there.append(differing(rows)[0, 1:])
        again = rows.replicate(seed)
        here.append(differing(again)[0, 1:] - there[-1])
    assert 0.8 < np.std(here) / np.std(np.subtract(there, np.mean(there, axis=0))) < 1.25


def test_rows_that_were_all_looked_at_do_not_stray():
    rows = Rows(np.eye(3, dtype=np.intp), np.ones((3, 3)), np.ones(3, dtype=bool), looked=(1.0,))
    again = rows.replicate(0)
    np.testing.assert_array_equal(differing(again), differing(rows))


def test_more_rows_of_some_models_tell_of_these():
    """c undoes b's step but for few rows: a narrow look sees none of these."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 32)).astype(np.float32)
    b = a.copy()
    b[::16] += rng.normal(0, 0.01, (25, 32)).astype(np.float32)
    c = b.copy()
    c[1::16] += rng.normal(0, 0.01, (25, 32)).astype(np.float32)
    models = [model(i, {"0.mlp": w}) for i, w in zip("abc", (a, b, c), strict=True)]
    small, large = (align([sketch(m, size) for m in models])[0] for size in (512, 1 << 14))
    i, j = np.triu_indices(3, 1)

    def apart(*looks: Look) -> list[bool]:
        parts = []
        for look in looks:
            numbers = np.array(look.models)
            parts += [
                (numbers[some], rows)
                for some, rows in look.kept(RowsOf).among(np.arange(len(numbers)))
            ]
        return Untouched(parts).excluded(i, j).tolist()

    assert not any(apart(Look.of(small)))
    assert apart(Look.of(small), Look((0, 1, 2), large)) == [False, True, False]
    assert not any(apart(Look.of(small), Look((0, 1), large.among([0, 1]))))


def spoilt(checkpoint: Checkpoint, name: str, value: float) -> Checkpoint:
    """With one weight that is no number, which a larger sketch sees and the first one does not."""
    seen = [window_of(sketch(checkpoint, BUDGET * k).tensors[name]) for k in (1, TIMES)]
    first, larger = (set(zip(*w.places((SIDE, SIDE)), strict=False)) for w in seen if w)
    weights = {n: t.read().reshape(SIDE, SIDE).copy() for n, t in checkpoint.tensors.items()}
    weights[name][min(larger - first)] = value
    return model(checkpoint.id, weights)


@pytest.mark.parametrize("many", [2, 512])
@pytest.mark.parametrize(("who", "value"), [(0, np.nan), (1, np.inf), (2, 1e30)])
def test_what_only_a_larger_sketch_shows_to_be_no_weight_is_not_looked_at(
    who: int, value: float, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mother.architecture.MANY", many)
    models = chain()
    small = [sketch(m, BUDGET) for m in models]
    models[who] = spoilt(models[who], "block.1.query", value)
    of = {m.id: m for m in models}
    assert sketch(models[who], BUDGET).tensors["block.1.query"].kept.read().tolist() == (
        small[who].tensors["block.1.query"].kept.read().tolist()
    )

    def more(checkpoint: Checkpoint, level: int) -> Checkpoint | None:
        return sketch(of[checkpoint.id], BUDGET * TIMES**level)

    def none_of_it(checkpoint: Checkpoint, level: int) -> Checkpoint | None:
        return None if checkpoint.id == models[who].id else more(checkpoint, level)

    found, without = (
        recover_checkpoints(small, Options(bootstrap=0, threads=1), refinement=Refinement(of))
        for of in (more, none_of_it)
    )
    assert found.to_json() == without.to_json()


def test_layers_that_are_no_weights_in_full_are_not_looked_at_in_full() -> None:
    models = chain()[:3]
    models[1] = spoilt(models[1], "block.1.query", np.nan)
    (group,) = align([sketch(m, BUDGET) for m in models])
    content = measured(models)
    assert content is not None
    whole = of_group(content, group)
    assert whole is not None
    assert {layer.name for layer in group.layers} - set(whole.names) == {"block.1.query"}
    assert np.isfinite(whole.gram).all()
