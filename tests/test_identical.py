"""What of what is there twice can be deleted, and a cache of 40 repositories."""

import hashlib
import os
import re

import numpy as np
import safetensors.numpy
from kit import edges, model, run, save, tuned

import mother
from mother.graph import ModelGraph, identical


def cached(hub, name, weights, revision="main", metadata=None):
    """A repository in the layout of Hugging Face's cache, its weights a link to a blob."""
    data = safetensors.numpy.save(weights, metadata)
    blob = hub / f"models--org--{name}" / "blobs" / hashlib.sha256(data).hexdigest()
    commit = hashlib.sha1(f"{name} {revision}".encode()).hexdigest()
    snapshot = blob.parent.parent / "snapshots" / commit
    ref = blob.parent.parent / "refs" / revision
    for path in (blob, snapshot / "x", ref):
        path.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit)
    if not blob.exists():
        blob.write_bytes(data)
    (snapshot / "model.safetensors").symlink_to(os.path.relpath(blob, snapshot))
    return blob


def family(hub, seed):
    """Eight repositories: a base, four that were tuned from it, and three copies of one of these,
    of which one alone is the same file. Returns (parent, child) pairs, and the bytes of that."""
    base = model(seed, layers=6, width=32)
    kids = [tuned(base, 10 * seed + k) for k in range(4)]
    cached(hub, f"base-{seed}", base)
    for k, kid in enumerate(kids):
        cached(hub, f"kid-{seed}-{k}", kid)
    copy = cached(hub, f"kid-{seed}-0-mirror", kids[0])
    cached(hub, f"kid-{seed}-0-said", kids[0], metadata={"said": "something else"})
    cached(hub, f"kid-{seed}-1-half", {n: w.astype(np.float16) for n, w in kids[1].items()})
    cached(hub, f"kid-{seed}-0", kids[0], revision="v1")  # the same blob
    told = {(f"org/base-{seed}", f"org/kid-{seed}-{k}") for k in range(4)}
    return told, copy.stat().st_size


def test_a_cache_of_forty_repositories(tmp_path):
    """What do I have here, and what came from what: one command."""
    hub = tmp_path / "hub"
    made = [family(hub, seed) for seed in range(5)]
    assert len(list(hub.iterdir())) == 40
    result = run("recover", hub, "-o", tmp_path / "graph.json", "--bootstrap", 0)
    assert (result.code, result.err) == (0, "")
    graph = ModelGraph.load(tmp_path / "graph.json")
    assert len(graph.nodes) == 40
    truth = set().union(*(told for told, _ in made))
    assert truth <= edges(graph)
    freed = {node.id: node.freed for node in graph.nodes if node.identical_to is not None}
    assert freed == {f"org/kid-{seed}-0-mirror": size for seed, (_, size) in enumerate(made)}
    total = sum(size for _, size in made)
    assert re.search(rf"5 models are there twice, byte for byte; {total / 1e3:.1f} kB", result.out)
    assert "org/kid-3-0-mirror, " in result.out
    assert "10 other copies, not called safe: 5 converted, 5 of the same weights" in result.out
    assert (
        run("show", tmp_path / "graph.json").out.splitlines()[-7:]
        == (result.out.splitlines()[-8:-1])
    )


def freed(*paths):
    graph = mother.recover(list(paths), bootstrap=0)
    assert ModelGraph.from_json(graph.to_json()) == graph
    return {n.id: (n.identical_to, n.freed) for n in graph.nodes if n.identical_to is not None}


def test_only_files_that_are_the_same_in_every_byte(tmp_path):
    weights = model(layers=2, width=32)
    size = save(tmp_path / "a.safetensors", weights).stat().st_size
    save(tmp_path / "b.safetensors", weights)
    safetensors.numpy.save_file(weights, tmp_path / "c.safetensors", {"said": "something"})
    np.savez(tmp_path / "d.npz", **weights)
    np.savez(tmp_path / "e.npz", **weights)
    half = {n: w.astype(np.float16) for n, w in weights.items()}
    save(tmp_path / "f.safetensors", half)
    d = (tmp_path / "d.npz").stat().st_size
    assert freed(tmp_path) == {"b": ("a", size), "e": ("d", d)}


def test_a_byte_that_is_no_weight(tmp_path):
    """Of the same size and weights, and another header."""
    weights = model(layers=2, width=32)
    for name, said in (("a", "x"), ("b", "y")):
        safetensors.numpy.save_file(weights, tmp_path / f"{name}.safetensors", {"said": said})
    assert freed(tmp_path) == {}


def test_what_lies_beside_the_weights_tells_models_apart(tmp_path):
    """The same file of weights under another configuration, tokenizer or scale is another model;
    a card is none of it, and a checkpoint with its optimizer holds all that the last model does."""
    weights = model(layers=2, width=32)
    beside = {
        "base": {"config.json": "{}", "README.md": "one"},
        "mirror": {"config.json": "{}", "README.md": "other"},
        "scaled": {"config.json": '{"rope_scaling": 2}'},
        "bare": {},
        "checkpoint-9": {"config.json": "{}", "optimizer.pt": "state"},
        "spoken": {"config.json": "{}", "tokenizer.json": "[]"},
    }
    for name, files in beside.items():
        size = save(tmp_path / name / "model.safetensors", weights).stat().st_size
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
    save(tmp_path / "alone.safetensors", weights)
    kept = "checkpoint-9"
    copies = ("alone", "bare", "base", "mirror")
    assert freed(tmp_path) == dict.fromkeys(copies, (kept, size))


def test_what_links_keep_is_not_counted(tmp_path):
    weights = model(layers=2, width=32)
    save(tmp_path / "in/a.safetensors", weights)
    save(tmp_path / "in/b.safetensors", weights)
    (tmp_path / "in/link.safetensors").symlink_to("b.safetensors")
    assert set(freed(tmp_path / "in").values()) == {
        ("a", (tmp_path / "in/b.safetensors").stat().st_size)
    }
    os.link(tmp_path / "in/b.safetensors", tmp_path / "elsewhere")
    assert freed(tmp_path / "in") == {"b": ("a", 0)}


def test_a_folder_that_is_mounted_twice_is_no_copy(tmp_path, monkeypatch):
    """Then to delete one is to delete the other: their files have one number."""
    weights = model(layers=2, width=32)
    for name in "ab":
        save(tmp_path / name / "m.safetensors", weights)
    monkeypatch.setattr(identical, "_key", lambda file: (1, 1))
    assert freed(tmp_path) == {}


def test_shards_that_are_shared_are_not_counted(tmp_path):
    """Of two copies of two shards each, one shard is a link to the other's."""
    halves = [{f"w{k}": w} for k, w in enumerate(model(layers=2, width=32).values()) if w.ndim == 2]
    names = [f"m-0000{k}-of-00002.safetensors" for k in (1, 2)]
    for folder in "ab":
        for name, half in zip(names, halves, strict=False):
            save(tmp_path / folder / name, half)
    own = tmp_path / "b" / names[1]
    shared = tmp_path / "b" / names[0]
    shared.unlink()
    shared.symlink_to(f"../a/{names[0]}")
    ((original, size),) = freed(tmp_path).values()
    assert (original, size) == ("a/m", own.stat().st_size)
