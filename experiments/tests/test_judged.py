"""The figures of the default method are what an independent reckoning finds on the same models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from unittest import mock

import networkx as nx
import numpy as np
import pages
import pytest
import torch
from experiments.figures import ablation, calibration, robustness
from experiments.figures.families import Data
from experiments.figures.judged import kinds
from experiments.figures.methods import count, nearest_by_polarity, rooted
from experiments.figures.splits import Built, both_methods, read
from experiments.figures.strangers import counted
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch.nn.utils import prune

from mother import Edge, ModelGraph, evaluate, recover
from mother.checkpoints import open_checkpoint
from mother.graph.evaluation import Truth

NAMES = ("direction", "strangers", "calibration", "robustness", "ablation")


@dataclass(frozen=True)
class Written:
    """The pages of NAMES and what they are about."""

    out: Path
    data: Data

    def rows(self, name: str, **wanted: str) -> pages.Rows:
        return pages.rows(self.out / f"{name}.csv", **wanted)

    def text(self, name: str) -> str:
        return (self.out / f"{name}.md").read_text()

    def folder(self, split: str) -> Path:
        return self.data.folder(split, 0)


@pytest.fixture(scope="session")
def judged(written: pages.Written) -> Written:
    return Written(written.out, Data(written.data.parent, "tiny", (0,)))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_its_models_are_for(judged: Written, name: str) -> None:
    assert "scale tiny" in judged.text(name)
    assert "nan" not in judged.text(name)


def _weights(folder: Path, id: str) -> dict[str, np.ndarray]:
    return {k: w.astype(np.float64) for k, w in load_file(folder / f"{id}.safetensors").items()}


def _alike(weights: list[np.ndarray]) -> bool:
    """A replaced head is as far from the others' as a stranger's."""
    norms = [np.linalg.norm(w) for w in weights]
    if 0 in norms:
        return False
    unit = [w / norm for w, norm in zip(weights, norms, strict=True)]
    cosine = np.median([np.vdot(a, b) for a, b in combinations(unit, 2)])
    return bool(cosine > max(0.1, 5 / weights[0].size ** 0.5))


def test_polarity_alone_takes_the_root_of_least_polarity(judged: Written) -> None:
    folder = judged.folder("ft")
    truth = json.loads((folder / "truth.json").read_text())
    found = nx.Graph([(e.parent, e.child) for e in recover([folder], bootstrap=0).edges])
    right = 0
    true = {tuple(edge) for edge in truth["edges"]}
    for tree in nx.connected_components(found):
        models = {id: _weights(folder, id) for id in sorted(tree)}
        one = next(iter(models.values()))
        layers = [
            name
            for name, w in one.items()
            if w.ndim >= 2
            and all(m[name].shape == w.shape for m in models.values())
            and _alike([m[name] for m in models.values()])
        ]
        norm = {k: np.mean([np.sum(m[k] ** 2) for m in models.values()]) for k in layers}

        def polarity(
            p: str, c: str, models: dict = models, layers: list = layers, norm: dict = norm
        ) -> float:
            step = {k: models[p][k] - models[c][k] for k in layers}
            weight = {k: step[k].size / norm[k] for k in layers}
            lacks = sum(weight[k] * np.vdot(step[k], models[p][k]) for k in layers)
            return float(lacks / sum(weight[k] * np.vdot(step[k], step[k]) for k in layers))

        def cost(root: str) -> float:
            return sum(polarity(p, c) for p, c in nx.bfs_edges(found, root))

        root = min(sorted(tree), key=cost)
        right += sum(edge in true for edge in nx.bfs_edges(found, root))
    (row,) = judged.rows("direction", split="ft", method="polarity")
    assert int(row["right"]) == right
    loose = sum(found.has_edge(p, c) for p, c in true)
    assert (int(row["undirected"]), int(row["true"])) == (loose, len(true))


def test_the_demos_families_by_their_documentation(judged: Written) -> None:
    (ours,) = judged.rows("direction", split="upconv7", method="ours")
    assert (ours["right"], ours["true"], ours["false"]) == ("4", "4", "0")
    (siblings,) = judged.rows("direction", split="vgg7", method="ours")
    assert (siblings["true"], siblings["found"]) == ("0", siblings["false"])
    (paper,) = judged.rows("direction", split="vgg7", method="paper")
    assert int(paper["false"]) > 0  # it makes a tree of siblings
    assert "upconv7" in judged.text("direction")


def test_strangers_are_counted_as_networkx_would(judged: Written) -> None:
    for split in ("ft", "same-seed", "strangers", "continued"):
        folder = judged.folder(split)
        truth = json.loads((folder / "truth.json").read_text())
        graph = recover([folder], bootstrap=0)
        kin = nx.Graph()
        kin.add_nodes_from(truth["nodes"])
        for tree in graph.trees:
            nx.add_path(kin, tree.members)
        own = {id: k for k, tree in enumerate(truth["trees"]) for id in tree}
        apart = [(a, b) for a, b in combinations(truth["nodes"], 2) if own[a] != own[b]]
        (row,) = judged.rows("strangers", split=split)
        assert int(row["strangers"]) == len(apart)
        assert int(row["called_relatives"]) == sum(nx.has_path(kin, a, b) for a, b in apart)
        groups = [g for g in truth["hidden_ancestors"] if split == "same-seed"]
        assert int(row["of_one_start"]) == sum(len(g) * (len(g) - 1) // 2 for g in groups)


def test_a_graph_that_is_wrong_about_strangers_is_counted() -> None:
    ids = ["a", "b", "c", "d"]
    truth = Truth((), (("a", "b"), ("c",), ("d",)))
    built = Built({}, truth, {}, dict.fromkeys(ids, "vit"))
    tree = mock.Mock(members=("a", "b", "c"))
    graph = mock.Mock(trees=(tree, mock.Mock(members=("d",))), edges=(Edge("b", "a", "fine-tune"),))
    assert counted(built, graph) == {
        "strangers": 5,
        "called_relatives": 2,
        "of_one_start": 1,
        "one_start_related": 1,
        "called_parent": 1,
    }


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_summed_over_bins(edges: list[tuple[float, bool]]) -> None:
    said, right = [s for s, _ in edges], [float(r) for _, r in edges]
    total = 0.0
    for low in range(10):
        inside = [(s, r) for s, r in edges if low == min(int(s * 10), 9)]
        total += abs(sum(s for s, _ in inside) - sum(r for _, r in inside))
    found = calibration.calibration_error(said, right)
    assert found == pytest.approx(total / len(edges), abs=1e-9)
    assert sum(b.edges for b in calibration.bins(said, right)) == len(edges)


@pytest.mark.parametrize("split", ["ft", "cnn", "continued"])
def test_calibration_is_over_all_edges_found(judged: Written, split: str) -> None:
    rows = judged.rows("calibration", split=split)
    (of_split,) = judged.rows("direction", split=split, method="ours")
    assert len(rows) == int(of_split["found"])
    assert sum(int(r["right"]) for r in rows) == int(of_split["right"])
    assert sum(int(r["joined"]) for r in rows) == int(of_split["undirected"])
    assert all(0 <= float(r[k]) <= 1 for r in rows for k in ("direction", "support"))
    replicates = [pages.REPLICATES * float(r["support"]) for r in rows]
    assert replicates == [pytest.approx(round(n)) for n in replicates]


def _in_torch(compression: str, name: str, weight: torch.Tensor) -> torch.Tensor:
    if compression == "bf16":
        return weight.bfloat16().float()
    if compression == "fp16":
        return weight.half().float()
    if weight.squeeze().ndim < 2:
        return weight
    if compression == "int8":
        scale = float(weight.abs().max()) / 127
        return torch.fake_quantize_per_tensor_affine(weight, scale, 0, -128, 127)
    layer = torch.nn.Module()
    layer.register_parameter("w", torch.nn.Parameter(weight.clone()))
    prune.l1_unstructured(layer, "w", amount=weight.numel() // 2)
    return layer.w.detach()


@pytest.mark.parametrize("compression", robustness.COMPRESSIONS)
def test_compression_is_torchs(judged: Written, compression: str) -> None:
    path = next(iter(sorted(judged.folder("ft").glob("mae*.safetensors"))))
    whole = open_checkpoint(path)
    small = robustness.compressed(whole, compression)
    for name, w in load_file(path).items():
        expected = _in_torch(compression, name, torch.from_numpy(w.astype(np.float32)))
        found = small.tensors[name].read().reshape(w.shape)
        assert found.dtype == w.dtype
        same = np.isclose(found, expected.numpy(), rtol=1e-6, atol=1e-8)
        # a weight halfway between two steps goes to either, by the last bit of the quotient
        step = np.abs(w).max() / 127
        halfway = np.isclose(np.abs(w / step) % 1, 0.5, atol=1e-4)
        assert (same | (halfway & (compression == "int8"))).all()
    assert not robustness.identical(whole, small)
    assert robustness.identical(whole, whole)


def test_compressed_models_on_disk_give_the_same_figures(judged: Written, tmp_path: Path) -> None:
    built = read(judged.folder("ft"))
    drawn = robustness.half(built, "ft", 0)
    assert len(drawn) == len(built.checkpoints) // 2
    for id, checkpoint in built.checkpoints.items():
        stored = robustness.compressed(checkpoint, "pruned") if id in drawn else checkpoint
        arrays = {k: t.read().reshape(t.shape) for k, t in stored.tensors.items()}
        save_file(arrays, tmp_path / f"{id}.safetensors")
    found = evaluate(recover([tmp_path], bootstrap=0), built.truth)
    (row,) = judged.rows("robustness", split="ft", compression="pruned")
    assert int(row["instead"]) == found.right
    assert int(row["instead_undirected"]) == found.right_undirected
    (whole,) = judged.rows("direction", split="ft", method="ours")
    assert row["untouched"] == whole["right"]
    assert row["copies"] == str(len(drawn))


def test_a_copy_above_its_original_is_counted() -> None:
    edges = (
        Edge("copy-of-a", "a", "fine-tune"),
        Edge("b", "copy-of-b", "converted"),
        Edge("a", "copy-of-c", "fine-tune"),
    )
    graph = mock.Mock(spec=ModelGraph, edges=edges)
    truth = Truth((("a", "c"), ("c", "b")))
    assert robustness._copies(graph, ["copy-of-a", "copy-of-b", "copy-of-c"], truth) == {
        "beside_as_one": 1,
        "copies": 3,
        "below_original": 1,
        "above_original": 1,
    }


def test_the_whole_method_is_the_one_that_is_run(judged: Written) -> None:
    for row in judged.rows("ablation", variant=ablation.ALL):
        (same,) = judged.rows("direction", split=row["split"], method="ours")
        for figure in ("right", "undirected", "true", "false"):
            assert row[figure] == same[figure], row["split"]


@pytest.mark.parametrize("variant", [v for v in ablation.VARIANTS if v != ablation.ALL])
def test_what_is_taken_away_is_given_back(judged: Written, variant: str) -> None:
    (kind,) = kinds(judged.folder("ft"), 1)
    before, rules = kind.recover(), ablation.VARIANTS[variant]
    assert rules != ablation.VARIANTS[ablation.ALL]
    np.testing.assert_array_equal(kind.recover(rules=rules).parents, ablation.found(kind, variant))
    after = kind.recover()
    np.testing.assert_array_equal(after.parents, before.parents)
    np.testing.assert_array_equal(after.odds, before.odds)


def _random_tree(draw: Callable[..., int], n: int) -> np.ndarray:
    return np.array([-1, *(draw(st.integers(0, k - 1)) for k in range(1, n))], dtype=np.intp)


@given(st.data(), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_tree_is_rooted_where_its_edges_agree_most(
    data: st.DataObject, n: int, seed: int
) -> None:
    parents = _random_tree(data.draw, n)
    noise = np.random.default_rng(seed).normal(size=(n, n))
    evidence = noise - noise.T
    found = rooted(parents, evidence)
    tree = nx.Graph()
    tree.add_nodes_from(range(n))
    tree.add_edges_from((c, int(p)) for c, p in enumerate(parents) if p >= 0)
    agreed = {root: sum(evidence[e] for e in nx.bfs_edges(tree, root)) for root in tree}
    (root,) = np.flatnonzero(found < 0)
    assert agreed[int(root)] == pytest.approx(max(agreed.values()))
    assert {(int(p), c) for c, p in enumerate(found) if p >= 0} == set(nx.bfs_edges(tree, root))


def test_what_is_left_is_a_minimum_spanning_tree(judged: Written) -> None:
    (kind,) = kinds(judged.folder("lora-v"), 1)
    found = nearest_by_polarity(kind.measures)
    assert (found >= 0).sum() == (kind.parents >= 0).sum()
    (row,) = judged.rows("ablation", split="lora-v", variant=ablation.LEFT)
    assert int(row["right"]) == count(found, kind.parents).right
    expected = set()
    folder = judged.folder("lora-v")
    for ids in read(folder).truth.trees:
        models = [read(folder).checkpoints[id].tensors for id in ids]
        tuned = {
            name: np.stack([m[name].read().astype(np.float64) for m in models])
            for name in models[0]
            if name.endswith("value.weight")
        }
        near = nx.Graph()
        for i, j in combinations(range(len(ids)), 2):
            step = sum(
                w.shape[1] * np.sum((w[i] - w[j]) ** 2) / np.mean(np.sum(w**2, axis=1))
                for w in tuned.values()
            )
            near.add_edge(ids[i], ids[j], weight=step)
        expected |= {frozenset(e) for e in nx.minimum_spanning_edges(near, data=False)}
    names = list(read(folder).checkpoints)
    assert {frozenset((names[c], names[p])) for c, p in enumerate(found) if p >= 0} == expected


def test_figures_are_reckoned_once(judged: Written) -> None:
    assert both_methods(judged.data) is both_methods(judged.data)
