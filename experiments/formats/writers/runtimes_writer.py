"""Runtimes for processors and phones: CTranslate2, by its converter of Llamas, and ncnn, by pnnx.

python -m experiments.formats.writers.runtimes_writer SOURCE OUT [FORMAT ...]
pip install torch transformers ctranslate2 pnnx ncnn
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from experiments.formats.family import Llama
from experiments.formats.writers.told import each, place, tell
from experiments.formats.writers.words import tokenizer

SAME = ("duplicate", "converted", "contains")
#: CTranslate2's types of weights, with what is said of the scheme; "" stores as it is
CTRANSLATE2 = {
    "": "",
    "float16": "",
    "bfloat16": "",
    "int8": "CTranslate2 int8",
    "int8_float16": "CTranslate2 int8",
    "int8_bfloat16": "CTranslate2 int8",
    "int16": "CTranslate2 int16",
}


def ctranslate2(source: Path, out: Path, kind: str) -> Callable[[], None]:
    def make() -> None:
        from ctranslate2.converters import TransformersConverter

        path = place(out, f"ctranslate2-{kind or 'float32'}")
        with tempfile.TemporaryDirectory() as name:
            words = Path(name) / "words"
            shutil.copytree(source, words)
            tokenizer().save_pretrained(words)
            converter = TransformersConverter(str(words))
            converter.convert(str(path), quantization=kind or None, force=True)
        scheme = CTRANSLATE2[kind]
        relations = ("quantized",) if scheme else SAME
        tell(path, "ctranslate2", {}, scheme=scheme, relations=relations)

    return make


def ncnn(source: Path, out: Path, kind: str) -> Callable[[], None]:
    def make() -> None:
        path = place(out, f"ncnn-{kind}")
        path.mkdir(exist_ok=True)
        net = Llama()
        net.load_state_dict(load_file(source / "model.safetensors"))
        with tempfile.TemporaryDirectory() as name:
            traced = torch.jit.trace(net.eval(), torch.zeros(1, 8, dtype=torch.long))
            traced.save(f"{name}/net.pt")
            half = "fp16=1" if kind == "float16" else "fp16=0"
            program = Path(sys.executable).with_name("pnnx")
            subprocess.run([program, "net.pt", "inputshape=[1,8]i64", half], cwd=name, check=True)
            for end in ("param", "bin"):
                shutil.move(f"{name}/net.ncnn.{end}", path / f"net.{end}")
        tell(path, "pnnx", {}, relations=SAME)

    return make


def main(source: Path, out: Path, chosen: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    makers = {
        f"ctranslate2-{kind or 'float32'}": ctranslate2(source, out, kind) for kind in CTRANSLATE2
    }
    makers |= {f"ncnn-{kind}": ncnn(source, out, kind) for kind in ("float32", "float16")}
    each(makers, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
