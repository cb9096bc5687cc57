"""Inputs that are broken, odd or meant to harm, through the command line: one clear line and exit
2 for what is refused, nothing else lost, no code run; and the right forest for what is only odd."""

import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from kit import (
    Result,
    check_one_line,
    check_refused,
    child_process,
    ended,
    model,
    run,
    save,
    tuned,
)

MARKER = "a pickle ran code"


class Evil:
    def __reduce__(self):
        return (exec, (f"import os; os.environ['MOTHER_PWNED'] = {MARKER!r}",))


def raw_safetensors(header, body=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape, start, stop):
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}


def saved_by_torch(value, **options):
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def npz_bomb():
    """80 MB of zeros in 80 kB."""
    out = io.BytesIO()
    np.savez_compressed(out, w=np.zeros(20 << 20, np.float32))
    return out.getvalue()


def torch_bomb():
    stored = zipfile.ZipFile(io.BytesIO(saved_by_torch({"w": torch.zeros(20 << 20)})))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    return out.getvalue()


WHOLE = raw_safetensors({"a": entry([4, 4], 0, 64)}, bytes(64))
BAD = {
    "empty.safetensors": b"",
    "text.safetensors": b"these are no weights\n" * 9,
    "text.pt": b"these are no weights\n" * 9,
    "text.npz": b"these are no weights\n" * 9,
    "page.bin": b"<!DOCTYPE html><html>404</html>",
    "cut.safetensors": WHOLE[:-8],
    "cut_header.safetensors": WHOLE[:20],
    "cut.pt": saved_by_torch({"w": torch.ones(40, 40)})[:-600],
    "huge_header.safetensors": struct.pack("<Q", 2**60) + b"{}",
    "overlap.safetensors": raw_safetensors(
        {"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)
    ),
    "beyond.safetensors": raw_safetensors(
        {"a": entry([2], 0, 8), "b": entry([2], 8, 16)}, bytes(12)
    ),
    "far_beyond.safetensors": raw_safetensors(
        {"a": entry([2**40], 2**60, 2**60 + 2**42)}, bytes(12)
    ),
    "negative.safetensors": raw_safetensors({"a": entry([-2], 0, 8)}, bytes(12)),
    "nothing.safetensors": raw_safetensors({}),
    "bomb.npz": npz_bomb(),
    "bomb.pt": torch_bomb(),
    "pickle.pt": pickle.dumps(Evil()),
    "objects.npy": b"\x93NUMPY\x01\x00\x36\x00"
    + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"
    + pickle.dumps(Evil()),
}


def write_bad(folder, name):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(BAD[name])
    return folder / name


def recovered(path, *options):
    """The result and the graph.json that it wrote, None where it wrote none."""
    output = path.parent / f"{path.name}.graph.json"
    result = run("recover", path, "-o", output, *options)
    return result, json.loads(output.read_text()) if output.exists() else None


def edges(graph):
    return {(e["parent"], e["child"]): e["relation"] for e in graph["edges"]}


def ids(graph):
    return [node["id"] for node in graph["nodes"]]


def save_star(folder, count=4, layers=12):
    """A root and its children."""
    root = model(0, layers=layers)
    save(folder / "root.safetensors", root)
    for k in range(1, count):
        save(folder / f"child{k}.safetensors", tuned(root, k))
    return root


def star(count=4):
    return {("root", f"child{k}"): "fine-tune" for k in range(1, count)}


def with_most(weights, value, at=0):
    """One weight of each matrix broken."""
    return {
        name: np.where(np.arange(w.size).reshape(w.shape) == at, w.dtype.type(value), w)
        if w.ndim == 2
        else w
        for name, w in weights.items()
    }


def with_one(weights, value, name="layer0.weight", at=7):
    changed = weights[name].copy()
    changed.flat[at] = value
    return {**weights, name: changed}


@pytest.mark.parametrize("name", BAD)
def test_bad_alone(tmp_path, name):
    result, graph = recovered(write_bad(tmp_path, name))
    check_one_line(result, name)
    assert graph is None
    assert not result.out


@pytest.mark.parametrize("name", BAD)
def test_bad_in_a_comparison(tmp_path, name):
    good = save(tmp_path / "good.safetensors", model(layers=2))
    check_one_line(run("compare", good, write_bad(tmp_path, name)), name)
    check_one_line(run("compare", tmp_path / name, good), name)


def test_all_that_is_bad_is_named(tmp_path):
    for name in BAD:
        write_bad(tmp_path / "models", name)
    result, _ = recovered(tmp_path / "models")
    check_refused(result, *BAD)
    assert len(result.err.splitlines()) == len(BAD)


def test_one_bad_among_fifty_good(tmp_path):
    save_star(tmp_path / "models", 50, layers=4)
    write_bad(tmp_path / "models", "cut.safetensors")
    result, graph = recovered(tmp_path / "models")
    check_one_line(result, "cut.safetensors", "truncated")
    assert edges(graph) == star(50)
    assert [r["path"] for r in graph["refused"]] == [str(tmp_path / "models/cut.safetensors")]
    assert "root   50 models" in result.out


def test_all_bad_among_good(tmp_path):
    save_star(tmp_path / "models")
    for name in BAD:
        write_bad(tmp_path / "models", name)
    result, graph = recovered(tmp_path / "models")
    check_refused(result, *BAD)
    assert edges(graph) == star()


@pytest.mark.parametrize("form", ["zip", "legacy", "bare", "npy"])
def test_no_pickle_runs(tmp_path, monkeypatch, form):
    monkeypatch.delenv("MOTHER_PWNED", raising=False)
    content = {
        "zip": saved_by_torch({"w": torch.ones(8, 8), "e": Evil()}),
        "legacy": saved_by_torch(
            {"w": torch.ones(8, 8), "e": Evil()}, _use_new_zipfile_serialization=False
        ),
        "bare": BAD["pickle.pt"],
        "npy": BAD["objects.npy"],
    }[form]
    path = tmp_path / "evil.pt"
    path.write_bytes(content)
    result = run("recover", path)
    assert "Traceback" not in result.err
    run("compare", path, path)
    assert "MOTHER_PWNED" not in os.environ
    # the weapon is loaded
    pickle.loads(pickle.dumps(Evil()))
    assert os.environ.pop("MOTHER_PWNED") == MARKER


def test_an_empty_folder(tmp_path):
    result, graph = recovered(tmp_path)
    check_one_line(result, tmp_path)
    assert graph is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["gram", "mother"])
def test_one_model_of_nan_or_infinity(tmp_path, value, method):
    root = save_star(tmp_path / "models")
    save(tmp_path / "models/broken.safetensors", with_most(tuned(root, 9), value))
    result, graph = recovered(tmp_path / "models", f"--method={method}")
    check_one_line(result, "broken.safetensors", ".weight")
    assert ids(graph) == ["child1", "child2", "child3", "root"]
    if method == "gram":
        assert edges(graph) == star()


@pytest.mark.parametrize("at", ["one place", "many places", "everywhere"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_all_models_of_nan_or_infinity(tmp_path, at, value):
    """A weight that is broken in all of them is no mask."""
    root = model()
    for k in range(3):
        weights = tuned(root, k)
        if at == "one place":
            weights = with_most(weights, value)
        elif at == "many places":
            weights = with_most(weights, value, k)
        else:
            weights = {name: np.full_like(w, value) for name, w in weights.items()}
            weights["own"] = np.full(3, k, np.float32)
        save(tmp_path / f"models/m{k}.safetensors", weights)
    result, _ = recovered(tmp_path / "models")
    check_refused(result, "m0.safetensors", "m1.safetensors", "m2.safetensors")


def test_copies_of_a_model_of_nan_are_all_named(tmp_path):
    root = save_star(tmp_path / "models")
    broken = with_most(tuned(root, 9), np.nan)
    names = ["broken1", "broken2", "broken3"]
    for name in names:
        save(tmp_path / f"models/{name}.safetensors", broken)
    result, graph = recovered(tmp_path / "models")
    check_refused(result, *names)
    # every input is somewhere: among the nodes or among the refused
    assert len(graph["nodes"]) + len(graph["refused"]) == 7
    assert edges(graph) == star()


def test_nan_in_a_comparison(tmp_path):
    root = model(layers=3)
    a = save(tmp_path / "a.safetensors", root)
    broken = save(tmp_path / "broken.safetensors", with_most(root, np.nan))
    check_one_line(run("compare", a, broken), "broken.safetensors")
    check_one_line(run("compare", broken, a, "--json"), "broken.safetensors")


def test_a_mask_of_infinities_in_all_models(tmp_path):
    mask = np.triu(np.full((64, 64), -np.inf, np.float32), 1)
    root = model() | {"attention.mask": mask}
    save(tmp_path / "models/root.safetensors", root)
    for k in range(1, 4):
        child = tuned(root, k) | {"attention.mask": mask}
        save(tmp_path / f"models/child{k}.safetensors", child)
    result, graph = recovered(tmp_path / "models")
    assert result.code == 0
    assert not result.err
    assert edges(graph) == star()


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("method", ["gram", "mother"])
def test_a_stranger_of_another_scale_does_no_harm(tmp_path, scale, method):
    save_star(tmp_path / "models")
    far = {name: (w * scale).astype(np.float32) for name, w in model(77).items()}
    save(tmp_path / "models/far.safetensors", far)
    result, graph = recovered(tmp_path / "models", f"--method={method}")
    assert "Warning" not in result.err
    if method == "gram":
        assert {e: r for e, r in edges(graph).items() if "far" not in e} == star()
    assert "far" in ids(graph) or "far.safetensors" in result.err


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_a_family_of_tiny_or_huge_weights(tmp_path, scale):
    root = {name: (w * scale).astype(np.float64) for name, w in model().items()}
    for k in range(4):
        weights = root if k == 0 else tuned(root, k, 0.3 * scale)
        name = f"child{k}" if k else "root"
        kept = {n: w.astype(np.float32) for n, w in weights.items()}
        save(tmp_path / f"models/{name}.safetensors", kept)
    result, graph = recovered(tmp_path / "models")
    if result.code == 0:
        assert edges(graph) == star()
        assert not result.err
    else:
        check_refused(result, "root.safetensors")


def test_loops_of_links_end(tmp_path):
    models = tmp_path / "models"
    save_star(models)
    (models / "up").symlink_to("..")
    (models / "self").symlink_to("self")
    (models / "one.safetensors").symlink_to("two.safetensors")
    (models / "two.safetensors").symlink_to("one.safetensors")
    (models / "dangling.safetensors").symlink_to("nowhere.safetensors")
    result, graph = recovered(models)
    check_refused(result, "one.safetensors", "two.safetensors", "dangling.safetensors")
    assert edges(graph) == star()
    check_one_line(run("recover", models / "self"), "self")
    check_one_line(run("recover", models / "one.safetensors"), "symbolic links")


#: permissions bind everybody but root: let go of that first. Python's own library may lie where
#: nobody may read, so what is imported on use is used once before
AS_NOBODY = """
import contextlib, io, os
if os.geteuid() == 0:
    words, said = sys.argv, io.StringIO()
    sys.argv = [*words[:3], "-o", os.devnull]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        with contextlib.suppress(SystemExit):
            main()
    sys.argv = words
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""


@pytest.fixture
def public_folder():
    """One that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        save_star(folder)
        for path in folder.iterdir():
            path.chmod(0o644)
        yield folder


def as_nobody(folder, *arguments):
    with child_process(*arguments, before=AS_NOBODY, cwd=folder) as process:
        out, err = ended(process)
    return Result(process.returncode, out, err)


def test_what_may_not_be_read(public_folder):
    save(public_folder / "closed/inside.safetensors", model(5))
    secret = save(public_folder / "secret.safetensors", model(6))
    secret.chmod(0)
    (public_folder / "closed").chmod(0)
    try:
        result = as_nobody(public_folder, "recover", public_folder)
        alone = as_nobody(public_folder, "recover", secret)
    finally:
        (public_folder / "closed").chmod(0o755)
    check_refused(result, "secret.safetensors", "closed", "permission denied")
    assert "root   4 models" in result.out
    check_one_line(alone, "secret.safetensors", "permission denied")


def test_what_may_not_be_written(public_folder):
    public_folder.chmod(0o555)
    output = public_folder / "graph.json"
    result = as_nobody(public_folder, "recover", public_folder, "-o", output)
    public_folder.chmod(0o755)
    check_one_line(result, "graph.json", "can't be written")
    assert not output.exists()


def test_two_files_of_one_id(tmp_path):
    root = model()
    save(tmp_path / "models/one/model_a.safetensors", root)
    save(tmp_path / "models/two/model_a.safetensors", tuned(root, 1))
    result, graph = recovered(tmp_path / "models")
    assert result.code == 0
    assert edges(graph) == {("one/model_a", "two/model_a"): "fine-tune"}


def test_copies_hang_from_one_original(tmp_path):
    root = model()
    for k in range(5):
        save(tmp_path / f"models/copy{k}.safetensors", root)
    save(tmp_path / "models/a_child.safetensors", tuned(root, 1))
    for method in ("gram", "mother"):
        result, graph = recovered(tmp_path / "models", f"--method={method}")
        assert result.code == 0
        found = edges(graph)
        copies = {e for e, relation in found.items() if relation == "duplicate"}
        assert copies == {("copy0", f"copy{k}") for k in range(1, 5)}
        if method == "gram":
            assert set(found) - copies == {("copy0", "a_child")}


def test_other_types_and_formats_of_one_model(tmp_path):
    models = tmp_path / "models"
    root = model()
    save(models / "root.safetensors", root)
    np.savez(models / "arrays.npz", **root)
    for name, dtype in (("brain", torch.bfloat16), ("half", torch.float16)):
        tensors = {key: torch.tensor(w).to(dtype) for key, w in root.items()}
        torch.save(tensors, models / f"{name}.pt")
    save(models / "child.safetensors", tuned(root, 1))
    result, graph = recovered(models)
    assert result.code == 0
    relations = {child: relation for (_, child), relation in edges(graph).items()}
    assert sorted(relations.values()) == ["converted", "converted", "duplicate", "fine-tune"]
    assert {parent for parent, _ in edges(graph)} <= {"root", "arrays"}
    assert len({parent for parent, _ in edges(graph)}) == 1


def test_models_of_integers_are_no_copies_of_each_other(tmp_path):
    """int8 weights with equal scales: what is told apart by what is not compared."""
    for k in range(3):
        draw = np.random.default_rng(k)
        weights = {
            f"layer{j}.weight": draw.integers(-127, 127, (64, 64), np.int8) for j in range(4)
        }
        weights |= {f"layer{j}.scale": np.ones(64, np.float32) for j in range(4)}
        save(tmp_path / f"models/quantized{k}.safetensors", weights)
    _, graph = recovered(tmp_path / "models")
    assert graph is None or edges(graph) == {}
    paths = sorted((tmp_path / "models").iterdir())
    assert "uplicate" not in run("compare", *paths[:2]).out


@pytest.mark.parametrize("kind", ["integers", "empty"])
def test_models_without_weights(tmp_path, kind):
    for k in range(3):
        array = np.arange(9) + k if kind == "integers" else np.zeros((0, 4), np.float32)
        save(tmp_path / f"models/m{k}.safetensors", {"ids": array})
    result, graph = recovered(tmp_path / "models")
    assert "Traceback" not in result.err
    assert graph is None or edges(graph) == {}
    layered = run("recover", tmp_path / "models", "--layers", "ids")
    assert "Traceback" not in layered.err
    assert layered.code in (0, 2)


def test_layers_chosen_that_one_architecture_lacks(tmp_path):
    """One group without such a layer does not take the others with it."""
    save_star(tmp_path / "models")
    save(tmp_path / "models/other.safetensors", {"head": np.ones((4, 4), np.float32)})
    save(tmp_path / "models/integers.safetensors", {"ids": np.arange(9)})
    result, graph = recovered(tmp_path / "models", "--layers=layer")
    assert "Traceback" not in result.err
    assert edges(graph) == star()


def test_scalars_and_empty_tensors_beside_weights(tmp_path):
    root = model() | {"scale": np.array(1.5, np.float32), "none": np.zeros((0, 4), np.float32)}
    save(tmp_path / "models/root.safetensors", root)
    for k in range(1, 4):
        save(tmp_path / f"models/child{k}.safetensors", tuned(root, k))
    for method in ("gram", "mother"):
        result, graph = recovered(tmp_path / "models", f"--method={method}")
        assert result.code == 0
        assert not result.err
        assert len(graph["trees"]) == 1
        if method == "gram":
            assert edges(graph) == star()


@pytest.mark.parametrize("kind", ["biases", "scalars", "constant", "zero"])
@pytest.mark.parametrize("method", ["gram", "mother"])
def test_models_with_little_to_tell(tmp_path, kind, method):
    root = model(width=512, layers=2) if kind == "biases" else model(layers=2)
    for k in range(4):
        weights = {
            "biases": {n: w for n, w in tuned(root, k).items() if "bias" in n},
            "scalars": {"scale": np.array(1.0 + k, np.float32)},
            "constant": {n: np.full_like(w, k / 2) for n, w in root.items()},
            "zero": {n: np.zeros_like(w) for n, w in root.items()},
        }[kind]
        save(tmp_path / f"models/m{k}.safetensors", weights)
    result, graph = recovered(tmp_path / "models", f"--method={method}")
    assert result.code == 0
    assert not result.err
    assert ids(graph) == ["m0", "m1", "m2", "m3"]
    paths = sorted((tmp_path / "models").iterdir())
    compared = run("compare", *paths[:2])
    assert compared.code == 0
    assert not compared.err
    assert run("compare", *paths[:2], "--json").code == 0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_constant_model_beside_a_family(tmp_path, value):
    root = save_star(tmp_path / "models")
    save(tmp_path / "models/odd.safetensors", {n: np.full_like(w, value) for n, w in root.items()})
    result, graph = recovered(tmp_path / "models")
    assert result.code == 0
    assert not result.err
    assert edges(graph) == star()


def test_what_users_really_have(tmp_path):
    """A DataParallel prefix, a replaced head, shards, a training script's own keys."""
    models = tmp_path / "models"
    root = model() | {"head.weight": np.ones((3, 64), np.float32)}
    save(models / "root.safetensors", root)
    parallel = {f"module.{n}": torch.tensor(w) for n, w in tuned(root, 1).items()}
    torch.save({"epoch": 3, "state_dict": parallel, "optimizer": {}}, models / "parallel.pt")
    new_head = {"head.weight": np.random.default_rng(3).standard_normal((10, 64)).astype("f4")}
    save(models / "head.safetensors", tuned(root, 2) | new_head)
    parts, names = tuned(root, 3), sorted(root)
    where = {}
    for number, part in enumerate((names[:9], names[9:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        save(models / "sharded" / shard, {n: parts[n] for n in part})
        where |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": where}
    (models / "sharded/model.safetensors.index.json").write_text(json.dumps(index))
    result, graph = recovered(models)
    assert result.code == 0
    assert edges(graph) == {
        ("root", "head"): "fine-tune",
        ("root", "parallel"): "fine-tune",
        ("root", "sharded"): "fine-tune",
    }
    unaligned = {node["id"]: node["unaligned"] for node in graph["nodes"]}
    assert any("head.weight" in line for line in unaligned["head"])
    (models / "sharded/model-00002-of-00002.safetensors").unlink()
    result, graph = recovered(models)
    check_one_line(result, "sharded", "missing")
    assert ids(graph) == ["head", "parallel", "root"]


@pytest.fixture
def adapters(tmp_path):
    save(tmp_path / "base/model.safetensors", model())
    for k in range(3):
        draw = np.random.default_rng(100 + k)  # not the base's own numbers
        factors = {
            f"base_model.model.layer{j}.lora_{side}.weight": 0.2
            * draw.standard_normal((4, 64) if side == "A" else (64, 4)).astype(np.float32)
            for j in range(6)
            for side in "AB"
        }
        save(tmp_path / f"adapter{k}/adapter_model.safetensors", factors)
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
        (tmp_path / f"adapter{k}/adapter_config.json").write_text(json.dumps(config))
    return tmp_path


def test_adapters_with_their_base(adapters):
    result, graph = recovered(adapters, "--base", str(adapters / "base"))
    assert result.code == 0
    assert edges(graph) == {("base", f"adapter{k}"): "lora" for k in range(3)}
    assert {e["rank"] for e in graph["edges"]} == {4}
    compared = run("compare", adapters / "base", adapters / "adapter0", "--base", adapters / "base")
    assert "rank 4" in compared.out


def test_adapters_without_their_base(adapters):
    result, graph = recovered(adapters)
    assert result.code == 0
    assert edges(graph) == {}
    assert len(graph["nodes"]) == 4
    # what it takes to relate them is told, and no claim is made in its place
    compared = run("compare", adapters / "base", adapters / "adapter0")
    assert "--base" in compared.out + compared.err


def test_a_hundred_small_checkpoints(tmp_path):
    root = model(layers=2, width=40)
    for k in range(100):
        weights = tuned(root, k) if k else root
        save(tmp_path / f"models/m{k:03}.safetensors", weights)
    result, graph = recovered(tmp_path / "models")
    assert result.code == 0
    assert not result.err
    *tree, _, said, _ = result.out.splitlines()
    assert len(graph["nodes"]) == len(tree) == 100
    assert said.startswith("100 models in 1 tree; 99 edges")
    assert len(graph["trees"]) == 1


NAMES = [
    b"escape\x1b[31mred\x1b]0;title\x07",
    b"new\nline",
    b"tab\tand\rreturn",
    b"quote\"'<b>&",
    b"not utf-8 \xff\xfe",
    "right to left \u202e".encode(),
    "日本語".encode(),
    b"[bold red]markup[",
    b":smile: %s {}",
    b" spaces ",
    b"-o",
    b"x" * 230,
]


def test_names_of_any_kind(tmp_path):
    root = model()
    for k, name in enumerate(NAMES):
        path = save(tmp_path / "models/next", tuned(root, k) if k else root)
        path.rename(path.with_name(os.fsdecode(name) + ".safetensors"))
    (tmp_path / "models" / os.fsdecode(b"bad\x1b[31m\n\xff.pt")).write_bytes(b"text")
    result, graph = recovered(tmp_path / "models")
    check_one_line(result, "bad")
    assert len(graph["nodes"]) == len(set(ids(graph))) == len(NAMES)
    assert len(graph["edges"]) == len(NAMES) - 1
    *tree, written = result.out.splitlines()
    assert written.startswith("written: ")
    assert len(tree) <= len(NAMES) + 1 + len(("", "the summary"))
    shown = run("show", tmp_path / "models.graph.json")
    for text in (result.out, result.err, shown.out):
        assert all(c == "\n" or c.isprintable() for c in text)
    kept = [line for line in shown.out.splitlines() if not line.startswith("refused:")]
    assert kept == tree
    compared = run("compare", *sorted((tmp_path / "models").glob("*.safetensors"))[1:3])
    assert all(c == "\n" or c.isprintable() for c in compared.out + compared.err)


def test_a_hostile_tensor_name(tmp_path):
    name = "a\x1b[31m\n\u202e" + "y" * 500
    root = model(layers=2)
    for k in range(2):
        weights = (tuned(root, k) if k else root) | {name: np.full((8, 8), 1.0 + k, np.float32)}
        save(tmp_path / f"m{k}.safetensors", weights)
    save(
        tmp_path / "broken.safetensors",
        with_one(tuned(root, 4) | {name: root["layer0.bias"]}, np.nan, name),
    )
    for result in (
        run("recover", tmp_path),
        run("compare", tmp_path / "m0.safetensors", tmp_path / "m1.safetensors"),
        run("compare", tmp_path / "m0.safetensors", tmp_path / "broken.safetensors"),
    ):
        assert all(c == "\n" or c.isprintable() for c in result.out + result.err)
        assert all(line.startswith("mother: ") for line in result.err.splitlines())
