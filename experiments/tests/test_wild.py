"""The families on the Hub, against small models of the same names and layers on a loopback Hub."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import stand_ins
import torch
from click.testing import CliRunner
from experiments.__main__ import main
from experiments.wild.families import FAMILIES, LLAMA2, STABLE_DIFFUSION, Family, Model
from experiments.wild.from_hub import Recovered, recover, write_page
from experiments.wild.hub import Hub
from experiments.wild.sample import runs
from loopback_hub import COMMIT, Record, serve
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mother
from mother.errors import InputError

SAMPLE = 1024


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("stand-ins")
    stand_ins.llama2(folder, 0.4)
    stand_ins.stable_diffusion(folder, 0.2)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def hub(trained: Path, record: Record) -> Iterator[Hub]:
    with serve(trained, record) as endpoint:
        yield Hub(endpoint)


@pytest.fixture(scope="session")
def diffusion(
    trained: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recovered, Counter[str]]:
    """The family as recovered, and the bytes that were served."""
    record = Record()
    with serve(trained, record) as endpoint:
        found = recover(STABLE_DIFFUSION, Hub(endpoint), 256, tmp_path_factory.mktemp("diffusion"))
    return found, record.served


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's clients wait between their attempts."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def right(found: Recovered, method: str, truth: int = 0) -> int:
    return mother.evaluate(found.graphs[method], found.family.truths[truth].edges).right


def stored(trained: Path, repository: str) -> dict[str, torch.Tensor]:
    files = (trained / "models" / repository).rglob("*.safetensors")
    return {name: w for file in files for name, w in load_file(file).items()}


def test_llama2(hub: Hub, record: Record, trained: Path, tmp_path: Path) -> None:
    found = recover(LLAMA2, hub, SAMPLE, tmp_path)
    assert right(found, "default") == 4
    assert record.served.total() == found.nbytes < 0.3 * sum(m.nbytes for m in found.opened)
    for name in record.served:
        assert name.startswith("meta-llama/")
        assert name.endswith((".safetensors", ".safetensors.index.json"))


def test_stable_diffusion(diffusion: tuple[Recovered, Counter[str]]) -> None:
    """The paper's repository of 1.5 is gone: another one is read."""
    found, served = diffusion
    assert served.total() == found.nbytes < 0.3 * sum(m.nbytes for m in found.opened)
    assert {name.split("/", 2)[2] for name in served} == {
        "unet/diffusion_pytorch_model.safetensors"
    }
    assert found.opened[4].repository == "stable-diffusion-v1-5/stable-diffusion-v1-5"
    first, second = (model.name for model in STABLE_DIFFUSION.models[:2])
    for graph in found.graphs.values():
        assert graph.parent(second) == first
        assert [len(tree.members) for tree in graph.trees] == [5]


@pytest.mark.parametrize("weights", [SAMPLE, 0])
def test_a_sample_holds_the_rows_it_should(
    hub: Hub, trained: Path, tmp_path: Path, weights: int
) -> None:
    recover(LLAMA2, hub, weights, tmp_path)
    for model in LLAMA2.models:
        whole = stored(trained, model.repositories[0])
        with safe_open(tmp_path / f"{model.name}.safetensors", "pt") as sample:
            # shapes of these differ within the family
            assert set(whole) - set(sample.keys()) == {
                "lm_head.weight",
                "model.embed_tokens.weight",
            }
            for name in sample.keys():  # noqa: SIM118  (it is no dict)
                parts = runs(len(whole[name]), whole[name][0].numel(), weights)
                expected = torch.cat([whole[name][start:stop] for start, stop in parts])
                assert torch.equal(sample.get_tensor(name), expected)


def test_what_is_there_is_not_read_again(hub: Hub, record: Record, tmp_path: Path) -> None:
    first = recover(LLAMA2, hub, SAMPLE, tmp_path)
    record.served.clear()
    again = recover(LLAMA2, Hub(hub.endpoint), SAMPLE, tmp_path)
    assert again.graphs == first.graphs
    weights = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert record.served.total() == again.nbytes < weights / 2
    # but where other weights are asked for
    record.served.clear()
    recover(LLAMA2, Hub(hub.endpoint), 2 * SAMPLE, tmp_path)
    assert record.served.total() > weights


def test_progress(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    recover(LLAMA2, hub, SAMPLE, tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len({total for _, total in seen}) == 1
    assert seen[-1][0] == seen[-1][1]


def test_the_page_says_what_it_has_not_seen(
    diffusion: tuple[Recovered, Counter[str]], tmp_path: Path
) -> None:
    found, _ = diffusion
    path = tmp_path / "docs" / "page.md"
    write_page(found, "the command", path)
    text = path.read_text()
    assert "**This run has not seen the real weights.**" in text
    assert "| found (without direction) | model cards | the paper |" in text
    for model in STABLE_DIFFUSION.models:
        assert f"| {model.name} |" in text
    write_page(replace(found, endpoint="https://huggingface.co"), "the command", path)
    assert "has not seen the real weights" not in path.read_text()


def test_the_command(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    monkeypatch.chdir(tmp_path)
    with serve(trained, record) as endpoint:
        monkeypatch.setattr("experiments.wild.hub.Hub", lambda: Hub(endpoint))
        result = CliRunner().invoke(main, ["wild", "llama2", "--sample", "1024"])
        assert (result.exit_code, result.output) == (0, "docs/experiments/wild-llama2.md\n")
        assert Path("docs/experiments/wild-llama2.md").read_text().startswith("# In the wild")
        record.faults["api/models/meta-llama/CodeLlama-7b-hf"] = "gated"
        result = CliRunner().invoke(main, ["wild", "llama2"])
    assert result.exit_code == 2
    assert result.output == (
        "Error: meta-llama/CodeLlama-7b-hf: needs consent to its licence: give it on the model's "
        "page, then `hf auth login`\n"
    )


SHARD = "CodeLlama-7b-Python-hf/resolve/" + COMMIT + "/model-00001-of-00002.safetensors"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("place", "kind", "fault"),
    [
        ("api/models/meta-llama/CodeLlama-7b-hf", "gone", "not on http://127.0.0.1"),
        ("api/models/meta-llama/CodeLlama-7b-hf", "busy", "answers 503 Service Unavailable"),
        (SHARD, "gone", "not there"),
        (SHARD, "busy", "answers 503 Service Unavailable; try again later"),
        (SHARD, "cut", "can't be read"),
        (SHARD, "short", "4 bytes came where 8 were asked for"),
        (SHARD, "whole", "bytes came where 8 were asked for"),
    ],
)
def test_answers_that_go_wrong(
    hub: Hub, record: Record, tmp_path: Path, place: str, kind: str, fault: str
) -> None:
    record.faults[place] = kind
    with pytest.raises(InputError, match=fault) as raised:
        recover(LLAMA2, hub, SAMPLE, tmp_path)
    assert "\n" not in str(raised.value)
    assert "CodeLlama" in str(raised.value)
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.usefixtures("impatient")
def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"meta-llama/Llama-2-7b-hf: the Hub can't be read"):
        recover(LLAMA2, Hub("http://127.0.0.1:9"), SAMPLE, tmp_path)


def header(entries: object, length: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


def tensor(**changed: object) -> dict[str, object]:
    return {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} | changed}


BAD_FILES = {
    "claims 1152921504606846976 bytes": header(tensor(), 1 << 60),
    "is not valid JSON": header(tensor())[:-1] + b"]" + bytes(24),
    "holds no JSON object": header([1]) + bytes(24),
    "less than 8 bytes": b"1234",
    "lacks a known dtype": header(tensor(dtype="F4")) + bytes(24),
    "lacks a known dtype, shape": header(tensor(shape=[2, -3])) + bytes(24),
    "lacks a known dtype, shape or offsets": header(tensor(data_offsets=[24])) + bytes(24),
    "does not lie in": header(tensor()) + bytes(23),
    "does not lie in the file's": header(tensor(data_offsets=[0, 20])) + bytes(24),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_header_that_lies(tmp_path: Path, fault: str) -> None:
    family = one_model(tmp_path, {"model.safetensors": BAD_FILES[fault]})
    with serve(tmp_path) as endpoint, pytest.raises(InputError, match=fault) as raised:
        recover(family, Hub(endpoint), 0, tmp_path / "out")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("places", "fault"),
    [
        ({"w": "../secret.safetensors"}, "outside its folder"),
        ({"w": "model-00002-of-00002.safetensors"}, "which is not there"),
        ({"w": 3}, "outside its folder"),
        ({}, "has no weight_map"),
    ],
)
def test_an_index_that_lies(tmp_path: Path, places: object, fault: str) -> None:
    index = json.dumps({"weight_map": places}).encode()
    family = one_model(tmp_path, {"model.safetensors.index.json": index})
    with serve(tmp_path) as endpoint, pytest.raises(InputError, match=fault):
        recover(family, Hub(endpoint), 0, tmp_path / "out")


def test_a_repository_without_weights(tmp_path: Path) -> None:
    family = one_model(tmp_path, {"README.md": b"later"})
    with serve(tmp_path) as endpoint, pytest.raises(InputError, match=r"holds none of model\."):
        recover(family, Hub(endpoint), 0, tmp_path / "out")


def one_model(folder: Path, files: dict[str, bytes]) -> Family:
    repository = folder / "models/some/one"
    repository.mkdir(parents=True)
    for name, content in files.items():
        (repository / name).write_bytes(content)
    return replace(LLAMA2, models=(Model("one", ("some/one",)),))


def test_pytorch_files_are_downloaded_whole(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same result, and the bytes are counted."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(trained / "models/meta-llama", tmp_path / "hub/models/meta-llama")
    repository = tmp_path / "hub/models/meta-llama/Llama-2-7b-chat-hf"
    whole = stored(trained, "meta-llama/Llama-2-7b-chat-hf")
    for file in repository.iterdir():
        file.unlink()
    torch.save(whole, repository / "pytorch_model.bin")
    with serve(trained) as endpoint:
        expected = recover(LLAMA2, Hub(endpoint), SAMPLE, tmp_path / "a")
    record = Record()
    with serve(tmp_path / "hub", record) as endpoint:
        found = recover(LLAMA2, Hub(endpoint), SAMPLE, tmp_path / "b")
    name = "Llama-2-7b-chat-hf.safetensors"
    a, b = load_file(tmp_path / "a" / name), load_file(tmp_path / "b" / name)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert found.graphs["default"].edges == expected.graphs["default"].edges
    assert record.served["meta-llama/Llama-2-7b-chat-hf/pytorch_model.bin"] > 0
    assert found.nbytes == record.served.total()


def test_models_that_share_nothing(trained: Path, tmp_path: Path) -> None:
    family = one_model(tmp_path, {})
    save_file({"w": torch.ones(2, 3)}, tmp_path / "models/some/one/model.safetensors")
    shutil.copytree(trained / "models/meta-llama/Llama-2-7b-hf", tmp_path / "models/some/other")
    family = replace(family, models=(*family.models, Model("other", ("some/other",))))
    with serve(tmp_path) as endpoint, pytest.raises(InputError, match="shares no tensor"):
        recover(family, Hub(endpoint), 0, tmp_path / "out")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_truths_name_the_models_and_are_trees(family: Family) -> None:
    names = {model.name for model in family.models}
    for truth in family.truths:
        parents = [parent for parent, _ in truth.edges]
        children = [child for _, child in truth.edges]
        assert {*parents, *children} == names
        assert len(children) == len(set(children)) == len(names) - 1
