"""What a split consists of: training runs, where each starts, and how it trains."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a training run. `marks` are the shares of it at whose ends checkpoints
    are saved. A rank makes it LoRA. Where a relative change is given, the learning rate is the
    head's, and the body's is set so that its weights change by about that share of their norm."""

    learning_rate: float
    examples: int
    epochs: float
    batch_size: int = 32
    objective: str = "classification"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    schedule: str = "linear"
    warmup: float = 0.0
    relative_change: float | None = None
    rank: int | None = None
    alpha: int | None = None
    marks: tuple[float, ...] = (1.0,)

    def steps(self, examples: int) -> int:
        """Number of batches, of the examples that there are."""
        return max(1, math.ceil(examples * self.epochs / self.batch_size))


@dataclass(frozen=True)
class Space:
    """Ranges that recipes are drawn from: learning rates and relative changes by their logarithm,
    the rest uniformly."""

    tasks: tuple[str, ...]
    learning_rate: tuple[float, float]
    examples: tuple[int, int]
    epochs: tuple[int, ...]
    batch_size: tuple[int, ...] = (32,)
    optimizer: str = "adamw"
    weight_decay: tuple[float, ...] = (0.0,)
    schedule: tuple[str, ...] = ("linear",)
    relative_change: tuple[float, float] | None = None
    ranks: tuple[int, ...] = ()

    def draw(self, rng: random.Random) -> Recipe:
        """A recipe; LoRA's alpha equals its rank, as in the paper's table."""
        rank = rng.choice(self.ranks) if self.ranks else None
        change = self.relative_change
        return Recipe(
            learning_rate=_by_logarithm(self.learning_rate, rng),
            examples=rng.randint(*self.examples),
            epochs=rng.choice(self.epochs),
            batch_size=rng.choice(self.batch_size),
            optimizer=self.optimizer,
            weight_decay=rng.choice(self.weight_decay),
            schedule=rng.choice(self.schedule),
            relative_change=change and _by_logarithm(change, rng),
            rank=rank,
            alpha=rank,
        )


@dataclass(frozen=True)
class Run:
    """One unit of work: it leaves a checkpoint under each of `ids`, each the child of the one
    before, the first the child of `parent`.

    Without a parent it starts from an initialization, which runs of one `initialization` share.
    Without a recipe, the checkpoint is `source`, a model of the roots' folder or of the Hub.
    """

    ids: tuple[str, ...]
    relation: str
    recipe: Recipe | None = None
    task: str = ""
    parent: str | None = None
    source: str | None = None
    initialization: str | None = None
    architecture: str = "vit"
    keeps_head: bool = False
    dtype: str = "float32"
    stage: str = "specialization"
    #: what the relative change of weights from parent to child must lie between
    change: tuple[float, float] = (0.0, math.inf)

    @property
    def edges(self) -> list[tuple[str, str]]:
        chain = ([self.parent] if self.parent else []) + list(self.ids)
        return list(pairwise(chain))


def _by_logarithm(bounds: tuple[float, float], rng: random.Random) -> float:
    return math.exp(rng.uniform(*map(math.log, bounds)))


def seed_of(*names: object) -> int:
    """A seed that depends on the names alone.

    >>> seed_of(0, "ft", "mae-1") == seed_of(0, "ft", "mae-1") != seed_of(1, "ft", "mae-1")
    True
    """
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def digest(plan: Sequence[Run]) -> str:
    """Twelve digits that are the same for the same plan."""
    return hashlib.sha256(repr(list(plan)).encode()).hexdigest()[:12]


def check(plan: Sequence[Run]) -> None:
    """Refuse a plan whose edges make no forest, or whose child repeats its parent's task."""
    made: dict[str, Run] = {}
    for run in plan:
        if run.parent is not None and run.parent not in made:
            raise ValueError(f"{run.ids[0]}: its parent {run.parent} is not made before it")
        parent = made.get(run.parent or "")
        if parent and run.relation in {"fine-tune", "lora"} and parent.task == run.task:
            raise ValueError(f"{run.ids[0]}: same task as its parent, {run.task}")
        for id in run.ids:
            if id in made:
                raise ValueError(f"{id}: made twice")
            made[id] = run


def trees(
    nodes: Iterable[str], edges: Iterable[Sequence[str]], hidden: Iterable[Sequence[str]]
) -> list[list[str]]:
    """The nodes by tree: joined by edges, or by an ancestor that is not among them.

    >>> trees("abcde", [("a", "b")], [("c", "d")])
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    tree = {node: [node] for node in nodes}
    for group in [*edges, *hidden]:
        for other in group[1:]:
            joined, added = tree[group[0]], tree[other]
            if joined is not added:
                joined += added
                tree |= dict.fromkeys(added, joined)
    return [members for node, members in tree.items() if members[0] == node]
