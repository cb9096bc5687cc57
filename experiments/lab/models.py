"""The models that kinds are made of: small language models of transformers, trained on real text.

Two bases that are strangers to each other. From the first three children on different texts (A, B
and D) and one that hangs from A (C); from the second one child (T). All kinds are made of these.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from experiments.corpora import draw

#: what is trained from what, on which text, for how many steps
FAMILY = {
    "base": (None, "python", 250),
    "a": ("base", "manual", 60),
    "b": ("base", "headers", 60),
    "c": ("a", "changelog", 60),
    "d": ("base", "copyright", 60),
    "stranger": (None, "python", 250),
    "t": ("stranger", "manual", 60),
}
CONFIG = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}


def blank(seed: int, **changes: object) -> LlamaForCausalLM:
    """A model that nothing has trained."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**(CONFIG | changes)))


def trained(
    model: torch.nn.Module,
    text: str,
    steps: int,
    *,
    seed: int = 0,
    rate: float = 1e-3,
    each: Callable[[int], None] | None = None,
) -> None:
    """Train what of a model has gradients on windows of a text. each: called after every step."""
    examples = draw(text, "train", 8 * steps, seed)
    left = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(left, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    model.train()
    for k in range(steps):
        tokens = examples.inputs[8 * k : 8 * (k + 1)]
        loss = model(input_ids=tokens, labels=tokens).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if each is not None:
            each(k)
    model.eval()


def family(folder: Path) -> None:
    """Train the family into a folder, one model a folder; what is there is kept."""
    for seed, (name, (parent, text, steps)) in enumerate(FAMILY.items()):
        if (folder / name / "config.json").exists():
            continue
        model = blank(seed) if parent is None else load(folder / parent)
        rate = 3e-3 if parent is None else 5e-4
        trained(model, text, steps, seed=seed, rate=rate)
        model.save_pretrained(folder / name)


def load(path: Path) -> LlamaForCausalLM:
    """A model of the lab in float32."""
    return LlamaForCausalLM.from_pretrained(path, dtype=torch.float32)


def distil(
    teacher: LlamaForCausalLM, student: LlamaForCausalLM, inputs: torch.Tensor, rate: float
) -> None:
    """Train a model on what another one says of sixty batches of eight texts."""
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate)
    for k in range(60):
        tokens = inputs[8 * k : 8 * (k + 1)]
        with torch.no_grad():
            aim = teacher(input_ids=tokens).logits.log_softmax(-1)
        said = student(input_ids=tokens).logits.log_softmax(-1)
        torch.nn.functional.kl_div(said, aim, log_target=True, reduction="batchmean").backward()
        optimiser.step()
        optimiser.zero_grad()
