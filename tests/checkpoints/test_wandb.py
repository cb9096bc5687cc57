"""Artifacts of Weights & Biases as its library leaves them on a disk, by its published layout."""

import base64
import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy
from kit import model, save, tuned

import mother
from mother.checkpoints import discover, open_checkpoint


def ids(*paths):
    found, problems = discover(paths)
    assert problems == []
    return [c.id for c in found]


def test_versions_are_told_by_their_folders(tmp_path):
    base = model(0)
    save(tmp_path / "artifacts" / "kid:v0" / "model.safetensors", base)
    save(tmp_path / "artifacts" / "kid:v11" / "model.safetensors", tuned(base, 1))
    save(tmp_path / "artifacts" / "kid-v12" / "deep" / "weights.safetensors", model(2))
    save(tmp_path / "artifacts" / "two:v1" / "teacher.safetensors", model(3))
    assert ids(tmp_path) == ["kid:v0", "kid:v11", "kid:v12/deep", "two:v1/teacher"]
    (edge,) = mother.recover(tmp_path / "artifacts").edges
    assert (edge.parent, edge.child) == ("kid:v0", "kid:v11")


def test_a_folder_of_artifacts_that_are_no_versions(tmp_path):
    save(tmp_path / "artifacts" / "kid" / "model.safetensors", model(0))
    assert ids(tmp_path) == ["kid"]


def test_runs_and_what_waits_for_an_upload(tmp_path):
    """As wandb 0.31 leaves them where it is offline."""
    at = tmp_path / "wandb" / "offline-run-20261130_233410-q8xvogsm" / "files"
    save(at / "model.safetensors", model(0))
    save(at / "sub" / "other.safetensors", model(1))
    staged = save(tmp_path / "data/artifacts/staging/x.safetensors", model(2))
    staged.rename(staged.with_name("tmppk7lse5_"))
    (tmp_path / "wandb" / "latest-run").symlink_to(at.parent.name)
    run = at.parent.name
    assert ids(tmp_path) == [run, f"{run}/sub/other", "staging/tmppk7lse5_"]
    assert "wandb sync" in discover([tmp_path])[0][2].notes[0]


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Writes a manifest of files that are in the cache."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("WANDB_CACHE_DIR", str(cache))

    def write(contents):
        entries = {}
        for name, data in contents.items():
            digest = hashlib.md5(data).digest()
            blob = cache / "artifacts" / "obj" / "md5" / digest.hex()[:2] / digest.hex()[2:]
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data)
            told = base64.b64encode(digest).decode()
            entries[name] = {"digest": told, "size": len(data), "birthArtifactID": "QXJ0"}
        return put({"version": 1, "storagePolicy": "wandb-storage-policy-v1", "contents": entries})

    def put(content):
        path = tmp_path / "logged" / "kid:v3" / "wandb_manifest.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    write.put = put
    return write


def test_what_a_manifest_names_lies_in_the_cache(manifest):
    weights = safetensors.numpy.save({"w": np.ones((4, 4), np.float32)})
    path = manifest({"model.safetensors": weights, "notes.txt": b"hello", "optimizer.pt": b"x"})
    assert ids(path) == ids(path.parent) == ["kid:v3/model"]
    assert open_checkpoint(path).id == "kid:v3/model"
    # beside the manifest it is read there, once
    (path.parent / "model.safetensors").write_bytes(weights)
    assert ids(path.parent) == ["kid:v3"]


def test_a_reference_whose_file_is_in_the_cache(manifest, tmp_path):
    at, tag = "s3://bucket/kid.npz", "5ec2e7"
    sums = [hashlib.sha256(text.encode()).digest() for text in (at, tag)]
    name = hashlib.sha256(sums[0] + sums[1]).hexdigest()
    blob = tmp_path / "cache/artifacts/obj/etag" / name[:2] / name[2:]
    save(tmp_path / "kid.npz", model(0))
    blob.parent.mkdir(parents=True)
    (tmp_path / "kid.npz").rename(blob)
    told = {"kid.npz": {"digest": tag, "size": blob.stat().st_size, "ref": at}}
    assert ids(manifest.put({"contents": told})) == ["kid:v3/kid"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"contents": {"m.npz": {"digest": "AAAAAAAAAAAAAAAAAAAAAA=="}}},
         "m.npz is neither beside it nor in the cache; `wandb artifact get kid:v3` fetches it"),
        ({"contents": {"m.npz": {"digest": "../../secret", "ref": "s3://bucket/m.npz"}}},
         "it is a reference to s3://bucket/m.npz; name that"),
        ({"contents": {"../../m.npz": {}}}, "names a file outside its folder"),
        ({"contents": []}, "has no contents"),
        ([], "no JSON object"),
    ],
)  # fmt: skip
def test_manifests_that_name_what_is_not_there(manifest, content, said):
    found, (problem,) = discover([manifest.put(content)])
    assert found == []
    assert said in problem.fault
