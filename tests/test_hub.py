"""Checkpoints on the Hub, by the real client against a loopback Hub that counts and misbehaves."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from loopback_hub import COMMIT, Record, client_of, serve
from safetensors.numpy import save_file
from serving import served

import mother
import mother.hub
from mother.checkpoints import Checkpoint, Slice, discover, lacking, open_checkpoint, prefetch
from mother.cli import cli
from mother.errors import InputError

MODEL = "hf://org/model"
FILE = "resolve/" + COMMIT + "/model.safetensors"
Weights = dict[str, np.ndarray]


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder that the Hub serves: models/OWNER/NAME/..."""
    folder = tmp_path / "hub" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that it would have waited between attempts."""
    waited: list[float] = []
    monkeypatch.setattr("mother.hub.patience.sleep", waited.append)
    return waited


@pytest.fixture(autouse=True)
def hub(
    models: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The loopback Hub, and an environment of its own for the client."""
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("mother.hub.mirrors._spool", tmp_path / "spool")
    with serve(models.parent, record) as endpoint:
        client_of(endpoint, tmp_path, monkeypatch)
        yield endpoint


def repository(models: Path, name: str = "org/model") -> Path:
    folder = models / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def weights(seed: int, shape: tuple[int, ...] = (200, 300), layers: int = 4) -> Weights:
    rng = np.random.default_rng(seed)
    return {f"layer{k}.weight": rng.normal(size=shape).astype(np.float32) for k in range(layers)}


def save(models: Path, seed: int = 0, name: str = "org/model") -> Path:
    file = repository(models, name) / "model.safetensors"
    save_file(weights(seed), file)
    return file


def values(checkpoint: Checkpoint) -> Weights:
    return {n: t.read().reshape(t.shape) for n, t in checkpoint.tensors.items()}


def safetensors_folder(folder: Path) -> None:
    save_file(weights(0), folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "x"}')


def shards(folder: Path) -> None:
    places = {}
    for k, (name, w) in enumerate(weights(0).items(), 1):
        places[name] = f"model-{k:05}-of-00004.safetensors"
        save_file({name: w}, folder / places[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def pytorch(folder: Path) -> None:
    tensors = {n: torch.from_numpy(w) for n, w in weights(0).items()}
    tensors["turned"] = torch.from_numpy(weights(1)["layer0.weight"]).T
    torch.save(tensors, folder / "pytorch_model.bin")


def old_pytorch(folder: Path) -> None:
    tensors = {n: torch.from_numpy(w) for n, w in weights(0).items()}
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def npz(folder: Path) -> None:
    np.savez(folder / "weights.npz", **weights(0))


def packed_npz(folder: Path) -> None:
    np.savez_compressed(folder / "weights.npz", **weights(0))


def npy(folder: Path) -> None:
    np.save(folder / "weights.npy", weights(0)["layer0.weight"].T)


def objects(folder: Path) -> None:
    np.save(folder / "weights.npy", np.array(weights(0), dtype=object), allow_pickle=True)


def adapter(folder: Path) -> None:
    factors = {
        "base_model.model.layer0.lora_A.weight": np.ones((2, 300), np.float32),
        "base_model.model.layer0.lora_B.weight": np.ones((200, 2), np.float32),
    }
    save_file(factors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')


def diffusers(folder: Path) -> None:
    for k, part in enumerate(("unet", "text_encoder")):
        (folder / part).mkdir()
        save_file(weights(k), folder / part / "diffusion_pytorch_model.safetensors")
    index = {"_class_name": "P", "unet": ["diffusers", "U"], "text_encoder": ["transformers", "T"]}
    (folder / "model_index.json").write_text(json.dumps(index))


def tfjs(folder: Path) -> None:
    w = weights(0)["layer0.weight"].tobytes()
    (folder / "group1-shard1of2.bin").write_bytes(w[:1000])
    (folder / "group1-shard2of2.bin").write_bytes(w[1000:])
    entry = {"name": "w", "shape": [200, 300], "dtype": "float32"}
    group = {"paths": ["group1-shard1of2.bin", "group1-shard2of2.bin"], "weights": [entry]}
    (folder / "model.json").write_text(json.dumps({"weightsManifest": [group]}))


FORMATS = [
    safetensors_folder,
    shards,
    pytorch,
    old_pytorch,
    npz,
    packed_npz,
    npy,
    objects,
    adapter,
    diffusers,
    tfjs,
]


@pytest.mark.parametrize("make", FORMATS)
def test_every_format_as_on_the_disk(models: Path, record: Record, make) -> None:
    folder = repository(models)
    make(folder)
    local, there = open_checkpoint(folder), open_checkpoint(MODEL)
    assert there.config == local.config
    assert (there.format, there.notes) == (local.format, local.notes)
    assert there.named_files.keys() == local.named_files.keys()
    assert there.shown.startswith(f"{MODEL}@{COMMIT}")
    expected, found = values(local), values(there)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[n], found[n]) for n in expected)
    # nothing came twice, and from where it was asked for
    sizes = {f"org/model/{f.relative_to(folder)}": f.stat().st_size for f in folder.rglob("*.*")}
    assert all(count <= sizes[name] for name, count in record.served.items())


@pytest.mark.parametrize("make", FORMATS)
def test_slices_are_what_a_read_needs(models: Path, record: Record, make) -> None:
    make(repository(models))
    for tensor in open_checkpoint(MODEL).tensors.values():
        few = slice(tensor.size // 3, tensor.size // 3 + 5)
        prefetch(tensor.slices(few.start, few.stop))
        asked = len(record.asked)
        assert len(tensor.read(few.start, few.stop)) == 5
        assert len(record.asked) == asked


def test_prefetch_joins_what_lies_near(models: Path, record: Record) -> None:
    save_file(weights(0, (1000, 1000)), repository(models) / "model.safetensors")
    tensor = open_checkpoint(MODEL).tensors["layer1.weight"]
    near = [*tensor.slices(500_000, 500_100), *tensor.slices(501_000, 501_100)]
    far = [*tensor.slices(700_000, 700_100)]
    before, read = len(record.asked), record.served.total()
    assert lacking([*near, *far]) == 1100 * 4 + 400
    prefetch([*far, *near])
    assert len(record.asked) - before == 2
    assert record.served.total() - read == 1100 * 4 + 400
    assert lacking([*near, *far]) == 0
    prefetch([*near, *far])
    assert len(record.asked) - before == 2


def test_a_sample_of_a_gigabyte(models: Path, record: Record) -> None:
    """A block of each of 36 layers and the header: under 1 % in a few dozen requests."""
    entries, stop, count = {}, 0, 7_500_000
    for k in range(36):
        start, stop = stop, stop + 4 * count
        entries[f"layer{k}"] = {"dtype": "F32", "shape": [count], "data_offsets": [start, stop]}
    header = json.dumps(entries).encode()
    with (repository(models) / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + stop)
    tensors = open_checkpoint(MODEL).tensors.values()
    blocks = [(t, count // 3 + 1000 * k) for k, t in enumerate(tensors)]
    prefetch(s for t, at in blocks for s in t.slices(at, at + 1800))
    assert all(not t.read(at, at + 1800).any() for t, at in blocks)
    assert record.served.total() < 0.01 * stop
    assert len(record.asked) <= 40  # formats without a magic are told by a read or two more


def test_a_torch_archive_opens_in_few_requests(models: Path, record: Record) -> None:
    tensors = {f"layer{k}": torch.randn(60_000) for k in range(60)}
    torch.save(tensors, repository(models) / "pytorch_model.bin")
    c = open_checkpoint(MODEL)
    assert len(record.asked) <= 4
    assert record.served.total() < 0.05 * c.files[0].size
    assert np.array_equal(c.tensors["layer59"].read(), tensors["layer59"].numpy())


def family(models: Path, local: Path) -> None:
    base = weights(0, (64, 64), 8)
    for seed, name in enumerate(("base", "tuned", "more")):
        own = {n: w.copy() for n, w in base.items()}
        for step in range(1, seed + 1):
            for n, noise in weights(10 + step, (64, 64), 8).items():
                own[n] += np.float32(0.1) * noise
        save_file(own, repository(models, f"org/{name}") / "model.safetensors")
        (local / name).mkdir(parents=True)
        save_file(own, local / name / "model.safetensors")


def test_recover_as_on_the_disk(models: Path, record: Record, tmp_path: Path) -> None:
    family(models, tmp_path / "local")
    repository(models, "org/empty").joinpath("README.md").write_text("soon")
    seen: list[tuple[int, int]] = []
    expected = mother.recover(tmp_path / "local")
    found = mother.recover("hf://org", progress=lambda done, all: seen.append((done, all)))
    assert found.edges == expected.edges
    assert {n.id: n.path for n in found.nodes} == {
        name: f"hf://org/{name}@{COMMIT}" for name in ("base", "tuned", "more")
    }
    assert not found.refused
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    weight_files = {name for name in record.served if name.endswith(".safetensors")}
    assert all(record.requests[name] == 1 for name in weight_files)


def test_what_the_graph_says_is_read_again(models: Path, tmp_path: Path) -> None:
    family(models, tmp_path / "local")
    paths = {n.id: n.path for n in mother.recover("hf://org").nodes}
    told = mother.compare(paths["base"], paths["tuned"])
    assert (told.relation, told.parent) == ("fine-tune", "a")


def test_names_tell_repositories_apart(models: Path) -> None:
    for seed, name in enumerate(("one/model", "other/model")):
        save(models, seed, name)
    found, problems = discover(["hf://one/model", "hf://other/model", "hf://one/model@v1"])
    assert [c.id for c in found] == ["one/model", "other/model"]
    assert not problems


def test_loose_files_and_paths_inside(models: Path) -> None:
    save_file(weights(0), repository(models) / "a.safetensors")
    (repository(models) / "old").mkdir()
    np.savez(repository(models) / "old" / "b.npz", **weights(1))
    found, _ = discover([MODEL])
    assert {c.id: c.shown for c in found} == {
        "a": f"{MODEL}@{COMMIT}/a.safetensors",
        "b": f"{MODEL}@{COMMIT}/old/b.npz",
    }
    assert open_checkpoint(f"{MODEL}/old/b.npz").shown == f"{MODEL}@{COMMIT}/old/b.npz"
    assert open_checkpoint(f"{MODEL}@main/old").id == "b"


def test_an_adapter_on_a_base(models: Path) -> None:
    adapter(repository(models))
    save(models, 0, "org/base")
    merged = open_checkpoint(MODEL, base="hf://org/base")
    step = 4 / 2 * 2.0
    expected = weights(0)["layer0.weight"] + np.float32(step)
    assert np.allclose(values(merged)["layer0.weight"], expected)


def test_the_mirror_goes_with_its_last_reader(models: Path) -> None:
    save(models)
    c = open_checkpoint(MODEL)
    tensor = c.tensors["layer0.weight"]
    folder = c.path
    del c
    gc.collect()
    assert tensor.size == tensor.read().size
    del tensor
    gc.collect()
    assert not folder.exists()


REFUSED = [
    ("api/models/org/model", "gone", "not found on http://127.0.0.1"),
    ("api/models/org/model", "gated", "gated: accept its terms on its page"),
    ("api/models/org/model", "refused", "the hub answers 401"),
    ("api/models/org/model", "forbidden", "the hub answers 403 forbidden: the token"),
    ("api/models/org/model", "busy", "answers 503 service unavailable; try again later"),
    (FILE, "gated", "model.safetensors: gated: .* log in by `hf auth login` or set hf_token"),
    (FILE, "missing", "model.safetensors: the hub lists it and does not have it"),
    (FILE, "forbidden", "model.safetensors: the hub answers 403"),
    (FILE, "broken", "model.safetensors: the hub answers 418"),
    (FILE, "busy", "model.safetensors: the hub answers 503 service unavailable; try again later"),
    (FILE, "throttled", "model.safetensors: the hub answers 429 .*; try again in 0 seconds"),
    (FILE, "throttled for long", "answers 429 too many requests; try again in 86400 seconds"),
    (FILE, "whole", "model.safetensors: the server ignores byte ranges; --download fetches"),
    (FILE, "shifted", "model.safetensors: bytes 0-262143 were asked for, 1-262143 are sent"),
    (FILE, "longer", "has 960328 bytes by the hub's list and 960329 when it is read"),
    (FILE, "packed", "model.safetensors: the server sends it compressed"),
    (FILE, "moved", "model.safetensors: comes from commit 7654"),
    (FILE, "cut", "model.safetensors: .* can't be read: .*; check the network"),
    (FILE, "short", "model.safetensors: .*can't be read: the answer ended"),
]


@pytest.mark.parametrize(("place", "kind", "fault"), REFUSED)
def test_faults(
    models: Path, record: Record, tmp_path: Path, place: str, kind: str, fault: str
) -> None:
    """One line each, and the rest of the inputs is done."""
    save(models)
    save_file(weights(1), tmp_path / "local.safetensors")
    record.faults[place] = kind
    ran = CliRunner().invoke(cli, ["recover", MODEL, str(tmp_path / "local.safetensors")])
    assert ran.exit_code == 2
    assert "local" in ran.stdout
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"mother: {MODEL}")
    assert re.search(fault, line.lower()), line


@pytest.mark.parametrize("kind", ["busy for now", "throttled", "cut", "short"])
def test_what_passes_is_tried_again(
    models: Path, record: Record, waits: list[float], kind: str
) -> None:
    file = save(models)
    record.faults[FILE] = [kind, kind, "", kind]
    assert np.array_equal(
        values(open_checkpoint(MODEL))["layer3.weight"], weights(0)["layer3.weight"]
    )
    assert len(waits) == 3
    assert max(waits) == (0 if kind in ("busy for now", "throttled") else 1.0)
    # what came before the answer broke off is not asked for again
    counted = record.served["org/model/model.safetensors"]
    assert counted <= (2 if kind == "cut" else 1) * file.stat().st_size


def test_a_fault_after_the_header(models: Path, record: Record) -> None:
    """The weights come when everything was opened: then, too, the others are done."""
    save(models)
    save(models, 1, "org/other")
    record.faults["org/model/" + FILE] = ["", *["broken"] * 9]
    graph = mother.recover("hf://org")
    assert [n.id for n in graph.nodes] == ["other"]
    (refused,) = graph.refused
    assert refused.path == f"{MODEL}@{COMMIT}"
    assert refused.fault.startswith("model.safetensors: the Hub answers 418")


def test_other_bytes_on_the_second_read(models: Path, record: Record) -> None:
    save(models)
    record.faults[FILE] = ["", "changed"]
    tensor = open_checkpoint(MODEL).tensors["layer3.weight"]
    with pytest.raises(InputError, match=r"model\.safetensors: has changed on the Hub while"):
        tensor.read()


def test_other_bytes_than_listed(models: Path) -> None:
    file = save(models)
    c = open_checkpoint(MODEL)
    other = bytearray(file.read_bytes())
    other[-1] ^= 1
    file.write_bytes(other)
    with pytest.raises(InputError, match=r"sends other bytes than its list has the SHA-256 of"):
        c.files[0].sha256()
    ran = CliRunner().invoke(cli, ["recover", "--hashes", MODEL])
    assert ran.exit_code == 2
    assert "model.safetensors: the Hub sends other bytes than" in ran.stderr


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"rfilename": "../secret", "size": 1}, "names a file outside its folder"),
        ({"rfilename": "/etc/passwd", "size": 1}, "names a file outside its folder"),
        ({"rfilename": "a\\..\\b", "size": 1}, "names a file outside its folder"),
        ({"rfilename": "model.safetensors", "size": 1}, "names two files alike"),
        ({"rfilename": "model.safetensors/a", "size": 1}, "names two files alike"),
        ({"rfilename": "x.bin", "size": -1}, "does not tell the size of x.bin"),
        ({"rfilename": "x.bin", "size": None}, "does not tell the size of x.bin"),
        ({"rfilename": "x.bin", "size": 2**61}, "can't be mirrored"),
        ({"size": 1}, "is no Hub"),
    ],
)
def test_a_list_that_lies(
    models: Path, record: Record, entry: dict[str, object], fault: str
) -> None:
    save(models)
    record.also.append(entry)
    with pytest.raises(InputError, match=fault) as raised:
        open_checkpoint(MODEL)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(MODEL)


@pytest.mark.parametrize(
    ("address", "place", "kind", "fault"),
    [
        (MODEL, "api/models/org/model", "inflating", "a list of more than 1048576 bytes"),
        ("hf://org", "api/models", "inflating", "a list of more than 1048576 bytes"),
        ("hf://org", "api/models", "elsewhere", "says that its list goes on elsewhere"),
        ("hf://org", "api/models", "endless", "a list of more than 3 pages"),
    ],
)
def test_a_list_without_end(
    models: Path,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    place: str,
    kind: str,
    fault: str,
) -> None:
    monkeypatch.setattr("mother.hub.http.MAX_PAGE", 1 << 20)
    monkeypatch.setattr("mother.hub.http.MAX_PAGES", 3)
    save(models)
    record.faults[place] = kind
    with pytest.raises(InputError, match=fault) as raised:
        mother.recover(address)
    assert "\n" not in str(raised.value)


def test_too_many_files(models: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mother.hub.repositories.MAX_FILES", 1)
    save(models)
    record.also.append({"rfilename": "more", "size": 1})
    with pytest.raises(InputError, match="has 2 files; 1 are the most"):
        open_checkpoint(MODEL)


def test_a_repository_without_weights(models: Path) -> None:
    repository(models).joinpath("README.md").write_text("soon")
    with pytest.raises(InputError, match=rf"{MODEL}@{COMMIT}: no checkpoints found in it"):
        mother.recover(MODEL)


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("hf://nobody", "hf://nobody: has no models that can be seen"),
        ("hf://org/model@v9", "hf://org/model@v9: no such revision"),
        ("hf://org/model/none.bin", "none.bin: no such file or folder"),
        ("hf://datasets/org/data", "datasets hold no models"),
        ("hf://org/model/../other", "leads out of the repository"),
        ("hf://", "no address on the Hub"),
        ("hf://org/model@", "has no revision after the @"),
        ("hf://org/a--b", "no address on the Hub"),
        ("hf://org@main", "no address on the Hub"),
    ],
)
def test_addresses_that_lead_nowhere(models: Path, address: str, fault: str) -> None:
    save(models)
    with pytest.raises(InputError, match=fault):
        mother.recover(address)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"hf://org/model: http://127.0.0.1:9 can't be read"):
        mother.recover(MODEL)


def test_the_token_goes_to_the_hub_alone(
    models: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(models)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    record.elsewhere = True
    c = open_checkpoint(MODEL)
    c.tensors["layer3.weight"].read()
    there = [headers for path, headers in record.asked if path.startswith("elsewhere/")]
    here = [headers for path, headers in record.asked if not path.startswith("elsewhere/")]
    assert len(there) == 2
    assert len(here) == 2  # the list, and where the file is: that is not asked twice
    assert all(headers["authorization"] == "Bearer hf_secret" for headers in here)
    assert not any("authorization" in headers for headers in there)


def test_an_address_that_expires(models: Path, record: Record) -> None:
    save(models)
    record.elsewhere = True
    c = open_checkpoint(MODEL)
    record.faults["elsewhere/org/model/" + FILE] = ["", "expired"]
    for layer in reversed(c.tensors.values()):
        expected = weights(0)[layer.name].reshape(-1)
        assert np.array_equal(layer.read(0, 30_000), expected[:30_000])
    asked = [path for path, _ in record.asked if path.endswith(FILE)]
    assert len([path for path in asked if path.startswith("elsewhere/")]) > 4
    # whatever the number of ranges: once, and once more for an address that holds good again
    assert len([path for path in asked if not path.startswith("elsewhere/")]) == 2


def test_download_keeps_the_files(
    models: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards(repository(models))
    found = values(open_checkpoint(MODEL, download=True))
    assert all(np.array_equal(found[n], w) for n, w in weights(0).items())
    save_file(weights(1, (400, 400)), repository(models, "org/big") / "model.safetensors")
    open_checkpoint("hf://org/big", download=True)
    gc.collect()
    before = record.served["org/big/model.safetensors"]
    assert before == (repository(models, "org/big") / "model.safetensors").stat().st_size
    again = open_checkpoint("hf://org/big")
    assert np.array_equal(values(again)["layer1.weight"], weights(1, (400, 400))["layer1.weight"])
    assert record.served["org/big/model.safetensors"] == before
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    asked = len(record.asked)
    offline = open_checkpoint("hf://org/big@" + COMMIT)
    assert offline.shown == f"hf://org/big@{COMMIT}"
    assert len(values(offline)) == 4
    assert len(record.asked) == asked


def test_whole_files_are_for_whoever_asks(models: Path, record: Record) -> None:
    """Another file of a repository that was opened so, and is still open, is read by ranges."""
    np.savez(repository(models) / "a.npz", **weights(0))
    np.savez(repository(models) / "b.npz", **weights(1))
    whole = open_checkpoint(f"{MODEL}/a.npz", download=True)
    assert not whole.files[0].remote
    assert open_checkpoint(f"{MODEL}/b.npz").files[0].remote
    assert record.served["org/model/b.npz"] < (repository(models) / "b.npz").stat().st_size


def test_offline(models: Path, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    save(models)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="not in the cache, and HF_HUB_OFFLINE is set"):
        open_checkpoint(MODEL)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        mother.recover("hf://org")
    assert not record.asked


def test_check(models: Path, tmp_path: Path) -> None:
    family(models, tmp_path / "local")
    card = "---\nbase_model: org/base\nlicense: mit\n---\n"
    repository(models, "org/tuned").joinpath("README.md").write_text(card)
    ran = CliRunner().invoke(cli, ["check", "hf://org", "--json"])
    told = {m["id"]: m for m in json.loads(ran.stdout)["models"]}
    (tmp_path / "local" / "tuned" / "README.md").write_text(card.replace("org/base", "base"))
    here = CliRunner().invoke(cli, ["check", str(tmp_path / "local"), "--json"])
    same = {m["id"]: m["verdict"] for m in json.loads(here.stdout)["models"]}
    assert told["tuned"]["verdict"] == same["tuned"]
    assert told["tuned"]["path"] == f"hf://org/tuned@{COMMIT}"
    assert str(mother.hub.spool()) not in ran.output
    sarif = CliRunner().invoke(cli, ["check", "hf://org", "--sarif"]).stdout
    assert str(mother.hub.spool()) not in sarif


def test_hints(models: Path, tmp_path: Path) -> None:
    family(models, tmp_path / "local")
    config = repository(models, "org/tuned") / "config.json"
    config.write_text('{"_name_or_path": "org/base"}')
    (hint,) = mother.recover("hf://org", hints=True).hints
    # three models of steps that no training made: which was first may be open
    assert (hint.model, hint.parent) == ("tuned", "base")
    assert hint.agrees is not False
    assert hint.source == f"hf://org/tuned@{COMMIT}/config.json"


def test_a_slice_names_its_bytes(models: Path) -> None:
    file = save(models)
    (part,) = open_checkpoint(MODEL).tensors["layer1.weight"].slices(3, 7)
    assert isinstance(part, Slice)
    stored = np.frombuffer(file.read_bytes()[part.start : part.stop], np.float32)
    assert np.array_equal(stored, weights(0)["layer1.weight"].reshape(-1)[3:7])


def test_serve_places_what_is_allowed(
    models: Path, tmp_path: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, which opens nothing else."""
    family(models, tmp_path / "local")
    save(models, 5, "other/model")
    (tmp_path / "token").write_text("hf_secret")
    graph = mother.recover(["hf://org/base", "hf://org/tuned"])
    for name, value in {
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "TMPDIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    with served(graph, folders=[Path("hf://org")]) as address, httpx2.Client(timeout=60) as client:

        def ask(what: str, **body: str) -> httpx2.Response:
            return client.post(f"{address}/api/{what}", json=body)

        placed = ask("place", path="hf://org/more").json()
        assert (placed["found"], placed["parent"], placed["unread"]) == ("child", "tuned", 0)
        assert ask("compare", a="base", b="tuned").json()["relation"] == "fine-tune"
        assert ask("place", path="hf://other/model").status_code == 403
        assert ask("place", path="hf://org/../other/model").status_code == 403
        absent = ask("place", path="hf://org/absent")
        assert (absent.status_code, "not found on" in absent.text) == (422, True)
