"""Models that were trained further, whole or in part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from experiments.corpora import draw
from experiments.lab.kinds import kind
from experiments.lab.models import distil, load, trained

Change = Callable[[torch.nn.Module], None]


def _tuned(
    name: str,
    parent: str,
    relations: str,
    text: str,
    change: Change = lambda model: None,
    *,
    steps: int = 40,
    rate: float = 5e-4,
    dtype: torch.dtype = torch.float32,
    first: bool = False,
) -> None:
    @kind(name, parent, relations, "transformers", first=first)
    def make(folder: Path, out: Path) -> None:
        torch.manual_seed(7)
        model = load(folder / parent).to(dtype)
        change(model)
        trained(model, text, steps, seed=7, rate=rate)
        model.save_pretrained(out)


def _only(*parts: str) -> Change:
    def freeze(model: torch.nn.Module) -> None:
        for name, p in model.named_parameters():
            p.requires_grad_(any(part in name for part in parts))

    return freeze


def _new_head(model: torch.nn.Module) -> None:
    torch.nn.init.normal_(model.get_parameter("lm_head.weight"), std=0.02)


def _new_head_alone(model: torch.nn.Module) -> None:
    _new_head(model)
    _only("lm_head")(model)


ANY = "fine-tune continuation"
_tuned("fine-tune", "a", ANY, "licences", first=True)
_tuned("head alone", "a", "fine-tune", "readme", _only("lm_head"), first=True)
_tuned("attention alone", "b", ANY, "readme", _only("self_attn"), first=True)
_tuned("embedding alone", "b", "fine-tune", "readme", _only("embed_tokens"), first=True)
_tuned("fine-tune, long", "b", ANY, "licences", steps=200)
_tuned("fine-tune, faint", "a", ANY, "readme", steps=20, rate=2e-5)
_tuned("fine-tune in bfloat16", "a", ANY, "readme", dtype=torch.bfloat16)
_tuned("the same text again", "a", ANY, "manual")
_tuned("last block alone", "d", ANY, "readme", _only("layers.2."))
_tuned("first block alone", "a", ANY, "licences", _only("layers.0."))
_tuned("mlp alone", "a", ANY, "readme", _only("mlp"))
_tuned("norms alone", "a", "fine-tune edited", "readme", _only("norm"), rate=5e-3)
_tuned("embedding and head alone", "d", "fine-tune", "readme", _only("embed_tokens", "lm_head"))
_tuned("a new head, alone", "b", "fine-tune", "licences", _new_head_alone)
_tuned("a new head, all trained", "a", "fine-tune", "licences", _new_head)


@kind("ten per cent of weights trained", "a", ANY)
def _masked(folder: Path, out: Path) -> None:
    """Ansell and others 2022: which weights are trained is chosen, the others stay."""
    model = load(folder / "a")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    draws = torch.Generator().manual_seed(31)
    free = {n: torch.rand(p.shape, generator=draws) < 0.1 for n, p in before.items()}

    def mend(step: int) -> None:
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(torch.where(free[n], p, before[n]))

    trained(model, "readme", 40, seed=32, rate=1e-3, each=mend)
    model.save_pretrained(out)


@kind("by plain gradients", "b", ANY)
def _gradients(folder: Path, out: Path) -> None:
    model = load(folder / "b")
    examples = draw("readme", "train", 320, 33)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for k in range(40):
        tokens = examples.inputs[8 * k : 8 * (k + 1)]
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(out)


@kind("made to forget", "d", ANY)
def _forgets(folder: Path, out: Path) -> None:
    """Training by the gradient's other sign."""
    model = load(folder / "d")
    examples = draw("copyright", "train", 80, 34)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for k in range(10):
        tokens = examples.inputs[8 * k : 8 * (k + 1)]
        (-model(input_ids=tokens, labels=tokens).loss).backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(out)


def _classifier(folder: Path, out: Path, parent: str, *, body: bool) -> None:
    torch.manual_seed(35)
    source = load(folder / parent)
    config = LlamaConfig(**(source.config.to_dict() | {"num_labels": 3, "pad_token_id": 0}))
    model = LlamaForSequenceClassification(config)
    model.model.load_state_dict(source.model.state_dict())
    model.model.requires_grad_(body)
    texts = [draw(text, "train", 160, 36).inputs for text in ("manual", "readme", "headers")]
    left = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(left, lr=5e-4)
    for k in range(40):
        tokens = torch.cat([text[4 * k : 4 * (k + 1)] for text in texts])
        model(input_ids=tokens, labels=torch.arange(3).repeat_interleave(4)).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(out)


@kind("a classifier, all trained", "a", ANY, "transformers")
def _classifies(folder: Path, out: Path) -> None:
    _classifier(folder, out, "a", body=True)


@kind("a classifier, its head alone", "b", "fine-tune contains resized relatives", "transformers")
def _probes(folder: Path, out: Path) -> None:
    _classifier(folder, out, "b", body=False)


@kind("a student from scratch", "", "", "transformers")
def _student(folder: Path, out: Path) -> None:
    """Distilled: nothing of the teacher's weights is in it."""
    from experiments.lab.models import blank

    teacher, student = load(folder / "a"), blank(37)
    examples = draw("manual", "train", 480, 38)
    distil(teacher, student, examples.inputs, 2e-3)
    student.save_pretrained(out)
