"""Adapters by peft: alone, and merged into the model that they were trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from experiments.lab.kinds import BESIDE, kind
from experiments.lab.models import load, trained

TARGETS = ["q_proj", "v_proj", "down_proj"]
LORA = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS}


def adapted(path: Path, config: str, rate: float, steps: int = 40, **settings: Any) -> Any:
    """A model with a trained adapter beside its weights."""
    import peft

    torch.manual_seed(8)
    model = peft.get_peft_model(load(path), getattr(peft, config)(**settings))
    trained(model, "licences", steps, seed=8, rate=rate)
    return model


def _peft(
    name: str,
    parent: str,
    relations: str = "lora",
    config: str = "LoraConfig",
    *,
    alone: bool = True,
    merged: bool = True,
    rate: float = 5e-3,
    first: bool = False,
    **settings: Any,
) -> None:
    """Two kinds: the adapter, and the model with it."""
    chosen = LORA | settings if config == "LoraConfig" else settings

    if merged:

        @kind(f"{name} merged", parent, relations, "peft", first=first)
        def join(folder: Path, out: Path) -> None:
            model = adapted(folder / parent, config, rate, **chosen)
            model.merge_and_unload().save_pretrained(out)

    if alone:

        @kind(f"{name} adapter", parent, "adapter", "peft", first=first)
        def keep(folder: Path, out: Path) -> None:
            adapted(folder / parent, config, rate, **chosen).save_pretrained(out)


_peft("lora", "a", first=True)
_peft("rslora", "b", first=True, use_rslora=True)
_peft("dora", "a", "lora fine-tune", first=True, alone=False, use_dora=True)
_peft("dora", "a", merged=False, use_dora=True)
_peft("pissa", "a", init_lora_weights="pissa")
_peft("lora of rank 16", "b", r=16, lora_alpha=16)
_peft("lora of rank 1", "d", r=1)
_peft("lora everywhere", "d", target_modules="all-linear")
_peft("lora of the embedding", "a", target_modules=["embed_tokens", "q_proj"], alone=False)
_peft("lora with a head", "b", "lora fine-tune", modules_to_save=["lm_head"])
ANY = "lora fine-tune edited"
_peft("loha", "a", ANY, "LoHaConfig", r=4, alpha=8, target_modules=TARGETS)
_peft("lokr", "b", ANY, "LoKrConfig", r=4, alpha=8, target_modules=TARGETS)
_peft(
    "ia3",
    "a",
    ANY,
    "IA3Config",
    rate=2e-2,
    target_modules=["k_proj", "v_proj", "down_proj"],
    feedforward_modules=["down_proj"],
)
_peft("oft", "b", ANY, "OFTConfig", oft_block_size=16, target_modules=["q_proj", "v_proj"])
_peft("hra", "d", ANY, "HRAConfig", r=4, target_modules=["q_proj", "v_proj"])
_peft("vera", "a", ANY, "VeraConfig", r=16, target_modules=["q_proj", "v_proj"])
_peft(
    "fourier",
    "d",
    ANY,
    "FourierFTConfig",
    n_frequency=200,
    rate=5e-2,
    target_modules=["q_proj", "v_proj"],
)
_peft("shira", "a", ANY, "ShiraConfig", r=4, target_modules=["q_proj", "v_proj"])
_peft("tuned norms", "b", ANY, "LNTuningConfig", target_modules=["input_layernorm"], rate=2e-2)
_peft(
    "prefix",
    "a",
    config="PrefixTuningConfig",
    merged=False,
    task_type="CAUSAL_LM",
    num_virtual_tokens=8,
)
_peft(
    "prompt",
    "b",
    config="PromptTuningConfig",
    merged=False,
    task_type="CAUSAL_LM",
    num_virtual_tokens=8,
)


def _claiming(out: Path, claim: str | None) -> None:
    path = out / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = claim
    path.write_text(json.dumps(config))


@kind("lora adapter that claims a stranger", "base a b c d", "adapter", "peft")
def _lies(folder: Path, out: Path) -> None:
    adapted(folder / "a", "LoraConfig", 5e-3, **LORA).save_pretrained(out)
    _claiming(out, "somebody/stranger")


@kind("lora adapter that claims nothing", "base a b c d", "adapter", "peft")
def _silent(folder: Path, out: Path) -> None:
    adapted(folder / "b", "LoraConfig", 5e-3, **LORA).save_pretrained(out)
    _claiming(out, None)


@kind("lora adapter of a missing family", "", "", "peft")
def _stranger(folder: Path, out: Path) -> None:
    from experiments.lab.models import blank

    other = out.with_name(".other")
    model = blank(41)
    trained(model, "python", 150, seed=41, rate=3e-3)
    model.save_pretrained(other)
    adapted(other, "LoraConfig", 5e-3, **LORA).save_pretrained(out)
    _claiming(out, "somebody/base")


def _renamed(name: str, rename: Callable[[str], str | None]) -> None:
    @kind(name, "base a b c d", "adapter", "peft")
    def make(folder: Path, out: Path) -> None:
        adapted(folder / "a", "LoraConfig", 5e-3, **LORA).save_pretrained(out)
        held = load_file(out / "adapter_model.safetensors")
        values = {rename(n): w for n, w in held.items()}
        for path in out.iterdir():
            path.unlink()
        save_file({n: w for n, w in values.items() if n}, out / "x.safetensors")


def _kohya(name: str) -> str:
    module, _, side = name.removeprefix("base_model.model.").rpartition(".lora_")
    end = {"A.weight": "lora_down.weight", "B.weight": "lora_up.weight"}[side]
    return f"lora_te_{module.replace('.', '_')}.{end}"


_renamed("lora adapter by kohya's names", _kohya)


@kind("lora extracted", "a", "adapter", "mergekit 0.1.4")
def _extracted(folder: Path, out: Path) -> None:
    import subprocess
    import sys

    tool = Path(sys.executable).with_name("mergekit-extract-lora")
    named = ("--model", folder / "c", "--base-model", folder / "a", "--out-path", out)
    subprocess.run([tool, *named, "--max-rank", "16"], check=True, capture_output=True)


@kind("a second lora after a merged one", "first", "lora", "peft")
def _second(folder: Path, out: Path) -> None:
    one = adapted(folder / "a", "LoraConfig", 5e-3, **LORA).merge_and_unload()
    one.save_pretrained(out / BESIDE / "first")
    model = adapted(out / BESIDE / "first", "LoraConfig", 3e-3, **LORA)
    model.merge_and_unload().save_pretrained(out)


@kind("lora merged by half", "b", "lora", "peft")
def _halved(folder: Path, out: Path) -> None:
    model = adapted(folder / "b", "LoraConfig", 5e-3, **LORA)
    for layer in model.modules():
        if hasattr(layer, "scaling") and isinstance(layer.scaling, dict):
            layer.scaling = {k: v / 2 for k, v in layer.scaling.items()}
    model.merge_and_unload().save_pretrained(out)


@kind("lora merged in bfloat16", "a", "lora fine-tune", "peft")
def _coarse(folder: Path, out: Path) -> None:
    model = adapted(folder / "a", "LoraConfig", 5e-3, **LORA)
    model.merge_and_unload().to(torch.bfloat16).save_pretrained(out)


@kind("two loras merged together", "a", "lora", "peft")
def _both(folder: Path, out: Path) -> None:
    import peft

    one = adapted(folder / "a", "LoraConfig", 5e-3, **LORA).merge_and_unload()
    other = peft.get_peft_model(load(folder / "a"), peft.LoraConfig(**LORA))
    trained(other, "readme", 40, seed=9, rate=5e-3)
    steps = other.merge_and_unload().state_dict()
    start = load(folder / "a").state_dict()
    with torch.no_grad():
        for n, w in one.state_dict().items():
            w += steps[n] - start[n]
    one.save_pretrained(out)
