"""Quantized copies are leaves: the right parent, and no other edge moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.graph import ModelGraph
from mother.measures.cells import cells_of
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.sketch import sketch
from mother.sketches.sketch_bytes import dump, load

Weights = dict[str, np.ndarray]
SIDE = 96


def base(seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    weights = {f"block.{k}.fc.weight": rng.normal(0, 0.1, (SIDE, SIDE)) for k in range(4)}
    weights |= {f"block.{k}.norm.weight": 1 + 0.1 * rng.normal(size=SIDE) for k in range(4)}
    return {n: w.astype(np.float32) for n, w in weights.items()}


def tuned(w: Weights, seed: int, by: float = 0.08) -> Weights:
    rng = np.random.default_rng(seed)
    return {
        n: (x + by * x.std() * rng.normal(size=x.shape)).astype(np.float32) for n, x in w.items()
    }


def groups(w: np.ndarray, bits: int = 4, size: int = 32) -> np.ndarray:
    """Affine codes of groups in a row."""
    g = w.reshape(-1, size)
    low, high = g.min(axis=1, keepdims=True), g.max(axis=1, keepdims=True)
    step = (high - low) / (2**bits - 1)
    return (low + step * np.rint((g - low) / step)).reshape(w.shape)


def rows(w: np.ndarray) -> np.ndarray:
    step = np.abs(w).max(axis=1, keepdims=True) / 127
    return np.rint(w / step) * step


def fp8(w: np.ndarray) -> np.ndarray:
    scale = np.abs(w).max() / 448
    return (w / scale).astype(ml_dtypes.float8_e4m3fn).astype(np.float32) * scale


def codebook(w: np.ndarray) -> np.ndarray:
    """Normal quantiles, a block of 32 by its largest."""
    levels = np.array([-1, -0.7, -0.53, -0.39, -0.28, -0.18, -0.09, 0, 0.08, 0.16, 0.25, 0.34])
    levels = np.append(levels, [0.44, 0.56, 0.72, 1])
    g = w.reshape(-1, 32)
    scale = np.abs(g).max(axis=1, keepdims=True)
    codes = np.abs(g[:, :, None] / scale[:, :, None] - levels).argmin(axis=2)
    return (levels[codes] * scale).reshape(w.shape)


def nested(w: np.ndarray) -> np.ndarray:
    """Blocks of 16 whose scales are whole numbers times one of the row, as K-quants have them."""
    g = w.reshape(len(w), -1, 16)
    scale = np.abs(g).max(axis=2, keepdims=True) / 31
    unit = scale.max(axis=1, keepdims=True) / 127
    scale = np.maximum(np.rint(scale / unit), 1) * unit
    return (np.rint(g / scale) * scale).reshape(w.shape)


def compensated(w: np.ndarray) -> np.ndarray:
    """Each column's error is taken on by the next ones, as GPTQ does with correlated inputs."""
    w, out = w.astype(np.float64), np.empty_like(w, np.float64)
    for start in range(0, w.shape[1], 32):
        low, high = (f(w[:, start : start + 32], axis=1) for f in (np.min, np.max))
        step = (high - low) / 15
        for k in range(start, start + 32):
            out[:, k] = low + step * np.clip(np.rint((w[:, k] - low) / step), 0, 15)
            w[:, k + 1 : k + 5] += 0.2 * (w[:, k] - out[:, k])[:, None]
    return out


SCHEMES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "4 bit": groups,
    "3 bit": lambda w: groups(w, 3),
    "8 bit rows": rows,
    "fp8": fp8,
    "codebook": codebook,
    "compensated": compensated,
    "nested": nested,
}


def each(w: Weights, how: Callable[[np.ndarray], np.ndarray]) -> Weights:
    return {n: (how(x) if x.ndim == 2 else x).astype(np.float32) for n, x in w.items()}


def folded(w: Weights) -> Weights:
    """AWQ: the inputs of a layer are scaled, and the norm before it the other way."""
    rng = np.random.default_rng(9)
    out = dict(w)
    for k in range(4):
        scale = np.exp(rng.normal(0, 0.5, SIDE)).astype(np.float32)
        out[f"block.{k}.norm.weight"] = w[f"block.{k}.norm.weight"] / scale
        out[f"block.{k}.fc.weight"] = w[f"block.{k}.fc.weight"] * scale
    return each(out, groups)


def checkpoint(id: str, weights: Weights, scheme: str = "") -> Checkpoint:
    tensors = {n: constant(n, w) for n, w in weights.items()}
    return replace(Checkpoint(id, Path(id), "npz", tensors), scheme=scheme)


def recovered(*models: Checkpoint) -> ModelGraph:
    return recover_checkpoints(models, Options(bootstrap=10))


ROOT = base()
PARENT = tuned(ROOT, 1)
FAMILY = [
    checkpoint("base", ROOT),
    checkpoint("parent", PARENT),
    checkpoint("sibling", tuned(ROOT, 2)),
    checkpoint("kid", tuned(PARENT, 3)),
    checkpoint("stranger", base(7)),
]
ALONE = recovered(*FAMILY)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_copy_saved_as_floats_is_a_leaf_of_its_original(scheme):
    graph = recovered(*FAMILY, checkpoint("copy", each(PARENT, SCHEMES[scheme])))
    (own,) = (e for e in graph.edges if e.child == "copy")
    assert (own.parent, own.relation, own.undirected) == ("parent", "quantized", False)
    assert tuple(e for e in graph.edges if e is not own) == ALONE.edges
    assert tuple(n for n in graph.nodes if n.id != "copy") == ALONE.nodes
    assert graph.hidden == ALONE.hidden


def test_scales_that_moved_into_norms():
    graph = recovered(*FAMILY, checkpoint("copy", folded(PARENT), "AWQ"))
    (own,) = (e for e in graph.edges if e.child == "copy")
    assert (own.parent, own.relation, own.scheme) == ("parent", "quantized", "AWQ")
    assert tuple(e for e in graph.edges if e is not own) == ALONE.edges


def test_where_the_original_is_not_there_it_is_no_copy():
    others = [c for c in FAMILY if c.id not in ("parent", "kid")]
    graph = recovered(*others, checkpoint("copy", each(PARENT, groups), "GPTQ"))
    (own,) = (e for e in graph.edges if e.child == "copy")
    assert (own.parent, own.relation, own.scheme) == ("base", "fine-tune", "GPTQ")


def test_several_copies_hang_from_the_most_precise():
    some = {"a": rows, "b": groups, "c": codebook}
    graph = recovered(*(checkpoint(n, each(PARENT, how)) for n, how in some.items()))
    assert {(e.parent, e.child, e.relation) for e in graph.edges} == {
        ("a", "b", "quantized"),
        ("a", "c", "quantized"),
    }


def test_copies_of_relatives_are_no_copies_of_each_other():
    graph = recovered(
        *(
            checkpoint(c.id, each(w, groups))
            for c, w in zip(FAMILY, (ROOT, PARENT, tuned(ROOT, 2), tuned(PARENT, 3)), strict=False)
        )
    )
    assert {frozenset((e.parent, e.child)) for e in graph.edges} == {
        frozenset((e.parent, e.child)) for e in ALONE.edges
    }
    assert graph.hidden == ()
    assert {e.relation for e in graph.edges} == {"fine-tune"}


def test_what_was_trained_from_a_copy_is_not_its_original():
    copy = each(PARENT, groups)
    rng = np.random.default_rng(4)
    trained = each(copy, lambda w: w + 0.02 * w.std() * rng.normal(size=w.shape))
    graph = recovered(checkpoint("copy", copy), checkpoint("trained", trained))
    assert not [e for e in graph.edges if e.relation == "quantized"]
    graph = recovered(*FAMILY, checkpoint("copy", copy), checkpoint("trained", trained))
    (own,) = (e for e in graph.edges if e.child == "copy")
    assert (own.parent, own.relation) == ("parent", "quantized")


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("says", ["", "int8"])
def test_a_copy_of_a_pruned_model_is_of_that_one(share, says):
    """Weights that were set to zero are rounded to zero, by nothing."""

    def sparse(w: np.ndarray) -> np.ndarray:
        return np.where(np.abs(w) < np.quantile(np.abs(w), share), 0, w)

    kept = each(PARENT, sparse)
    copy = checkpoint(
        "copy",
        each(kept, lambda w: np.rint(w / np.abs(w).max() * 127) * np.abs(w).max() / 127),
        says,
    )
    graph = recovered(*FAMILY, checkpoint("pruned", kept), copy)
    (own,) = (e for e in graph.edges if e.child == "copy")
    assert (own.parent, own.relation, own.undirected) == ("pruned", "quantized", False)


def test_a_copy_is_none_of_a_relative_where_one_that_was_trained_from_it_is_nearer():
    copy = each(PARENT, groups)
    rng = np.random.default_rng(4)
    trained = each(copy, lambda w: w + 0.002 * w.std() * rng.normal(size=w.shape))
    others = [c for c in FAMILY if c.id not in ("parent", "kid")]
    graph = recovered(*others, checkpoint("copy", copy, "GPTQ"), checkpoint("trained", trained))
    (own,) = (e for e in graph.edges if "copy" in (e.parent, e.child))
    assert {own.parent, own.child} == {"copy", "trained"}
    assert own.undirected


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "compensated"])
def test_cells_are_as_wide_as_rounding_was(scheme):
    w = np.random.default_rng(5).normal(size=(64, 512)).astype(np.float32)
    rounded = SCHEMES[scheme](w).astype(np.float32)
    cells = cells_of(rounded.astype(np.float64))
    assert cells.few
    assert cells.squared / 12 == pytest.approx(np.square(rounded - w).mean(), rel=0.6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("width", [48, 512, 4096])
def test_floats_have_no_cells(dtype, width):
    w = np.random.default_rng(6).normal(size=(64, width)).astype(dtype)
    assert not cells_of(w.astype(np.float64)).few


def test_weights_beside_a_far_larger_one_have_no_cells():
    w = np.random.default_rng(6).standard_t(2.2, size=(64, 1000))
    w[3, 5] = 900
    assert not cells_of(w).few


def test_heads_of_other_sizes_that_share_a_name_are_not_compared():
    def headed(weights: Weights, classes: int) -> Weights:
        rng = np.random.default_rng(classes)
        head = {"head.weight": rng.normal(0, 0.1, (classes, SIDE))}
        head["head.bias"] = rng.normal(0, 0.1, classes)
        return weights | {n: w.astype(np.float32) for n, w in head.items()}

    copy = each(headed(PARENT, 5), groups)
    graph = recovered(
        checkpoint("base", headed(ROOT, 10)),
        checkpoint("parent", headed(PARENT, 5)),
        checkpoint("sibling", headed(tuned(ROOT, 2), 7)),
        checkpoint("copy", copy),
    )
    (own,) = (e for e in graph.edges if e.child == "copy")
    assert (own.parent, own.relation) == ("parent", "quantized")


def quantized(id: str, weights: Weights, scheme: str) -> Checkpoint:
    """A copy that says so, of which each matrix does."""
    made = checkpoint(id, weights, scheme)
    tensors = {
        n: replace(t, scheme=scheme if len(t.shape) == 2 else "") for n, t in made.tensors.items()
    }
    return replace(made, tensors=tensors)


def sketched(models: list[Checkpoint]) -> list[Checkpoint]:
    return [load(dump(sketch(c)), c.path, id=c.id) for c in models]


@pytest.mark.parametrize("how", [groups, rows, codebook])
def test_sketches_know_what_was_decoded_from_codes(how):
    """Codes share scales along whole rows, of which a window holds some columns."""
    copy = checkpoint("copy", each(PARENT, how))
    found = {e.child: e for e in recovered(*sketched([*FAMILY, copy])).edges}
    assert (found["copy"].parent, found["copy"].relation) == ("parent", "quantized")
    alone = recovered(*sketched(FAMILY))
    assert [e for e in found.values() if e.child != "copy"] == list(alone.edges)


def test_sketches_know_what_was_quantized():
    copy = quantized("copy", each(PARENT, groups), "Q4")
    stray = quantized("stray", each(tuned(PARENT, 8), groups), "Q4")
    graph = recovered(*sketched([*FAMILY, copy, stray]))
    alone = recovered(*sketched(FAMILY))
    found = {e.child: (e.parent, e.relation, e.scheme) for e in graph.edges}
    assert found["copy"] == ("parent", "quantized", "Q4")
    assert found["stray"] == ("parent", "fine-tune", "Q4")
    assert [e for e in graph.edges if not e.scheme] == list(alone.edges)
