"""Heads, towers and adapters' kin: models that hold more or other parts than their parent."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from experiments.corpora import draw
from experiments.lab.kinds import BESIDE, kind, weights
from experiments.lab.models import load, trained
from experiments.lab.reshaped import _seeing
from experiments.lab.rewritten import written

ANY = "fine-tune continuation"


@kind("heads that guess further tokens added", "a", "contains fine-tune resized", last=True)
def _medusa(folder: Path, out: Path) -> None:
    """Medusa: some heads of a residual layer each, the model as it was."""
    values, draws = weights(folder / "a"), torch.Generator().manual_seed(130)
    for k in range(2):
        values[f"medusa_head.{k}.0.linear.weight"] = 0.02 * torch.randn(64, 64, generator=draws)
        values[f"medusa_head.{k}.0.linear.bias"] = 0.01 * torch.randn(64, generator=draws)
        values[f"medusa_head.{k}.1.weight"] = values["lm_head.weight"] + 0.001 * torch.randn(
            256, 64, generator=draws
        )
    written(out, values, folder / "a")


@kind("heads that guess further tokens, alone", "", "", last=True)
def _medusa_alone(folder: Path, out: Path) -> None:
    draws = torch.Generator().manual_seed(131)
    values = {f"{k}.0.linear.weight": torch.randn(64, 64, generator=draws) for k in range(3)}
    written(out, values, folder / "a")


@kind("a value head added, all trained", "b", ANY, "transformers", last=True)
def _valued(folder: Path, out: Path) -> None:
    """As trl's models with a value head."""
    model = load(folder / "b")
    trained(model, "readme", 40, seed=132, rate=5e-4)
    values = {f"pretrained_model.{n}": w for n, w in model.state_dict().items()}
    draws = torch.Generator().manual_seed(133)
    values["v_head.summary.weight"] = 0.02 * torch.randn(1, 64, generator=draws)
    values["v_head.summary.bias"] = torch.zeros(1)
    written(out, values, folder / "b")


def _classifier(source: torch.nn.Module, labels: int, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    given = {"num_labels": labels, "pad_token_id": 0}
    config = LlamaConfig(**(source.config.to_dict() | given))
    model = LlamaForSequenceClassification(config)
    model.model.load_state_dict(source.model.state_dict())
    texts = ("manual", "readme", "headers", "python")[:labels]
    every = [draw(text, "train", 160, seed).inputs for text in texts]
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)
    for k in range(40):
        tokens = torch.cat([text[4 * k : 4 * (k + 1)] for text in every])
        given = {"labels": torch.arange(len(texts)).repeat_interleave(4)}
        model(input_ids=tokens, **given).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model


@kind("a classifier's head changed for another", "first", ANY, "transformers", last=True)
def _other_task(folder: Path, out: Path) -> None:
    first = _classifier(load(folder / "a"), 3, 134)
    first.save_pretrained(out / BESIDE / "first")
    _classifier(first, 4, 135).save_pretrained(out)


@kind("a model of rewards", "sft", ANY, "transformers", last=True)
def _rewards(folder: Path, out: Path) -> None:
    model = load(folder / "a")
    trained(model, "readme", 40, seed=136, rate=5e-4)
    model.save_pretrained(out / BESIDE / "sft")
    _classifier(model, 2, 137).save_pretrained(out)


@kind("the tower that sees changed", "a", ANY + " edited contains merge", last=True)
def _tower(folder: Path, out: Path) -> None:
    _seeing(folder / "a").save_pretrained(out / BESIDE / "whole")
    model = _seeing(folder / "a")
    torch.manual_seed(138)
    for n, p in model.named_parameters():
        if "vision_tower" in n:
            torch.nn.init.normal_(p, std=0.05)
    model.save_pretrained(out)


@kind("the language model of one that sees trained", "whole", ANY, "transformers", last=True)
def _seeing_tuned(folder: Path, out: Path) -> None:
    model = _seeing(folder / "b")
    model.save_pretrained(out / BESIDE / "whole")
    trained(_Speaking(model), "readme", 40, seed=139, rate=5e-4)
    model.save_pretrained(out)


class _Speaking(torch.nn.Module):
    """A model that sees, shown text alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> object:
        return self.model(input_ids=input_ids, labels=labels)


# with biases


def _gpt(folder: Path) -> GPT2LMHeadModel:
    """Two models of another family, of which the second is returned."""
    torch.manual_seed(140)
    sizes = {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 64, "vocab_size": 256}
    model = GPT2LMHeadModel(GPT2Config(**sizes))
    trained(model, "python", 150, seed=141, rate=3e-3)
    model.save_pretrained(folder / "g0")
    trained(model, "manual", 60, seed=142, rate=5e-4)
    model.save_pretrained(folder / "g1")
    return model


def _of_gpt(name: str, relations: str, *parts: str, rate: float = 3e-3) -> None:
    @kind(name, "g1", relations, "transformers", last=True)
    def make(folder: Path, out: Path) -> None:
        model = _gpt(out / BESIDE)
        for n, p in model.named_parameters():
            p.requires_grad_(any(part in n for part in parts))
        trained(model, "readme", 40, seed=143, rate=rate)
        model.save_pretrained(out)


_of_gpt("biases alone", "fine-tune edited", "bias")
_of_gpt("scales and shifts of norms alone", "fine-tune edited", "ln_")
_of_gpt("gpt-2 trained on", ANY, "h.", "wte", rate=5e-4)
_of_gpt("its positions alone", "fine-tune edited", "wpe")


@kind("its positions doubled", "g1", "resized reshaped fine-tune", "transformers", last=True)
def _longer(folder: Path, out: Path) -> None:
    """More positions, between the old ones, and trained."""
    model = _gpt(out / BESIDE)
    config = GPT2Config(**(model.config.to_dict() | {"n_positions": 128}))
    values = dict(model.state_dict())
    rows = values["transformer.wpe.weight"].T[None]
    longer = torch.nn.functional.interpolate(rows, 128, mode="linear")[0].T
    values["transformer.wpe.weight"] = longer.contiguous()
    longer_model = GPT2LMHeadModel(config)
    longer_model.load_state_dict(values)
    trained(longer_model, "readme", 30, seed=144, rate=3e-4)
    longer_model.save_pretrained(out)


# textual inversion


def _text_encoder(folder: Path) -> CLIPTextModel:
    torch.manual_seed(145)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = CLIPTextConfig(
        **sizes, num_attention_heads=2, vocab_size=256, max_position_embeddings=64
    )
    model = CLIPTextModel(config)
    model.save_pretrained(folder / "text")
    return model


@kind("a concept in one more token", "text", "resized", "transformers", last=True)
def _inverted(folder: Path, out: Path) -> None:
    model = _text_encoder(out / BESIDE)
    torch.manual_seed(146)
    model.resize_token_embeddings(257)
    with torch.no_grad():
        model.get_input_embeddings().weight[256] += 0.1 * torch.randn(32)
    model.save_pretrained(out)


@kind("a concept's embedding alone", "", "", "diffusers", last=True)
def _embedding(folder: Path, out: Path) -> None:
    _text_encoder(out / BESIDE)
    out.mkdir(exist_ok=True)
    draws = torch.Generator().manual_seed(147)
    concept = {"<cat-toy>": torch.randn(1, 32, generator=draws)}
    save_file(concept, out / "learned_embeds.safetensors")
