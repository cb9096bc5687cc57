"""What looks like weights and is not read is named; what can be read by content is read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from test_cli import run

from mother.checkpoints import discover
from mother.checkpoints.passed_over import passed_over

W = {f"w{k}": np.random.default_rng(k).normal(size=(8, 8)).astype(np.float32) for k in range(2)}
FOREIGN = ["m.pkl", "m.joblib", "m.pte", "m.pdmodel", "m.mlmodel", "m.distcp", "sub/m.t7"]


def test_every_file_of_a_known_ending_or_magic(tmp_path):
    save_file(W, tmp_path / "good.safetensors")
    (tmp_path / "sub").mkdir()
    for name in FOREIGN:
        (tmp_path / name).write_bytes(b"?" * 300)
    (tmp_path / "bare").write_bytes(pickle.dumps(list(range(100))))
    (tmp_path / "program").write_bytes(b"\0\0\0\0ET12" + bytes(300))
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / ".zarray").write_text("{}")
    for name in ("README.md", "notes.txt", "optimizer.pt", "picture.png", ".hidden.pkl"):
        (tmp_path / name).write_bytes(b"\x89PNG not a model at all")
    (tmp_path / "table.txt").write_text("-0.5 1.25 3.0e-7 0.75" * 20)
    left = passed_over([tmp_path], *discover([tmp_path]))
    found = {str(p.path.relative_to(tmp_path)) for p in left}
    assert found == {*FOREIGN, "bare", "program", "z"}


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("net.mnn", b"?", "MNN"),
        ("net.pt.gz", b"\x1f\x8b", "compressed"),
        ("net.om", b"?", "Ascend"),
        ("cc.bin", b"\xba\x16\x4f\x2f", "fastText"),
        ("llama.bin", b"fmgg", "GGML"),
        ("net", b"RKNN", "RKNN"),
        ("net.lua", b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "Lua Torch"),
        ("gbm.txt", b"tree\nversion=v4\n", "LightGBM"),
        ("gbm.json", b'{"learner":{"attributes":{}', "XGBoost"),
        ("glove.txt", b"the" + b" -0.25" * 50, "vectors of words"),
        ("words.bin", b"3000 300\n</s> ", "vectors of words"),
    ],
)
def test_foreign_formats_are_told_by_ending_or_first_bytes(tmp_path, name, start, what):
    (tmp_path / name).write_bytes(start + bytes(300))
    (tmp_path / "data.tar.gz").write_bytes(b"\x1f\x8b" + bytes(300))
    checkpoints, problems = discover([tmp_path])
    every = [*problems, *passed_over([tmp_path], checkpoints, problems)]
    (left,) = (problem for problem in every if problem.path != tmp_path)
    told = left.fault.removeprefix("not read: ")
    assert (left.path.name, told.split(",")[0].split(";")[0]) == (name, what)


@pytest.mark.parametrize("name", ["net.th", "net.weights", "net"])
def test_weights_under_another_ending_are_read(tmp_path, name):
    torch.save({n: torch.from_numpy(w) for n, w in W.items()}, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no weights, longer than the least that is looked at" * 9)
    (found,), problems = discover([tmp_path])
    assert (found.id, problems) == ("net", [])
    assert found.tensors["w1"].read().tolist() == W["w1"].reshape(-1).tolist()


def test_a_stray_file_beside_an_indexed_set_does_not_lose_it(tmp_path):
    shards = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    for name, shard in zip(W, shards, strict=True):
        save_file({name: W[name]}, tmp_path / shard)
    index = {"weight_map": dict(zip(W, shards, strict=True))}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (found,), problems = discover([tmp_path])
    assert (set(found.tensors), problems) == (set(W), [])
    assert "left out model.safetensors: a Git LFS pointer" in found.notes[1]


def test_recover_and_index_tell_and_check_does_not_pass_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pile").mkdir()
    save_file(W, "pile/good.safetensors")
    for k in range(5):
        Path(f"pile/m{k}.pkl").write_bytes(b"?")
    line = "mother: 5 files look like weights and were not read: m0.pkl (a pickle"
    told = run("recover", "pile", "-o", "graph.json")
    assert told.code == 0
    assert told.err.startswith(line)
    assert told.err.count("\n") == 1
    unread = json.loads(Path("graph.json").read_text())["unread"]
    assert [u["path"] for u in unread] == [f"pile/m{k}.pkl" for k in range(5)]
    run("index", "create", "i")
    assert line in run("index", "add", "i", "pile").err
    assert run("check", "pile").code == 2


def test_the_graph_beside_a_saved_models_variables_is_part_of_it(tmp_path):
    data = Path(__file__).parent.parent / "data" / "formats" / "frameworks" / "saved"
    shutil.copytree(data, tmp_path / "saved")
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"\x08\x01" + bytes(300))
    (tmp_path / "frozen.pb").write_bytes(b"\n" + bytes(300))
    found, problems = discover([tmp_path])
    assert [c.format for c in found] == ["savedmodel"]
    assert [p.path.name for p in passed_over([tmp_path], found, problems)] == ["frozen.pb"]
