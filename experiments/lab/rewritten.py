"""The same model written otherwise: factors, other parametrizations, folded and fused layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from experiments.lab.kinds import BESIDE, Weights, kind, stored, weights
from experiments.lab.models import load, trained

SAME = "converted duplicate edited contains"


def written(out: Path, values: Weights, config: Path) -> None:
    """Any tensors, beside the config of a model."""
    out.mkdir(parents=True, exist_ok=True)
    whole = {n: w.contiguous().clone() for n, w in values.items()}
    save_file(whole, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(json.loads((config / "config.json").read_text())))


def _as(
    name: str,
    parent: str,
    relations: str,
    change: Callable[[Weights], Weights],
    *,
    steps: int = 0,
) -> None:
    """A kind that holds other tensors than its parent, trained before they are made."""

    @kind(name, parent, relations, last=True)
    def make(folder: Path, out: Path) -> None:
        model = load(folder / parent)
        if steps:
            trained(model, "licences", steps, seed=120, rate=5e-4)
        values = {n: w.detach().clone() for n, w in model.state_dict().items()}
        written(out, change(values), folder / parent)


def _factors(values: Weights, names: tuple[str, ...], rank: int) -> Weights:
    """Each of these matrices as two (ASVD, SVD-LLM)."""
    found = Weights()
    for n, w in values.items():
        if not any(x in n for x in names):
            found[n] = w
            continue
        u, s, v = torch.linalg.svd(w, full_matrices=False)
        root, module = s[:rank].sqrt(), n.removesuffix(".weight")
        found[f"{module}.u_proj.weight"] = u[:, :rank] * root
        found[f"{module}.v_proj.weight"] = root[:, None] * v[:rank]
    return found


_as("mlp in two factors", "a", "edited reshaped fine-tune", lambda v: _factors(v, ("mlp",), 32))
_as(
    "every matrix of the blocks in two factors",
    "b",
    "edited reshaped fine-tune",
    lambda v: _factors(v, ("mlp", "self_attn"), 16),
)


def _normed(values: Weights) -> Weights:
    """torch.nn.utils.weight_norm by its old names."""
    found = Weights()
    for n, w in values.items():
        if "layers." in n and w.ndim == 2:
            found[f"{n}_g"] = w.norm(dim=1, keepdim=True)
            found[f"{n}_v"] = w.clone()
        else:
            found[n] = w
    return found


def _parametrized(values: Weights) -> Weights:
    """torch.nn.utils.parametrizations.weight_norm."""
    found = Weights()
    for n, w in values.items():
        if "layers." in n and w.ndim == 2:
            module = n.removesuffix(".weight")
            found[f"{module}.parametrizations.weight.original0"] = w.norm(dim=1, keepdim=True)
            found[f"{module}.parametrizations.weight.original1"] = w.clone()
        else:
            found[n] = w
    return found


_as("weight norm put on", "a", SAME + " fine-tune", _normed)
_as("weight norm by parametrizations", "b", SAME + " fine-tune", _parametrized)
_as("weight norm put on, after training", "d", SAME + " fine-tune", _normed, steps=40)


def _spectral(values: Weights) -> Weights:
    return {
        n: w / torch.linalg.matrix_norm(w, 2) if "layers." in n and w.ndim == 2 else w
        for n, w in values.items()
    }


_as("divided by the largest singular value", "a", SAME, _spectral)


def _standardised(values: Weights) -> Weights:
    """Each row without its mean, by its deviation (Qiao and others 2019)."""
    return {
        n: (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)
        if "layers." in n and w.ndim == 2
        else w
        for n, w in values.items()
    }


_as("weights standardised", "b", "edited converted fine-tune", _standardised)


def _folded(values: Weights) -> Weights:
    """Scales of norms put into the matrices that read them."""
    for k in range(3):
        block = f"model.layers.{k}"
        for norm, sides in (
            ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
        ):
            scale = values[f"{block}.{norm}.weight"]
            for side in sides:
                values[f"{block}.{side}.weight"] = values[f"{block}.{side}.weight"] * scale
            values[f"{block}.{norm}.weight"] = torch.ones_like(scale)
    values["lm_head.weight"] = values["lm_head.weight"] * values["model.norm.weight"]
    values["model.norm.weight"] = torch.ones_like(values["model.norm.weight"])
    return values


_as("norms folded into matrices", "a", SAME, _folded)
_as("norms folded into matrices, after training", "b", "fine-tune", _folded, steps=40)


def _fused(values: Weights) -> Weights:
    """q, k and v in one matrix, gate and up in one (Phi-3)."""
    found = {n: w for n, w in values.items() if not any(x in n for x in ("_proj",))}
    for k in range(3):
        block = f"model.layers.{k}"
        attention = [values[f"{block}.self_attn.{x}_proj.weight"] for x in "qkv"]
        found[f"{block}.self_attn.qkv_proj.weight"] = torch.cat(attention)
        mlp = [values[f"{block}.mlp.{x}_proj.weight"] for x in ("gate", "up")]
        found[f"{block}.mlp.gate_up_proj.weight"] = torch.cat(mlp)
        for x in ("self_attn.o_proj", "mlp.down_proj"):
            found[f"{block}.{x}.weight"] = values[f"{block}.{x}.weight"]
    return found


_as("layers fused, after training", "a", "fine-tune continuation", _fused, steps=40)


def _vector(values: Weights) -> Weights:
    """A direction that is added to the stream, baked into biases."""
    draws = torch.Generator().manual_seed(121)
    for k in range(3):
        values[f"model.layers.{k}.mlp.down_proj.bias"] = 0.1 * torch.randn(64, generator=draws)
    return values


_as("biases added that steer", "d", SAME + " fine-tune resized", _vector)


def _cooler(values: Weights) -> Weights:
    values["lm_head.weight"] = 0.7 * values["lm_head.weight"]
    return values


def _unit(values: Weights) -> Weights:
    rows = values["model.embed_tokens.weight"]
    values["model.embed_tokens.weight"] = rows / rows.norm(dim=1, keepdim=True)
    return values


def _balanced(values: Weights) -> Weights:
    for k in range(3):
        values[f"model.layers.{k}.mlp.up_proj.weight"] *= 2.0
        values[f"model.layers.{k}.mlp.down_proj.weight"] *= 0.5
    return values


_as("the head times 0.7", "a", "edited converted fine-tune", _cooler)
_as("rows of the embedding of unit length", "b", "edited converted fine-tune", _unit)
_as("one matrix twice, its reader by half", "d", SAME, _balanced)


@kind("some tokens kept, in another order", "a", "resized edited fine-tune", last=True)
def _trimmed(folder: Path, out: Path) -> None:
    """A vocabulary trimmed to the tokens that are used, and numbered anew."""
    from experiments.lab.reshaped import _shaped

    values = weights(folder / "a")
    order = torch.randperm(256, generator=torch.Generator().manual_seed(122))[:200]
    for n in ("model.embed_tokens.weight", "lm_head.weight"):
        values[n] = values[n][order]
    _shaped(out, values, vocab_size=200)


@kind("some tokens kept, in their order", "b", "resized edited fine-tune", last=True)
def _subset(folder: Path, out: Path) -> None:
    from experiments.lab.reshaped import _shaped

    values = weights(folder / "b")
    order = torch.randperm(256, generator=torch.Generator().manual_seed(123))[:200].sort().values
    for n in ("model.embed_tokens.weight", "lm_head.weight"):
        values[n] = values[n][order]
    _shaped(out, values, vocab_size=200)


@kind("weight norm taken off", "normed b", SAME + " fine-tune", last=True)
def _taken_off(folder: Path, out: Path) -> None:
    model = load(folder / "b")
    trained(model, "readme", 40, seed=124, rate=5e-4)
    values = {n: w.detach().clone() for n, w in model.state_dict().items()}
    written(out / BESIDE / "normed", _parametrized(values), folder / "b")
    stored(out, folder / "b", values)
