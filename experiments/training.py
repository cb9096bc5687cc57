"""Train one run: from a parent or an initialization to checkpoints."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from experiments.architectures import Architecture
from experiments.objectives import Objective
from experiments.plan import Recipe
from experiments.tasks import Examples

#: what a learning rate is multiplied with, from how far a run has got
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
}


class TrainingFailed(Exception):  # noqa: N818  (reads as what happened)
    """A model came out that a truth can't be built on."""


class AtChance(TrainingFailed):
    """It has not learned its task: it may need longer."""


def fit(
    objective: Objective, architecture: Architecture, examples: Examples, recipe: Recipe, seed: int
) -> Iterator[float]:
    """Train in place; yields the loss, averaged since the last time, at each mark."""
    steps = recipe.steps(len(examples))
    optimizer = _optimizer(objective, architecture, recipe, steps)
    generator = torch.Generator().manual_seed(seed)
    marks = [max(1, round(m * steps)) for m in recipe.marks]
    order = torch.empty(0, dtype=torch.long)
    losses: list[float] = []
    parameters = list(objective.parameters())
    normalises = any(isinstance(x, nn.BatchNorm2d) for x in objective.modules())
    objective.train()
    for step in range(1, steps + 1):
        if len(order) == 0:
            order = torch.randperm(len(examples), generator=generator)
        chosen, order = order[: recipe.batch_size], order[recipe.batch_size :]
        if len(chosen) == 1 and normalises:  # one example has no variance
            chosen = chosen.repeat(2)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _factor(recipe, step, steps)
        loss = objective(examples[chosen].to(device()))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        objective.after_step(step / steps)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingFailed(f"loss {losses[-1]} at step {step} of {steps}")
        if step in marks:
            objective.eval()
            yield sum(losses) / len(losses)
            objective.train()
            losses = []


def adapt(
    model: PreTrainedModel, architecture: Architecture, recipe: Recipe, *, trains_head: bool
) -> PeftModel:
    """The model with LoRA factors beside its layers; they and maybe the head alone are trained."""
    config = LoraConfig(
        r=recipe.rank or 1,
        lora_alpha=recipe.alpha or 1,
        target_modules=list(architecture.adapted),
        modules_to_save=[architecture.head.rstrip(".")] if trains_head else None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft on the next transformers
        return get_peft_model(model, config)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _factor(recipe: Recipe, step: int, steps: int) -> float:
    warmup = round(recipe.warmup * steps)
    if step <= warmup:
        return step / warmup
    return SCHEDULES[recipe.schedule]((step - 1 - warmup) / (steps - warmup))


def _optimizer(
    objective: Objective, architecture: Architecture, recipe: Recipe, steps: int
) -> torch.optim.Optimizer:
    """Weight decay for all but biases and norms, as transformers' Trainer has it."""
    named = [(n, p) for n, p in objective.named_parameters() if p.requires_grad]
    heads = {n for n, _ in named if f".{architecture.head}" in f".{n}"}
    rate = recipe.learning_rate
    if recipe.relative_change:
        body = [p for n, p in named if n not in heads and p.ndim > 1]
        rate = _rate_for(recipe.relative_change, body, recipe, steps)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        peak = recipe.learning_rate if name in heads else rate
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((peak, decay), []).append(parameter)
    settings = [
        {"params": parameters, "peak": peak, "weight_decay": decay}
        for (peak, decay), parameters in groups.items()
    ]
    # foreach: the same bits by fewer calls, which is most of the work of a small model's step
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=rate, momentum=0.9, foreach=True)
    return torch.optim.AdamW(settings, lr=rate, foreach=True)


def _rate_for(change: float, parameters: list[nn.Parameter], recipe: Recipe, steps: int) -> float:
    """The peak learning rate with which Adam changes the parameters by about a share of their
    norm: its steps are near the learning rate in size, and add up to more than a random walk and
    less than a straight one. Constants as measured, good to a factor of two."""
    weights = torch.cat([p.detach().flatten() for p in parameters])
    straight = sum(_factor(recipe, step, steps) for step in range(1, steps + 1))
    return change * float(weights.square().mean().sqrt()) / (1.25 * math.pow(straight, 0.75))
