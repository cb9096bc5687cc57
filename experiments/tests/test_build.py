"""What is built at tiny scale is trained, and its truth is true."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from experiments.__main__ import main
from experiments.build import Build, OtherBuild, Workers
from experiments.execution import execute
from experiments.plan import Recipe, Run
from experiments.scales import SMALL, TINY
from experiments.splits import LIGHT, available, plan
from experiments.training import TrainingFailed
from safetensors.torch import load_file

from mother import recover
from mother.graph.evaluation import evaluate, read_truth

SPLITS = ["ft", "lora-v", "lora-f", "ft-wd", "ft-light", "continued", "same-seed", "strangers"]
SPLITS += ["cnn", "text"]
NO_EDGES = {"same-seed", "strangers"}


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _weights(folder: Path, id: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{id}.safetensors")


def test_splits() -> None:
    assert available(TINY) == available(SMALL) == SPLITS


@pytest.mark.parametrize("split", [*SPLITS, "mixed"])
def test_truth_is_a_forest_of_the_files(data: Path, split: str) -> None:
    folder = data / f"{split}-0"
    truth = _json(folder / "truth.json")
    nodes = {path.stem for path in folder.glob("*.safetensors")}
    assert set(truth["nodes"]) == nodes == set(truth["stages"])
    children = [child for _, child in truth["edges"]]
    assert {x for edge in truth["edges"] for x in edge} <= nodes
    assert len(children) == len(set(children))
    assert set(truth["relations"]) == set(children)
    assert bool(children) != (split in NO_EDGES)
    assert sorted(id for tree in truth["trees"] for id in tree) == sorted(nodes)
    assert all(any({p, c} <= set(tree) for tree in truth["trees"]) for p, c in truth["edges"])


@pytest.mark.parametrize("split", SPLITS)
def test_models_are_trained(data: Path, split: str) -> None:
    folder = data / f"{split}-0"
    truth, records = _json(folder / "truth.json"), _json(folder / "records.json")["models"]
    for id in truth["nodes"]:
        accuracy, chance = records[id]["accuracy"], records[id]["chance"]
        assert accuracy > chance or id.startswith("run-")  # early in a run it may not be
    for parent, child in truth["edges"]:
        p, c = _weights(folder, parent), _weights(folder, child)
        body = [n for n in p if not n.startswith(("classifier", "lm_head")) and n in c]
        assert len(body) > 10
        assert any(not torch.equal(p[name], c[name]) for name in body)
        assert all(c[name].isfinite().all() for name in body)


@pytest.mark.parametrize("split", ["ft", "lora-v", "lora-f", "ft-wd", "ft-light"])
def test_trees_are_those_of_the_paper(data: Path, split: str) -> None:
    folder = data / f"{split}-0"
    truth, records = _json(folder / "truth.json"), _json(folder / "records.json")["models"]
    assert len(truth["nodes"]) == 2 * (1 + 2 + 2 * 2)
    assert Counter(Counter(p for p, _ in truth["edges"]).values()) == {2: 2 + 2 * 2}
    for parent, child in truth["edges"]:
        assert records[parent]["task"] != records[child]["task"]


def test_small_scale_is_vthr() -> None:
    for split in ("ft", "lora-v", "lora-f"):
        runs = plan(SMALL, split, seed=0)
        recipes = [run.recipe for run in runs if run.recipe]
        assert len(runs) == 105
        assert len(recipes) == 100
        assert len({run.task for run in runs}) >= 10
        assert {r.rank for r in recipes} == {"ft": {None}, "lora-f": {8}}.get(split, {2, 4, 8, 16})


def test_lora_changes_adapted_layers_only_and_by_its_rank(data: Path) -> None:
    folder = data / "lora-v-0"
    truth, records = _json(folder / "truth.json"), _json(folder / "records.json")["models"]
    for parent, child in truth["edges"]:
        p, c = _weights(folder, parent), _weights(folder, child)
        changed = {n for n in p if n in c and "classifier" not in n and not torch.equal(p[n], c[n])}
        assert changed == {n for n in p if n.endswith(("query.weight", "value.weight"))}
        ranks = {int(torch.linalg.matrix_rank(p[n] - c[n], atol=1e-4)) for n in changed}
        assert max(ranks) <= records[child]["recipe"]["rank"]


def test_light_fine_tuning_is_light_and_stored_in_bfloat16(data: Path) -> None:
    folder = data / "ft-light-0"
    records = _json(folder / "records.json")["models"]
    for id, record in records.items():
        assert {w.dtype for w in _weights(folder, id).values()} == {torch.bfloat16}
        if record["recipe"]:
            assert LIGHT[0] <= record["relative_change"] <= LIGHT[1]


def test_cnn_saves_its_buffers(data: Path) -> None:
    weights = _weights(data / "cnn-0", "resnet-a-1")
    assert sum(name.endswith("running_var") for name in weights) > 3


def test_same_seed_shares_an_absent_initialization(data: Path) -> None:
    truth = _json(data / "same-seed-0" / "truth.json")
    assert [len(group) for group in truth["hidden_ancestors"]] == [4, 4]
    assert truth["trees"] == truth["hidden_ancestors"]
    a, b = truth["hidden_ancestors"]
    flat = {
        id: torch.cat(
            [
                w.flatten()
                for n, w in _weights(data / "same-seed-0", id).items()
                if n.startswith("vit.")
            ]
        )
        for id in (a[0], a[1], b[0])
    }

    def cosine(x: str, y: str) -> float:
        return float(torch.nn.functional.cosine_similarity(flat[x], flat[y], dim=0))

    assert cosine(a[0], a[1]) > cosine(a[0], b[0]) + 0.1


def test_mixed_holds_all_splits_under_names_that_tell_nothing(data: Path) -> None:
    truth = _json(data / "mixed-0" / "truth.json")
    edges = sum(len(_json(data / f"{s}-0" / "truth.json")["edges"]) for s in SPLITS)
    assert len(truth["edges"]) == edges + len(TINY.roots)  # ft-light's copies of the roots
    assert truth["nodes"] == [f"m{k:04}" for k in range(len(truth["nodes"]))]
    origins = [r["origin"] for r in _json(data / "mixed-0" / "records.json")["models"].values()]
    assert len(set(origins)) == len(origins)


@pytest.mark.parametrize(("split", "missed"), [("ft", 0), ("lora-v", 1), ("strangers", 0)])
def test_recovered(data: Path, split: str, missed: int) -> None:
    folder = data / f"{split}-0"
    result = evaluate(recover([folder], bootstrap=0), read_truth(folder / "truth.json"))
    # lora-v: known to miss one edge that the first method had; to be mended, then 0 again
    assert result.right >= result.true - missed
    assert result.false <= missed
    assert result.adjusted_rand_index == 1


def test_same_weights_whatever_the_number_of_processes(data: Path, tmp_path: Path) -> None:
    roots, seen = data / "roots-0", []
    with Workers(1) as workers:
        Build("lora-v", "tiny", 0, tmp_path, roots).run(workers, lambda n, total: seen.append(n))
    assert seen[-15:] == list(range(15))  # after the roots'
    for path in sorted((data / "lora-v-0").glob("*.safetensors")):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_a_stopped_build_goes_on(data: Path, tmp_path: Path) -> None:
    build = Build("cnn", "tiny", 0, tmp_path, tmp_path / "roots")

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Workers(1) as workers:
        build.run(workers, stop)
    assert not (tmp_path / "truth.json").exists()
    (tmp_path / ".partial-killed").mkdir()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.safetensors")}
    assert len(before) == 3
    with Workers(1) as workers:
        build.run(workers)
    assert not list(tmp_path.glob(".partial-*"))
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    for path in sorted((data / "cnn-0").glob("*.safetensors")):
        assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_another_seed_is_another_build(data: Path) -> None:
    with pytest.raises(OtherBuild, match="another build"), Workers(1) as workers:
        Build("strangers", "tiny", 1, data / "strangers-0", data / "roots-0").run(workers)


SOUND = Recipe(learning_rate=1e-3, examples=200, epochs=1)


@pytest.mark.parametrize(
    ("recipe", "fault"),
    [
        (replace(SOUND, learning_rate=0.0), "at chance"),
        (replace(SOUND, learning_rate=1e-2, relative_change=1e-30, epochs=8), "relative change"),
        (replace(SOUND, learning_rate=1e30, optimizer="sgd"), "loss|at chance|finite"),
    ],
)
def test_refuses_what_no_truth_can_be_built_on(
    data: Path, tmp_path: Path, recipe: Recipe, fault: str
) -> None:
    parent = data / "roots-0" / "supervised.safetensors"
    (tmp_path / parent.name).write_bytes(parent.read_bytes())
    run = Run(("child",), "fine-tune", recipe=recipe, task="groups", parent="supervised")
    with pytest.raises(TrainingFailed, match=fault):
        execute(run, "tiny", "ft", 0, tmp_path, data / "roots-0")


def test_names_the_splits_there_are() -> None:
    result = CliRunner().invoke(main, ["build", "ftt", "--scale", "tiny"])
    assert result.exit_code == 2
    assert "lora-v, lora-f" in result.output
