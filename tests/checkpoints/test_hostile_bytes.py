"""Whatever the bytes: a checkpoint that can be read, or an InputError of one line."""

import io
import resource
import tempfile
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mother.checkpoints import discover, open_checkpoint
from mother.errors import InputError

ARRAYS = {"a.w": np.arange(40, dtype=np.float32).reshape(8, 5), "b": np.arange(3)}


def samples():
    yield safetensors.numpy.save(ARRAYS)
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, **ARRAYS)
        yield out.getvalue()
    out = io.BytesIO()
    np.save(out, np.asfortranarray(ARRAYS["a.w"]))
    yield out.getvalue()
    out = io.BytesIO()
    np.save(out, {"net": [ARRAYS["a.w"], ARRAYS["b"]]}, allow_pickle=True)
    yield out.getvalue()
    net = torch.nn.Linear(3, 2)
    tensors = {name: torch.tensor(values) for name, values in ARRAYS.items()}
    for value in (tensors, {"model": net, "optimizer": {0: torch.ones(3)}}):
        for zipped in (True, False):
            out = io.BytesIO()
            torch.save(value, out, _use_new_zipfile_serialization=zipped)
            yield out.getvalue()


SAMPLES = list(samples())


def try_to_read(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        path.write_bytes(content)
        try:
            for tensor in open_checkpoint(path).tensors.values():
                assert tensor.read().size == tensor.size
                assert tensor.read(1, 3).size == max(0, min(tensor.size, 3) - 1)
        except InputError as error:
            fault = str(error)
        else:
            fault = ""
        assert "\n" not in fault
        discover([folder])


def peak_memory():
    """In KiB, over the process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


BEFORE = {}


def setup_module():
    BEFORE["peak"] = peak_memory()
    for sample in SAMPLES:
        try_to_read(sample)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_bytes(data):
    content = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try_to_read(bytes(content))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.floats(0, 1), st.binary(max_size=20))
def test_cut_off_bytes(content, share, tail):
    try_to_read(content[: int(share * len(content))] + tail)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.floats(0, 1), st.floats(0, 1), st.binary(max_size=20))
def test_spliced_bytes(content, one, two, middle):
    start, stop = sorted((int(one * len(content)), int(two * len(content))))
    try_to_read(content[:start] + middle + content[stop:])


MAGICS = [b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b""]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_any_bytes(magic, content):
    try_to_read(magic + content)


def test_nothing_above_took_much_memory():
    assert peak_memory() - BEFORE["peak"] < 300_000
