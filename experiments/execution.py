"""Carry out one run of a plan: train it, save its checkpoints, check and measure them."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from experiments.architectures import Architecture, Weights, read, save
from experiments.objectives import OBJECTIVES
from experiments.plan import Run, seed_of
from experiments.scales import SCALES, Scale
from experiments.tasks import Examples
from experiments.training import AtChance, TrainingFailed, adapt, device, fit

Record = dict[str, Any]
#: times as long as planned, where a run is at chance after less
LONGER = (1, 2, 4)
#: what the learning rate is divided by where that was not enough
GENTLER = 4


def execute(
    run: Run, scale_name: str, split: str, seed: int, folder: Path, roots: Path
) -> dict[str, Record]:
    """Make the checkpoints of a run in the folder; returns a record for each id."""
    scale = SCALES[scale_name]
    architecture = scale.architectures[run.architecture]
    torch.manual_seed(seed_of(seed, split, run.initialization or run.ids[0]))
    if run.recipe is None:
        records = {run.ids[0]: _take(run, architecture, folder, roots)}
    else:
        run, records = _trained(run, scale, architecture, seed_of(seed, split, *run.ids), folder)
    for parent, child in run.edges:
        records[child] |= _compare(_read(folder, parent), _read(folder, child), architecture)
        _refuse_unchanged(run, child, records[child])
    for id, record in records.items():
        _refuse_damaged(id, _read(folder, id))
        record |= {k: v for k, v in asdict(run).items() if k not in {"ids", "parent", "recipe"}}
        record["recipe"] = asdict(run.recipe) if run.recipe else None
    return records


def _read(folder: Path, id: str) -> dict[str, torch.Tensor]:
    return read(folder / f"{id}.safetensors")


def _take(run: Run, architecture: Architecture, folder: Path, roots: Path) -> Record:
    """A checkpoint that is not trained here but on the Hub, or in the roots' folder."""
    path = folder / f"{run.ids[0]}.safetensors"
    source = str(run.source)
    if "/" in source:
        model = architecture.pretrained(source)
        save(model, path, dtype=run.dtype, without=architecture.head)
        return {}
    weights = _read(roots, source)
    heads = [w for name, w in weights.items() if name.startswith(architecture.head)]
    model = architecture.load(weights, len(heads[0]) if heads else 2)
    save(model, path, dtype=run.dtype, without="" if heads else architecture.head)
    known: Record = json.loads((roots / "records.json").read_text())["models"][source]
    return {key: known[key] for key in ("accuracy", "chance", "loss") if key in known}


def _trained(
    run: Run, scale: Scale, architecture: Architecture, seed: int, folder: Path
) -> tuple[Run, dict[str, Record]]:
    """The run as it was carried out: longer, and at last more gently, where it was at chance."""
    assert run.recipe is not None
    recipe = run.recipe
    recipes = [replace(recipe, epochs=times * recipe.epochs) for times in LONGER]
    recipes.append(replace(recipes[-1], learning_rate=recipe.learning_rate / GENTLER))
    *first, last = (replace(run, recipe=tried) for tried in recipes)
    for tried in first:
        with suppress(AtChance):
            return tried, _train(tried, scale, architecture, seed, folder)
    return last, _train(last, scale, architecture, seed, folder)


def _train(
    run: Run, scale: Scale, architecture: Architecture, seed: int, folder: Path
) -> dict[str, Record]:
    recipe = run.recipe
    assert recipe is not None
    start = time.perf_counter()
    train = scale.draw(run.task, "train", recipe.examples, seed)
    test = scale.draw(run.task, "test", scale.test_examples, seed)
    model: Any = _start(run, architecture, folder, train.classes)
    torch.manual_seed(seed)  # what starts alike goes ways of its own
    if recipe.rank:
        model = adapt(model, architecture, recipe, trains_head=not run.keeps_head)
    objective = OBJECTIVES[recipe.objective](model).to(device())
    records: dict[str, Record] = {}
    losses = fit(objective, architecture, train, recipe, seed)
    for id, loss in zip(run.ids, losses, strict=True):
        accuracy, chance = objective.accuracy(train, test), _chance(test)
        seconds = time.perf_counter() - start
        if id == run.ids[-1]:  # what stands earlier in a run may well be at chance
            _refuse_chance(id, accuracy, chance, test)
        trained = model.merge_and_unload() if recipe.rank else objective.export()
        unsaved = "" if objective.trains_head else architecture.head
        save(trained, folder / f"{id}.safetensors", dtype=run.dtype, without=unsaved)
        records[id] = {"accuracy": round(accuracy, 4), "chance": round(chance, 4)}
        records[id] |= {"loss": round(loss, 4), "seconds": round(seconds, 2)}
    return records


def _start(run: Run, architecture: Architecture, folder: Path, classes: int) -> PreTrainedModel:
    """What the run trains: the parent, or an initialization from torch's random state."""
    if run.parent is None:
        return architecture.new(classes)
    weights = _read(folder, run.parent)
    return architecture.load(weights if run.keeps_head else architecture.body(weights), classes)


def _chance(test: Examples) -> float:
    """What always naming the commonest class gets right."""
    return float(test.labels.flatten().bincount().max() / test.labels.numel())


def _refuse_chance(id: str, accuracy: float, chance: float, test: Examples) -> None:
    margin = 3 * math.sqrt(chance * (1 - chance) / test.labels.numel())
    if not accuracy > chance + margin:
        raise AtChance(f"{id}: accuracy {accuracy:.3f} is at chance ({chance:.3f})")


def _compare(parent: Weights, child: Weights, architecture: Architecture) -> Record:
    """Relative change |c - p| / |p| and polarity <p - c, p> / |p - c|^2 over the matrices that
    both hold, without the head."""
    change = norm = inner = 0.0
    for name, p in architecture.body(parent).items():
        c = child.get(name)
        if c is not None and p.ndim > 1 and p.is_floating_point():
            p, c = p.double(), c.double()
            change += float((p - c).square().sum())
            norm += float(p.square().sum())
            inner += float(((p - c) * p).sum())
    return {
        "relative_change": math.sqrt(change / norm),
        "polarity": inner / change if change else None,
    }


def _refuse_unchanged(run: Run, child: str, record: Record) -> None:
    change = record["relative_change"]
    low, high = run.change
    if not low <= change <= high or change == 0:
        raise TrainingFailed(
            f"{child}: relative change {change:.3%} from its parent is not {low:.2%} to {high:.2%}"
        )


def _refuse_damaged(id: str, weights: Weights) -> None:
    for name, w in weights.items():
        if not bool(torch.isfinite(w).all()):
            raise TrainingFailed(f"{id}: {name} is not finite")
