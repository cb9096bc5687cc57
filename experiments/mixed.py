"""All splits of a scale in one folder, under names that tell nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.build import Build, write_json
from experiments.plan import seed_of, trees

#: what a checkpoint is in its own split: the split and the id there; a root is one for all splits
Origin = tuple[str, str]


def mix(builds: Sequence[Build], folder: Path, scale: str, seed: int) -> None:
    """Link the builds' checkpoints into the folder and write their joint truth.

    A root that several splits start from appears once, and once more as ft-light's copy in
    bfloat16, which is its child.
    """
    stamp = {"split": "mixed", "scale": scale, "seed": seed}
    origins: dict[Origin, Path] = {}
    edges: list[tuple[Origin, Origin]] = []
    stages: dict[Origin, str] = {}
    relations: dict[Origin, str] = {}
    hidden: list[list[Origin]] = []
    records: dict[Origin, Any] = {}
    for build in builds:
        truth = json.loads((build.folder / "truth.json").read_text())
        models = json.loads((build.folder / "records.json").read_text())["models"]
        origin = {id: _origin(build.split, id, models[id]) for id in truth["nodes"]}
        for id in truth["nodes"]:
            origins.setdefault(origin[id], build.folder / f"{id}.safetensors")
            stages.setdefault(origin[id], truth["stages"][id])
            records.setdefault(origin[id], models[id])
            if id in truth["relations"]:
                relations[origin[id]] = truth["relations"][id]
            elif models[id]["source"] and models[id]["dtype"] != "float32":
                edges.append((("roots", id), origin[id]))
                relations[origin[id]] = "converted"
        edges += [(origin[p], origin[c]) for p, c in truth["edges"]]
        hidden += [[origin[id] for id in group] for group in truth["hidden_ancestors"]]
    names = _scrambled(sorted(origins), seed)
    folder.mkdir(parents=True, exist_ok=True)
    for one, path in origins.items():
        _link(path, folder / f"{names[one]}.safetensors")
    write_json(
        folder / "records.json",
        stamp | {"models": {names[o]: {"origin": "/".join(o)} | r for o, r in records.items()}},
    )
    named_edges = sorted([names[p], names[c]] for p, c in edges)
    named_hidden = [[names[o] for o in group] for group in hidden]
    write_json(
        folder / "truth.json",
        stamp
        | {
            "nodes": sorted(names.values()),
            "edges": named_edges,
            "trees": trees(sorted(names.values()), named_edges, named_hidden),
            "stages": {names[o]: stage for o, stage in stages.items()},
            "relations": {names[o]: relation for o, relation in relations.items()},
            "hidden_ancestors": named_hidden,
        },
    )


def _origin(split: str, id: str, record: dict[str, Any]) -> Origin:
    shared = record["source"] and record["dtype"] == "float32"
    return ("roots" if shared else split, id)


def _scrambled(origins: Sequence[Origin], seed: int) -> dict[Origin, str]:
    order = list(range(len(origins)))
    random.Random(seed_of(seed, "mixed")).shuffle(order)
    return {origin: f"m{number:04}" for origin, number in zip(origins, order, strict=True)}


def _link(source: Path, target: Path) -> None:
    """A second name for the file, or a copy where the file system has none."""
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
