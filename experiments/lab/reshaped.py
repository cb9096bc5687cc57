"""Models of another shape than the one that they were made from, and parts of larger ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from experiments.lab.kinds import BESIDE, Weights, kind, weights
from experiments.lab.models import blank, load, trained

HIDDEN, HEADS, WIDE = 64, 4, 160  # of the family: hidden size, heads of attention, neurons


def _resized(
    name: str,
    parent: str,
    rows: int,
    steps: int,
    relations: str = "resized",
    *,
    first: bool = False,
) -> None:
    @kind(name, parent, relations, "transformers", first=first)
    def make(folder: Path, out: Path) -> None:
        model = load(folder / parent)
        torch.manual_seed(6)
        model.resize_token_embeddings(rows)
        if steps:
            trained(model, "readme", steps, seed=9, rate=5e-4)
        model.save_pretrained(out)


_resized("tokens added", "a", 272, 0, first=True)
_resized("tokens added and trained", "a", 272, 40, "resized fine-tune continuation", first=True)
_resized("tokens trimmed", "a", 240, 0, first=True)
_resized("one token added", "b", 257, 0)
_resized("vocabulary padded to a multiple", "d", 320, 0)
_resized("tokens trimmed and trained", "b", 240, 40, "resized fine-tune continuation")


def _shaped(out: Path, values: Weights, **changes: object) -> LlamaForCausalLM:
    """A model of the family's kind with weights of other shapes."""
    model = blank(0, **changes)
    model.load_state_dict(values)
    model.save_pretrained(out)
    return model


def _layer(values: Weights, pattern: str) -> list[str]:
    return [n for n in values if n.endswith(pattern)]


@kind("a new vocabulary", "a", "resized fine-tune")
def _replaced(folder: Path, out: Path) -> None:
    """Other tokens: rows of the embedding and of the head drawn anew, and trained."""
    values = weights(folder / "a")
    for n in ("model.embed_tokens.weight", "lm_head.weight"):
        values[n] = 0.02 * torch.randn(300, HIDDEN, generator=torch.Generator().manual_seed(71))
    model = _shaped(out, values, vocab_size=300)
    model.model.layers.requires_grad_(False)
    trained(model, "readme", 40, seed=72, rate=1e-3)
    model.save_pretrained(out)


@kind("tokens in another order", "b", "resized edited fine-tune")
def _reordered(folder: Path, out: Path) -> None:
    values = weights(folder / "b")
    order = torch.randperm(256, generator=torch.Generator().manual_seed(73))
    for n in ("model.embed_tokens.weight", "lm_head.weight"):
        values[n] = values[n][order]
    _shaped(out, values)


@kind("head tied to the embedding", "a", "resized contains edited fine-tune reshaped")
def _tied(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    values["lm_head.weight"] = values["model.embed_tokens.weight"]
    _shaped(out, values, tie_word_embeddings=True)


@kind("body alone", "b", "contains resized")
def _body(folder: Path, out: Path) -> None:
    load(folder / "b").model.save_pretrained(out)


# depth


@kind("blocks that do nothing inserted", "a", "reshaped")
def _inserted(folder: Path, out: Path) -> None:
    """LLaMA Pro: copies of blocks that write nothing."""
    _shaped(out, _expanded(weights(folder / "a")), num_hidden_layers=6)


def _expanded(values: Weights) -> Weights:
    every = {n: w for n, w in values.items() if ".layers." not in n}
    for n, w in values.items():
        if ".layers." in n:
            k, rest = n.split(".layers.")[1].split(".", 1)
            quiet = rest.startswith(("self_attn.o_proj", "mlp.down_proj"))
            every[f"model.layers.{2 * int(k)}.{rest}"] = w
            every[f"model.layers.{2 * int(k) + 1}.{rest}"] = 0 * w if quiet else w.clone()
    return every


@kind("blocks inserted and trained", "b", "reshaped")
def _pro(folder: Path, out: Path) -> None:
    model = _shaped(out, _expanded(weights(folder / "b")), num_hidden_layers=6)
    for n, p in model.named_parameters():
        p.requires_grad_(any(f"layers.{k}." in n for k in (1, 3, 5)))
    trained(model, "readme", 40, seed=74, rate=1e-3)
    model.save_pretrained(out)


@kind("a block dropped, then trained", "a", "reshaped")
def _dropped(folder: Path, out: Path) -> None:
    values = weights(folder / "a")
    kept = {n: w for n, w in values.items() if ".layers.1." not in n}
    renamed = {n.replace(".layers.2.", ".layers.1."): w for n, w in kept.items()}
    model = _shaped(out, renamed, num_hidden_layers=2)
    trained(model, "readme", 40, seed=75, rate=5e-4)
    model.save_pretrained(out)


# width


def _narrowed(
    name: str,
    parent: str,
    change: Callable[[Weights], None],
    relations: str = "reshaped",
    *,
    steps: int = 0,
    **config: object,
) -> None:
    @kind(name, parent, relations)
    def make(folder: Path, out: Path) -> None:
        values = weights(folder / parent)
        change(values)
        model = _shaped(out, {n: w.contiguous() for n, w in values.items()}, **config)
        if steps:
            trained(model, "readme", steps, seed=76, rate=5e-4)
            model.save_pretrained(out)


def _fewer_neurons(values: Weights) -> None:
    for n in _layer(values, "gate_proj.weight"):
        up, down = n.replace("gate", "up"), n.replace("gate", "down")
        kept = values[n].norm(dim=1).argsort(descending=True)[:120].sort().values
        values[n], values[up] = values[n][kept], values[up][kept]
        values[down] = values[down][:, kept]


def _fewer_heads(values: Weights) -> None:
    size = HIDDEN // HEADS
    for n in _layer(values, "q_proj.weight"):
        out = n.replace("q_proj", "o_proj")
        values[n], values[out] = values[n][: 2 * size], values[out][:, : 2 * size]
        for side in ("k_proj", "v_proj"):
            other = n.replace("q_proj", side)
            values[other] = values[other][:size]


def _smaller_hidden(values: Weights) -> None:
    kept = values["model.embed_tokens.weight"].norm(dim=0).argsort(descending=True)[:48]
    kept = kept.sort().values
    for n, w in values.items():
        if w.ndim == 1 or n.endswith(("o_proj.weight", "down_proj.weight")):
            values[n] = w[kept]
        else:
            values[n] = w[:, kept]


def _more_neurons(values: Weights) -> None:
    """Net2Net: neurons twice, what reads them by half."""
    for n in _layer(values, "gate_proj.weight"):
        up, down = n.replace("gate", "up"), n.replace("gate", "down")
        more = torch.arange(WIDE, WIDE + 40) % WIDE
        values[n] = torch.cat([values[n], values[n][more]])
        values[up] = torch.cat([values[up], values[up][more]])
        halved = values[down].clone()
        halved[:, more] *= 0.5
        values[down] = torch.cat([halved, halved[:, more]], 1)


def _repeat_keys(values: Weights) -> None:
    for side in ("k_proj.weight", "v_proj.weight"):
        for n in _layer(values, side):
            values[n] = values[n].reshape(2, 16, HIDDEN).repeat_interleave(2, 0).reshape(-1, HIDDEN)


def _mean_keys(values: Weights) -> None:
    for side in ("k_proj.weight", "v_proj.weight"):
        for n in _layer(values, side):
            values[n] = values[n].reshape(2, 16, HIDDEN).mean(0)


_FEW = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
_narrowed("neurons dropped", "a", _fewer_neurons, intermediate_size=120)
_narrowed("neurons dropped, then trained", "b", _fewer_neurons, steps=40, intermediate_size=120)
_narrowed("heads of attention dropped", "b", _fewer_heads, **_FEW)
_narrowed("hidden size cut", "a", _smaller_hidden, hidden_size=48, head_dim=16)
_narrowed(
    "hidden size cut, then trained", "d", _smaller_hidden, steps=40, hidden_size=48, head_dim=16
)
_narrowed("neurons added", "d", _more_neurons, intermediate_size=200)
_narrowed("heads of keys repeated", "a", _repeat_keys, num_key_value_heads=4)
_narrowed("heads of keys averaged", "b", _mean_keys, num_key_value_heads=1)


# experts


def _experts(values: list[Weights], share: int = 0) -> Weights:
    """A mixture as Mixtral's checkpoints have it; what is no expert from one of the models."""
    draws, every = torch.Generator().manual_seed(81), dict[str, torch.Tensor]()
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    for n, w in values[share].items():
        if ".mlp." not in n:
            every[n] = w
            continue
        before, _, module = n.removesuffix(".weight").partition(".mlp.")
        for e, model in enumerate(values):
            every[f"{before}.block_sparse_moe.experts.{e}.{names[module]}.weight"] = model[
                n
            ].clone()
        gate = 0.02 * torch.randn(len(values), HIDDEN, generator=draws)
        every.setdefault(f"{before}.block_sparse_moe.gate.weight", gate)
    return every


def _mixture(out: Path, values: Weights) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {n: w.contiguous() for n, w in values.items()}, out / "model.safetensors", {"format": "pt"}
    )
    (out / "config.json").write_text(json.dumps({"architectures": ["MixtralForCausalLM"]}))


@kind("upcycled to four experts", "a", "upcycled reshaped")
def _upcycled(folder: Path, out: Path) -> None:
    _mixture(out, _experts([weights(folder / "a")] * 4))


def _stray(values: Weights, seed: int) -> Weights:
    draws = torch.Generator().manual_seed(seed)
    return {
        n: w + 0.05 * w.std() * torch.randn(w.shape, generator=draws) for n, w in values.items()
    }


@kind("upcycled, then noise in each expert", "b", "upcycled reshaped")
def _drifted(folder: Path, out: Path) -> None:
    values = weights(folder / "b")
    _mixture(out, _experts([values, *(_stray(values, 82 + k) for k in range(3))]))


@kind("experts of two models", "a b", "upcycled merge reshaped")
def _two(folder: Path, out: Path) -> None:
    _mixture(out, _experts([weights(folder / n) for n in ("a", "b")]))


@kind("an expert taken out", "mixture", "reshaped contains upcycled")
def _taken(folder: Path, out: Path) -> None:
    values = [weights(folder / n) for n in ("a", "b", "d")]
    _mixture(out / BESIDE / "mixture", _experts([_stray(v, 90 + k) for k, v in enumerate(values)]))
    dense = _stray(values[0], 90) | {n: w for n, w in _stray(values[1], 91).items() if ".mlp." in n}
    _shaped(out, dense)


# parts


@kind("language model in one that sees", "a", "contains fine-tune reshaped", "transformers")
def _llava(folder: Path, out: Path) -> None:
    _seeing(folder / "a").save_pretrained(out)


def _seeing(path: Path) -> torch.nn.Module:
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(91)
    text = load(path)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=32,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text.config)
    )
    model.model.language_model.load_state_dict(text.model.state_dict())
    model.lm_head.load_state_dict(text.lm_head.state_dict())
    return model


@kind(
    "language model taken from one that sees",
    "whole b",
    "contains fine-tune reshaped",
    "transformers",
)
def _taken_out(folder: Path, out: Path) -> None:
    model = load(folder / "b")
    trained(model, "readme", 40, seed=92, rate=5e-4)
    model.save_pretrained(out)
    _seeing(out).save_pretrained(out / BESIDE / "whole")


@kind("encoder of a pipeline alone", "pipeline", "contains", "diffusers")
def _pipeline(folder: Path, out: Path) -> None:
    from diffusers import AutoencoderKL, UNet2DModel

    torch.manual_seed(93)
    small = {"block_out_channels": (16, 16), "norm_num_groups": 4}
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        **small,
    )
    unet = UNet2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        **small,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    whole = out / BESIDE / "pipeline"
    unet.save_pretrained(whole / "unet")
    vae.save_pretrained(whole / "vae")
    index = {
        "_class_name": "LDMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (whole / "model_index.json").write_text(json.dumps(index))
    vae.save_pretrained(out)
