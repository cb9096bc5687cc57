"""Small models trained here, and what both methods make of them: all graphs of size 3 of the
paper (sec. 5.1, Fig. 4), and a tree of three generations."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn

import mother
from mother.checkpoints import align, open_checkpoint
from mother.heritage import mother as paper
from mother.heritage.scores import kurtosis
from mother.measures import measure

IMAGES, LABELS = load_digits(return_X_y=True)
TASKS = {
    "digit": LABELS % 10,
    "parity": LABELS % 2,
    "large": (LABELS > 4).astype(int),
    "round": np.isin(LABELS, (0, 6, 8, 9)).astype(int),
}
PARENTS = {
    "a": None,
    "a1": "a",
    "a2": "a",
    "a11": "a1",
    "a12": "a1",
    "a21": "a2",
    "b": None,
    "c": None,
}


def network(classes: int) -> nn.Sequential:
    """A perceptron for 8 x 8 images."""
    return nn.Sequential(
        nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 96), nn.GELU(), nn.Linear(96, classes)
    )


def train(
    name: str, parent: dict[str, torch.Tensor] | None
) -> tuple[dict[str, torch.Tensor], float]:
    """Train from the parent's body with a new head, or from a new start; with the accuracy."""
    seed = sorted(PARENTS).index(name)
    torch.manual_seed(seed)
    task = "digit" if parent is None else list(TASKS)[1 + seed % 3]
    x = torch.tensor(IMAGES, dtype=torch.float32) / 16
    y = torch.tensor(TASKS[task])
    model = network(int(y.max()) + 1)
    if parent is not None:
        model.load_state_dict(
            {**model.state_dict(), **{k: v for k, v in parent.items() if k[0] != "4"}}
        )
    steps, rate = (600, 3e-3) if parent is None else (150, 5e-4)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        batch = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    accuracy = float((model(x).argmax(1) == y).float().mean())
    return {k: v.clone() for k, v in model.state_dict().items()}, accuracy


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models of PARENTS as safetensors files."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("zoo")
    trained: dict[str, dict[str, torch.Tensor]] = {}
    for name, parent in PARENTS.items():
        trained[name], accuracy = train(name, trained[parent] if parent else None)
        assert accuracy > 0.9, name
        if parent:
            assert not torch.equal(trained[name]["2.weight"], trained[parent]["2.weight"])
        save_file(trained[name], folder / f"{name}.safetensors")
    return folder


def files(zoo: Path, names: tuple[str, ...]) -> list[Path]:
    return [zoo / f"{name}.safetensors" for name in names]


def true_edges(names: tuple[str, ...]) -> set[tuple[str, str]]:
    return {(PARENTS[n], n) for n in names if PARENTS[n] in names}  # type: ignore[misc]


TRIPLETS = {
    "grandparent-parent-child": ("a", "a1", "a11"),
    "grandparent-parent-child, second branch": ("a", "a2", "a21"),
    "parent-child-child": ("a", "a1", "a2"),
    "parent-child-child, lower": ("a1", "a11", "a12"),
    "parent-child-stranger": ("a", "a1", "b"),
    "parent-child-stranger, lower": ("a2", "a21", "c"),
    "three strangers": ("a", "b", "c"),
}


@pytest.mark.parametrize("names", TRIPLETS.values(), ids=TRIPLETS.keys())
def test_default_method_recovers_graphs_of_size_3(zoo: Path, names: tuple[str, ...]) -> None:
    for order in itertools.permutations(names):
        graph = mother.recover(files(zoo, order))
        assert {(e.parent, e.child) for e in graph.edges} == true_edges(names)
        assert not graph.hidden
        assert len(graph.trees) == 3 - len(true_edges(names))


@pytest.mark.parametrize("names", TRIPLETS.values(), ids=TRIPLETS.keys())
def test_papers_warm_up_recovers_graphs_of_size_3(zoo: Path, names: tuple[str, ...]) -> None:
    """Sec. 5.1 with the stage given. Networks this young still go on to gain outliers when tuned:
    their stage, in the paper's words, is generalization."""
    (group,) = align([open_checkpoint(path) for path in files(zoo, names)])
    m = measure(group, distances=True, moments=True)
    body = m.over(np.array([name in ("0.weight", "2.weight") for name in m.names]))
    distance = paper.relative_l1_distance(body)
    np.fill_diagonal(distance, 0.0)
    parents = paper.triplet(distance, kurtosis(body), np.ones(3, dtype=bool), paper.UNRELATED)
    found = {(names[p], names[c]) for c, p in enumerate(parents) if p >= 0}
    assert found == true_edges(names)


@pytest.mark.parametrize("names", TRIPLETS.values(), ids=TRIPLETS.keys())
def test_papers_method_recovers_graphs_of_size_3(zoo: Path, names: tuple[str, ...]) -> None:
    for trees in (None, 3 - len(true_edges(names))):
        graph = mother.recover(
            files(zoo, names),
            method="mother",
            stage="generalization",
            distance="ft",
            trees=trees,
            layers="^[02].weight",
        )
        assert {(e.parent, e.child) for e in graph.edges} == true_edges(names)


def test_default_method_recovers_three_generations_and_strangers(zoo: Path) -> None:
    graph = mother.recover(zoo)
    assert {(e.parent, e.child) for e in graph.edges} == true_edges(tuple(PARENTS))
    assert sorted(tree.root for tree in graph.trees) == ["a", "b", "c"]
    assert all(e.support is not None and e.support > 0.5 for e in graph.edges)


def test_siblings_without_their_parent_hang_from_a_hidden_ancestor(zoo: Path) -> None:
    graph = mother.recover(files(zoo, ("a11", "a12", "b")))
    assert graph.edges == ()
    assert [h.children for h in graph.hidden] == [("a11", "a12")]
    hidden = [tree for tree in graph.trees if tree.hidden_root]
    assert [tree.members for tree in hidden] == [("a11", "a12")]


def test_wrong_stage_label_turns_the_papers_edges_around(zoo: Path) -> None:
    names = ("a", "a1", "a11")
    graph = mother.recover(files(zoo, names), method="mother", distance="ft", layers="^[02].weight")
    assert {(e.parent, e.child) for e in graph.edges} == {("a11", "a1"), ("a1", "a")}


def test_stages_of_single_models_override_the_stage_of_all(zoo: Path) -> None:
    names = ("a", "a1", "a11")
    graph = mother.recover(
        files(zoo, names),
        method="mother",
        distance="ft",
        layers="^[02].weight",
        stages=dict.fromkeys(names, "generalization"),
    )
    assert {(e.parent, e.child) for e in graph.edges} == true_edges(names)
