"""A world of trained models: the population of trainings, and the builder's splits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mother
from experiments.attributes.worlds import World
from mother.attributes.table import Value
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node

LOGARITHMS = frozenset({"learning rate", "steps", "examples"})


def population(folders: Sequence[Path], graphs: Path) -> tuple[World, World]:
    """The families of a population of trainings, each recovered by itself, as one world: with the
    true edges, and with the recovered ones. graphs: where recovered graphs are kept."""
    return _joined([_family(folder, graphs) for folder in folders], "population")


def split(folder: Path, graphs: Path) -> tuple[World, World]:
    """A split of the builder's."""
    records = json.loads((folder / "records.json").read_text())["models"]
    known = {id_: _of_record(record) for id_, record in records.items()}
    pairs = json.loads((folder / "truth.json").read_text())["edges"]
    graph = _recovered(folder, graphs)
    return _joined([(graph, pairs, known)], folder.name)


_Family = tuple[ModelGraph, list[list[str]], Mapping[str, Mapping[str, Value]]]


def _family(folder: Path, graphs: Path) -> _Family:
    known: dict[str, dict[str, Value]] = {}
    for training in json.loads((folder / "plan.json").read_text())["trainings"]:
        steps = 0
        for id_, mark in zip(training["ids"], training["marks"], strict=True):
            known[id_] = _of_training(training) | {"steps": float(max(mark - steps, 1))}
            steps = mark
    pairs = json.loads((folder / "truth.json").read_text())["edges"]
    return _recovered(folder, graphs), pairs, known


def _of_training(training: Mapping[str, Any]) -> dict[str, Value]:
    task = training["task"]
    return {
        "task": f"{task['kind']} {task['source']}",
        "optimizer": training["optimizer"],
        "learning rate": float(training["rate"]),
        "decay": "yes" if training["decay"] else "no",
        "schedule": training["schedule"],
        "batch": str(training["batch"]),
        "frozen": training["frozen"] or "nothing",
        "rank": str(training["rank"] or "full"),
        "new head": "yes" if training["new_head"] else "no",
        "number format": training["dtype"],
        "seed": str(training["seed"] % 5),
    }


def _of_record(record: Mapping[str, Any]) -> dict[str, Value]:
    recipe = record["recipe"] or {}
    known: dict[str, Value] = {"task": record["task"], "accuracy": float(record["accuracy"] or 0)}
    if recipe:
        known["learning rate"] = float(recipe["learning_rate"])
        known["examples"] = float(recipe["examples"])
        known["epochs"] = str(recipe["epochs"])
        known["schedule"] = recipe["schedule"]
    return known


def _recovered(folder: Path, graphs: Path) -> ModelGraph:
    kept = graphs / f"{folder.name}.json"
    if not kept.exists():
        graphs.mkdir(parents=True, exist_ok=True)
        kept.write_text(mother.recover([folder], bootstrap=0, explain=True, threads=1).to_json())
    return ModelGraph.load(kept)


def _joined(families: Iterable[_Family], name: str) -> tuple[World, World]:
    """Families beside each other. A true edge has the figures of the recovered one, where that is
    the same; an unknown attribute of a model leaves the model out."""
    nodes: list[Node] = []
    edges: tuple[list[Edge], list[Edge]] = ([], [])
    hidden: list[HiddenAncestor] = []
    truth: list[Mapping[str, Value]] = []
    for number, (graph, pairs, known) in enumerate(families):
        full = max(map(len, known.values()))
        ids = {n.id: f"{number}/{n.id}" for n in graph.nodes if len(known.get(n.id, ())) == full}
        nodes += [replace(n, id=ids[n.id]) for n in graph.nodes if n.id in ids]
        truth += [known[n.id] for n in graph.nodes if n.id in ids]
        figures = {(e.parent, e.child): e for e in graph.edges}
        true = [figures.get((p, c), Edge(p, c, "fine-tune")) for p, c in pairs]
        for every, into in ((true, edges[0]), (graph.edges, edges[1])):
            into += [
                replace(e, parent=ids[e.parent], child=ids[e.child], runner_up=None)
                for e in every
                if e.parent in ids and e.child in ids
            ]
        for h in graph.hidden:
            children = tuple(ids[c] for c in h.children if c in ids)
            if children:
                hidden.append(HiddenAncestor(f"{number}/{h.id}", children, ids.get(h.parent or "")))
    names = list(dict.fromkeys(name for row in truth for name in row))
    values = {name: [row[name] for row in truth] for name in names}
    of = tuple(nodes)
    right = World(name, ModelGraph("truth", of, tuple(edges[0])), values, LOGARITHMS)
    found = ModelGraph("gram", of, tuple(edges[1]), hidden=tuple(hidden))
    return right, replace(right, graph=found)
