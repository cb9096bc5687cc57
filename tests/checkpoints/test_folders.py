import json
import os
import socket

import numpy as np
import pytest
import safetensors.numpy
import torch

from mother.checkpoints import discover, open_checkpoint
from mother.checkpoints.passed_over import passed_over
from mother.errors import InputError


def weights(value=1.0, count=4):
    return np.full(count, value, np.float32)


def save(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(arrays or {"w": weights()}, path)
    return path


def save_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def save_bin(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.tensor(a) for name, a in arrays.items()}, path)


def ids(*paths):
    found, problems = discover(paths)
    assert problems == []
    return [checkpoint.id for checkpoint in found]


def test_a_transformers_folder_is_one_checkpoint(tmp_path):
    folder = tmp_path / "vit"
    save_json(folder / "config.json", {"hidden_size": 4})
    save(folder / "model.safetensors", w=weights(1))
    save_bin(folder / "pytorch_model.bin", w=weights(2))
    save(folder / "model.fp16.safetensors", w=weights(3))
    save_bin(folder / "optimizer.pt", m=weights())
    save_bin(folder / "training_args.bin", m=weights())
    save_bin(folder / "rng_state_0.pth", m=weights())
    for given in (folder, tmp_path):
        ((checkpoint,), problems) = discover([given])
        assert problems == []
        assert (checkpoint.id, checkpoint.format) == ("vit", "safetensors")
        assert checkpoint.config == {"hidden_size": 4}
        assert checkpoint.tensors["w"].read()[0] == 1
        assert "left out" in checkpoint.notes[0]


def test_a_variant_is_read_where_there_is_nothing_else(tmp_path):
    save(tmp_path / "vit" / "model.fp16.safetensors")
    save_json(tmp_path / "vit" / "config.json", {})
    assert ids(tmp_path) == ["vit"]


def sharded(folder, save_shard, index, names):
    for place, arrays in names.items():
        save_shard(folder / place, **arrays)
    places = {tensor: place for place, arrays in names.items() for tensor in arrays}
    save_json(folder / index, {"metadata": {}, "weight_map": places})


SHARDS = {
    "safetensors": (save, "model.safetensors.index.json", "model-{:05}-of-00002.safetensors"),
    "pytorch": (save_bin, "pytorch_model.bin.index.json", "pytorch_model-{:05}-of-00002.bin"),
}


@pytest.mark.parametrize("kind", SHARDS)
def test_sharded_sets(tmp_path, kind):
    save_shard, index, place = SHARDS[kind]
    names = {place.format(1): {"a": weights(1)}, place.format(2): {"b": weights(2)}}
    sharded(tmp_path / "big", save_shard, index, names)
    ((checkpoint,), problems) = discover([tmp_path])
    assert problems == []
    assert (checkpoint.id, checkpoint.format) == ("big", kind)
    assert list(checkpoint.tensors) == ["a", "b"]
    (tmp_path / "big" / place.format(2)).unlink()
    with pytest.raises(InputError, match=place.format(2)):
        open_checkpoint(tmp_path / "big")


def test_shards_that_lost_their_index(tmp_path):
    for i, name in enumerate("ab", 1):
        save(tmp_path / f"big-{i:05}-of-00002.safetensors", **{name: weights()})
    ((checkpoint,), problems) = discover([tmp_path])
    assert problems == []
    assert (checkpoint.id, list(checkpoint.tensors)) == ("big", ["a", "b"])


@pytest.mark.parametrize("place", ["../x.safetensors", "/etc/passwd", "..", "", "a/b", "a\\b", 7])
def test_an_index_can_not_point_elsewhere(tmp_path, place):
    save(tmp_path / "x.safetensors")
    save_json(tmp_path / "m" / "model.safetensors.index.json", {"weight_map": {"w": place}})
    with pytest.raises(InputError, match="outside"):
        open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"weight_map": []}', "[" * 100_000, "\xff"])
def test_damaged_indices(tmp_path, text):
    (tmp_path / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError):
        open_checkpoint(tmp_path)


def test_a_shard_without_the_tensor_that_the_index_promises(tmp_path):
    save(tmp_path / "s.safetensors", a=weights())
    index = {"weight_map": {"b": "s.safetensors"}}
    save_json(tmp_path / "model.safetensors.index.json", index)
    with pytest.raises(InputError, match="'b'"):
        open_checkpoint(tmp_path)


def test_a_config_saved_on_windows_is_no_damage(tmp_path):
    save(tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "config.json").write_bytes(b'\xef\xbb\xbf{\r\n"model_type": "x"}')
    checkpoint = open_checkpoint(tmp_path / "m")
    assert (checkpoint.config["model_type"], checkpoint.notes) == ("x", ())


def test_a_damaged_config_is_a_note(tmp_path):
    save(tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "config.json").write_text("[" * 100_000)
    checkpoint = open_checkpoint(tmp_path / "m")
    assert checkpoint.config == {}
    assert "config.json" in checkpoint.notes[0]


def test_a_diffusers_folder_is_one_checkpoint(tmp_path):
    folder = tmp_path / "sd"
    index = {"_class_name": "X", "unet": ["d", "U"], "vae": ["d", "V"], "tokenizer": ["t", "T"]}
    save_json(folder / "model_index.json", index)
    for part in ("unet", "vae"):
        save(folder / part / "diffusion_pytorch_model.safetensors")
        save_json(folder / part / "config.json", {})
    save_json(folder / "tokenizer" / "vocab.json", {})
    save(folder / "checkpoint-500" / "model.safetensors")
    found, problems = discover([tmp_path])
    assert problems == []
    assert [c.id for c in found] == ["checkpoint-500", "sd"]
    checkpoint = open_checkpoint(folder)
    assert checkpoint.format == "diffusers"
    assert list(checkpoint.tensors) == ["unet.w", "vae.w"]
    assert checkpoint.tensors["vae.w"].name == "vae.w"
    (folder / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match="diffusion_pytorch_model"):
        open_checkpoint(folder)


def test_checkpoints_in_a_checkpoint_s_folder_are_their_own(tmp_path):
    folder = tmp_path / "run"
    for place in (folder, folder / "checkpoint-500", folder / "checkpoint-1000"):
        save(place / "model.safetensors")
        save_json(place / "config.json", {})
    assert ids(tmp_path) == ["checkpoint-500", "checkpoint-1000", "run"]
    assert open_checkpoint(folder).id == "run"


def test_the_cache_of_hugging_face(tmp_path):
    repository = tmp_path / "models--google--vit-base"
    snapshot = repository / "snapshots" / "0123abcd"
    save(repository / "blobs" / "99ff")
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/99ff")
    save_json(snapshot / "config.json", {})
    assert ids(tmp_path) == ["google/vit-base@0123abcd"]


def test_other_folders_hold_checkpoints(tmp_path):
    save(tmp_path / "a.safetensors")
    save_bin(tmp_path / "deep" / "er" / "b.bin", w=weights())
    np.savez(tmp_path / "c.npz", w=weights())
    np.save(tmp_path / "d.npy", weights())
    save_bin(tmp_path / "e.pth.tar", w=weights())
    save(tmp_path / ".hidden" / "x.safetensors")
    save(tmp_path / ".hidden.safetensors")
    (tmp_path / "readme.md").write_text("hello")
    assert ids(tmp_path) == ["a", "b", "c", "d", "e"]


def test_ids_are_unique_and_short(tmp_path):
    for place in ("x/a.safetensors", "y/a.safetensors", "y/b.safetensors", "y/b.npz", "z/y/a.npz"):
        if place.endswith("npz"):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            np.savez(tmp_path / place, w=weights())
        else:
            save(tmp_path / place)
    assert ids(tmp_path) == [
        "b.npz",
        "b.safetensors",
        f"{tmp_path.name}/x/a",
        f"{tmp_path.name}/y/a",
        "z/y/a",
    ]


def test_order_does_not_matter(tmp_path):
    for name in "cab":
        save(tmp_path / name / "m.safetensors")
    places = [tmp_path / name for name in "cab"]
    assert ids(*places) == ids(*places[::-1]) == ["a/m", "b/m", "c/m"]


def test_names_that_are_no_text(tmp_path):
    path = os.fsencode(tmp_path) + b"/bad\xff\n.safetensors"
    with open(path, "wb") as out:  # noqa: PTH123
        out.write(safetensors.numpy.save({"w": weights()}))
    ((checkpoint,), problems) = discover([tmp_path])
    assert problems == []
    assert checkpoint.id.encode("utf-8") == b"bad\\udcff\n"
    with open(path, "wb") as out:  # noqa: PTH123
        out.write(b"?")
    (_, (problem,)) = discover([tmp_path])
    assert "\n" not in str(problem)
    str(problem).encode("utf-8")


def test_one_file_reached_twice_is_one_checkpoint(tmp_path):
    path = save(tmp_path / "a" / "m.safetensors")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "link.safetensors").symlink_to(path)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    for given in ([tmp_path], [path, path], [path, tmp_path], [tmp_path, path, tmp_path / "b"]):
        ((checkpoint,), problems) = discover(given)
        assert problems == []
        assert checkpoint.id == "m"
        assert checkpoint.path == path


def test_a_folder_and_its_file_are_one_checkpoint(tmp_path):
    path = save(tmp_path / "vit" / "model.safetensors")
    save_json(tmp_path / "vit" / "config.json", {})
    ((checkpoint,), problems) = discover([tmp_path / "vit", path])
    assert problems == []
    assert checkpoint.notes == (f"also at {path}",)


def test_loops_of_links_end(tmp_path):
    save(tmp_path / "a" / "m.safetensors")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "b.bin").symlink_to("b.bin")
    found, problems = discover([tmp_path])
    assert [c.id for c in found] == ["m"]
    assert [p.path.name for p in problems] == ["b.bin"]


def test_links_out_of_the_folder(tmp_path):
    """A link may lead to one model elsewhere; what it leads to is not searched, which is said."""
    save(tmp_path / "elsewhere/one/model.safetensors")
    save(tmp_path / "elsewhere/many/deep/m.safetensors")
    save(tmp_path / "given/own/m.safetensors")
    for name in ("one", "many"):
        (tmp_path / "given" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "given/inside").symlink_to("own")
    (tmp_path / "given/up").symlink_to(tmp_path)
    found, problems = discover([tmp_path / "given"])
    assert [c.id for c in found] == ["m", "one"]
    assert problems == []
    (left,) = passed_over([tmp_path / "given"], found, problems)
    assert left.path.name == "many"
    assert "not searched" in left.fault
    assert ids(tmp_path / "given", tmp_path / "given/many") == ["deep/m", "one", "own/m"]


def test_folders_that_are_too_deep(tmp_path):
    save(tmp_path.joinpath(*"abcdefghijklmnop") / "m.safetensors")
    (found, (problem,)) = discover([tmp_path])
    assert found == []
    assert "deeper" in problem.fault


def problems_of(*paths):
    found, problems = discover(paths)
    assert found == []
    for problem in problems:
        assert "\n" not in problem.fault
    return [problem.fault for problem in problems]


def test_missing_and_empty(tmp_path):
    (fault,) = problems_of(tmp_path)
    assert fault.startswith("no checkpoints found in it: it is empty; name ")
    (tmp_path / "within").mkdir()
    (fault,) = problems_of(tmp_path)
    assert fault.startswith("no checkpoints found in it: it holds folders and no files; name ")
    (tmp_path / "within").rmdir()
    assert problems_of(tmp_path / "absent") == ["no such file or folder"]
    assert problems_of("\0") == ["no such file or folder"]
    (tmp_path / "empty.bin").write_bytes(b"")
    assert problems_of(tmp_path) == ["the file is empty; fetch it again"]
    (tmp_path / "empty.bin").write_bytes(b"\n<!DOCTYPE html><html>404</html>")
    assert "a web page" in problems_of(tmp_path)[0]
    with pytest.raises(InputError, match="no such file"):
        open_checkpoint(tmp_path / "absent")


def test_one_bad_file_does_not_hide_the_others(tmp_path):
    save(tmp_path / "good.safetensors")
    whole = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(whole[:-3])
    (tmp_path / "text.safetensors").write_text("I am only text. " * 10)
    (tmp_path / "text.pt").write_text("I am only text.")
    (tmp_path / "lfs.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "m.bin").write_bytes(b"GGUF....")
    found, problems = discover([tmp_path])
    assert [c.id for c in found] == ["good"]
    assert len(problems) == 5


def test_pipes_and_sockets_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "x.bin")
    os.mkfifo(tmp_path / "config.json")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "y.pt"))
        found, problems = discover([tmp_path, "/dev/zero"])
    assert found == []
    assert [p.fault for p in problems] == ["not a regular file"] * 3


def test_what_may_not_be_read_is_a_problem(tmp_path, monkeypatch):
    # tests may run as root, whom no permission stops: the system's refusal is put in its place
    save(tmp_path / "open.safetensors")
    locked = save(tmp_path / "locked.safetensors")
    (tmp_path / "folder").mkdir()
    real_open, real_scandir = os.open, os.scandir

    def refuse(real, name):
        def act(path, *arguments):
            if str(path).endswith(name):
                raise PermissionError(13, "Permission denied")
            return real(path, *arguments)

        return act

    monkeypatch.setattr(os, "open", refuse(real_open, locked.name))
    monkeypatch.setattr(os, "scandir", refuse(real_scandir, "folder"))
    found, problems = discover([tmp_path])
    assert [c.id for c in found] == ["open"]
    assert {p.path.name: p.fault for p in problems} == {
        "locked.safetensors": "can't be opened: permission denied",
        "folder": "can't be opened: permission denied",
    }


def test_several_checkpoints_where_one_is_wanted(tmp_path):
    save(tmp_path / "a.safetensors")
    assert open_checkpoint(tmp_path).id == "a"
    save(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="holds 2 checkpoints"):
        open_checkpoint(tmp_path)


def test_a_search_is_bounded(tmp_path, monkeypatch):
    """What was found before the bound is there, what comes after it is said to be left."""
    from mother.checkpoints import discovery, folders

    for folder in "ab":
        for name in "xyz":
            save(tmp_path / folder / f"{name}.safetensors")
    monkeypatch.setattr(discovery, "MAX_NAMES", 5)
    found, (problem,) = discover([tmp_path])
    assert [c.id for c in found] == ["x", "y", "z"]
    assert (problem.path, "nothing is; name folders" in problem.fault) == (tmp_path / "b", True)
    monkeypatch.setattr(folders, "MAX_NAMES", 2)
    assert {p.path.name for p in discover([tmp_path])[1]} == {"a", "b"}
