"""Stores of other programs: each layout as its own tool writes it, or by its published description.

Of huggingface_hub the tool writes; `experiments/stores/` has the same of transformers, accelerate
and Lightning, which are too heavy here."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import huggingface_hub
import loopback_hub
import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st
from kit import check_one_line, run, save_gguf

from mother.checkpoints import discover, open_checkpoint
from mother.checkpoints.passed_over import passed_over
from mother.checkpoints.stores import called, runs
from mother.graph import ModelGraph

COMMIT = "0123abc" + "4" * 33
#: of what the loopback Hub serves first
FIRST = loopback_hub.COMMIT


def weights(seed=0):
    return {"w": np.random.default_rng(seed).standard_normal((8, 16)).astype(np.float32)}


def save(path, seed=0, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights(seed), path, **more)
    return path


def save_torch(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: torch.from_numpy(w) for name, w in weights(seed).items()}
    torch.save({"epoch": 1, "state_dict": state, "optimizer_states": []}, path)
    return path


def ids(*paths):
    found, problems = discover(paths)
    assert problems == []
    return [c.id for c in found]


def faults(*paths):
    return {p.path.name: p.fault for p in discover(paths)[1]}


# Hugging Face


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The cache that huggingface_hub wrote: models, one in three revisions and one of them by its
    name, and a data set."""
    home = tmp_path / "served"
    kid = home / "models/org/kid"
    save(kid / "model.safetensors", 1)
    unet = "unet/diffusion_pytorch_model.safetensors"
    save(home / "models/org/several" / unet, 2)
    save(home / "models/org/several/extra.safetensors", 3)
    save(home / "datasets/org/table/numbers.safetensors", 5)
    with loopback_hub.serve(home) as endpoint:
        loopback_hub.client_of(endpoint, tmp_path, monkeypatch)
        get = huggingface_hub.snapshot_download
        get("org/kid", revision="v1")
        (kid / "README.md").write_text("the same weights, another commit")
        monkeypatch.setattr(loopback_hub, "COMMIT", "a" * 40)
        get("org/kid")
        save(kid / "model.safetensors", 6, metadata={"of": "another size"})
        monkeypatch.setattr(loopback_hub, "COMMIT", "b" * 40)
        get("org/kid", revision="b" * 40)
        get("org/several")  # the loopback Hub lists no folders
        huggingface_hub.hf_hub_download("org/several", unet)
        get("org/table", repo_type="dataset")
    return tmp_path / "cache"


def test_repository_and_revision_are_the_id(hub):
    """Of two revisions that share a blob the one is read, under the better name."""
    expected = ["org/kid", "org/kid@bbbbbbb", "org/several/extra", "org/several/unet"]
    assert ids(hub) == expected
    assert ids(hub / "models--org--kid") == ids(hub / "models--org--kid/snapshots") == expected[:2]
    kid = next(c for c in discover([hub])[0] if c.id == "org/kid")
    assert [note.startswith("also at") for note in kid.notes] == [True]
    assert f"snapshots/{FIRST}" in kid.notes[0]


def test_a_snapshot_is_called_the_same_wherever_it_is_named(hub):
    snapshots = hub / "models--org--kid/snapshots"
    for commit, id in {"a" * 40: "org/kid", "b" * 40: "org/kid@bbbbbbb"}.items():
        assert open_checkpoint(snapshots / commit).id == id
        assert open_checkpoint(snapshots / commit / "model.safetensors").id == id


def test_ids_are_the_same_in_all_commands(hub, tmp_path):
    expected = {"org/kid", "org/kid@bbbbbbb", "org/several/extra", "org/several/unet"}
    graph = tmp_path / "graph.json"
    assert run("recover", hub, "-o", graph, "--bootstrap", 0).code == 0
    assert {node.id for node in ModelGraph.load(graph).nodes} == expected
    index = tmp_path / "index"
    assert run("index", "create", index).code == run("index", "add", index, hub).code == 0
    assert {
        line.split("\t")[0] for line in run("index", "list", index).out.splitlines()
    } == expected
    told = run("check", hub).out
    assert all(f" {id} " in told for id in expected)
    check_one_line(run("compare", hub / "models--org--kid", hub), "org/kid@bbbbbbb: ")


def test_a_named_revision_is_called_so(hub):
    shutil.rmtree(hub / "models--org--kid/snapshots" / ("a" * 40))
    assert "org/kid@v1" in ids(hub)


def test_what_a_cache_holds_beside_models_is_told(hub):
    (blob,) = (hub / "models--org--kid/snapshots" / ("a" * 40)).glob("model*")
    begun = hub / "models--org--kid/blobs/0.incomplete"
    begun.write_bytes(blob.read_bytes()[:-9])
    found, problems = discover([hub])
    assert problems == []
    left = passed_over([hub], found, problems)
    assert [p.path.name for p in left] == ["numbers.safetensors", "0.incomplete"]
    assert "did not finish" in left[1].fault


def test_commits_that_start_alike(tmp_path):
    """Two revisions are never `kid` and `kid#2`."""
    commits = ["0" * 39 + end for end in "12"]
    for seed, commit in enumerate(commits):
        save(tmp_path / "models--org--kid/snapshots" / commit / "model.safetensors", seed)
    assert ids(tmp_path) == [f"org/kid@{commit}" for commit in commits]


def test_two_files_of_one_name(tmp_path):
    snapshot = tmp_path / "models--org--kid/snapshots" / COMMIT
    save(snapshot / "model.safetensors", 0)
    np.savez(snapshot / "model.npz", **weights(1))
    assert ids(tmp_path) == [f"org/kid@0123abc/model.{end}" for end in ("npz", "safetensors")]


NAMES = (
    *("models--a--b", "models--", "snapshots", "refs", "models", "vae", "Lora", "checkpoints"),
    *("checkpoint-5", "last", "lightning_logs", ".lmstudio", "lm-studio", "manifests", "blobs"),
    *("model.gguf", "epoch=1-step=2.ckpt", "a-00001-of-00002.gguf", ".ckpt", "..", "\udcff\x1b"),
)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=7), st.booleans())
def test_whatever_a_path_is_made_of_it_is_called_something(parts, whole):
    by = called(Path("/none", *parts), whole=whole)
    assert all(name and name.encode() for name in (by.short, by.exact, by.full))
    runs.step_of(Path("/none", *parts))


def test_two_caches(tmp_path):
    for home in ("a/hub", "b/hub"):
        repository = tmp_path / home / "models--org--kid"
        save(repository / "snapshots" / COMMIT / "model.safetensors", len(home))
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text(COMMIT)
    assert ids(tmp_path) == ["a/hub/org/kid", "b/hub/org/kid"]


def test_shards_that_two_snapshots_share_are_one_model(tmp_path):
    repository = tmp_path / "models--org--big"
    names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    for k, commit in enumerate(("a" * 40, "b" * 40)):
        folder = repository / "snapshots" / commit
        for seed, name in enumerate(names):
            blob = repository / "blobs" / str(seed)
            if not k:
                blob.parent.mkdir(parents=True, exist_ok=True)
                safetensors.numpy.save_file({f"w{seed}": weights(seed)["w"]}, blob)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(f"../../blobs/{seed}")
        index = {"weight_map": {f"w{seed}": name for seed, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (found,) = discover([tmp_path])[0]
    assert found.id == "org/big@aaaaaaa"
    assert found.notes[-1].endswith("snapshots/" + "b" * 40)


@pytest.mark.parametrize("listed", [True, False])
def test_a_download_that_did_not_end(tmp_path, listed):
    """What fetches the rest is said once, and not that there are blobs besides."""
    repository = tmp_path / "models--org--big"
    snapshot = repository / "snapshots" / COMMIT
    names = [f"model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)]
    snapshot.mkdir(parents=True)
    for seed, name in enumerate(names[:-1]):
        save(repository / "blobs" / (str(seed) * 64), seed)
        (snapshot / name).symlink_to(f"../../blobs/{str(seed) * 64}")
    if listed:
        told = json.dumps({"weight_map": dict(zip("abc", names, strict=True))})
        (snapshot / "model.safetensors.index.json").write_text(told)
    for _ in names[:-1]:
        found, problems = discover([tmp_path])
        assert found == []
        (problem,) = problems
        fetches = f"`hf download org/big --revision {COMMIT}` fetches it"
        assert problem.fault.endswith(f" is missing; {fetches}")
        assert passed_over([tmp_path], found, problems) == []
        (snapshot / names[1]).unlink(missing_ok=True)  # one of several is no model, either
        (repository / "blobs" / ("1" * 64)).unlink(missing_ok=True)


def test_hostile_caches(tmp_path):
    """Revisions that are pipes, circles and endless names; a link to a blob that is gone."""
    repository = tmp_path / "models--org--kid"
    snapshot = repository / "snapshots" / "a\x1b[31m"
    save(snapshot / "model.safetensors")
    (repository / "refs").mkdir()
    os.mkfifo(repository / "refs/main")
    (repository / "refs/up").symlink_to("..")
    (repository / "refs/self").symlink_to("self")
    (repository / "snapshots/loop").symlink_to("../..")
    gone = repository / "snapshots/gone"
    gone.mkdir()
    (gone / "model.safetensors").symlink_to("../../blobs/gone")
    found, (problem,) = discover([tmp_path])
    assert [c.id for c in found] == ["org/kid@a\x1b[31m"]
    fetches = "`hf download org/kid --revision gone` fetches it"
    assert problem.fault == f"model.safetensors: a link that leads nowhere; {fetches}"
    result = run("recover", tmp_path)
    assert result.code == 2
    assert "\x1b" not in result.out + result.err


# Ollama


def blob(models, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    to = models / "blobs" / f"sha256-{digest}"
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)
    return f"sha256:{digest}"


def manifest(models, name, layers):
    path = models / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    media = "application/vnd.ollama.image."
    told = [{"mediaType": media + kind, "digest": digest, "size": 1} for kind, digest in layers]
    path.write_text(json.dumps({"schemaVersion": 2, "layers": told}))
    return path


@pytest.fixture
def ollama(tmp_path):
    models = tmp_path / "models"
    made = {k: blob(models, save_gguf(tmp_path / str(k), weights(k))) for k in range(4)}
    library = "registry.ollama.ai/library/"
    manifest(
        models, library + "llama3/8b", [("model", made[0]), ("template", "sha256:" + "1" * 64)]
    )
    manifest(models, library + "llama3/latest", [("model", made[0])])
    manifest(models, library + "llava/7b", [("model", made[1]), ("projector", made[2])])
    manifest(models, "hf.co/org/kid/Q4_K_M", [("model", made[0]), ("adapter", made[3])])
    return models


def test_ollama_s_names(ollama):
    expected = ["hf.co/org/kid:Q4_K_M", "hf.co/org/kid:Q4_K_M/adapter", "llava:7b"]
    expected.append("llava:7b/projector")
    found, problems = discover([ollama])
    assert problems == []
    assert [c.id for c in found] == expected
    told = {c.id: c.notes for c in found}
    assert "also called llama3:8b" in told["hf.co/org/kid:Q4_K_M"]
    assert any("a component of it" in note for note in told["llava:7b/projector"])


def test_a_manifest_can_be_named(ollama):
    path = ollama / "manifests/registry.ollama.ai/library/llava/7b"
    assert open_checkpoint(path).id == "llava:7b"
    assert ids(path.parent) == ["llava:7b", "llava:7b/projector"]
    assert open_checkpoint(ollama / "manifests/registry.ollama.ai/library/llama3").id == "llama3:8b"


def layers(digest, times=1):
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": digest}
    return json.dumps({"layers": [layer] * times})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (layers("sha256:" + "7" * 64), "`ollama pull kid:1` fetches it"),
        (layers("sha256:" + "7" * 64, times=101), "more than 100 layers"),
        (layers("sha256:../../../../etc/passwd"), "no digest"),
        ('{"layers": [{"mediaType": "application/vnd.ollama.image.tensor"}]}', "single tensors"),
        ('{"layers": 7}', "has no layers"),
        ("[" * 100_000, "not valid JSON"),
        (" " * ((4 << 20) + 1), "is the most"),
    ],
)
def test_manifests_that_name_nothing(tmp_path, text, said):
    (tmp_path / "blobs").mkdir()
    path = manifest(tmp_path, "registry.ollama.ai/library/kid/1", [])
    path.write_text(text)
    check_one_line(run("recover", tmp_path), said, path)
    check_one_line(run("recover", path), said, path)


# folders of runs


RUNS = {
    "out/tuned/model.safetensors": "out/tuned",
    "out/tuned/checkpoint-500/model.safetensors": "tuned/checkpoint-500",
    "out/tuned/checkpoint-1000/adapter_model.safetensors": "tuned/checkpoint-1000",
    "acc/run/checkpoints/checkpoint_3/model.safetensors": "run/checkpoint_3",
    "sd/run/checkpoint-20/unet/diffusion_pytorch_model.safetensors": "run/checkpoint-20/unet",
}


def test_steps_of_transformers_and_accelerate(tmp_path):
    for seed, place in enumerate(RUNS):
        path = save(tmp_path / place, seed)
        (path.parent / "config.json").write_text("{}")
        (path.parent / "trainer_state.json").write_text("{}")
        save_torch(path.parent / "optimizer.pt")
    assert set(ids(tmp_path)) == {"tuned" if id == "out/tuned" else id for id in RUNS.values()}


def test_steps_come_in_their_order(tmp_path):
    steps = [f"checkpoint-{n}" for n in (500, 1000, 1500, 10_000)]
    for seed, step in enumerate(steps):
        save(tmp_path / "run" / step / "model.safetensors", seed)
    assert ids(tmp_path) == steps
    told = run("check", tmp_path).out
    assert re.findall(r"^\w+ +(checkpoint-\d+)", told, re.M) == steps
    index = tmp_path / "index"
    assert run("index", "create", index).code == run("index", "add", index, tmp_path).code == 0
    listed = run("index", "list", index).out.splitlines()
    assert [line.partition("\t")[0] for line in listed] == steps


def test_lightning_s_versions(tmp_path):
    logs = tmp_path / "project/lightning_logs"
    for seed, version in enumerate(("version_0", "version_1")):
        folder = logs / version / "checkpoints"
        save_torch(folder / "epoch=1-step=500.ckpt", seed)
        (folder / "last.ckpt").symlink_to("epoch=1-step=500.ckpt")
    assert ids(tmp_path) == [f"version_{k}/epoch=1-step=500" for k in (0, 1)]
    save_torch(tmp_path / "other/lightning_logs/version_1/checkpoints/epoch=1-step=500.ckpt", 7)
    told = [f"{p}/version_1/epoch=1-step=500" for p in ("other", "project")]
    assert set(told) < set(ids(tmp_path))


def test_best_and_last_are_links(tmp_path):
    """timm links the best epoch hard, others link folders: a model is called as it is stored."""
    run = tmp_path / "train/20240101-resnet"
    for epoch in (9, 10):
        save_torch(run / f"checkpoint-{epoch}.pth.tar", epoch)
    os.link(run / "checkpoint-9.pth.tar", run / "model_best.pth.tar")
    save_torch(run / "last.pth.tar", 11)
    save(tmp_path / "run/checkpoint-500/model.safetensors")
    (tmp_path / "run/best").symlink_to("checkpoint-500")
    found, problems = discover([tmp_path])
    assert problems == []
    assert [c.id for c in found] == [
        "20240101-resnet/checkpoint-9",
        "20240101-resnet/checkpoint-10",
        "20240101-resnet/last",
        "run/checkpoint-500",
    ]
    assert any("model_best" in note for note in found[0].notes)
    assert any("run/best" in note for note in found[3].notes)
    assert passed_over([tmp_path], found) == []


@pytest.mark.parametrize(
    "text", ['{"best_model_checkpoint": "out\\\\tuned\\\\checkpoint-9"}', "{", "[]", "{}"]
)
def test_the_best_by_the_trainer_s_state(tmp_path, text):
    """The newest state decides; one that can't be read says nothing."""
    for step, told in ((9, '{"best_model_checkpoint": "out/tuned/checkpoint-5"}'), (10, text)):
        folder = tmp_path / f"tuned/checkpoint-{step}"
        save(folder / "model.safetensors", step)
        (folder / "trainer_state.json").write_text(told)
    nine, ten = discover([tmp_path])[0]
    assert ten.notes == ()
    best = ("the best of its run, trainer_state.json of checkpoint-10 says",)
    assert nine.notes == (best if "tuned" in text else ())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/run/checkpoint-500", ("/a/run", "checkpoint", 500)),
        ("/a/run/checkpoints/checkpoint_2/model.safetensors", ("/a/run", "checkpoint", 2)),
        ("/a/run/checkpoint-500/unet", ("/a/run/unet", "checkpoint", 500)),
        ("/a/v/checkpoints/epoch=3-step=70.ckpt", ("/a/v", "step", 70)),
        ("/a/kohya-step00000100.safetensors", ("/a/kohya-", "step", 100)),
        ("/a/run/iter_40000.pth", ("/a/run", "iter", 40000)),
        ("/a/checkpoint-final.pt", None),
        ("/a/llama-3.1-8b.gguf", None),
    ],
)
def test_what_a_name_says_of_a_step(path, expected):
    step = runs.step_of(Path(path))
    assert (step and (str(step.run), step.unit, step.number)) == expected


# folders of models


def test_lm_studio_s_folders(tmp_path):
    models = tmp_path / ".lmstudio/models"
    save_gguf(models / "org/kid-GGUF/kid-Q4_K_M.gguf", weights(0))
    save_gguf(models / "org/kid-GGUF/mmproj-f16.gguf", weights(1))
    save_gguf(models / "org/two-GGUF/two-Q4_K_M.gguf", weights(2))
    save_gguf(models / "org/two-GGUF/two-Q8_0.gguf", weights(3))
    save(models / "mlx/kid-4bit/model.safetensors", 4)
    expected = ["mlx/kid-4bit", "org/kid-GGUF", "org/kid-GGUF/mmproj-f16"]
    expected += ["org/two-GGUF/two-Q4_K_M", "org/two-GGUF/two-Q8_0"]
    assert ids(tmp_path / ".lmstudio") == ids(models) == expected
    assert open_checkpoint(models / "org/kid-GGUF/kid-Q4_K_M.gguf").id == "org/kid-GGUF"


def test_lm_studio_s_folder_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    settings = tmp_path / "me/.lmstudio/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"downloadsFolder": str(tmp_path / "big disk")}))
    save_gguf(tmp_path / "big disk/org/kid-GGUF/kid-Q4_K_M.gguf", weights())
    assert ids(tmp_path / "big disk") == ["org/kid-GGUF"]


@pytest.mark.parametrize(
    ("home", "places"),
    [
        ("ComfyUI", {
            "models/checkpoints/sd15.safetensors": ("sd15", ""),
            "models/loras/sub/ink.safetensors": ("loras/sub/ink", "a LoRA"),
            "models/vae/sharp.safetensors": ("vae/sharp", "a VAE"),
            "models/unet/flux.safetensors": ("unet/flux", "a denoiser"),
            "models/text_encoders/t5.safetensors": ("text_encoders/t5", "a text encoder"),
        }),
        ("webui", {
            "models/Stable-diffusion/sd15.safetensors": ("sd15", ""),
            "models/Lora/ink.safetensors": ("Lora/ink", "a LoRA"),
            "models/VAE/sharp.safetensors": ("VAE/sharp", "a VAE"),
            "embeddings/bad-hands.safetensors": ("embeddings/bad-hands", "a textual inversion"),
        }),
    ],
)  # fmt: skip
def test_components_of_pipelines_are_said_as_such(tmp_path, home, places):
    for seed, place in enumerate(places):
        save(tmp_path / home / place, seed)
    found, problems = discover([tmp_path])
    assert problems == []
    told = {c.id: c.notes for c in found}
    assert set(told) == {id for id, _ in places.values()}
    for place, (id, what) in places.items():
        assert (told[id] == ()) == (not what)
        assert not what or told[id][0].startswith(what)
        assert open_checkpoint(tmp_path / home / place).id == id


def test_a_folder_called_vae_alone_tells_nothing(tmp_path):
    save(tmp_path / "vae/mine.safetensors")
    assert ids(tmp_path) == ["mine"]


def sentence_transformer(folder, first, **modules):
    listed = [{"idx": 0, "name": "0", "path": first, "type": "sentence_transformers.models.X"}]
    for k, path in enumerate(("1_Pooling", *modules), 1):
        listed.append({"idx": k, "name": str(k), "path": path, "type": "a.b.C"})
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling/config.json").write_text("{}")
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / first).mkdir(exist_ok=True)
    (folder / first / "config.json").write_text('{"model_type": "bert"}')
    save(folder / first / "model.safetensors", 0)
    for path, seed in modules.items():
        save(folder / path / "model.safetensors", seed)


@pytest.mark.parametrize("first", ["", "0_Transformer"])
def test_sentence_transformers_are_one_model(tmp_path, first):
    sentence_transformer(tmp_path / "mini", first, **{"2_Dense": 1})
    ((found,), problems) = discover([tmp_path])
    assert problems == []
    assert (found.id, found.config["model_type"]) == ("mini", "bert")
    assert {n: t.read().tolist() for n, t in found.tensors.items()} == {
        "w": weights(0)["w"].ravel().tolist(),
        "2_Dense.w": weights(1)["w"].ravel().tolist(),
    }
    assert passed_over([tmp_path], [found]) == []


def test_a_list_of_modules_that_leads_astray(tmp_path):
    """Names outside the folder, circles, another program's list, damage: the model stays."""
    texts = ['[{"type": "", "path": "../x"}]', "{}", "[" * 9999, "[7]", '[{"type": 1}]']
    for k, text in enumerate(texts):
        save(tmp_path / f"m{k}/model.safetensors", k)
        (tmp_path / f"m{k}/modules.json").write_text(text)
    assert ids(tmp_path) == [f"m{k}" for k in range(5)]
    for name in "abcdefgh":
        (tmp_path / "m0" / name).symlink_to(".")
    modules = [{"type": "", "path": p} for p in ("", *"abcdefgh")]
    (tmp_path / "m0/modules.json").write_text(json.dumps(modules))
    (tmp_path / "m0/model_index.json").write_text(json.dumps({p: [] for p in "abcdefgh"}))
    assert len(open_checkpoint(tmp_path / "m0").tensors) == 8
