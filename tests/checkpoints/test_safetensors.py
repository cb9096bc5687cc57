import concurrent.futures
import json
import os
import resource

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from mother.checkpoints import open_checkpoint
from mother.checkpoints.storage import COPIED
from mother.errors import InputError


def write(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


TORCH_DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_every_dtype_as_torch_wrote_it(tmp_path, dtype):
    values = (torch.arange(24).reshape(2, 3, 4) % 7).to(dtype)
    safetensors.torch.save_file({"w": values}, tmp_path / "a.safetensors")
    tensor = open_checkpoint(tmp_path / "a.safetensors").tensors["w"]
    assert tensor.shape == (2, 3, 4)
    assert tensor.nbytes == values.nbytes
    assert tensor.is_weight == dtype.is_floating_point
    assert tensor.dtype.isnative
    expected = values.double().numpy().ravel()
    np.testing.assert_array_equal(tensor.read().astype(np.float64), expected)
    np.testing.assert_array_equal(tensor.read(5, 17).astype(np.float64), expected[5:17])


def test_as_the_numpy_writer_wrote_it(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"layer.{i}": rng.normal(size=(i + 1, 5)).astype(np.float32) for i in range(20)}
    arrays["scalar"] = np.array(3, np.float32)
    arrays["empty"] = np.zeros((0, 4), np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors", metadata={"format": "np"})
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.id == "a"
    assert checkpoint.format == "safetensors"
    assert checkpoint.parameters == sum(a.size for a in arrays.values())
    assert set(checkpoint.tensors) == set(arrays)
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(tensor.read().reshape(tensor.shape), arrays[name])


def test_slices_work_as_slices_do(tmp_path):
    values = np.arange(10, dtype=np.float32)
    safetensors.numpy.save_file({"w": values}, tmp_path / "a.safetensors")
    tensor = open_checkpoint(tmp_path / "a.safetensors").tensors["w"]
    for start, stop in [(0, None), (3, 7), (-3, None), (8, 99), (7, 3), (20, 30), (0, 0)]:
        read = tensor.read(start, stop)
        np.testing.assert_array_equal(read, values[start:stop])
        assert read.dtype == np.float32


def test_large_reads_are_read_only_views_of_the_map(tmp_path):
    count = 2 * COPIED // 4
    safetensors.numpy.save_file({"w": np.ones(count, np.float32)}, tmp_path / "a.safetensors")
    read = open_checkpoint(tmp_path / "a.safetensors").tensors["w"].read(10, count)
    assert not read.flags.owndata
    assert not read.flags.writeable


def test_misaligned_data_is_read_aligned(tmp_path):
    body = b"\x01" + np.arange(2, dtype=np.float32).tobytes()
    header = {"b": entry("U8", (1,), (0, 1)), "w": entry("F32", (2,), (1, 9))}
    for pad in range(4):
        text = json.dumps(header).encode() + b" " * pad
        read = open_checkpoint(write(tmp_path / "a.safetensors", text, body)).tensors["w"].read()
        assert read.flags.aligned
        np.testing.assert_array_equal(read, [0, 1])


def test_opening_a_huge_file_reads_its_header_alone(tmp_path):
    count = 10 * 2**30 // 4
    path = write(tmp_path / "big.safetensors", {"w": entry("F32", (count,), (0, 4 * count))})
    os.truncate(path, path.stat().st_size + 4 * count)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tensor = open_checkpoint(path).tensors["w"]
    whole = tensor.read()
    assert whole.size == count
    assert whole[-1] == 0
    assert tensor.read(count - 3).tolist() == [0, 0, 0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss < 50_000


def test_memory_stays_bounded_over_a_pass(tmp_path):
    count = 2**30 // 4
    path = write(tmp_path / "big.safetensors", {"w": entry("F32", (count,), (0, 4 * count))})
    os.truncate(path, path.stat().st_size + 4 * count)
    tensor = open_checkpoint(path).tensors["w"]
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, count, 1 << 22):
        tensor.read(start, start + (1 << 22))[::1024].sum()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss < 100_000


GOOD = entry()
REFUSED = {
    "text": (b"this is only text and no tensors at all", b""),
    "no JSON": (b"{]", b""),
    "list": (b"[]", b""),
    "nothing": ({}, b""),
    "only metadata": ({"__metadata__": {"a": "b"}}, b""),
    "deep": (b'{"a":' + b"[" * 200_000, b""),
    "duplicate": (b'{"a":%b,"a":%b}' % ((json.dumps(GOOD).encode(),) * 2), bytes(8)),
    "truncated": ({"a": GOOD}, bytes(7)),
    "overlap": ({"a": GOOD, "b": entry(offsets=(4, 12))}, bytes(16)),
    "negative": ({"a": entry(offsets=(-8, 0))}, bytes(8)),
    "backwards": ({"a": entry(offsets=(8, 0))}, bytes(8)),
    "float offsets": ({"a": entry(offsets=(0.0, 8.0))}, bytes(8)),
    "negative shape": ({"a": entry(shape=(-1, -2))}, bytes(8)),
    "bool shape": ({"a": entry(shape=(True, 2))}, bytes(8)),
    "wrong size": ({"a": entry(shape=(3,))}, bytes(8)),
    "huge shape": ({"a": entry(shape=(2**60, 2**60))}, bytes(8)),
    "huge number": (b'{"a":%b}' % (b"9" * 5000), b""),
    "many dimensions": ({"a": entry(shape=[1] * 100_000 + [2])}, bytes(8)),
    "unknown dtype": ({"a": entry("Q4_K")}, bytes(8)),
    "no dtype": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "null": ({"a": None}, bytes(8)),
    "surrogate": (b'{"\\ud800":1}', bytes(8)),
    "bad UTF-8": (b'{"\xff":1}', bytes(8)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path, name):
    path = write(tmp_path / "a.safetensors", *REFUSED[name])
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("length", [0, 2**31, 2**60, 2**64 - 1])
def test_header_lengths_that_lie(tmp_path, length):
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}" + bytes(30))
    with pytest.raises(InputError):
        open_checkpoint(path)


def test_packed_dtypes_are_skipped_with_a_note(tmp_path):
    header = {"a": entry(), "q": entry("F4", (4,), (8, 10))}
    checkpoint = open_checkpoint(write(tmp_path / "a.safetensors", header, bytes(10)))
    assert list(checkpoint.tensors) == ["a"]
    assert "skipped 'q'" in checkpoint.notes[0]


def test_a_file_that_changes_is_refused_not_mapped(tmp_path):
    path = tmp_path / "a.safetensors"
    safetensors.numpy.save_file({"w": np.ones(50_000, ml_dtypes.bfloat16)}, path)
    tensor = open_checkpoint(path).tensors["w"]
    os.truncate(path, 200)
    with pytest.raises(InputError, match="changed"):
        tensor.read()


def test_many_views_at_once_do_not_use_up_the_descriptors(tmp_path, monkeypatch):
    values = np.arange(50_000, dtype=np.float32)
    safetensors.numpy.save_file({"w": values}, tmp_path / "a.safetensors")
    tensor = open_checkpoint(tmp_path / "a.safetensors").tensors["w"]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limit[0]), limit[1]))
    try:
        views = [tensor.read(start, start + 10) for start in range(2000)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    for start, view in enumerate(views):
        np.testing.assert_array_equal(view, values[start : start + 10])


def test_files_beyond_those_held_open_are_read_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr("mother.checkpoints.storage.MAX_HELD", 0)
    values = np.arange(50_000, dtype=np.float32)
    safetensors.numpy.save_file({"w": values}, tmp_path / "a.safetensors")
    tensor = open_checkpoint(tmp_path / "a.safetensors").tensors["w"]
    for start, stop in ((7, 9), (0, 50_000)):
        np.testing.assert_array_equal(tensor.read(start, stop), values[start:stop])


def test_slices_from_many_threads(tmp_path):
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    safetensors.numpy.save_file({"w": values}, tmp_path / "a.safetensors")
    tensor = open_checkpoint(tmp_path / "a.safetensors").tensors["w"]

    def right(start):
        return bool((tensor.read(start, start + 999) == values[start : start + 999]).all())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(0, 100_000, 97)))
