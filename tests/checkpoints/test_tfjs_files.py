"""TensorFlow.js folders, written here by the published layout: weights one behind the other."""

import copy
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.checkpoints import discover, open_checkpoint
from mother.errors import InputError

RNG = np.random.default_rng(0)
WEIGHTS = {
    "F_0/kernel": RNG.normal(size=(3, 3, 4, 5)).astype("<f4"),
    "F_0/bias": RNG.normal(size=5).astype("<f4"),
    "steps": np.arange(3, dtype="<i4"),
    "flag": np.array([True, False]),
    "scalar": np.array(2.5, "<f4"),
}
KINDS = {"f": "float32", "i": "int32", "b": "bool"}


def write(folder, weights=WEIGHTS, shards=1, change=lambda manifest: None):
    folder.mkdir(exist_ok=True)
    data = b"".join(w.tobytes() for w in weights.values())
    step = -(-len(data) // shards)
    paths = [f"group1-shard{k + 1}of{shards}.bin" for k in range(shards)]
    for k, path in enumerate(paths):
        (folder / path).write_bytes(data[k * step : (k + 1) * step])
    entries = [
        {"name": n, "shape": list(w.shape), "dtype": KINDS[w.dtype.kind]}
        for n, w in weights.items()
    ]
    manifest = {"format": "layers-model", "weightsManifest": [{"paths": paths, "weights": entries}]}
    change(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_weights_come_back(tmp_path, shards):
    """Also those that lie in two shards, or three."""
    checkpoint = open_checkpoint(write(tmp_path / "x2", shards=shards))
    assert (checkpoint.id, checkpoint.format) == ("x2", "tfjs")
    assert checkpoint.tensors.keys() == WEIGHTS.keys()
    for name, values in WEIGHTS.items():
        tensor = checkpoint.tensors[name]
        assert (tensor.shape, tensor.dtype) == (values.shape, values.dtype)
        np.testing.assert_array_equal(tensor.read(), values.reshape(-1))
        np.testing.assert_array_equal(tensor.read(1, 3), values.reshape(-1)[1:3])


def test_several_groups(tmp_path):
    def split(manifest):
        (group,) = manifest["weightsManifest"]
        (tmp_path / "m/group2-shard1of1.bin").write_bytes(np.float32([7, 8]).tobytes())
        entry = {"name": "more", "shape": [2], "dtype": "float32"}
        manifest["weightsManifest"] = [
            group,
            {"paths": ["group2-shard1of1.bin"], "weights": [entry]},
        ]

    checkpoint = open_checkpoint(write(tmp_path / "m", change=split))
    assert checkpoint.tensors["more"].read().tolist() == [7, 8]
    assert checkpoint.tensors["scalar"].read().tolist() == [2.5]


def test_stored_as_half_precision_or_quantized(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    half = RNG.normal(size=4).astype("<f2")
    (folder / "group1-shard1of1.bin").write_bytes(half.tobytes() + bytes([1, 2, 3]) + b"\0\0\x80?")
    weights = [
        {"name": "h", "shape": [4], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {
            "name": "q",
            "shape": [3],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "min": -1, "scale": 0.1},
        },
        {"name": "w", "shape": [1], "dtype": "float32"},
    ]
    manifest = {"weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": weights}]}
    (folder / "model.json").write_text(json.dumps(manifest))
    checkpoint = open_checkpoint(folder)
    np.testing.assert_array_equal(checkpoint.tensors["h"].read(), half)
    assert checkpoint.tensors["w"].read().tolist() == [1.0]
    assert (checkpoint.notes, checkpoint.scheme) == ((), "TensorFlow.js uint8")
    want = [float(np.float32(code * 0.1 - 1)) for code in (1, 2, 3)]
    assert checkpoint.tensors["q"].read().tolist() == want
    assert checkpoint.tensors["q"].read(1, 2).tolist() == want[1:2]


def test_found_in_a_folder_of_models(tmp_path):
    for name in ("x2", "x4"):
        write(tmp_path / name)
    checkpoints, problems = discover([tmp_path])
    assert [c.id for c in checkpoints] == ["x2", "x4"]
    assert problems == []


def entry(**changed):
    return lambda m: m["weightsManifest"][0]["weights"][0].update(changed)


FAULTS = {
    "bytes of a storage of": entry(shape=[3, 3, 4, 500]),
    "lacks a valid shape": entry(shape=[3, -3]),
    "lacks a valid shape ": entry(shape=[2**63]),
    "lacks a valid shape  ": entry(shape="3"),
    "of a dtype that is not read": entry(dtype="string"),
    "of a dtype that is not read ": entry(dtype=["float32"]),
    "of a dtype that is not read  ": entry(quantization={"dtype": "int4"}),
    "lacks a valid scale and min": entry(quantization={"dtype": "uint8", "scale": "1"}),
    "lacks a valid scale and min ": entry(
        quantization={"dtype": "uint8", "scale": 1e39, "min": 0.0}
    ),
    "a weight without a name": entry(name=3),
    "names 'flag' twice": entry(name="flag"),
    "without a list of weights": lambda m: m["weightsManifest"][0].update(weights={}),
    "without a list of paths": lambda m: m["weightsManifest"][0].update(paths="group1"),
    "outside its folder": lambda m: m["weightsManifest"][0].update(paths=["../secret.bin"]),
    "outside its folder ": lambda m: m["weightsManifest"][0].update(paths=["/etc/passwd"]),
    "no such file": lambda m: m["weightsManifest"][0].update(paths=["group1-shard9of9.bin"]),
    "has no weightsManifest": lambda m: m.update(weightsManifest=None),
    "has no weightsManifest ": lambda m: m.update(weightsManifest=[3]),
    "holds no tensors": lambda m: m.update(weightsManifest=[]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_line_for_what_is_wrong(tmp_path, fault):
    with pytest.raises(InputError, match=fault.strip()) as raised:
        open_checkpoint(write(tmp_path / "m", change=FAULTS[fault]))
    assert "\n" not in str(raised.value)


def test_a_truncated_shard(tmp_path):
    shard = write(tmp_path / "m") / "group1-shard1of1.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"'scalar' needs \d+ bytes of a storage of"):
        open_checkpoint(tmp_path / "m")


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '{"weightsManifest": 1e999}'])
def test_what_is_no_manifest(tmp_path, text):
    (write(tmp_path / "m") / "model.json").write_text(text)
    with pytest.raises(InputError):
        open_checkpoint(tmp_path / "m")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_manifest_is_read_or_refused(data):
    """A leaf of it replaced by anything."""

    def change(manifest):
        at = manifest
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            key = data.draw(st.sampled_from(keys))
            inside = at[key]
            if not isinstance(inside, dict | list) or not inside or data.draw(st.booleans()):
                at[key] = data.draw(LEAVES | st.lists(LEAVES) | st.just(copy.deepcopy(inside)))
                return
            at = inside

    with tempfile.TemporaryDirectory() as folder:
        checkpoints, problems = discover([write(Path(folder) / "m", change=change)])
        assert len(checkpoints) + len(problems) == 1
        for checkpoint in checkpoints:
            for tensor in checkpoint.tensors.values():
                assert tensor.read().size == tensor.size
        assert "\n" not in "".join(map(str, problems))
