"""GPTQ and AWQ by GPTQModel, quantized with calibration on the model's own text.

GPTQMODEL_CPU_WORKERS=2 \
python -m experiments.formats.writers.gptqmodel_writer SOURCE OUT [FORMAT ...]
pip install torch gptqmodel
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.quantization import FORMAT, METHOD

from experiments.formats.family import text
from experiments.formats.writers.told import each, place, tell
from experiments.formats.writers.words import tokenizer

CASES = {
    "gptq-4bit": {"bits": 4, "group_size": 128},
    "gptq-4bit-v2": {"bits": 4, "group_size": 64, "format": FORMAT.GPTQ_V2, "sym": False},
    "gptq-4bit-act-order": {"bits": 4, "group_size": 32, "desc_act": True},
    "gptq-4bit-channel": {"bits": 4, "group_size": -1},
    "gptq-8bit": {"bits": 8, "group_size": 128},
    "gptq-3bit": {"bits": 3, "group_size": 128},
    "gptq-2bit": {"bits": 2, "group_size": 32},
    "awq-4bit": {"bits": 4, "group_size": 64, "quant_method": METHOD.AWQ, "format": FORMAT.GEMM},
    "awq-gemv": {"bits": 4, "group_size": 64, "quant_method": METHOD.AWQ, "format": FORMAT.GEMV},
}


def calibration() -> list[dict[str, torch.Tensor]]:
    tokens = text(3, 64, 48, torch.Generator().manual_seed(9))
    return [{"input_ids": t[None], "attention_mask": torch.ones_like(t)[None]} for t in tokens]


def with_words(source: Path, folder: Path) -> Path:
    """The model with a tokenizer, without which GPTQModel opens none."""
    shutil.copytree(source, folder)
    tokenizer().save_pretrained(folder)
    return folder


def values(folder: Path, awq: bool) -> dict[str, torch.Tensor]:
    backend = BACKEND.AWQ_TORCH if awq else BACKEND.TORCH
    stored = torch.bfloat16 if awq else torch.float16  # else it rounds the scales to another type
    model = GPTQModel.load(str(folder), backend=backend, device="cpu", dtype=stored)
    found = {}
    for name, module in model.model.named_modules():
        if not hasattr(module, "qweight"):
            continue
        if awq:
            from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

            parts = module.qweight, module.qzeros, module.scales, module.bits, module.group_size
            found[name] = dequantize_gemm(*parts).T
        else:
            found[name] = module.dequantize_weight().T
    return found


def main(source: Path, out: Path, chosen: list[str]) -> None:
    def maker(name: str, options: dict) -> Callable[[], None]:
        def make() -> None:
            awq = name.startswith("awq")
            if not place(out, name).exists():  # minutes each
                model = GPTQModel.load(str(source), QuantizeConfig(**options), device="cpu")
                model.quantize(calibration(), batch_size=8)
                model.save(str(place(out, name)))
            kind = f"{'AWQ' if awq else 'GPTQ'} {options['bits']} bit"
            tell(place(out, name), "GPTQModel", values(place(out, name), awq), scheme=kind)

        return make

    with tempfile.TemporaryDirectory() as folder:
        source = with_words(source, Path(folder) / "source")
        each({name: maker(name, options) for name, options in CASES.items()}, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
