"""Trainings that are watched rather than recovered: their course, and what a seed changes.

`courses` are pre-trainings and fine-tunings that leave a checkpoint at each tenth of their way;
`siblings` are fine-tunings of one root that are alike but for their seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from experiments.plan import Recipe, Run, check, seed_of
from experiments.scales import Root, Scale

_TENTHS = tuple(k / 10 for k in range(1, 11))
#: fine-tunings of each root that siblings repeat, and how often (three times, as in the paper)
RECIPES, SIBLINGS = 2, 3


def plan(scale: Scale, name: str, seed: int) -> list[Run]:
    """The runs of `courses` or `siblings`."""
    runs = PLANS[name](scale, random.Random(seed_of(seed, name, "plan")))
    check(runs)
    return runs


def _courses(scale: Scale, rng: random.Random) -> list[Run]:
    """Every way to pre-train from its first step on; a fine-tuning of each root beside it, of
    residual networks from where their pre-training ended."""
    runs = [_pretraining(name, root, "vit") for name, root in scale.runs.items()]
    for name, root in scale.cnn_roots.items():
        start = _pretraining(name, root, "resnet")
        runs += [start, _fine_tuning(name, root, start.ids[-1], "resnet", scale, rng)]
    for name, root in scale.roots.items():
        runs += [_root(name, root), _fine_tuning(name, root, name, "vit", scale, rng)]
    return runs


def _pretraining(name: str, root: Root, architecture: str) -> Run:
    assert root.recipe is not None
    ids = tuple(f"pretraining-{name}-{k:02}" for k in range(len(_TENTHS) + 1))
    recipe = replace(root.recipe, marks=(0.0, *_TENTHS))
    return Run(
        ids,
        "continuation",
        recipe=recipe,
        task=root.task,
        architecture=architecture,
        stage="generalization",
    )


def _fine_tuning(
    name: str, root: Root, parent: str, architecture: str, scale: Scale, rng: random.Random
) -> Run:
    space = scale.spaces["cnn" if architecture == "resnet" else "ft"]
    return Run(
        tuple(f"{name}-{k:02}" for k in range(1, len(_TENTHS) + 1)),
        "fine-tune",
        recipe=replace(space.draw(rng), marks=_TENTHS),
        task=rng.choice([t for t in space.tasks if t != root.task]),
        parent=parent,
        architecture=architecture,
    )


def _root(name: str, root: Root) -> Run:
    return Run((name,), "root", task=root.task, source=name)


def _siblings(scale: Scale, rng: random.Random) -> list[Run]:
    space = scale.spaces["ft"]
    runs = []
    for name, root in scale.roots.items():
        runs.append(_root(name, root))
        tasks = rng.sample([t for t in space.tasks if t != root.task], RECIPES)
        for letter, task in zip("abcdef", tasks, strict=False):
            recipe: Recipe = space.draw(rng)
            runs += [
                Run((f"{name}-{letter}{k}",), "fine-tune", recipe=recipe, task=task, parent=name)
                for k in range(1, SIBLINGS + 1)
            ]
    return runs


def checkpoints(runs: list[Run]) -> dict[tuple[str, str], list[str]]:
    """The checkpoints of each training in the order they were made, with what it started from,
    by its stage ("generalization" is pre-training) and the root's name."""
    out = {}
    for run in runs:
        if run.recipe and len(run.ids) > 1:
            name = run.ids[-1].removeprefix("pretraining-").rsplit("-", 1)[0]
            out[run.stage, name] = ([run.parent] if run.parent else []) + list(run.ids)
    return out


PLANS: dict[str, Callable[[Scale, random.Random], list[Run]]] = {
    "courses": _courses,
    "siblings": _siblings,
}
