"""The files of a checkpoint: names, sizes and hashes, against the operating system's."""

import gc
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from kit import model, run, save, save_family, tuned

import mother
from mother.checkpoints import File, discover
from mother.errors import InputError


@pytest.fixture
def models(tmp_path):
    root = model()
    save(tmp_path / "root.safetensors", root)
    save(tmp_path / "plain/model.safetensors", tuned(root, 1))
    parts, names = tuned(root, 2), sorted(root)
    for folder, indexed in (("sharded", True), ("loose", False)):
        where = {}
        for number, keys in enumerate((names[:9], names[9:]), 1):
            shard = f"model-0000{number}-of-00002.safetensors"
            save(tmp_path / folder / shard, {n: parts[n] for n in keys})
            where |= dict.fromkeys(keys, shard)
        if indexed:
            index = json.dumps({"weight_map": where})
            (tmp_path / folder / "model.safetensors.index.json").write_text(index)
    for part, seed in (("unet", 3), ("vae", 4)):
        save(tmp_path / f"pipe/{part}/diffusion_pytorch_model.safetensors", tuned(root, seed))
    (tmp_path / "pipe/model_index.json").write_text('{"unet": [], "vae": []}')
    shutil.copytree(tmp_path / "plain", tmp_path / "copy")
    return tmp_path


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NAMES = {
    "root": ("root.safetensors",),
    "plain": ("model.safetensors",),
    "copy": ("model.safetensors",),
    "sharded": SHARDS,
    "loose": SHARDS,
    "pipe": tuple(f"{p}/diffusion_pytorch_model.safetensors" for p in ("unet", "vae")),
}


def places(models, id):
    folder = models if id == "root" else models / id
    return [folder / name for name in NAMES[id]]


def test_every_checkpoint_names_its_files(models):
    graph = mother.recover(models)
    assert {n.id: tuple(f.name for f in n.files) for n in graph.nodes} == NAMES
    for node in graph.nodes:
        sizes = [path.stat().st_size for path in places(models, node.id)]
        assert [f.bytes for f in node.files] == sizes
        assert {f.sha256 for f in node.files} == {None}


@pytest.mark.parametrize("threads", [1, 5])
def test_hashes_are_those_of_the_files(models, threads):
    seen = []
    graph = mother.recover(
        models, hashes=True, threads=threads, progress=lambda done, all: seen.append((done, all))
    )
    for node in graph.nodes:
        true = [hashlib.sha256(path.read_bytes()).hexdigest() for path in places(models, node.id)]
        assert [f.sha256 for f in node.files] == true
    assert mother.ModelGraph.from_json(graph.to_json()) == graph
    weights = sum(f.bytes for n in graph.nodes for f in n.files)
    assert {total for _, total in seen} == {seen[0][1]}
    assert seen[0][1] > weights


def test_hashes_change_nothing_else(tmp_path):
    save_family(tmp_path / "models")
    plain = tmp_path / "plain.json"
    hashed = tmp_path / "hashed.json"
    assert run("recover", tmp_path / "models", "-o", plain).code == 0
    assert run("recover", tmp_path / "models", "-o", hashed, "--hashes").code == 0
    content = json.loads(hashed.read_text())
    for node in content["nodes"]:
        for file in node["files"]:
            assert len(file["sha256"]) == 64
            file["sha256"] = None
    assert content == json.loads(plain.read_text())


def test_an_adapter_merged_into_a_base_names_its_own_file(tmp_path):
    save(tmp_path / "base/model.safetensors", {"layer.weight": np.ones((8, 8), np.float32)})
    factors = {
        f"base_model.model.layer.lora_{side}.weight": np.ones(shape, np.float32)
        for side, shape in (("A", (2, 8)), ("B", (8, 2)))
    }
    save(tmp_path / "adapter/adapter_model.safetensors", factors)
    config = '{"peft_type": "LORA", "r": 2, "lora_alpha": 2}'
    (tmp_path / "adapter/adapter_config.json").write_text(config)
    (found,), _ = discover([tmp_path / "adapter"], base=tmp_path / "base")
    assert list(found.named_files) == ["adapter_model.safetensors"]


def test_a_file_that_changes_is_not_hashed(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"w": np.ones(4096, np.float32)}, path)
    file = File(path)
    assert file.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()

    def grow(_):
        with path.open("ab") as stream:
            stream.write(b"more")

    with pytest.raises(InputError, match="changed"):
        file.sha256(grow)
    with pytest.raises(InputError, match="changed"):
        file.sha256()


def test_none_is_open_once_it_was_recovered(models):
    mother.recover([models])
    gc.collect()
    open_ = [p.readlink() for p in Path("/proc/self/fd").iterdir() if os.path.lexists(p)]
    assert [file for file in open_ if file.is_relative_to(models)] == []
