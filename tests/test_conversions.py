"""The same weights in another framework: other names, other orders of axes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import checkpoint, group_of

import mother
from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import Tensor
from mother.copies.conversions import find_conversions
from mother.copies.scaled import find_scaled
from mother.graph import ModelGraph
from mother.layouts import align
from mother.measures import measure
from mother.options import Options
from mother.recovery import recover_checkpoints

#: PyTorch's name and shape, TensorFlow's name, and the axes in its order
LAYERS = {
    "conv1.weight": ((16, 3, 3, 3), "a/kernel", (2, 3, 1, 0)),
    "conv1.bias": ((16,), "a/bias", (0,)),
    "conv2.weight": ((24, 16, 3, 3), "b/kernel", (2, 3, 1, 0)),
    "fc.weight": ((40, 96), "c/kernel", (1, 0)),
    "fc.bias": ((40,), "c/bias", (0,)),
}


def pytorch(seed=0):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 0.2, shape).astype(np.float32) for n, (shape, _, _) in LAYERS.items()}


def tensorflow(model):
    return {LAYERS[n][1]: w.transpose(LAYERS[n][2]).copy() for n, w in model.items()}


def tuned(model, seed, by=0.02):
    rng = np.random.default_rng(seed)
    return {n: w + by * rng.normal(size=w.shape).astype(np.float32) for n, w in model.items()}


def found(**models):
    groups = align([checkpoint(id, model) for id, model in models.items()])
    return sorted((d.original.id, d.copy.id) for d in find_conversions(groups))


def recovered(**models) -> ModelGraph:
    graph = recover_checkpoints([checkpoint(i, m) for i, m in models.items()], Options(bootstrap=5))
    # also checks that it is a forest
    return ModelGraph.from_json(graph.to_json())


def edges(graph):
    return {(e.parent, e.child): e.relation for e in graph.edges}


def test_a_port_to_another_framework():
    assert found(p=pytorch(), t=tensorflow(pytorch())) == [("p", "t")]
    assert found(z=pytorch(), t=tensorflow(pytorch())) == [("t", "z")]


def test_axes_of_one_do_not_count():
    port = tensorflow(pytorch())
    port["a/bias"] = port["a/bias"].reshape(1, 1, 16)
    assert found(p=pytorch(), t=port) == [("p", "t")]


def test_a_wider_type_does_not_count():
    port = {n: w.astype(np.float64) for n, w in tensorflow(pytorch()).items()}
    assert found(p=pytorch(), t=port) == [("p", "t")]


def test_strangers_and_fine_tunes_are_no_conversions():
    assert found(p=pytorch(), t=tensorflow(pytorch(1))) == []
    assert found(p=pytorch(), t=tensorflow(tuned(pytorch(), 1))) == []


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(LAYERS)), at=st.integers(0, 10**6), bit=st.integers(0, 31))
def test_any_bit_flipped_is_no_conversion(name, at, bit):
    port = {n: w.copy() for n, w in pytorch().items()}
    port[name].reshape(-1).view(np.uint32)[at % port[name].size] ^= np.uint32(1 << bit)
    assert found(p=pytorch(), t=tensorflow(port)) == []


def test_weights_that_moved_between_layers_are_no_conversion():
    port = pytorch()
    port["conv1.bias"][0], port["fc.bias"][0] = port["fc.bias"][0], port["conv1.bias"][0]
    assert found(p=pytorch(), t=tensorflow(port)) == []


def test_of_near_copies_the_small_tensors_are_read_first():
    """Alike in the first and last values, and apart in a bias."""
    near = pytorch()
    near["conv1.bias"][3] += 1
    models, counts = zip(
        *(counting(k, m) for k, m in {"p": pytorch(), "t": tensorflow(near)}.items()),
        strict=True,
    )
    assert find_conversions(align(models)) == []
    assert [count() for count in counts] == [2 * len(LAYERS) + 16] * 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_models_are_no_conversions(value):
    flat = {n: np.full_like(w, value) for n, w in pytorch().items()}
    assert found(p=flat, t=tensorflow(flat)) == []


def test_of_few_different_values_nothing_is_claimed():
    signs = {n: np.sign(w) for n, w in pytorch().items()}
    assert found(p=signs, t=tensorflow(signs)) == []


def test_another_model_of_the_same_names_is_left_alone():
    assert found(p=pytorch(), q=pytorch(1), t=tensorflow(pytorch(1))) == [("q", "t")]


@dataclass
class Counting:
    values: np.ndarray
    count: int = 0

    def read(self, start, stop):
        self.count += stop - start
        return self.values[start:stop]


def counting(id, model):
    sources = {n: Counting(w.reshape(-1)) for n, w in model.items()}
    tensors = {n: Tensor(n, w.dtype, w.shape, sources[n]) for n, w in model.items()}
    return Checkpoint(id, Path(id), "npz", tensors), lambda: sum(s.count for s in sources.values())


def test_ordinary_collections_cost_nothing():
    """One architecture, or several whose tensors have other sizes."""
    larger = {f"x.{n}": np.concatenate([w, w]) for n, w in pytorch().items()}
    models, counts = zip(
        *(counting(k, m) for k, m in {"a": pytorch(), "b": pytorch(1), "c": larger}.items()),
        strict=True,
    )
    assert find_conversions(align(models)) == []
    assert [count() for count in counts] == [0, 0, 0]


def test_strangers_of_the_same_sizes_cost_two_values_a_tensor():
    models, counts = zip(
        *(counting(k, m) for k, m in {"p": pytorch(), "t": tensorflow(pytorch(1))}.items()),
        strict=True,
    )
    assert find_conversions(align(models)) == []
    assert [count() for count in counts] == [2 * len(LAYERS)] * 2


def test_a_port_and_its_children_hang_from_its_original():
    graph = recovered(p=pytorch(), t=tensorflow(pytorch()), u=tensorflow(tuned(pytorch(), 1)))
    assert edges(graph) == {("p", "t"): "converted", ("p", "u"): "fine-tune"}
    assert [tree.members for tree in graph.trees] == [("p", "t", "u")]
    assert graph.node("t").duplicate_of == "p"
    assert next(e for e in graph.edges if e.child == "t").undirected


def test_two_trees_of_which_one_is_a_port():
    """The child keeps the parent that it has in its own framework."""
    base, child = pytorch(), tuned(pytorch(), 1)
    graph = recovered(p=base, q=child, t=tensorflow(base), u=tensorflow(child))
    assert edges(graph) == {
        ("p", "q"): "fine-tune",
        ("p", "t"): "converted",
        ("t", "u"): "fine-tune",
    }
    assert graph.node("u").duplicate_of == "q"
    assert [tree.members for tree in graph.trees] == [("p", "q", "t", "u")]


def test_weights_that_are_refused_hang_from_nothing():
    bad = pytorch()
    for weights in bad.values():  # one that is no number leaves out its array
        weights.reshape(-1)[0] = np.nan
    graph = recovered(p=bad, t=tensorflow(bad))
    assert graph.nodes == ()
    assert len(graph.refused) == 2


def test_two_files_compared(tmp_path):
    torch.save({n: torch.from_numpy(w) for n, w in pytorch().items()}, tmp_path / "p.pt")
    np.savez(tmp_path / "t.npz", **tensorflow(pytorch()))
    result = mother.compare(tmp_path / "p.pt", tmp_path / "t.npz")
    assert (result.relation, result.parent) == ("converted", None)
    np.savez(tmp_path / "t.npz", **tensorflow(pytorch(1)))
    assert mother.compare(tmp_path / "p.pt", tmp_path / "t.npz").relation == "unknown"


def test_what_rounding_left_of_layers_of_zeros_is_no_angle():
    zeros, rest = np.zeros((20, 30)), np.random.default_rng(0).normal(size=(2, 20, 30))
    group = group_of([{"none": zeros, "w": w} for w in rest])
    m = measure(group)
    m.gram[m.names.index("none"), [0, 1], [1, 0]] = 1e-13
    assert find_scaled(group, m, []) == []  # and squares nothing that overflows


def test_a_part_does_not_take_a_model_from_its_family():
    """Half of a model under other names and axes: what was made from the whole hangs from it."""
    draws = np.random.default_rng(4)
    base = {f"h.{k}.w": draws.normal(size=(40, 30)) for k in range(6)}
    kids = {n: {k: w + 0.1 * draws.normal(size=w.shape) for k, w in base.items()} for n in "ab"}
    part = {f"x{k}": base[f"h.{k}.w"].T for k in range(2)}
    models = {"base": base, **kids, "part": part}
    stored = {m: {n: w.astype(np.float32) for n, w in own.items()} for m, own in models.items()}
    graph = mother.recover(stored, bootstrap=0)
    found = {(e.parent, e.child): e for e in graph.edges}
    assert {("base", "a"), ("base", "b")} < found.keys()
    ((pair, edge),) = ((p, e) for p, e in found.items() if "part" in p)
    assert set(pair) == {"base", "part"}
    assert edge.undirected
