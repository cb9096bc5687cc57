"""Lengths of ways: whitening against a plain calculation, and trees that common directions hide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.evidence.family import Family
from mother.evidence.lengths import RIDGE, SIDE, factors, usual, whitened
from mother.evidence.looks import Look
from mother.layouts import Group, align
from mother.measures import measure
from mother.methods import gram
from mother.sketches.samples import samples_of
from mother.thresholds import LITTLE
from mother.trees.rules import Rules


def power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eig(matrix)
    return np.real(vectors @ np.diag(values.astype(complex) ** exponent) @ np.linalg.inv(vectors))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 5), st.integers(2, 5))
def test_whitening_is_what_its_formula_says(seed: int, n: int, a: int, b: int) -> None:
    w = np.random.default_rng(seed).normal(size=(n, a, b))
    rows, columns = np.zeros((a, a)), np.zeros((b, b))
    for one in w:
        step = one - sum(w) / n
        step = step / np.linalg.norm(step)
        rows += step @ step.T
        columns += step.T @ step
    rows += RIDGE * np.trace(rows) / a * np.eye(a)
    columns += RIDGE * np.trace(columns) / b * np.eye(b)
    wanted = np.array([power(rows, -0.5) @ (one - sum(w) / n) @ power(columns, -0.5) for one in w])
    np.testing.assert_allclose(whitened(w), wanted, rtol=1e-6, atol=1e-8)


def test_models_that_are_all_alike_are_at_no_length() -> None:
    assert not whitened(np.ones((3, 4, 4))).any()
    i, j = np.triu_indices(3, 1)
    assert factors(np.ones((3, 4, 4)), i, j).tolist() == [1.0, 1.0, 1.0]
    assert usual(np.zeros(3)) == 1.0


def group(*models: dict[str, np.ndarray]) -> Group:
    made = [
        Checkpoint(
            f"m{k}",
            Path(f"m{k}"),
            "npz",
            {name: constant(name, w.astype(np.float32)) for name, w in model.items()},
        )
        for k, model in enumerate(models)
    ]
    (found,) = align(made)
    return found


def hidden_by_a_common_direction(seed: int = 0) -> tuple[Group, list[int]]:
    """A root, a child that hardly moved, and children of both that went far along what all
    trainings of the family have in common."""
    rng = np.random.default_rng(seed)
    layers = {f"layer.{k}.weight": rng.normal(size=(48, 40)) for k in range(6)}
    common = {
        name: [np.outer(rng.normal(size=48), rng.normal(size=40)) for _ in range(2)]
        for name in layers
    }

    def trained(w: dict[str, np.ndarray], far: float, along: float) -> dict[str, np.ndarray]:
        return {
            name: x
            + far * rng.normal(size=x.shape)
            + sum(along * (1 + rng.random()) * d for d in common[name])
            for name, x in w.items()
        }

    near = trained(layers, 0.1, 0.05)
    models, parents = [layers, near], [-1, 0]
    for k in range(8):
        models.append(trained(models[k % 2], 0.3, 0.5))
        parents.append(k % 2)
    return group(*models), parents


@pytest.mark.parametrize("seed", range(3))
def test_what_trainings_have_in_common_hides_no_parent(seed: int) -> None:
    of, parents = hidden_by_a_common_direction(seed)
    m = measure(of, moments=True)
    true = {frozenset(edge) for edge in enumerate(parents) if edge[1] >= 0}

    def joined(whitened: bool) -> int:
        found = gram.recover(m, [Look.of(of)], rules=Rules(whitened=whitened)).parents
        return len(true & {frozenset((c, int(p))) for c, p in enumerate(found) if p >= 0})

    assert joined(True) == len(true) > joined(False)


def test_lengths_are_geometric_means_over_layers_of_whitened_distances() -> None:
    of, _ = hidden_by_a_common_direction()
    n = len(of.checkpoints)
    family = Family.of(measure(of, moments=True), [Look.of(of)], np.arange(n))
    assert family is not None
    i, j = np.triu_indices(n, 1)
    plain, white, norms = [], [], []
    for layer in of.layers:
        assert max(layer.shape) <= SIDE
        w = np.stack([t.read().astype(np.float64).reshape(layer.shape) for t in layer.tensors])
        x = whitened(w)
        for points, out in ((w, plain), (x, white)):
            far = [((points[a] - points[b]) ** 2).sum() for a, b in zip(i, j, strict=True)]
            out.append(np.array(far))
        norms.append(np.mean([(one**2).sum() for one in w]))
    shares = [far / norm for far, norm in zip(plain, norms, strict=True)]
    faint = LITTLE**2 * np.median(np.mean(shares, axis=0))
    logs = [
        np.log(far / np.median(far) + faint / np.median(share))
        for far, share in zip(white, shares, strict=True)
    ]
    np.testing.assert_allclose(family.length(i, j), np.exp(np.mean(logs, axis=0)), rtol=1e-4)
    np.testing.assert_allclose(family.length(j, i), family.length(i, j))
    assert family.length(np.arange(n), np.arange(n)).tolist() == [0.0] * n


def test_what_rounding_moved_is_no_step() -> None:
    """Where layers were kept, two that were rounded alike are no nearer to each other."""
    rng = np.random.default_rng(0)
    base = {f"layer.{k}.weight": rng.normal(size=(48, 40)) for k in range(6)}

    def child() -> dict[str, np.ndarray]:
        moved = {n: w + 0.1 * rng.normal(size=w.shape) for n, w in list(base.items())[:2]}
        return {**base, **moved}

    children = [child() for _ in range(6)]
    halves = [
        c if k % 2 else {n: w.astype(np.float16) for n, w in c.items()}
        for k, c in enumerate(children)
    ]
    of = group({n: w.astype(np.float16) for n, w in base.items()}, *halves)
    found = gram.recover(measure(of, moments=True), [Look.of(of)])
    assert {frozenset((c, int(p))) for c, p in enumerate(found.parents) if p >= 0} == {
        frozenset((0, k)) for k in range(1, 7)
    }


def test_samples_of_whole_layers_have_the_same_lengths() -> None:
    """Model 513 of a family changes nothing."""
    of, _ = hidden_by_a_common_direction()
    n = len(of.checkpoints)
    i, j = np.triu_indices(n, 1)
    ways = [
        Family.of(source, [Look.of(of)], np.arange(n))
        for source in (measure(of, moments=True), samples_of(of))
    ]
    measured, sampled = (one.length(i, j) for one in ways if one is not None)
    np.testing.assert_allclose(
        sampled / measured, np.full(len(i), sampled[0] / measured[0]), rtol=1e-3
    )


@pytest.mark.parametrize("seed", range(3))
def test_vectors_break_ties_of_equal_matrices(seed: int) -> None:
    """Of some models the vectors alone were trained, beside others that went far in matrices."""
    rng = np.random.default_rng(seed)
    base = {f"layer.{k}.weight": rng.normal(size=(48, 40)) for k in range(4)}
    base |= {f"layer.{k}.bias": rng.normal(size=48) for k in range(4)}
    far = [{n: w + 0.1 * rng.normal(size=w.shape) for n, w in base.items()} for _ in range(7)]
    near = [
        {n: w + 0.3 * rng.normal(size=w.shape) if w.ndim == 1 else w for n, w in far[0].items()}
        for _ in range(3)
    ]
    of = group(*near, base, *far)
    parents = gram.recover(measure(of, moments=True), [Look.of(of)]).parents
    found = {frozenset((c, int(p))) for c, p in enumerate(parents) if p >= 0}
    assert {frozenset((len(near) + 1, k)) for k in range(len(near))} <= found
