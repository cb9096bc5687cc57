"""Pruned and rounded models, against numpy on the weights themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import mother
from mother.checkpoints import open_checkpoint
from mother.layouts import align
from mother.measures import measure
from mother.measures.formats import grid_step

Weights = dict[str, np.ndarray]
SHAPE, LAYERS = (96, 64), 6


def pruned(weights: Weights) -> Weights:
    """Half of each matrix, the smaller half by magnitude, set to zero."""
    return {
        k: np.where(np.abs(w) > np.median(np.abs(w)), w, 0).astype(w.dtype)
        for k, w in weights.items()
    }


def int8(weights: Weights) -> Weights:
    """On a grid of 255 levels a matrix, and back."""
    out = {}
    for k, w in weights.items():
        step = np.abs(w).max() / 127
        out[k] = (np.rint(w / step) * step).astype(np.float32)
    return out


def int4_by_row(weights: Weights) -> Weights:
    """On a grid of 15 levels a row, and back."""
    out = {}
    for k, w in weights.items():
        step = np.abs(w).max(axis=1, keepdims=True) / 7
        out[k] = (np.rint(w / step) * step).astype(np.float32)
    return out


def fresh(rng: np.random.Generator) -> Weights:
    return {f"{k}.weight": rng.normal(size=SHAPE).astype(np.float32) for k in range(LAYERS)}


def child(rng: np.random.Generator, weights: Weights, size: float) -> Weights:
    return {k: (w + size * rng.normal(size=w.shape)).astype(np.float32) for k, w in weights.items()}


def distances(folder: Path, models: list[Weights]) -> np.ndarray:
    """Squared distances over all layers as they are measured."""
    opened = []
    for number, weights in enumerate(models):
        path = folder / f"{number}.safetensors"
        save_file(weights, path)
        opened.append(open_checkpoint(path, id=str(number)))
    (group,) = align(opened)
    return np.asarray(measure(group).squared_distance.sum(axis=0))


@pytest.mark.parametrize("compress", [pruned, int8, int4_by_row])
@pytest.mark.parametrize("both", [False, True])
def test_distances_are_about_those_of_the_originals(
    tmp_path: Path, compress: Callable[[Weights], Weights], both: bool
) -> None:
    rng = np.random.default_rng(0)
    base = fresh(rng)
    tuned = child(rng, base, 0.2)
    true = sum(float(np.square(base[k] - tuned[k]).sum()) for k in base)
    models = [compress(base), compress(tuned) if both else tuned, child(rng, base, 0.1)]
    found = distances(tmp_path, models)
    assert found[0, 1] == pytest.approx(true, rel=0.15)
    assert found[1, 0] == found[0, 1]


@pytest.mark.parametrize("size", [0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.5), (0.3, 0.3)])
def test_steps_between_pruned_models_are_not_shortened(
    tmp_path: Path, size: float, shares: tuple[float, float]
) -> None:
    """The weights that both have left are those that did not cross the threshold."""

    def without(weights: Weights, share: float) -> Weights:
        lost = {k: np.abs(w) < np.quantile(np.abs(w), share) for k, w in weights.items()}
        return {k: np.where(lost[k], 0, w).astype(np.float32) for k, w in weights.items()}

    rng = np.random.default_rng(3)
    base = fresh(rng)
    tuned = child(rng, base, size)
    true = sum(float(np.square(base[k] - tuned[k]).sum()) for k in base)
    small = [without(w, share) for w, share in zip((base, tuned), shares, strict=True)]
    found = distances(tmp_path, small)
    assert found[0, 1] == pytest.approx(true, rel=0.08)


def test_faint_steps_between_rounded_models_are_not_lost(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    base = fresh(rng)
    tuned = child(rng, base, 0.005)  # a fifth of the grid's step
    true = sum(float(np.square(base[k] - tuned[k]).sum()) for k in base)
    found = distances(tmp_path, [int8(base), int8(tuned)])
    assert found[0, 1] == pytest.approx(true, rel=0.3)


@pytest.mark.filterwarnings("error")
def test_a_mask_among_rounded_models_is_no_weight(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    mask = np.triu(np.full((64, 64), -np.inf), 1).astype(np.float32)
    base = fresh(rng)
    models = [base, child(rng, base, 0.01), int8(child(rng, base, 0.01))]
    for number, weights in enumerate(models):
        save_file(weights | {"mask": mask}, tmp_path / f"{number}.safetensors")
    assert not mother.recover(tmp_path).refused
    assert not mother.recover(tmp_path / "0.safetensors").refused
    broken = base | {"mask": np.where(mask < 0, np.nan, mask)}
    save_file(broken, tmp_path / "broken.safetensors")
    graph = mother.recover([tmp_path / "broken.safetensors"])
    assert graph.refused == ()
    assert any("mask" in note and "NaN" in note for note in graph.nodes[0].notes)


def test_untouched_models_are_measured_as_ever(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    models = [fresh(rng), fresh(rng)]
    save_file(models[0], tmp_path / "a.safetensors")
    save_file(models[1], tmp_path / "b.safetensors")
    (group,) = align([open_checkpoint(tmp_path / f"{x}.safetensors", id=x) for x in "ab"])
    m = measure(group)
    assert len(m.shared) == len(m.overlap) == 0


@pytest.mark.parametrize("compress", [pruned, int8])
def test_a_family_is_recovered_with_half_of_it_compressed(
    tmp_path: Path, compress: Callable[[Weights], Weights]
) -> None:
    rng = np.random.default_rng(3)
    models = {"a": fresh(rng)}
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("b", "e"), ("c", "f"), ("c", "g")]
    for parent, name in edges:
        models[name] = child(rng, models[parent], 0.25)
    for name, weights in models.items():
        save_file(compress(weights) if name in "ace" else weights, tmp_path / f"{name}.safetensors")
    graph = mother.recover(tmp_path)
    assert {frozenset((e.parent, e.child)) for e in graph.edges} == set(map(frozenset, edges))
    assert {(e.parent, e.child) for e in graph.edges if not e.undirected} <= set(edges)


@given(
    st.floats(1e-6, 1e3),
    st.lists(st.integers(-127, 127), min_size=40, max_size=200),
    st.floats(1e-6, 1e3),
)
def test_the_step_of_a_grid(step: float, codes: list[int], other: float) -> None:
    row = np.array([1, 2, 3, 4, *codes], dtype=np.float64) * step  # neighbours: the step shows
    found = grid_step(row.astype(np.float32).astype(np.float64))
    assert found == pytest.approx(step, rel=1e-4)
    assert grid_step(np.array([0.0])) == 0.0
    assert grid_step(np.random.default_rng(0).normal(size=300) * other) == 0.0
