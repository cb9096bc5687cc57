"""Formats that are met on hubs: against their writer where it is at hand, else their formula."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mother.checkpoints import discover, open_checkpoint
from mother.checkpoints.passed_over import passed_over
from mother.errors import InputError


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Net(torch.nn.Module):
    """A view of a larger storage, a transposed parameter and a counter among its state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = torch.nn.Linear(8, 6), torch.nn.BatchNorm1d(6)
        self.across = torch.nn.Parameter(torch.randn(4, 6).t())
        self.register_buffer("every", torch.arange(6.0)[::2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.first(x)) @ self.across + self.every.sum()


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_is_its_state(tmp_path):
    net = Net().eval()
    program = torch.export.export(net, (torch.randn(3, 8),))
    torch.export.save(program, tmp_path / "net.pt2")
    found, state = open_checkpoint(tmp_path / "net.pt2"), net.state_dict()
    assert (found.format, set(found.tensors)) == ("exported", set(state))
    for name, tensor in found.tensors.items():
        assert tensor.read().reshape(tensor.shape).tolist() == state[name].tolist()


def test_an_exported_program_of_before_is_its_state(tmp_path):
    held = io.BytesIO()
    torch.save({"w": torch.ones(3, 4)}, held)
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", held.getvalue())
    found = open_checkpoint(tmp_path / "old.pt2")
    assert (found.id, found.tensors["w"].read().sum()) == ("old", 12)


@pytest.mark.parametrize(
    ("meta", "fault"),
    [
        ({"dtype": 99}, "is of the unknown dtype '99'"),
        ({"sizes": [{"as_expr": "s0"}]}, "lacks a valid shape"),
        ({"sizes": [1 << 40]}, "needs"),
        ({"strides": [1, 1]}, "has 1 dimensions but 2 strides"),
    ],
)
def test_a_damaged_exported_program_is_refused(tmp_path, meta, fault):
    told = {"dtype": 7, "sizes": [4], "strides": [1], "storage_offset": {"as_int": 0}} | meta
    config = {"config": {"w": {"path_name": "weight_0", "tensor_meta": told}}}
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as archive:
        archive.writestr("net/data/weights/weight_0", bytes(16))
        archive.writestr("net/data/weights/model_weights_config.json", json.dumps(config))
    with pytest.raises(InputError, match=fault):
        open_checkpoint(tmp_path / "net.pt2")


def mlc(folder: Path, tensors: dict[str, np.ndarray], **of: dict[str, str]) -> Path:
    """A folder as tvmjs.dump_tensor_cache writes it."""
    folder.mkdir()
    records, body = [], b""
    for name, values in tensors.items():
        entry = {"name": name, "shape": values.shape, "dtype": str(values.dtype), "format": "raw"}
        place = {"nbytes": values.nbytes, "byteOffset": len(body)}
        records.append(entry | place | of.get(name, {}))
        body += values.tobytes()
    (folder / "params_shard_0.bin").write_bytes(body)
    shard = {"dataPath": "params_shard_0.bin", "format": "raw-shard", "records": records}
    (folder / "ndarray-cache.json").write_text(json.dumps({"records": [shard]}))
    (folder / "mlc-chat-config.json").write_text('{"quantization": "q4f16_1"}')
    return folder


def test_mlc_folders_are_dequantized(tmp_path):
    codes = np.random.default_rng(0).integers(0, 16, (6, 64))
    scales = floats(6, 2).astype(np.float16)
    packed = np.zeros((6, 8), np.uint32)
    for at in range(64):  # lowest bits first
        packed[:, at // 8] |= (codes[:, at] << 4 * (at % 8)).astype(np.uint32)
    want = ((codes.reshape(6, 2, 32) - 7) * scales[:, :, None].astype(np.float32)).astype("f2")
    norm = floats(64)
    stored = {"a.q_weight": packed, "a.q_scale": scales, "b.q_weight": packed.T, "norm": norm}
    short = (norm.view(np.uint32) >> 16).astype(np.uint16)
    stored["half"] = short
    told = {"half": {"dtype": "float32", "format": "f32-to-bf16", "shape": [64]}}
    found = open_checkpoint(mlc(tmp_path / "m", stored, **told))
    weight = found.tensors["a.weight"]
    assert (found.format, found.scheme, weight.shape) == ("mlc", "MLC 4 bit g32", (6, 64))
    assert np.array_equal(weight.read(), want.reshape(-1))
    assert np.array_equal(weight.read(70, 200), want.reshape(-1)[70:200])
    assert found.tensors["half"].read().astype("f4").tolist() == (
        (short.astype(np.uint32) << 16).view(np.float32).tolist()
    )
    assert (found.unread, found.notes[0][:11]) == ({"b": 384}, "skipped 'b'")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"dataPath": "../x"}, "names a shard outside"),
        ({"records": [{"name": "a", "dtype": "float32", "shape": [1 << 62] * 9}]}, "without"),
        ({"records": [{"name": 3}]}, "without a name"),
    ],
)
def test_a_damaged_mlc_folder_is_refused(tmp_path, change, fault):
    folder = mlc(tmp_path / "m", {"a": floats(4)})
    told = json.loads((folder / "ndarray-cache.json").read_text())
    told["records"][0] |= change
    (folder / "ndarray-cache.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=fault):
        open_checkpoint(folder)


def ggjt(tensors: list[tuple[str, int, tuple[int, ...], bytes]], version: int = 3) -> bytes:
    """As convert.py of llama.cpp wrote it in mid 2023: sides innermost first."""
    out = b"tjgg" + struct.pack("<8i", version, 2, 64, 256, 4, 2, 16, 2)
    for word in (b"a", b"bc"):
        out += struct.pack("<i", len(word)) + word + struct.pack("<f", 0.5)
    for name, kind, shape, data in tensors:
        out += struct.pack("<3i", len(shape), len(name), kind)
        out += struct.pack(f"<{len(shape)}i", *shape[::-1]) + name.encode()
        out += bytes(-len(out) % 32) + data
    return out


def test_llama_cpp_of_before_gguf(tmp_path):
    plain = floats(3, 32)
    scale = np.array([0.5, 2], "<f2")
    codes = np.arange(32).reshape(2, 16).astype(np.uint8)
    blocks = b"".join(s.tobytes() + c.tobytes() for s, c in zip(scale, codes, strict=True))
    data = ggjt([("norm", 0, (3, 32), plain.tobytes()), ("w", 2, (2, 32), blocks)])
    (tmp_path / "m.ggmlv3.q4_0.bin").write_bytes(data)
    found = open_checkpoint(tmp_path / "m.ggmlv3.q4_0.bin")
    low, high = codes & 15, codes >> 4
    want = (np.hstack([low, high]).astype(np.float32) - 8) * scale.astype(np.float32)[:, None]
    assert (found.format, found.scheme, found.config["n_layer"]) == ("ggml", "Q4_0", 2)
    assert found.tensors["norm"].read().tolist() == plain.reshape(-1).tolist()
    assert found.tensors["w"].read().tolist() == want.reshape(-1).tolist()
    (tmp_path / "old.bin").write_bytes(ggjt([("w", 2, (2, 32), blocks)], version=2))
    with pytest.raises(InputError, match="before June 2023"):
        open_checkpoint(tmp_path / "old.bin")
    (tmp_path / "cut.bin").write_bytes(data[:-9])
    with pytest.raises(InputError, match="truncated"):
        open_checkpoint(tmp_path / "cut.bin")


def test_the_gguf_file_in_a_llamafile(tmp_path):
    gguf = (Path(__file__).parents[1] / "data/formats/llama-q4_k_m.gguf").read_bytes()
    path = tmp_path / "m.llamafile"
    path.write_bytes(b"MZqFpD='\n" + bytes(4000))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m.gguf", gguf)
        archive.writestr(".args", "-m\nm.gguf\n")
    (tmp_path / "m.gguf").write_bytes(gguf)
    found, same = (open_checkpoint(tmp_path / f"m.{end}") for end in ("llamafile", "gguf"))
    assert (set(found.tensors), found.scheme) == (set(same.tensors), same.scheme)
    for name, tensor in same.tensors.items():
        assert np.array_equal(tensor.read(), found.tensors[name].read())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other.gguf", gguf)
    with pytest.raises(InputError, match="2 GGUF files"):
        open_checkpoint(path)


@pytest.mark.parametrize("class_", ["bitlinear", "autobitlinear"])
def test_bitnet_is_dequantized(tmp_path, class_):
    codes = np.random.default_rng(0).integers(0, 3, (8, 5)).astype(np.uint8)
    packed = sum(codes[2 * k : 2 * k + 2] << 2 * k for k in range(4)).astype(np.uint8)
    scale = np.array([2.5], np.float32)
    save_file({"l.weight": packed, "l.weight_scale": scale}, tmp_path / "model.safetensors")
    config = {"quant_method": "bitnet", "linear_class": class_, "quantization_mode": "offline"}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    weight = open_checkpoint(tmp_path).tensors["l.weight"]
    whole = codes.astype(np.float32) - 1
    want = whole * scale if class_ == "autobitlinear" else whole / scale
    assert (weight.shape, weight.scheme) == ((8, 5), "BitNet 1.58 bit")
    assert np.array_equal(weight.read(), want.reshape(-1))
    assert np.array_equal(weight.read(7, 33), want.reshape(-1)[7:33])


def test_codes_of_an_unknown_quantizer_are_no_weights(tmp_path):
    """Of two bits each, 4,096 in these words; with 2,048 floats beside there is no verdict."""
    codes, rest = np.ones((16, 16), np.int32), floats(2048)
    save_file({"l.indices": codes, "norm": rest}, tmp_path / "model.safetensors")
    told = {"quantization_config": {"quant_method": "vptq"}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    found = open_checkpoint(tmp_path)
    assert (set(found.tensors), found.unread) == ({"norm"}, {"l.indices": 4096})
    assert "quantized by 'vptq', which is not read" in found.notes[0]


def test_archives_that_hold_weights_are_named(tmp_path):
    save_file({"w": floats(8)}, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    for name, inner in (("a.zip", "x/m.safetensors"), ("b.task", "m.tflite"), ("c.zip", "a.txt")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(inner, bytes(300))
    for name, inner in (("d.tar.gz", "model.safetensors"), ("e.tgz", "notes.txt")):
        with tarfile.open(tmp_path / name, "w:gz") as archive:
            for each in ("config.json", inner):
                entry = tarfile.TarInfo(each)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    (tmp_path / "f.tar.gz").write_bytes(gzip.compress(bytes(1 << 22)))
    left = passed_over([tmp_path], *discover([tmp_path]))
    assert [(p.path.name, p.fault) for p in left] == [
        ("a.zip", "an archive that holds x/m.safetensors; unzip it"),
        ("b.task", "an archive that holds m.tflite; unzip it"),
        ("d.tar.gz", "an archive that holds model.safetensors; unpack it by `tar -xf`"),
    ]


FRAMEWORKS = Path(__file__).parents[1] / "data/formats/frameworks"
MODEL = "Data/com.apple.CoreML/model.mlmodel"


def compiled(folder: Path, lines: str) -> Path:
    """A .mlmodelc of these lines, and of four numbers."""
    (folder / "weights").mkdir(parents=True)
    head = struct.pack("<IIQQ", 0xDEADBEEF, 1, 8, 128) + bytes(40)
    values = np.arange(4, dtype="<f2").tobytes()
    (folder / "weights/weight.bin").write_bytes(bytes(64) + head + values)
    (folder / "coremldata.bin").write_bytes(bytes(400))
    (folder / "model.mil").write_text(f"program(1.0)\n{{\n{lines}\n}}\n")
    return folder


@pytest.mark.parametrize("wrap", ["{0}({1})", "tensor<{0}, []>({1})"])
def test_a_compiled_core_ml_model(tmp_path, wrap):
    path, at = wrap.format("string", '"@model_path/weights/weight.bin"'), wrap.format("uint64", 64)
    blob = f"(BLOBFILE(path = {path}, offset = {at}))"
    lines = [
        f"tensor<fp16, [2, 2]> w = const()[name = x, val = tensor<fp16, [2, 2]>{blob}];",
        f"tensor<fp16, [9]> s = constexpr_sparse_to_dense()[mask = tensor<uint8, [8]>{blob}];",
        f"tensor<fp16, [8]> a = constexpr_affine_dequantize()[axis = {wrap.format('int32', 0)}, "
        f"quantized_data = tensor<int8, [8]>{blob}, scale = tensor<fp16, [4]>{blob}, "
        f"zero_point = {wrap.format('int8', 3)}];",
    ]
    found = open_checkpoint(compiled(tmp_path / "m.mlmodelc", "\n".join(lines)))
    assert found.tensors["w"].read().tolist() == [0, 1, 2, 3]
    assert (found.id, found.format, found.unread) == ("m.mlmodelc", "coreml", {"s": 9, "a": 8})
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("blob", "fault"),
    [
        ('path = string("@model_path/../w.bin"), offset = uint64(64)', "names a file outside"),
        ('path = string("/etc/passwd"), offset = uint64(64)', "names a file outside"),
        ('path = string("@model_path/weights/weight.bin"), offset = uint64(32)', "no values at"),
        ('path = string("@model_path/weights/weight.bin"), offset = uint64(999)', "truncated"),
        ('path = string("@model_path/weights/w.bin"), offset = uint64(64)', "no such file"),
        ("path = other", "in a way that is not known"),
    ],
)
def test_a_compiled_model_that_lies_is_refused(tmp_path, blob, fault):
    line = f"tensor<fp16, [4]> w = const()[val = tensor<fp16, [4]>(BLOBFILE({blob}))];"
    with pytest.raises(InputError, match=fault):
        open_checkpoint(compiled(tmp_path / "m.mlmodelc", line))


@pytest.mark.parametrize("name", ["half", "palette", "int8", "blocks", "table"])
def test_a_damaged_package_is_read_or_refused_in_one_line(tmp_path, name):
    rng = np.random.default_rng(0)
    folder = Path(shutil.copytree(FRAMEWORKS / f"{name}.mlpackage", tmp_path / "m.mlpackage"))
    whole = (folder / MODEL).read_bytes()
    for _ in range(40):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        (folder / MODEL).write_bytes(data[: rng.choice([len(data), rng.integers(len(data))])])
        try:
            for tensor in open_checkpoint(folder).tensors.values():
                assert tensor.read(1, 3).size == max(0, min(tensor.size, 3) - 1)
            fault = ""
        except InputError as error:
            fault = str(error)
        assert "\n" not in fault


def test_core_ml_of_before_programs_says_so(tmp_path):
    folder = Path(shutil.copytree(FRAMEWORKS / "half.mlpackage", tmp_path / "m.mlpackage"))
    (folder / MODEL).write_bytes(b"\x08\x04\xa2\x1f\x02\x0a\x00")
    with pytest.raises(InputError, match="Core ML of before programs"):
        open_checkpoint(folder)
