"""Readers of checkpoints as fuzzing sees them: good inputs of each, and where an input is laid.

A reader is a line in `READERS`. Where its format takes several files, one of them is the input and
the others lie beside it; of quantized layers the input is the config, the header and the tensors of
a safetensors file, a line each, so that changed ones are seldom refused for the length alone.
"""

from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parents[2] / "tests" / "data" / "formats"
FRAMEWORKS = DATA / "frameworks"
READ = 300  # elements at either end of a tensor
TENSORS = 64  # that are read of one input


@dataclass(frozen=True)
class Reader:
    """seeds: good inputs. lay: puts an input into a folder, and returns what is opened. beside:
    puts there, before all inputs, what lies beside them."""

    seeds: Callable[[], list[bytes]]
    lay: Callable[[bytes, Path], Path]
    beside: Callable[[Path], object] = lambda folder: None


def tried(opened: Path) -> None:
    """Open a checkpoint and read the ends of its tensors, as `recover` would. AssertionError where
    what comes is not what was asked for, or a refusal is no clear line."""
    from mother.checkpoints.folders import open_alone, open_model_folder
    from mother.checkpoints.formats import within_bounds
    from mother.errors import InputError

    try:
        found = open_model_folder(opened) if opened.is_dir() else open_alone(opened)
        if found is None:
            return
        for tensor in list(within_bounds(found).tensors.values())[:TENSORS]:
            for start in {0, max(tensor.size - READ, 0)}:
                stop = min(start + READ, tensor.size)
                values = tensor.read(start, stop)
                assert (len(values), values.dtype) == (stop - start, tensor.dtype)
                for piece in tensor.slices(start, stop):
                    assert 0 <= piece.start <= piece.stop <= piece.file.size
    except InputError as fault:
        said = str(fault)
        assert len(said.splitlines()) == 1, said
        assert len(said) < 6000, said


def _file(ending: str, *seeds: str | Callable[[], bytes], beside: tuple[str, ...] = ()) -> Reader:
    """One file. seeds: files of the tests, or what makes one. beside: files of the tests that lie
    beside it, under its name."""
    path: dict[Path, Path] = {}

    def lay(data: bytes, folder: Path) -> Path:
        if folder not in path:
            path[folder] = folder / f"model{ending}"
        path[folder].write_bytes(data)
        return path[folder]

    def around(folder: Path) -> None:
        for name in beside:
            end = Path(name).suffix
            shutil.copy(FRAMEWORKS / name, folder / f"model{end}")
            shutil.copy(FRAMEWORKS / name, folder / name)

    return Reader(lambda: [_seed(each) for each in seeds], lay, around)


def _seed(of: str | Callable[[], bytes]) -> bytes:
    return of() if callable(of) else (FRAMEWORKS / of).read_bytes()


def _within(
    changed: str, *, of: str = "", make: Callable[[Path], object] = lambda folder: None
) -> Reader:
    """A folder, one file of which is the input. of: a folder of the tests; make: what writes it."""

    def around(folder: Path) -> None:
        if of:
            shutil.copytree(FRAMEWORKS / of, folder / "model")
        else:
            (folder / "model").mkdir()
            make(folder / "model")

    def seeds() -> list[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            around(Path(folder))
            return [(Path(folder) / "model" / changed).read_bytes()]

    def lay(data: bytes, folder: Path) -> Path:
        (folder / "model" / changed).write_bytes(data)
        return folder / "model"

    return Reader(seeds, lay, around)


def _quantized(*patterns: str, made: Callable[[], list[bytes]] = list) -> Reader:
    """Layers that a quantizer stored. patterns: of folders of the tests."""

    def seeds() -> list[bytes]:
        folders = [folder for pattern in patterns for folder in sorted(DATA.glob(pattern))]
        return [_lines(folder) for folder in folders] + made()

    def lay(data: bytes, folder: Path) -> Path:
        config, _, rest = data.partition(b"\n")
        header, _, body = rest.partition(b"\n")
        (folder / "config.json").write_bytes(config)
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + body)
        return folder

    return Reader(seeds, lay)


def _lines(folder: Path) -> bytes:
    config = (folder / "config.json").read_bytes().replace(b"\n", b" ")
    whole = (folder / "model.safetensors").read_bytes()
    stop = 8 + int.from_bytes(whole[:8], "little")
    return b"\n".join([config, whole[8:stop], whole[stop:]])


def _state() -> dict[str, Any]:
    import torch

    draw = torch.Generator().manual_seed(0)
    w = torch.randn(6, 8, generator=draw)
    return {"fc.weight": w, "fc.bias": w[0].clone(), "half": w[:2].half(), "tied": w.t()}


def _torch(of: Callable[[], Any], **options: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        import torch

        out = io.BytesIO()
        torch.save(of(), out, **options)
        return out.getvalue()

    return make


def _quantized_state() -> Any:
    import torch

    w = torch.arange(48.0).reshape(6, 8)
    rows = torch.quantize_per_channel(w, torch.ones(6), torch.zeros(6), 0, torch.qint8)
    return {"whole": torch.quantize_per_tensor(w, 0.5, 3, torch.qint8), "rows": rows}


def _module() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.LayerNorm(6))


def _script() -> bytes:
    import torch

    out = io.BytesIO()
    torch.jit.save(torch.jit.script(_module()), out)
    return out.getvalue()


def _dcp(folder: Path) -> None:
    from torch.distributed import checkpoint

    checkpoint.save(_state(), checkpoint_id=folder, no_dist=True)


def _zero(folder: Path) -> None:
    import torch

    shapes = [{"fc.weight": torch.Size([6, 8]), "fc.bias": torch.Size([6])}]
    model = {"module": {"steps": torch.ones(2)}, "param_shapes": shapes}
    torch.save(model, folder / "mp_rank_00_model_states.pt")
    for rank in range(2):
        state = {
            "zero_stage": 2,
            "single_partition_of_fp32_groups": [torch.randn(27)],
            "partition_count": 2,
        }
        named = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": state}, folder / named)


def _meta(folder: Path) -> None:
    import torch

    for part in range(2):
        held = {"layers.0.wq.weight": torch.randn(4, 8), "norm.weight": torch.ones(8)}
        torch.save(held, folder / f"consolidated.0{part}.pth")


def _nemo() -> bytes:
    out, held = io.BytesIO(), _torch(_state)()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in (("model_config.yaml", b"a: 1\n"), ("model_weights.ckpt", held)):
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _npz(save: Callable[..., None]) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        save(out, w=np.ones((3, 4), "f4"), f=np.ones((3, 4), "f2", order="F"), n=np.arange(3))
        return out.getvalue()

    return make


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.ones((3, 4), ">f4"))
    return out.getvalue()


def _gguf(*kinds: int) -> Callable[[], bytes]:
    """A file of a block of each of these types."""

    def make() -> bytes:
        import gguf

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.gguf"
            writer = gguf.GGUFWriter(path, "llama")
            writer.add_head_count(2)
            writer.add_head_count_kv(1)
            writer.add_block_count(1)
            writer.add_embedding_length(512)
            writer.add_key_length(4)
            writer.add_array("names", ["a", "b"])
            for number in kinds:
                kind = gguf.GGMLQuantizationType(number)
                held = gguf.GGML_QUANT_SIZES[kind][1]
                codes = np.full((2, held), 17, np.uint8)
                name = f"blk.0.{'attn_q' if number == kinds[0] else f'x{number}'}.weight"
                writer.add_tensor(name, codes, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            return path.read_bytes()

    return make


def _safetensors() -> bytes:
    import safetensors.numpy

    arrays = {"a": np.ones((2, 3), "f4"), "b": np.ones(4, "f2"), "n": np.arange(3)}
    whole = safetensors.numpy.save(arrays, {"format": "pt"})
    stop = 8 + int.from_bytes(whole[:8], "little")
    return b"\n".join([b"{}", whole[8:stop], whole[stop:]])


def _awq() -> list[bytes]:
    import safetensors.numpy

    parts = {
        "l.qweight": np.ones((64, 4), "i4"),
        "l.qzeros": np.ones((2, 4), "i4"),
        "l.scales": np.ones((2, 32), "f2"),
    }
    whole = safetensors.numpy.save(parts)
    stop = 8 + int.from_bytes(whole[:8], "little")
    config = b'{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32}}'
    return [b"\n".join([config, whole[8:stop], whole[stop:]])]


def _whisper() -> bytes:
    """By the description in whisper.cpp's models/convert-pt-to-ggml.py."""
    head = struct.pack("<I11i", 0x67676D6C, 8, 4, 8, 2, 1, 4, 8, 2, 1, 2, 1)
    head += struct.pack("<2i", 2, 3) + np.ones(6, "<f4").tobytes()
    head += struct.pack("<i", 2) + b"".join(struct.pack("<i", len(t)) + t for t in (b"a", b"bc"))
    name = b"encoder.ln_post.weight"
    return head + struct.pack("<3i", 1, len(name), 0) + struct.pack("<i", 4) + name + bytes(16)


def _ggml() -> bytes:
    """By llama_file_loader of llama.cpp in mid 2023."""
    out = b"tjgg" + struct.pack("<8i", 3, 2, 32, 256, 4, 1, 16, 2)
    out += b"".join(struct.pack("<i", len(t)) + t + bytes(4) for t in (b"a", b"bc"))
    for name, kind, shape, size in ((b"norm", 0, (8,), 32), (b"w", 2, (32, 2), 36)):
        out += struct.pack(f"<3i{len(shape)}i", len(shape), len(name), kind, *shape) + name
        out += bytes(-len(out) % 32) + bytes(size)
    return out


def _exported() -> bytes:
    """By torch/_export/serde/schema.py."""
    meta = {"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 3}], "storage_offset": {"as_int": 0}}
    meta |= {"strides": [{"as_int": 1}, {"as_int": 2}]}
    entry = {"path_name": "weight_0", "is_param": True, "use_pickle": False, "tensor_meta": meta}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("n/data/weights/weight_0", np.ones(6, "f4").tobytes())
        told = json.dumps({"config": {"fc.weight": entry}})
        archive.writestr("n/data/weights/model_weights_config.json", told)
    return out.getvalue()


def _llamafile() -> bytes:
    out = io.BytesIO()
    out.write(b"MZqFpD='" + bytes(40))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("m.gguf", _gguf(2)())
    return out.getvalue()


#: where a package of Core ML's has its model
_HOME = "Data/com.apple.CoreML"
#: by what the formats that a reader takes are called in docs/formats.md, at their start
READERS: dict[str, Reader] = {
    "keras": _file(".h5", "model.weights.h5", "model.h5"),
    "keras-archive": _file(".keras", "model.keras"),
    "flax": _file(".msgpack", "flax_model.msgpack"),
    "onnx": _file(
        ".onnx", "plain.onnx", "qdq.onnx", "nbits.onnx", "beside.onnx", beside=("beside.onnx_data",)
    ),
    "tensorflow-checkpoint": _file(
        ".index", "tf2.index", "tf1.index", beside=("tf2.data-00000-of-00001",)
    ),
    "tensorflow-saved": _within("variables/variables.index", of="saved"),
    "tflite": _file(".tflite", "plain.tflite", "int8.tflite"),
    "openvino": _file(".xml", "plain.xml", "int4.xml", "int8.xml", beside=("plain.bin",)),
    "ctranslate2": _within("model.bin", of="ct2-int8"),
    "ncnn": _file(".param", "net.param", beside=("net.bin",)),
    "orbax": _within("_METADATA", of="orbax-zarr"),
    "tfjs": _within("model.json", make=lambda folder: _tfjs(folder)),
    "torch-dcp": _within(".metadata", make=_dcp),
    "zero": _within("mp_rank_00_model_states.pt", make=_zero),
    "meta": _within("consolidated.01.pth", make=_meta),
    "nemo": _file(".nemo", _nemo),
    "torch-zip": _file(".pt", _torch(_state), _torch(_module)),
    "torch-legacy": _file(".pth", _torch(_state, _use_new_zipfile_serialization=False)),
    "torch-script": _file(".jit", _script),
    "numpy": _file(".npz", _npz(np.savez), _npz(np.savez_compressed)),
    "npy": _file(".npy", _npy),
    "ct": _quantized("ct-*"),
    "gptq": _quantized("gptq-*"),
    "awq": _quantized(made=_awq),
    "bnb": _quantized("bnb-*"),
    "torchao": _quantized("torchao-*"),
    "quanto": _quantized("quanto-*"),
    "mlx": _quantized("mlx-*"),
    "hqq": _quantized("hqq-*"),
    "safetensors": _quantized(made=lambda: [_safetensors()]),
    "gguf": _file(".gguf", _gguf(12, 0, 1), _gguf(2, 14, 20, 34), _gguf(39, 16, 29, 8)),
    "torch-int8": _file(
        ".pt",
        _torch(_quantized_state),
        _torch(_quantized_state, _use_new_zipfile_serialization=False),
    ),
    "paddle": _file(".pdparams", "net.pdparams"),
    "mxnet": _file(".params", "net.params"),
    "caffe": _file(".caffemodel", "half.caffemodel", "net.caffemodel"),
    "mindspore": _file(".ckpt", "net.ckpt"),
    "darknet": _file(".weights", "net.weights", beside=("net.cfg",)),
    "whisper": _file(".bin", _whisper),
    "ggml": _file(".bin", _ggml),
    "exported": _file(".pt2", _exported),
    "llamafile": _file(".llamafile", _llamafile),
    "mlc": _within("ndarray-cache.json", make=lambda folder: _mlc(folder)),
    "coreml": _within(f"{_HOME}/model.mlmodel", of="palette.mlpackage"),
    "coreml-blocks": _within(f"{_HOME}/model.mlmodel", of="blocks.mlpackage"),
    "coreml-compiled": _within("model.mil", make=lambda folder: _compiled(folder)),
    "bitnet": _quantized(made=lambda: _bitnet()),
}


def _mlc(folder: Path) -> None:
    arrays = {"a.q_weight": np.ones((2, 4), "u4"), "a.q_scale": np.ones((2, 1), "f2")}
    entries, body = [], b""
    for name, values in (arrays | {"b": np.ones(8, "f4")}).items():
        entry = {"name": name, "shape": values.shape, "dtype": str(values.dtype), "format": "raw"}
        entries.append(entry | {"nbytes": values.nbytes, "byteOffset": len(body)})
        body += values.tobytes()
    (folder / "params_shard_0.bin").write_bytes(body)
    told = {"records": [{"dataPath": "params_shard_0.bin", "records": entries}]}
    (folder / "ndarray-cache.json").write_text(json.dumps(told))


def _compiled(folder: Path) -> None:
    weights = FRAMEWORKS / "palette.mlpackage" / _HOME / "weights"
    shutil.copytree(weights, folder / "weights")
    (folder / "coremldata.bin").write_bytes(b"x")
    blob = '(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64)))'
    lines = (
        f"tensor<fp16, [8]> w = const()[val = tensor<fp16, [8]>{blob}];",
        f"tensor<fp16, [8]> a = constexpr_affine_dequantize()[axis = int32(0), zero_point = "
        f"tensor<int8, [8]>{blob}, quantized_data = tensor<int8, [8]>{blob}, "
        f"scale = tensor<fp16, [8]>{blob}];",
    )
    (folder / "model.mil").write_text("\n".join(lines))


def _bitnet() -> list[bytes]:
    import safetensors.numpy

    parts = {"l.weight": np.ones((2, 8), "u1"), "l.weight_scale": np.ones(1, "f4")}
    whole = safetensors.numpy.save(parts)
    stop = 8 + int.from_bytes(whole[:8], "little")
    config = b'{"quantization_config": {"quant_method": "bitnet", "linear_class": "bitlinear"}}'
    return [b"\n".join([config, whole[8:stop], whole[stop:]])]


def _tfjs(folder: Path) -> None:
    text = (
        '{"format": "layers-model", "weightsManifest": [{"paths": ["group1-shard1of1.bin"],'
        ' "weights": [{"name": "a/kernel", "shape": [2, 3], "dtype": "float32"}, {"name": "b",'
        ' "shape": [4], "dtype": "float32", "quantization": {"dtype": "float16"}}]}]}'
    )
    (folder / "model.json").write_text(text)
    (folder / "group1-shard1of1.bin").write_bytes(bytes(32))
