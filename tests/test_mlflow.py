"""Model versions of an MLflow registry, on a stand-in that was held against the real server."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from kit import model, tuned
from loopback_mlflow import API, ARTIFACTS, Registry, serve_registry
from safetensors.numpy import save

import mother
import mother.hub.web
from mother.checkpoints import open_checkpoint
from mother.cli import cli
from mother.errors import InputError


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """plain in two versions and a child called otherwise, each in a folder of its own."""
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("mother.hub.mirrors._spool", tmp_path / "spool")
    monkeypatch.setattr("mother.hub.patience.sleep", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_URI", "TRACKING_USERNAME", "TRACKING_PASSWORD", "TRACKING_TOKEN"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    base = model(0)
    with serve_registry() as found:
        for name, version, weights in (
            ("plain", "1", base),
            ("plain", "10", tuned(base, 1)),
            ("kin d ü", "1", model(5)),
        ):
            files = {"MLmodel": b"flavors: {}", "data/model.safetensors": save(weights)}
            found.add(name, version, files)
        found.aliases["plain", "champion"] = "10"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.at)
        yield found
    mother.hub.web.client().close()
    mother.hub.web._client = None


@pytest.mark.parametrize(
    ("address", "versions"),
    [
        ("models:/plain/1", ["plain/1"]),
        ("models:/plain@champion", ["plain/10"]),
        ("models:/plain/latest", ["plain/10"]),
        ("models:/kin d ü/1", ["kin d ü/1"]),
        ("models:/plain", ["plain/1", "plain/10"]),
        ("mlflow://", ["kin d ü/1", "plain/1", "plain/10"]),
        ("mlflow://HOST", ["kin d ü/1", "plain/1", "plain/10"]),
        ("mlflow://HOST/plain", ["plain/1", "plain/10"]),
        ("models:/plain/1/data/model.safetensors", ["plain/1"]),
    ],
)
def test_what_addresses_name(registry: Registry, address: str, versions: list[str]) -> None:
    host = registry.at.removeprefix("http://")
    graph = mother.recover(address.replace("HOST", host))
    start = f"mlflow://{host}" if "HOST" in address else "models:"
    assert [n.id for n in graph.nodes] == [v.replace("/", ":") for v in versions]
    assert [n.path for n in graph.nodes] == [f"{start}/{v}/data" for v in versions] or [
        n.path for n in graph.nodes
    ] == [f"{start}/{v}/data/model.safetensors" for v in versions]
    assert not registry.tags
    assert open_checkpoint(graph.nodes[0].path).id == graph.nodes[0].id  # read again


def test_logged_models(registry: Registry) -> None:
    """Of MLflow 3: by their id, and as the source of a version, where a server tells no more."""
    one, other = (f"m-{digit * 32}" for digit in "12")
    registry.logged[one] = registry.versions["plain", "1"]
    registry.versions["plain", "1"] = f"models:/{one}"
    graph = mother.recover([f"models:/{one}", "models:/plain/1", f"models:/{one}/data"])
    assert {n.id.partition("#")[0] for n in graph.nodes} == {one, "plain:1"}
    with pytest.raises(InputError, match="404 Not Found: Logged model with ID"):
        mother.recover(f"models:/{other}")
    ran = CliRunner().invoke(cli, ["recover", f"models:/{one}", "--write"])
    assert ran.exit_code == 2
    assert "tags go to versions of registered models" in ran.stderr
    assert not registry.tags


def test_ranges(registry: Registry) -> None:
    rng = np.random.default_rng(0)
    large = {f"l{k}": rng.normal(size=150_000).astype(np.float32) for k in range(4)}
    registry.add("large", "1", {"model.safetensors": save(large)})
    c = open_checkpoint("models:/large/1")
    assert np.array_equal(c.tensors["l3"].read(0, 10), large["l3"][:10])
    assert registry.web.sent < 400_000
    del c
    gc.collect()
    (where,) = (p for p in registry.web.files if p.endswith("model/model.safetensors"))
    registry.web.faults[where] = ["whole"] * 9
    with pytest.raises(InputError, match="ignores byte ranges; --download fetches"):
        open_checkpoint("models:/large/1")
    kept = open_checkpoint("models:/large/1", download=True)
    assert np.array_equal(kept.tensors["l3"].read(), large["l3"])


def test_tags_are_written_when_asked_for(registry: Registry) -> None:
    run = CliRunner().invoke
    assert run(cli, ["recover", "mlflow://"]).exit_code == 0
    assert not registry.tags
    assert not any(p.startswith(("POST", "DELETE")) for p, _ in registry.web.asked)
    registry.tags["plain", "1"] = {"mother.parent": "of last week", "owner": "me"}
    ran = run(cli, ["recover", "mlflow://", "--write", "--link", "https://host/page.html"])
    assert ran.exit_code == 0, ran.output
    assert "tags written: 3 model versions" in ran.stdout
    child = registry.tags["plain", "10"]
    assert child["mother.parent"] == "models:/plain/1"
    assert child["mother.relation"] == "fine-tune"
    assert 0.5 < float(child["mother.probability"]) < 1
    assert child["mother.evidence"] == "https://host/page.html#model=plain%3A10"
    alone = registry.tags["plain", "1"]
    assert alone["owner"] == "me"
    assert "mother.parent" not in alone  # last week's is taken off
    assert alone["mother.finding"] == "No parent among the models compared."
    before = len([p for p, _ in registry.web.asked if p.startswith(("POST", "DELETE"))])
    ran = run(cli, ["recover", "mlflow://", "--write", "--link", "https://host/page.html"])
    after = len([p for p, _ in registry.web.asked if p.startswith(("POST", "DELETE"))])
    assert before == after  # what is there is not written again


def test_a_version_of_several_models_gets_no_tags(registry: Registry) -> None:
    two = {"a.safetensors": save(model(1)), "b.safetensors": save(model(2))}
    registry.add("two", "1", two)
    ran = CliRunner().invoke(cli, ["recover", "models:/two/1", "--write"])
    assert ran.exit_code == 2
    assert "models:/two/1: holds several models; no tags are written" in ran.stderr
    assert not registry.tags


def test_files_in_a_store(registry: Registry) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/lab/run/model.safetensors", save(model(0)))
    registry.versions["stored", "1"] = "memory://lab/run"
    (node,) = mother.recover("models:/stored/1").nodes
    assert (node.id, node.path) == ("stored:1", "models:/stored/1")
    fs.rm("/lab", recursive=True)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/etc", "its files lie at '/etc', for the server alone; have the server serve them"),
        ("file:///etc", "for the server alone"),
        ("http://169.254.169.254/latest", "for the server alone"),
        ("mlflow-artifacts://elsewhere.example/1/run", "for the server alone"),
        ("simplecache::memory://lab", "for the server alone"),
    ],
)
def test_a_registry_does_not_decide_what_is_read_here(
    registry: Registry, source: str, said: str
) -> None:
    registry.versions["evil", "1"] = source
    with pytest.raises(InputError, match=said):
        mother.recover("models:/evil/1")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("models:/none/1", r"the registry answers 404 Not Found: Model Version .* not found"),
        ("models:/plain/9", r"Model Version \(name=plain, version=9\) not found"),
        ("models:/plain@x", "Registered model alias x not found"),
        ("models:/plain/Production", "no version is called so"),
        ("models:/none", "has no versions that can be seen"),
        ("models:/plain/1/../2", "no address of a model version"),
        ("models:/plain/1/none.npz", "no such file or folder"),
    ],
)
def test_addresses_that_lead_nowhere(registry: Registry, address: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        mother.recover(address)
    assert "\n" not in str(raised.value)


def test_no_registry(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match=r"no registry is known; set MLFLOW_TRACKING_URI"):
        mother.recover("models:/plain/1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:5ec2e7@host/mlflow")
    with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI names no server; set") as raised:
        mother.recover("models:/plain/1")
    assert "5ec2e7" not in str(raised.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    registry.web.faults[f"{API}model-versions/get"] = ["whole"]
    registry.web.files[f"{API}model-versions/get"] = b"<html>"
    with pytest.raises(InputError, match="no MLflow answers there"):
        mother.recover(registry.at.replace("http", "mlflow") + "/plain/1")


def test_credentials(registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    registry.web.allow = "Basic bWU6NWVjMmU3"  # me:5ec2e7
    with pytest.raises(InputError, match="answers 401 Unauthorized: set MLFLOW_TRACKING_USERNAME"):
        mother.recover("models:/plain/1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "5ec2e7")
    assert open_checkpoint("models:/plain/1").id == "plain:1"
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = 5ec2e7\n"
    )
    assert open_checkpoint("models:/plain/1").id == "plain:1"
    # to no server that the user's variables do not name
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    with pytest.raises(InputError, match="answers 401"):
        mother.recover(registry.at.replace("http", "mlflow") + "/plain/1")
    host = registry.at.replace("http://", "me:5ec2e7@")
    (node,) = mother.recover(f"mlflow://{host}/plain/1").nodes
    assert "5ec2e7" not in node.path


def test_a_list_that_lies(registry: Registry) -> None:
    registry.web.files[f"{ARTIFACTS}/0/run/artifacts/model/../../x.npz"] = b""
    with pytest.raises(InputError, match="names a file outside its folder"):
        mother.recover("models:/plain/1")


@pytest.mark.parametrize("call", ["get", "get-download-uri", "search"])
@pytest.mark.parametrize(
    "body",
    [
        *("[]", "{}", "null", '{"model_version": 3}', '{"artifact_uri": []}'),
        *('{"model_versions": [3, {}], "x": 1}', '{"model_versions": 3}'),
    ],
)
def test_answers_that_are_none(registry: Registry, call: str, body: str) -> None:
    place = f"{API}model-versions/{call}"
    registry.web.files[place] = body.encode()
    registry.web.faults[place] = ["whole"] * 9
    with pytest.raises(InputError) as raised:
        mother.recover("models:/plain" if call == "search" else "models:/plain/1")
    assert "\n" not in str(raised.value)


def test_write_needs_a_registry(tmp_path: Path) -> None:
    ran = CliRunner().invoke(cli, ["recover", str(tmp_path), "--write"])
    assert "none of the paths is in a registry that takes tags" in str(ran.exception)
    ran = CliRunner().invoke(cli, ["recover", str(tmp_path), "--link", "x"])
    assert "--link needs --write" in str(ran.exception)
