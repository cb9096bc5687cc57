"""Archives: what is read of them where they lie, and what is said of the others."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from kit import save

import mother
from mother.checkpoints import open_checkpoint
from mother.errors import InputError


def _state(seed=0):
    draw = np.random.default_rng(seed)
    return {f"layers.{k}.weight": draw.normal(size=(32, 48)).astype("f4") for k in range(3)}


def _tar(path, members, how="w"):
    with tarfile.open(path, how) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _safetensors(tmp_path, seed=0):
    return save(tmp_path / "bytes.safetensors", _state(seed)).read_bytes()


def _torch(tmp_path):
    content = io.BytesIO()
    torch.save({n: torch.from_numpy(w) for n, w in _state().items()}, content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "write"), [("a/model.safetensors", _safetensors), ("pytorch_model.bin", _torch)]
)
def test_a_tar_of_one_file_of_weights_is_read(tmp_path, name, write):
    members = {"config.json": b"{}", name: write(tmp_path), "notes.txt": b"x"}
    found = open_checkpoint(_tar(tmp_path / "all.tar", members))
    assert found.id == "all"
    for name, value in _state().items():
        assert np.array_equal(found.tensors[name].read().reshape(value.shape), value)


def test_a_tar_of_a_model_has_its_place_beside_others(tmp_path):
    _tar(tmp_path / "kept.tar", {"model.safetensors": _safetensors(tmp_path)})
    (tmp_path / "bytes.safetensors").unlink()
    save(tmp_path / "one.safetensors", _state())
    graph = mother.recover(tmp_path)
    assert [edge.relation for edge in graph.edges] == ["duplicate"]
    assert not graph.refused


def test_a_tar_of_several_says_what_it_is_and_what_to_do(tmp_path):
    data = _safetensors(tmp_path)
    path = _tar(tmp_path / "all.tar", {"a/model.safetensors": data, "b/model.safetensors": data})
    told = r"tar archive that holds 2 files of weights, a/model.safetensors first; unpack it by"
    with pytest.raises(InputError, match=told):
        open_checkpoint(path)


def test_a_tar_without_weights_says_so(tmp_path):
    with pytest.raises(InputError, match="a tar archive that holds no weights"):
        open_checkpoint(_tar(tmp_path / "data.tar", {"1.jpg": b"x"}))


def test_an_archive_that_is_named_says_what_it_holds(tmp_path):
    data = _safetensors(tmp_path)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("model.safetensors", data)
    with pytest.raises(InputError, match=r"an archive that holds model.safetensors; unzip it"):
        open_checkpoint(tmp_path / "all.zip")
    packed = _tar(tmp_path / "all.tar.gz", {"model.safetensors": data}, "w:gz")
    with pytest.raises(InputError, match=r"holds model.safetensors; unpack it by `tar -xf`"):
        open_checkpoint(packed)
