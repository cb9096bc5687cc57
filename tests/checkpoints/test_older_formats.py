"""Caffe, MXNet and Darknet where their own programs write otherwise than today's or OpenCV's: files
are made here by the descriptions."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments.formats.frameworks import part

from mother.checkpoints import discover, open_checkpoint
from mother.errors import InputError

RNG = np.random.default_rng(0)
KERNEL, MATRIX, VECTOR = (RNG.normal(size=s).astype("<f4") for s in ((4, 3, 3, 3), (6, 5), (6,)))


def holds(path: Path, expected: dict[str, np.ndarray]) -> None:
    found = open_checkpoint(path).tensors
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert (found[name].shape, found[name].dtype) == (values.shape, values.dtype)
        np.testing.assert_array_equal(found[name].read(), values.reshape(-1))
        np.testing.assert_array_equal(found[name].read(1, 4), values.reshape(-1)[1:4])


def test_layers_of_caffe_before_2015(tmp_path):
    """V1LayerParameter: another number, and four sides of every blob."""

    def blob(values: np.ndarray) -> bytes:
        four = (1,) * (4 - values.ndim) + values.shape
        sides = b"".join(bytes((k + 1 << 3, n)) for k, n in enumerate(four))
        return part(6, sides + part(5, values.tobytes()) + part(6, bytes(values.nbytes)))

    layers = [
        part(2, part(2, b"data") + part(4, b"conv") + blob(KERNEL)),
        part(2, part(4, b"fc") + blob(MATRIX) + blob(VECTOR)),
        part(2, part(4, b"fc") + blob(VECTOR)),
    ]
    path = tmp_path / "old.caffemodel"
    path.write_bytes(part(1, b"net") + b"".join(layers))
    holds(path, {"conv.0": KERNEL, "fc.0": MATRIX, "fc.1": VECTOR, "fc.0'": VECTOR})


def array(values: np.ndarray, version: int) -> bytes:
    kinds = {"<f4": 0, "<f2": 2, "<i8": 6}
    head = {0: b"", 1: struct.pack("<I", 0xF993FAC8), 2: struct.pack("<Ii", 0xF993FAC9, 0)}
    head[3] = struct.pack("<Ii", 0xF993FACA, 0)
    side = "I" if version == 0 else "q"
    shape = struct.pack(f"<i{values.ndim}{side}", values.ndim, *values.shape)
    told = struct.pack("<iii", 1, 0, kinds[values.dtype.str])
    return head[version] + shape + told + values.tobytes()


def params(arrays: list[bytes], names: list[bytes]) -> bytes:
    told = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    many = struct.pack("<QQQ", 0x112, 0, len(arrays))
    return many + b"".join(arrays) + struct.pack("<Q", len(names)) + told


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_arrays_of_each_version_of_mxnet(tmp_path, version):
    held = {"w": MATRIX, "b": VECTOR.astype("<f2"), "n": np.arange(4)}
    path = tmp_path / "net-0001.params"
    path.write_bytes(params([array(v, version) for v in held.values()], [b"w", b"b", b"n"]))
    holds(path, held)


def test_what_is_no_list_of_dense_arrays_is_refused(tmp_path):
    path = tmp_path / "net.params"
    one = array(MATRIX, 2)
    sparse = struct.pack("<Ii", 0xF993FAC9, 1) + one[8:]
    cases = {
        "sparse": params([sparse], [b"w"]),
        "repeats": params([one, one], [b"w", b"w"]),
        "1 arrays and 2 names": params([one], [b"v", b"w"]),
        "truncated": params([one], [b"w"])[:-40],
        "dimensions": params([struct.pack("<Iii", 0xF993FAC9, 0, 1 << 20)], [b"w"]),
    }
    for fault, content in cases.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=fault):
            open_checkpoint(path)


def test_names_of_mxnets_kinds_stay_where_they_tell_two_apart(tmp_path):
    path = tmp_path / "net.params"
    path.write_bytes(params([array(MATRIX, 2), array(VECTOR, 2)], [b"arg:x", b"aux:x"]))
    holds(path, {"arg:x": MATRIX, "aux:x": VECTOR})


CFG = """# a net
[net]
width=8
height = 6
channels=2
[convolutional]
filters=4 ; four of them
size=3
pad=1
groups=2
batch_normalize=1
[maxpool]
size=2
stride=2
[upsample]
stride=2
[shortcut]
from=-3
weights_type=per_channel
[route]
layers=-1,0
groups=2
[reorg]
stride=2
[connected]
output=3
[softmax]
"""
#: by what precedes it, in the order of the file
SHAPES = {
    "0.convolutional.biases": (4,),
    "0.convolutional.scales": (4,),
    "0.convolutional.rolling_mean": (4,),
    "0.convolutional.rolling_variance": (4,),
    "0.convolutional.weights": (4, 1, 3, 3),
    "3.shortcut.weights": (2, 4),
    "6.connected.biases": (3,),
    "6.connected.weights": (3, 16 * 3 * 4),
}


def weights(version: tuple[int, int]) -> tuple[bytes, dict[str, np.ndarray]]:
    held = {name: RNG.normal(size=shape).astype("<f4") for name, shape in SHAPES.items()}
    seen = 8 if version < (1000, 0) and version >= (0, 2) else 4
    turned = max(version) > 1000
    stored = (
        (w.T if turned and name.endswith("connected.weights") else w).tobytes()
        for name, w in held.items()
    )
    return struct.pack("<iii", *version, 0) + bytes(seen) + b"".join(stored), held


@pytest.mark.parametrize("version", [(0, 1), (0, 2), (1001, 0)])
def test_layers_of_darknet(tmp_path, version):
    content, held = weights(version)
    (tmp_path / "net.cfg").write_text(CFG)
    (tmp_path / "other.cfg").write_text("[net]\n")
    path = tmp_path / "net_final.weights"
    path.write_bytes(content)
    holds(path, held)


@pytest.mark.parametrize(
    ("cfg", "fault"),
    [
        (None, r"net.cfg beside"),
        (CFG.replace("output=3", "output=4"), "more weights than there are"),
        (CFG.replace("output=3", "output=2"), "bytes of its"),
        (CFG.replace("[softmax]", "[lstm]"), r"\[lstm\], which is not read"),
        (CFG.replace("filters=4", "filters=-4"), "filters=-4"),
        (CFG.replace("from=-3", "from=-9"), "does not come before"),
        ("[convolutional]\n" + CFG, "does not begin with"),
    ],
)
def test_weights_of_another_description_are_refused(tmp_path, cfg, fault):
    if cfg is not None:
        (tmp_path / "net.cfg").write_text(cfg)
    path = tmp_path / "net.weights"
    path.write_bytes(weights((0, 2))[0])
    with pytest.raises(InputError, match=fault):
        open_checkpoint(path)


def whisper(kinds: dict[str, str | None], version: int = 2) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file as whisper.cpp's converter and its quantizer write it. kinds: of blocks, by name."""
    sizes = (3, 1500, 32, 2, 1, 448, 32, 2, 1, 80)
    head = b"lmgg" + struct.pack("<11i", *sizes, version * 1000)
    head += struct.pack("<2i", 80, 4) + bytes(80 * 4 * 4)
    head += struct.pack("<i", 3) + b"".join(struct.pack("<i", n) + b"x" * n for n in (1, 0, 5))
    held, content = {}, [head]
    for name, kind in kinds.items():
        values = RNG.normal(size=(6, 64)).astype("<f4")
        stored, number = values.astype("<f2"), 1
        held[name] = stored
        if kind is not None:
            number = int(gguf.GGMLQuantizationType[kind])
            stored = gguf.quantize(values, gguf.GGMLQuantizationType(number))
            held[name] = gguf.dequantize(stored, gguf.GGMLQuantizationType(number))
        told = struct.pack("<5i", 2, len(name), number, *values.shape[::-1])
        content.append(told + name.encode() + stored.tobytes())
    return b"".join(content), held


def test_a_model_of_whisper_cpps(tmp_path):
    kinds = {"encoder.conv1.weight": None, "decoder.blocks.0.mlp.0.weight": "Q5_0"}
    content, held = whisper(kinds)
    path = tmp_path / "ggml-tiny.bin"
    path.write_bytes(content)
    holds(path, held)
    found, problems = discover([tmp_path])
    assert [(c.format, c.scheme) for c in found] == [("whisper.cpp", "Q5_0")]
    assert not problems


def test_what_is_no_model_of_whisper_cpps_is_refused(tmp_path):
    path = tmp_path / "ggml.bin"
    content, _ = whisper({"w": "Q4_0"}, version=1)
    cases = {"before June 2023": content, "not of whisper.cpp": content[:4] + bytes(300)}
    cases["truncated"] = whisper({"w": "Q4_0"})[0][:-9]
    for fault, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=fault):
            open_checkpoint(path)


def value(name: str, values: np.ndarray, kind: str, content: bytes | None = None) -> bytes:
    content = values.tobytes() if content is None else content
    sides = b"".join(b"\x08" + bytes((n,)) for n in values.shape)
    held = sides + part(2, kind.encode()) + part(3, content)
    return part(1, part(1, name.encode()) + part(2, held))


def test_a_checkpoint_of_mindspores(tmp_path):
    """Large tensors are cut into several of their name."""
    half, bits = MATRIX.astype("<f2"), VECTOR.astype(ml_dtypes.bfloat16)
    raw = KERNEL.tobytes()
    content = value("conv.weight", KERNEL, "Float32", raw[:100])
    content += value("conv.weight", KERNEL, "Float32", raw[100:])
    content += value("fc.weight", half, "Float16") + value("fc.bias", bits, "BFloat16")
    path = tmp_path / "net-1_10.ckpt"
    path.write_bytes(content)
    holds(path, {"conv.weight": KERNEL, "fc.weight": half, "fc.bias": bits})
    assert [c.format for c in discover([tmp_path])[0]] == ["mindspore"]
    for fault, wrong in {
        "216 elements": value("w", KERNEL, "Float32", raw + raw),
        "of the type 'Complex'": value("w", KERNEL, "Complex"),
        "truncated": content[:-3],
        "repeats": value("w", half, "Float16") + value("w", bits, "BFloat16"),
    }.items():
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=fault):
            open_checkpoint(path)
