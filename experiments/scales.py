"""How large the experiments are: the same code reads one of three settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from experiments import corpora, tasks, vtab
from experiments.architectures import Architecture, llama, resnet, vit, vit_of_hub
from experiments.plan import Recipe, Space
from experiments.tasks import Examples

#: draw(task, part, count, seed)
Draw = Callable[[str, str, int, int], Examples]


@dataclass(frozen=True)
class Root:
    """A tree's root: a task and a recipe to pre-train it by, or a model of the Hub."""

    task: str
    recipe: Recipe | None = None
    hub_id: str | None = None


@dataclass(frozen=True)
class Scale:
    """What the splits are made of. `children` counts those of a root and those of its child;
    `spaces` are what fine-tunings are drawn from, by split; `runs` are trained from scratch and
    leave a checkpoint at each of `marks`; `scratch` trains models that are no one's child."""

    name: str
    architectures: Mapping[str, Architecture]
    draw: Draw
    test_examples: int
    roots: Mapping[str, Root]
    children: tuple[int, int]
    spaces: Mapping[str, Space]
    scratch: Recipe
    scratch_models: int
    runs: Mapping[str, Root] = field(default_factory=dict)
    marks: tuple[float, ...] = ()
    cnn_roots: Mapping[str, Root] = field(default_factory=dict)
    text_roots: Mapping[str, Recipe] = field(default_factory=dict)


def _local(task: str, part: str, count: int, seed: int) -> Examples:
    drawn = tasks.draw if task in tasks.TASKS else corpora.draw
    return drawn(task, part, count, seed)


def _pretraining(examples: int, epochs: Mapping[str, float]) -> dict[str, Root]:
    """The five ways to pre-train, each for its number of epochs."""
    recipe = Recipe(
        learning_rate=1e-3,
        examples=examples,
        epochs=1,
        batch_size=64,
        weight_decay=0.05,
        schedule="cosine",
        warmup=0.05,
    )
    ways = {
        "supervised": ("fashion", "augmented-classification"),
        "other-labels": ("fashion-by-rotation", "augmented-classification"),
        "mae": ("fashion", "masked-autoencoding"),
        "dino": ("fashion", "self-distillation"),
        "msn": ("fashion", "masked-siamese"),
    }
    return {
        name: Root(ways[name][0], replace(recipe, objective=ways[name][1], epochs=number))
        for name, number in epochs.items()
    }


_TASKS = tuple(t for t in tasks.TASKS if t != "fashion-by-rotation")
# without what stays at chance on a masked autoencoder's features, however long one trains lightly
_LEARNABLE = tuple(t for t in _TASKS if t != "quadrant-order")


# What ft-light aims at; rounding to bfloat16 takes up to half of it away.
_LIGHT = (2e-3, 5e-3)


def _spaces(full: Space, lora: Space, cnn: Space, text: Space, *, light: Space) -> dict[str, Space]:
    """The splits' hyper-parameters: variations on a few kinds of fine-tuning."""
    return {
        "ft": full,
        "lora-v": lora,
        "lora-f": replace(lora, ranks=(8,)),
        "ft-wd": replace(
            full,
            learning_rate=(7e-4, 2e-3),
            weight_decay=(0.01, 0.03, 0.05, 0.1),
            epochs=(max(full.epochs),),
        ),
        "ft-light": light,
        "cnn": cnn,
        "text": text,
        "text-lora": replace(text, learning_rate=(2e-3, 6e-3), ranks=lora.ranks),
        "text-continued": replace(text, weight_decay=(0.1,), schedule=("cosine",)),
    }


_SMALL_FULL = Space(
    tasks=_TASKS,
    learning_rate=(2e-4, 1e-3),
    examples=(600, 1200),
    epochs=(2, 3),
    schedule=("linear", "cosine", "constant"),
)
_SMALL_PRETRAINING = _pretraining(
    20_000, {"supervised": 3, "other-labels": 3, "mae": 4, "dino": 1, "msn": 2}
)
_SMALL_CNN = Recipe(
    0.1, 40_000, 3, 64, optimizer="sgd", weight_decay=5e-4, schedule="cosine", warmup=0.05
)
_SMALL_TEXT = Recipe(2e-3, 24_000, 1, 16, weight_decay=0.1, schedule="cosine", warmup=0.05)

_SMALL_LORA = Space(_LEARNABLE, (2e-3, 9e-3), (500, 1000), (4,), ranks=(2, 4, 8, 16))

SMALL = Scale(
    name="small",
    architectures={
        "vit": vit(128, layers=4, heads=4),
        "resnet": resnet((16, 32, 64, 96)),
        "llama": llama(
            96, layers=3, heads=4, vocabulary=corpora.VOCABULARY, context=corpora.CONTEXT
        ),
    },
    draw=_local,
    test_examples=1000,
    roots=_SMALL_PRETRAINING,
    children=(4, 4),
    spaces=_spaces(
        _SMALL_FULL,
        _SMALL_LORA,
        Space(_TASKS, (5e-3, 3e-2), (3000, 5000), (2, 3), optimizer="sgd", weight_decay=(0, 5e-4)),
        Space((), (3e-4, 1.2e-3), (1500, 3000), (1,), batch_size=(16,)),
        light=replace(
            _SMALL_FULL,
            tasks=_LEARNABLE,
            learning_rate=(5e-3, 1e-2),
            relative_change=_LIGHT,
        ),
    ),
    scratch=Recipe(1e-3, 5_000, 2, 64, weight_decay=0.05, schedule="cosine", warmup=0.05),
    scratch_models=16,
    runs={
        name: replace(root, recipe=replace(root.recipe, epochs=root.recipe.epochs / 2))
        for name, root in _SMALL_PRETRAINING.items()
        if root.recipe
    },
    marks=(0.1, 0.2, 0.35, 0.5, 0.75, 1.0),
    cnn_roots={
        "resnet-a": Root("fashion", _SMALL_CNN),
        "resnet-b": Root("rotation", _SMALL_CNN),
    },
    text_roots={"llama-a": _SMALL_TEXT, "llama-b": _SMALL_TEXT},
)

_LONGER = {
    split: replace(SMALL.spaces[split], examples=examples, epochs=epochs)
    for split, examples, epochs in (
        ("ft", (1000, 2000), (2, 3, 4)),
        ("ft-wd", (1000, 2000), (4,)),
        ("ft-light", (1000, 2000), (2, 3, 4)),
        ("lora-v", (800, 1600), (4,)),
        ("lora-f", (800, 1600), (4,)),
    )
}
_LONGER |= {s: replace(_LONGER[s], tasks=_TASKS) for s in ("lora-v", "lora-f")}
# Other sizes of network, other roots: to fit methods on, where SMALL judges them.
STUDY = replace(
    SMALL,
    name="study",
    architectures={
        "vit": vit(96, layers=3, heads=3),
        "resnet": resnet((12, 24, 48)),
        "llama": llama(
            64, layers=2, heads=4, vocabulary=corpora.VOCABULARY, context=corpora.CONTEXT
        ),
    },
    roots={name: _SMALL_PRETRAINING[name] for name in ("supervised", "mae")},
    children=(3, 3),
    spaces={**SMALL.spaces, **_LONGER},
    scratch_models=6,
)

# Of tasks only those that a few seconds of training tell from chance.
_EASIEST = ("first-five", "last-five", "odd-even", "groups", "brightness", "inverted")
_EASY = (*_EASIEST, "location")
_TINY_FULL = replace(_SMALL_FULL, tasks=_EASY, examples=(600, 1000), learning_rate=(1e-3, 3e-3))
_TINY_RUNS = _pretraining(
    4_000, {"supervised": 1, "other-labels": 2, "mae": 1, "dino": 0.4, "msn": 0.5}
)

TINY = Scale(
    name="tiny",
    architectures={
        "vit": vit(32, layers=2, heads=2),
        "resnet": resnet((8, 16, 16)),
        "llama": llama(
            32, layers=2, heads=2, vocabulary=corpora.VOCABULARY, context=corpora.CONTEXT
        ),
    },
    draw=_local,
    test_examples=400,
    roots={name: _TINY_RUNS[name] for name in ("supervised", "mae")},
    children=(2, 2),
    spaces=_spaces(
        _TINY_FULL,
        Space(_EASIEST, (4e-3, 9e-3), (300, 500), (4,), ranks=(2, 4, 8)),
        Space(_EASIEST, (5e-3, 3e-2), (300, 500), (3,), optimizer="sgd", weight_decay=(0, 5e-4)),
        Space((), (1e-3, 3e-3), (300, 500), (1,), batch_size=(16,)),
        light=replace(
            _TINY_FULL,
            tasks=_EASY[:5],
            examples=(400, 700),
            learning_rate=(1e-2, 2e-2),
            epochs=(3,),
            relative_change=_LIGHT,
        ),
    ),
    scratch=Recipe(2e-3, 800, 2, 32, weight_decay=0.05, schedule="cosine", warmup=0.05),
    scratch_models=4,
    runs=_TINY_RUNS,
    marks=(0.3, 0.6, 1.0),
    cnn_roots={"resnet-a": Root("fashion", replace(_SMALL_CNN, examples=1_000))},
    text_roots={"llama-a": replace(_SMALL_TEXT, examples=1_500)},
)

_HUB_ROOTS = (
    "google/vit-base-patch16-224",
    "google/vit-base-patch16-224-in21k",
    "facebook/vit-mae-base",
    "facebook/dino-vitb16",
    "facebook/vit-msn-base",
)
_PAPER_FULL = Space(
    tasks=("cifar100", "svhn", "pcam", "clevr_count_all", "clevr_closest_object_distance", "dmlab"),
    learning_rate=(2e-4, 2e-4),
    examples=(10_000, 10_000),
    epochs=(5,),
    batch_size=(64,),
)
_PAPER_LORA = Space(
    tasks=tuple(vtab.TASKS),
    learning_rate=(9e-3, 9e-3),
    examples=(1000, 1000),
    epochs=(20,),
    batch_size=(128,),
    ranks=(8, 16, 32, 64),
)

PAPER = Scale(
    name="paper",
    architectures={"vit": vit_of_hub(_HUB_ROOTS[1])},
    draw=partial(vtab.draw, like=_HUB_ROOTS[1]),
    test_examples=2000,
    roots={id.split("/")[1]: Root("", hub_id=id) for id in _HUB_ROOTS},
    children=(4, 4),
    spaces={
        "ft": _PAPER_FULL,
        "lora-v": _PAPER_LORA,
        "lora-f": replace(_PAPER_LORA, ranks=(16,)),
        "ft-wd": replace(_PAPER_FULL, weight_decay=(0.01, 0.03, 0.05, 0.1)),
        "ft-light": replace(_PAPER_FULL, learning_rate=(1e-3, 1e-3), relative_change=_LIGHT),
    },
    scratch=Recipe(5e-4, 10_000, 20, 64, weight_decay=0.05, schedule="cosine", warmup=0.05),
    scratch_models=10,
)

SCALES = {scale.name: scale for scale in (TINY, STUDY, SMALL, PAPER)}
