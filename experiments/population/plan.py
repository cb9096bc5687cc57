"""What one tree of the population is: its network, its trainings, and who is missing."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from experiments.population.data import Task, draw_task, near
from experiments.population.nets import ACTIVATIONS, INITIALIZATIONS, KINDS, Shape

#: each half has its own architectures and optimizers, so that who judges was never fitted on
HALVES = {
    "fit": (
        ("perceptron", "residual", "convolution", "batch-norm", "decoder", "autoencoder"),
        ("sgd", "momentum", "adam", "adamw", "adagrad"),
    ),
    "judge": (
        ("vit", "encoder", "lstm", "gru", "adversarial", "graph"),
        ("nesterov", "lion", "muon", "rmsprop", "nadam", "adafactor"),
    ),
}
SCHEDULES = ("constant", "linear", "cosine", "warmup", "restarts")


@dataclass(frozen=True)
class Training:
    """One training. ids: of the checkpoints that it leaves, each the child of the one before, at
    the steps `marks`. parent: what it starts from; None for an initialization of that `start`.

    rate: times the optimizer's usual one. everywhere: vectors decay, too. frozen: "first" layers,
    "body" (all but the head), or "some". rank: of LoRA. preference: trained on which of two answers
    is better, near its start. averaged: what is saved is the mean of the weights on the way.
    """

    ids: tuple[str, ...]
    marks: tuple[int, ...]
    parent: str | None
    relation: str
    task: Task
    optimizer: str
    rate: float
    decay: float
    everywhere: bool
    schedule: str
    batch: int
    clipped: bool
    seed: int
    start: int = 0
    frozen: str = ""
    new_head: bool = False
    rank: int | None = None
    preference: bool = False
    averaged: bool = False
    dtype: str = "float32"


@dataclass(frozen=True)
class Tree:
    """missing: checkpoints that are made and not given to the method."""

    number: int
    half: str
    shape: Shape
    initialization: str | None
    scale: float
    trainings: tuple[Training, ...]
    missing: tuple[str, ...] = ()

    @property
    def parents(self) -> dict[str, str | None]:
        """Of every checkpoint, also of those that are missing."""
        above: dict[str, str | None] = {}
        for t in self.trainings:
            chain = (t.parent, *t.ids)
            above |= dict(zip(t.ids, chain, strict=False))
        return above


def draw(number: int) -> Tree:
    """The tree of that number: even ones are for fitting, odd ones for judging.

    >>> draw(4).half, draw(5).half, draw(4) == draw(4)
    ('fit', 'judge', True)
    """
    rng = random.Random(f"population/{number}")
    half = ("fit", "judge")[number % 2]
    kinds, optimizers = HALVES[half]
    kind = rng.choice(kinds)
    _, learns, widths, depths = KINDS[kind]
    shape = Shape(
        kind,
        rng.choice(widths),
        rng.choice(depths),
        rng.choice(list(ACTIVATIONS)),
        rng.random() < 0.8,
    )
    drawn = _Drawing(rng, learns, rng.choice(optimizers), optimizers)
    structure = rng.choices(("tree", "star", "run"), (0.6, 0.2, 0.2))[0]
    drawn.first(_marks(rng, structure))
    many = rng.randint(0, 4) if structure == "run" else rng.randint(2, 9)
    for _ in range(many):
        drawn.child(structure)
    if rng.random() < 0.15:
        drawn.first((_by_logarithm(rng, 80, 400),), same_start=rng.random() < 0.4)
        drawn.child("tree")
    missing = drawn.missing() if rng.random() < 0.3 else ()
    return Tree(
        number,
        half,
        shape,
        rng.choice(INITIALIZATIONS),
        rng.choice((0.3, 1.0, 1.0, 1.0, 2.0)),
        tuple(drawn.trainings),
        missing,
    )


def _marks(rng: random.Random, structure: str) -> tuple[int, ...]:
    last = _by_logarithm(rng, 80, 800)
    if structure != "run":
        return (last,)
    many = rng.randint(3, 14)
    if rng.random() < 0.5:  # evenly, as those who save do, or more often at the beginning
        found = {round(last * (k + 1) / many) for k in range(many)}
    else:
        found = {round(math.exp(math.log(last) * (k + 1) / many)) for k in range(many)}
    if rng.random() < 0.3:
        found.add(0)
    return tuple(sorted(found))


class _Drawing:
    """A tree as it grows."""

    def __init__(
        self, rng: random.Random, learns: str, optimizer: str, optimizers: tuple[str, ...]
    ) -> None:
        self.rng, self.learns, self.optimizers = rng, learns, optimizers
        self.optimizer = optimizer
        self.dtype = rng.choices(("float32", "bfloat16", "float16"), (0.8, 0.15, 0.05))[0]
        self.decay = 0.0 if rng.random() < 0.4 else math.exp(rng.uniform(math.log(1e-4), -2.3))
        self.everywhere = rng.random() < 0.3
        self.trainings: list[Training] = []
        self.of: dict[str, Training] = {}

    def first(self, marks: tuple[int, ...], same_start: bool = False) -> None:
        """A training from an initialization."""
        start = self.trainings[0].start if same_start else self.rng.randrange(1 << 30)
        ids = tuple(f"m{len(self.of) + k:02}" for k in range(len(marks)))
        task = draw_task(self.learns, self.rng)
        self._add(self._training(ids, marks, None, "root", task, 0.5, 2.0, start))

    def child(self, structure: str) -> None:
        """A training from one of those there are."""
        rng = self.rng
        roots = self.trainings[0].ids
        every = list(self.of)
        if structure == "star" or rng.random() < 0.4:
            parent = roots[-1]
        else:
            parent = rng.choice((every[-1], rng.choice(every)))
        above = self.of[parent]
        how = rng.choices(
            ("full", "head", "frozen", "lora", "preference", "continued", "averaged"),
            (0.44, 0.14, 0.1, 0.1, 0.07, 0.1, 0.05),
        )[0]
        task = self._task(above.task, parent)
        low, high = (0.02, 0.2) if how == "preference" else (0.03, 3.0)
        steps = _by_logarithm(rng, 5, 300)
        marks: tuple[int, ...] = (steps,)
        if how == "continued":
            task = above.task
            marks = tuple(sorted({round(steps * (k + 1) / 3) or 1 for k in range(3)}))
        ids = tuple(f"m{len(self.of) + k:02}" for k in range(len(marks)))
        made = self._training(ids, marks, parent, how, task, low, high, above.start)
        if how == "frozen":
            made = replace(made, frozen=rng.choice(("first", "body", "some")))
        if how in {"head", "frozen"} and self.learns == "image":
            made = replace(made, new_head=how == "head" or rng.random() < 0.5)
        if how == "lora":
            made = replace(made, rank=rng.choice((1, 2, 4, 8)), decay=0.0)
        if rng.random() < 0.06:
            made = replace(made, dtype="bfloat16")
        self._add(replace(made, preference=how == "preference", averaged=how == "averaged"))

    def _task(self, above: Task, parent: str) -> Task:
        """One that is near to the parent's, far from it, or the same as another model's."""
        beside = [t.task for i, t in self.of.items() if i != parent]
        way = self.rng.choices(("far", "near", "twin"), (0.5, 0.3, 0.2 if beside else 0.0))[0]
        if way == "far":
            return draw_task(self.learns, self.rng)
        return near(above, self.rng) if way == "near" else self.rng.choice(beside)

    def _training(
        self,
        ids: tuple[str, ...],
        marks: tuple[int, ...],
        parent: str | None,
        relation: str,
        task: Task,
        low: float,
        high: float,
        start: int,
    ) -> Training:
        rng = self.rng
        other = rng.random() < 0.25
        decay = self.decay if rng.random() < 0.7 else rng.choice((0.0, 0.01, 0.1))
        return Training(
            ids,
            marks,
            parent,
            relation,
            task,
            rng.choice(self.optimizers) if other else self.optimizer,
            math.exp(rng.uniform(math.log(low), math.log(high))),
            decay,
            self.everywhere,
            rng.choice(SCHEDULES),
            rng.choice((8, 16, 32)),
            rng.random() < 0.5,
            rng.randrange(1 << 30),
            start,
            dtype=self.dtype,
        )

    def _add(self, training: Training) -> None:
        self.trainings.append(training)
        self.of |= dict.fromkeys(training.ids, training)

    def missing(self) -> tuple[str, ...]:
        """The root, or one of those that others were made from."""
        above = [t.parent for t in self.trainings if t.parent is not None]
        inner = sorted({p for p in above if p != self.trainings[0].ids[-1]})
        if inner and self.rng.random() < 0.4:
            return (self.rng.choice(inner),)
        return self.trainings[0].ids


def _by_logarithm(rng: random.Random, low: int, high: int) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))
