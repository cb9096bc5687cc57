"""compressed-tensors by LLM Compressor: rounding, GPTQ, AWQ, SmoothQuant, pruning.

TORCHDYNAMO_DISABLE=1 \
python -m experiments.formats.writers.llmcompressor_writer SOURCE OUT [FORMAT ...]
pip install torch llmcompressor
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.awq import AWQModifier
from llmcompressor.modifiers.obcq import SparseGPTModifier
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.smoothquant import SmoothQuantModifier
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from experiments.formats.family import text
from experiments.formats.writers.told import each, place, tell
from experiments.formats.writers.words import tokenizer

_ALL = {"targets": "Linear", "ignore": ["lm_head"]}


def grouped(bits: int, group: int = 32, symmetric: bool = True) -> dict:
    weights = {"num_bits": bits, "type": "int", "strategy": "group", "group_size": group}
    told = {"targets": ["Linear"], "weights": weights | {"symmetric": symmetric}}
    return {"config_groups": {"group_0": told}, "ignore": ["lm_head"]}


def _halved() -> SparseGPTModifier:
    """Of each four weights two are left."""
    return SparseGPTModifier(sparsity=0.5, mask_structure="2:4", **_ALL)


#: what is said of the scheme, and the modifiers
CASES: dict[str, tuple[str, Callable[[], list]]] = {
    "ct-w4a16": ("W4", lambda: [QuantizationModifier(scheme="W4A16", **_ALL)]),
    "ct-w4a16-asym": ("W4", lambda: [QuantizationModifier(**grouped(4, symmetric=False))]),
    "ct-w3a16": ("int3", lambda: [QuantizationModifier(**grouped(3))]),
    "ct-w2a16": ("int2", lambda: [QuantizationModifier(**grouped(2))]),
    "ct-w8a16": ("W8", lambda: [QuantizationModifier(scheme="W8A16", **_ALL)]),
    "ct-w8a8": ("int8", lambda: [QuantizationModifier(scheme="W8A8", **_ALL)]),
    "ct-fp8": ("FP8", lambda: [QuantizationModifier(scheme="FP8", **_ALL)]),
    "ct-fp8-dynamic": ("FP8", lambda: [QuantizationModifier(scheme="FP8_DYNAMIC", **_ALL)]),
    "ct-fp8-block": ("FP8", lambda: [QuantizationModifier(scheme="FP8_BLOCK", **_ALL)]),
    "ct-nvfp4": ("NVFP4", lambda: [QuantizationModifier(scheme="NVFP4A16", **_ALL)]),
    "ct-mxfp4": ("MXFP4", lambda: [QuantizationModifier(scheme="MXFP4A16", **_ALL)]),
    "ct-gptq": ("W4", lambda: [GPTQModifier(**grouped(4))]),
    "ct-gptq-act-order": (
        "W4",
        lambda: [GPTQModifier(scheme="W4A16", actorder="group", **_ALL)],
    ),
    "ct-awq": ("W4", lambda: [AWQModifier(**grouped(4, symmetric=False))]),
    "ct-sparse24": ("2:4 sparse", lambda: [_halved()]),
    "ct-sparse24-fp8": (
        "2:4 sparse FP8",
        lambda: [_halved(), QuantizationModifier(scheme="FP8_DYNAMIC", **_ALL)],
    ),
    "ct-smoothquant": (
        "int8",
        lambda: [SmoothQuantModifier(smoothing_strength=0.8), GPTQModifier(scheme="W8A8", **_ALL)],
    ),
}


def values(folder: Path) -> dict[str, torch.Tensor]:
    """What the library dequantizes; nothing of those that it writes and can't read on a processor:
    MXFP4, and NVFP4, whose scales it multiplies as they are stored."""
    try:
        again = AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=CompressedTensorsConfig(run_compressed=False),
            dtype=torch.bfloat16,
        )
    except (NotImplementedError, RuntimeError) as fault:
        print(f"{folder.name}: {fault}", flush=True)
        return {}
    return {
        n: m.weight
        for n, m in again.named_modules()
        if isinstance(m, torch.nn.Linear) and hasattr(m, "quantization_scheme")
    }


def main(source: Path, out: Path, chosen: list[str]) -> None:
    tokens = text(3, 64, 48, torch.Generator().manual_seed(9)).tolist()
    calibration = Dataset.from_dict({"input_ids": tokens, "attention_mask": [[1] * 48] * 64})

    def maker(name: str, scheme: str, recipe: Callable[[], list]) -> Callable[[], None]:
        def make() -> None:
            if not place(out, name).exists():
                model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
                oneshot(
                    model=model,
                    dataset=calibration,
                    recipe=recipe(),
                    processor=tokenizer(),
                    max_seq_length=48,
                    num_calibration_samples=64,
                )
                model.save_pretrained(
                    place(out, name),
                    save_compressed=True,
                    skip_sparsity_compression_stats=not name.startswith("ct-sparse"),
                )
            # SparseGPT moves the weights that it leaves, further than rounding would
            sparse = "sparse" in name
            relations = ("quantized", "pruned", "fine-tune") if sparse else ("quantized",)
            found = values(place(out, name))
            tell(place(out, name), "llmcompressor", found, scheme=scheme, relations=relations)

        return make

    each({name: maker(name, *case) for name, case in CASES.items()}, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
