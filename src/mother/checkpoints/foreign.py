"""Formats of weights that are told and not read: what each is, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping

START = 512  # bytes of a file that tell one
_PICKLE = "a pickle; save its weights by torch.save or as safetensors"
_COMPILED = "compiled for a device; export the model again, as safetensors"
_PADDLE = "PaddlePaddle; save its state_dict as .npz or safetensors"
_COREML = "Core ML; export the model again, as safetensors or ONNX"
_EXECUTORCH = f"ExecuTorch, {_COMPILED}"
_TENSORRT = f"TensorRT, {_COMPILED}"
_RKNN = f"RKNN, {_COMPILED}"
_ASCEND = f"Ascend, {_COMPILED}"
_IREE = f"IREE, {_COMPILED}"
_ORT = "ONNX Runtime's own form; take the .onnx file that it was made from"
_GGML = "GGML, before GGUF; convert it by llama.cpp"
_LUA = "Lua Torch; convert it to .npz"
_MLIR = "MLIR, a program; save the parameters as safetensors"
_TENSORIZER = "Tensorizer; load it, and save the state_dict as safetensors"
_TREES = "trees, no network"
_FASTTEXT = "fastText; save its matrices as .npz"
_VECTORS = "vectors of words; save them as .npz"

#: by the ending of a name
BY_ENDING: Mapping[str, str] = {
    ".pkl": _PICKLE,
    ".pickle": _PICKLE,
    ".joblib": _PICKLE,
    ".dill": _PICKLE,
    ".cloudpickle": _PICKLE,
    ".pdmodel": _PADDLE,
    ".pdiparams": _PADDLE,
    ".pte": _EXECUTORCH,
    ".ptd": _EXECUTORCH,
    ".engine": _TENSORRT,
    ".plan": _TENSORRT,
    ".trt": _TENSORRT,
    ".uff": _TENSORRT,
    ".rknn": _RKNN,
    ".om": _ASCEND,
    ".hef": f"Hailo, {_COMPILED}",
    ".dlc": f"SNPE, {_COMPILED}",
    ".kmodel": f"Kendryte, {_COMPILED}",
    ".bmodel": f"Sophon, {_COMPILED}",
    ".axmodel": f"Axera, {_COMPILED}",
    ".tmfile": f"Tengine, {_COMPILED}",
    ".vmfb": _IREE,
    ".ort": _ORT,
    ".mlmodel": _COREML,
    ".mlmodelc": _COREML,
    ".mindir": "MindSpore; save its parameters as .npz or safetensors",
    ".t7": _LUA,
    ".cntk": "CNTK; convert it to ONNX",
    ".nnp": "NNabla; convert it to ONNX",
    ".eqx": "Equinox; save its leaves as .npz or safetensors",
    ".mpk": "Burn; save its records as safetensors",
    ".tensors": _TENSORIZER,
    ".mlir": _MLIR,
    ".mlirbc": _MLIR,
    ".stablehlo": _MLIR,
    ".mnn": "MNN; convert the model that it was made from",
    ".ggml": _GGML,
    ".pb": "a TensorFlow graph without its folder of variables; save it as SavedModel",
    ".cbm": f"CatBoost, {_TREES}",
    ".ubj": f"XGBoost, {_TREES}",
    ".xgb": f"XGBoost, {_TREES}",
    ".lgb": f"LightGBM, {_TREES}",
    ".litertlm": "a bundle for LiteRT; take the .tflite out of it",
    ".rkllm": _RKNN,
    ".onnx_data": "values of an ONNX model that is not here; put its .onnx beside",
    ".mar": "an archive of TorchServe; unzip it",
    ".msgpack": "no Flax parameters that are read",
    ".distcp": "a part of a distributed checkpoint without its .metadata",
}
#: endings that a compressor adds, and those of which most files are no weights
_PACKED = (".gz", ".xz", ".bz2", ".zst", ".lz4", ".7z", ".rar", ".br")
_COMMON = (".tar", ".xml", ".param", ".index")

#: bytes, and where they stand
_BY_START: tuple[tuple[int, bytes, str], ...] = (
    *((0, magic, _GGML) for magic in (b"fmgg", b"algg")),
    (4, b"ET12", _EXECUTORCH),
    (4, b"ORTM", _ORT),
    (4, b"IREE", _IREE),
    (0, b"ftrt", _TENSORRT),
    (0, b"ptrt", _TENSORRT),
    (0, b"RKNN", _RKNN),
    (0, b"IMOD", _ASCEND),
    (0, b"ML\xefR", _MLIR),
    (0, b"|TZR|", _TENSORIZER),
    (0, b"\xba\x16\x4f\x2f", _FASTTEXT),
    (0, b"tree\nversion=", f"LightGBM, {_TREES}"),
    (0, b'{"learner":{', f"XGBoost, {_TREES}"),
    (0, b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", _LUA),
    *((0, bytes((0x80, protocol)), _PICKLE) for protocol in (2, 3, 4, 5)),
)

#: of word2vec how many words and numbers there are, and a word; of others a word and its numbers
_WORDS = re.compile(rb"\d{2,} \d{2,4}\n\S+ |(?=\S*[^\s\d.eE+-])\S+( -?\d*\.\d+(e-?\d+)?){16}")


def by_name(name: str, endings: tuple[str, ...]) -> str | None:
    """What a file is by its name. endings: of the formats that are read.

    >>> [by_name(name, (".pt",)) for name in ("net.cntk", "model.pt.gz", "notes.txt.gz")]
    ['CNTK; convert it to ONNX', 'compressed; unpack it', None]
    """
    low = name.lower()
    for end in _PACKED:
        inner = low.removesuffix(end)
        if inner != low and inner.endswith((*BY_ENDING, *endings)) and not inner.endswith(_COMMON):
            return "compressed; unpack it"
    return next((what for end, what in BY_ENDING.items() if low.endswith(end)), None)


def by_start(start: bytes) -> str | None:
    """What a file is by its first bytes.

    >>> by_start(b"RKNN" + bytes(12)).split(",")[0]
    'RKNN'
    >>> by_start(b"the" + b" 0.25" * 50), by_start(b"the 0.25 of it")
    ('vectors of words; save them as .npz', None)
    """
    if _WORDS.match(start):
        return _VECTORS
    return next((what for at, magic, what in _BY_START if start.startswith(magic, at)), None)
