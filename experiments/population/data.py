"""Tasks for small networks, made of real images and real text."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from experiments import corpora, images
from experiments.population.nets import CLASSES, CONTEXT, SIDE, VOCABULARY

SOURCES = {"image": ("garments", "digits"), "text": ("copyright", "headers", "python", "manual")}
MASKED = 0.2  # of the tokens, that an encoder has to guess
EXAMPLES = 4096


@dataclass(frozen=True)
class Task:
    """source: where inputs come from. turn: by how many quarters images are turned, or how far
    letters are shifted. labels: seed of how classes are renamed, 0 for not. only: how many of the
    classes there are. sample: seed of which examples there are."""

    kind: str
    source: str
    turn: int = 0
    labels: int = 0
    only: int = CLASSES
    sample: int = 0


def draw_task(kind: str, rng: random.Random) -> Task:
    """Any task for a network that learns from `kind`."""
    of = "text" if kind in {"text", "masked"} else "image"
    turn = rng.choice((0, 0, 1, 2, 3)) if of == "image" else rng.choice((0, 0, 0, 7))
    return Task(
        kind,
        rng.choice(SOURCES[of]),
        turn,
        rng.choice((0, rng.randrange(1, 1000))),
        rng.choice((CLASSES, CLASSES, 5, 3)),
        rng.randrange(1 << 30),
    )


def near(task: Task, rng: random.Random) -> Task:
    """A task that has most in common with another."""
    change = rng.choice(("labels", "only", "sample"))
    sample = rng.randrange(1 << 30)
    if change == "labels":
        return replace(task, labels=rng.randrange(1, 1000), sample=sample)
    if change == "only":
        return replace(task, only=rng.choice((CLASSES, 7, 4)), sample=sample)
    return replace(task, sample=sample)


def batches(task: Task, size: int, seed: int) -> Batches:
    return Batches(*_examples(task), size, seed)


class Batches:
    """Endless batches of inputs and targets, each epoch in another order."""

    def __init__(self, inputs: Tensor, targets: Tensor, size: int, seed: int) -> None:
        self._inputs, self._targets, self._size = inputs, targets, size
        self._random = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.long)

    def __next__(self) -> tuple[Tensor, Tensor]:
        if len(self._order) < self._size:
            self._order = torch.randperm(len(self._inputs), generator=self._random)
        chosen, self._order = self._order[: self._size], self._order[self._size :]
        return self._inputs[chosen], self._targets[chosen]


@cache
def _images(source: str) -> tuple[Tensor, Tensor]:
    pixels, labels = images.garments("train") if source == "garments" else images.digits("train")
    small = F.interpolate(pixels[:20_000, None].float(), (SIDE, SIDE), mode="area")
    return (small - small.mean()) / small.std(), labels[:20_000]


@cache
def _text(source: str) -> Tensor:
    """Bytes as tokens: printable ones as they are, all others as one."""
    text = corpora._text(source).long()
    return torch.where((text >= 32) & (text < 127), text - 31, 0)


def _examples(task: Task) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(task.sample)
    if task.kind in {"text", "masked"}:
        text = _text(task.source)
        start = torch.randint(len(text) - CONTEXT - 1, (EXAMPLES,), generator=g)
        windows = text[start[:, None] + torch.arange(CONTEXT + 1)]
        if task.turn:
            windows = torch.where(windows > 0, (windows + task.turn) % VOCABULARY, 0)
        if task.kind == "text":
            return windows[:, :-1], windows[:, 1:]
        inputs = windows[:, :-1].clone()
        hidden = torch.rand(inputs.shape, generator=g) < MASKED
        targets = torch.where(hidden, inputs, -100)
        return inputs.masked_fill(hidden, VOCABULARY - 1), targets
    pixels, labels = _images(task.source)
    allowed = (labels < task.only).nonzero()[:, 0]
    chosen = allowed[torch.randint(len(allowed), (EXAMPLES,), generator=g)]
    inputs = torch.rot90(pixels[chosen], task.turn, (2, 3)).contiguous()
    if task.kind in {"reconstruct", "adversarial"}:
        return inputs, inputs.flatten(1)
    targets = labels[chosen]
    if task.labels:
        renamed = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(task.labels))
        targets = renamed[targets]
    return inputs, targets
