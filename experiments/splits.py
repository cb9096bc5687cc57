"""The splits: who is trained from whom, on what, and how.

`ft`, `lora-v` and `lora-f` are the paper's VTHR (section 6, appendix A): roots, children and
grandchildren, each child on another task than its parent. The others go past it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from experiments import corpora
from experiments.plan import Recipe, Run, Space, check, seed_of
from experiments.scales import Root, Scale

#: what ft-light's relative change must lie between, as large language models are fine-tuned
LIGHT = (0.0005, 0.01)
#: initializations in same-seed
_INITIALIZATIONS = 2


def plan(scale: Scale, split: str, seed: int) -> list[Run]:
    """The runs of a split, parents before children."""
    runs = PLANS[split](scale, random.Random(seed_of(seed, split, "plan")))
    check(runs)
    return runs


def available(scale: Scale) -> list[str]:
    """The splits that a scale has settings for."""
    needs = {"continued": scale.runs, "cnn": scale.cnn_roots, "text": scale.text_roots}
    return [s for s in PLANS if s != "roots" and needs.get(s, True) and _has_space(scale, s)]


def _has_space(scale: Scale, split: str) -> bool:
    return split in scale.spaces or split in {"continued", "same-seed", "strangers"}


def uses_roots(runs: list[Run]) -> bool:
    """Whether the plan takes models from the roots' folder."""
    return any(run.source and "/" not in run.source for run in runs)


def _roots(scale: Scale, rng: random.Random) -> list[Run]:
    return [_pretrained(id, root, "vit") for id, root in scale.roots.items()]


def _pretrained(id: str, root: Root, architecture: str) -> Run:
    return Run(
        (id,),
        "root",
        recipe=root.recipe,
        task=root.task,
        source=root.hub_id,
        architecture=architecture,
        stage="generalization",
    )


def _taken(id: str, root: Root, **changes: Any) -> Run:
    return replace(Run((id,), "root", task=root.task, source=id), **changes)


def _trees(split: str) -> Callable[[Scale, random.Random], list[Run]]:
    """Roots with children and grandchildren, fine-tuned as the split's space says."""

    def build(scale: Scale, rng: random.Random) -> list[Run]:
        space = scale.spaces[split]
        light = split == "ft-light"
        kind: dict[str, Any] = {"dtype": "bfloat16", "change": LIGHT} if light else {}
        runs = []
        for id, root in scale.roots.items():
            taken = _taken(id, root, dtype="bfloat16") if light else _taken(id, root)
            runs += _grown([taken], scale.children, space, rng, **kind)
        return runs

    return build


def _grown(
    runs: list[Run], children: tuple[int, ...], space: Space, rng: random.Random, **kind: Any
) -> list[Run]:
    """The runs, the last of them with a subtree: `children[0]` children, each with children."""
    if not children:
        return runs
    parent = runs[-1]
    tasks = _others(space.tasks, parent.task, children[0], rng)
    for number, task in enumerate(tasks, 1):
        child = Run(
            (f"{parent.ids[-1]}-{number}",),
            "lora" if space.ranks else "fine-tune",
            recipe=space.draw(rng),
            task=task,
            parent=parent.ids[-1],
            architecture=parent.architecture,
        )
        runs = runs + _grown([replace(child, **kind)], children[1:], space, rng, **kind)
    return runs


def _others(tasks: tuple[str, ...], task: str, number: int, rng: random.Random) -> list[str]:
    """Tasks but the given one, no two alike while there are enough."""
    rest = [t for t in tasks if t != task]
    return rng.sample(rest, number) if len(rest) >= number else rng.choices(rest, k=number)


def _continued(scale: Scale, rng: random.Random) -> list[Run]:
    """Checkpoints of runs from scratch, one for each objective, and roots trained on as before."""
    runs = []
    for name, root in scale.runs.items():
        assert root.recipe is not None
        ids = tuple(f"run-{name}-{k}" for k in range(1, len(scale.marks) + 1))
        recipe = replace(root.recipe, marks=scale.marks)
        run = replace(_pretrained(name, root, "vit"), ids=ids, relation="continuation")
        runs.append(replace(run, recipe=recipe))
    for id, root in scale.roots.items():
        if root.recipe and "classification" in root.recipe.objective:
            runs.append(_taken(id, root, stage="generalization"))
            runs += [_resumed(id, root, line, decay) for line, decay in (("a", 0.0), ("b", 0.05))]
    return runs


def _resumed(id: str, root: Root, line: str, decay: float) -> Run:
    """A root trained on as it was pre-trained, at half its peak learning rate."""
    assert root.recipe is not None
    recipe = replace(
        root.recipe,
        learning_rate=root.recipe.learning_rate / 2,
        epochs=root.recipe.epochs / 3,
        weight_decay=decay,
        marks=(0.5, 1.0),
    )
    return Run(
        tuple(f"{id}-{line}{k}" for k in (1, 2)),
        "continuation",
        recipe=recipe,
        task=root.task,
        parent=id,
        keeps_head=True,
        stage="generalization",
    )


def _same_seed(scale: Scale, rng: random.Random) -> list[Run]:
    """Trainings of one initialization, which is absent: half on one task, half on others."""
    runs = []
    for letter in "abcdef"[:_INITIALIZATIONS]:
        half = scale.scratch_models // 2
        common, *others = _others(scale.spaces["ft"].tasks, "", half + 1, rng)
        for number, task in enumerate([common] * (scale.scratch_models - half) + others[:half], 1):
            run = _from_scratch(f"init-{letter}-{number}", task, scale.scratch)
            runs.append(replace(run, initialization=f"init-{letter}"))
    return runs


def _strangers(scale: Scale, rng: random.Random) -> list[Run]:
    """Trainings of initializations of their own, half on one task, half on others."""
    half = scale.scratch_models // 2
    common, *others = _others(scale.spaces["ft"].tasks, "", half + 1, rng)
    tasks = [common] * (scale.scratch_models - half) + others[:half]
    return [_from_scratch(f"stranger-{k}", t, scale.scratch) for k, t in enumerate(tasks, 1)]


def _from_scratch(id: str, task: str, recipe: Recipe) -> Run:
    return Run((id,), "root", recipe=recipe, task=task, stage="generalization")


def _cnn(scale: Scale, rng: random.Random) -> list[Run]:
    runs = []
    for id, root in scale.cnn_roots.items():
        start = _pretrained(id, root, "resnet")
        runs += _grown([start], scale.children, scale.spaces["cnn"], rng)
    return runs


def _text(scale: Scale, rng: random.Random) -> list[Run]:
    """Decoders with children of all three ways to train on, and the same below each."""
    runs, roots, domains = [], scale.text_roots, corpora.available()
    for number, (id, recipe) in enumerate(roots.items()):
        task = corpora.MIXED.join(domains[number :: len(roots) + 1])
        start = _pretrained(id, Root(task, recipe), "llama")
        runs += _grown_text([start], scale.children, scale.spaces, rng)
    return runs


_TEXT_WAYS = (
    ("fine-tune", "text"),
    ("lora", "text-lora"),
    ("continuation", "text-continued"),
    ("fine-tune", "text"),
)


def _grown_text(
    runs: list[Run], children: tuple[int, ...], spaces: Mapping[str, Space], rng: random.Random
) -> list[Run]:
    if not children:
        return runs
    parent = runs[-1]
    known = parent.task.split(corpora.MIXED)
    domains = [d for d in corpora.available() if d not in known]
    tasks = _others(tuple(domains), parent.task, children[0], rng)
    ways = (rng.sample(_TEXT_WAYS, len(_TEXT_WAYS)) * children[0])[: children[0]]
    for number, (relation, space), task in zip(count(1), ways, tasks, strict=False):
        goes_on = relation == "continuation"
        child = Run(
            (f"{parent.ids[-1]}-{number}",),
            relation,
            recipe=spaces[space].draw(rng),
            task=parent.task if goes_on else task,
            parent=parent.ids[-1],
            architecture="llama",
            keeps_head=True,
            stage="generalization" if goes_on else "specialization",
        )
        runs = runs + _grown_text([child], children[1:], spaces, rng)
    return runs


PLANS: dict[str, Callable[[Scale, random.Random], list[Run]]] = {
    "roots": _roots,
    "ft": _trees("ft"),
    "lora-v": _trees("lora-v"),
    "lora-f": _trees("lora-f"),
    "ft-wd": _trees("ft-wd"),
    "ft-light": _trees("ft-light"),
    "continued": _continued,
    "same-seed": _same_seed,
    "strangers": _strangers,
    "cnn": _cnn,
    "text": _text,
}
