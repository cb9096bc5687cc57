"""Worlds of trained models: the population of trainings, and the builder's splits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

import mother
from experiments.attributes.features import OF_STEP, Array, Weights, of_model, of_step
from experiments.attributes.worlds import World
from mother.attributes.table import Value
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node

LOGARITHMS = frozenset({"learning rate", "steps", "examples"})
#: what the plan calls a step, as recovery does
RELATIONS = {"continued": "continuation", "lora": "lora"}


@dataclass(frozen=True)
class Family:
    """The models of one folder: what is known of each, and its graphs. figures: what weights show
    of (parent, child), or of (child,) alone."""

    known: Mapping[str, Mapping[str, Value]]
    graphs: tuple[ModelGraph, ModelGraph, ModelGraph]
    figures: Callable[[str | None, str], Array]


def population(folders: Sequence[Path], graphs: Path, missing: float) -> tuple[World, World, World]:
    """The families of a population of trainings, each recovered by itself, as one world: with the
    true edges, with the recovered ones, and with those recovered where a share of the models is
    missing. graphs: where recovered graphs and figures are kept."""
    return _joined((_of_plan(folder, graphs, missing) for folder in folders), "population")


def splits(folders: Sequence[Path], graphs: Path, missing: float) -> tuple[World, World, World]:
    """The builder's splits, likewise."""
    return _joined((_of_records(folder, graphs, missing) for folder in folders), "splits")


def _of_plan(folder: Path, graphs: Path, missing: float) -> Family:
    plan = json.loads((folder / "plan.json").read_text())
    known: dict[str, dict[str, Value]] = {}
    above: dict[str, str | None] = {}
    relation: dict[str, str] = {}
    for training in plan["trainings"]:
        steps, parent = 0, training["parent"]
        for id_, mark in zip(training["ids"], training["marks"], strict=True):
            known[id_] = _of_training(training) | {"steps": float(max(mark - steps, 1))}
            above[id_] = parent
            goes_on = id_ != training["ids"][0]
            made = RELATIONS.get(training["relation"], "fine-tune")
            relation[id_] = "continuation" if goes_on else made
            steps, parent = mark, id_
    return _family(folder, graphs, missing, known, above, relation)


def _of_training(training: Mapping[str, Any]) -> dict[str, Value]:
    return {
        "task": training["task"]["kind"],
        "data": training["task"]["source"],
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


def _of_records(folder: Path, graphs: Path, missing: float) -> Family:
    records = json.loads((folder / "records.json").read_text())["models"]
    known = {id_: _of_record(record) for id_, record in records.items()}
    above: dict[str, str | None] = dict.fromkeys(records)
    above |= {c: p for p, c in json.loads((folder / "truth.json").read_text())["edges"]}
    return _family(folder, graphs, missing, known, above, dict.fromkeys(known, "fine-tune"))


def _of_record(record: Mapping[str, Any]) -> dict[str, Value]:
    recipe = record["recipe"] or {}
    known: dict[str, Value] = {"task": record["task"], "accuracy": float(record["accuracy"] or 0)}
    if recipe:
        known["learning rate"] = float(recipe["learning_rate"])
        known["examples"] = float(recipe["examples"])
        known["epochs"] = str(recipe["epochs"])
        known["schedule"] = recipe["schedule"]
    return known


def _family(
    folder: Path,
    graphs: Path,
    missing: float,
    known: Mapping[str, Mapping[str, Value]],
    above: Mapping[str, str | None],
    relation: Mapping[str, str],
) -> Family:
    files = sorted(folder.glob("*.safetensors"))
    drawn = np.random.default_rng([*folder.name.encode()]).random(len(files)) >= missing
    kept = [file for file, x in zip(files, drawn.tolist(), strict=True) if x]
    found = _recovered([folder], graphs / f"{folder.name}.json")
    if len(kept) > 1:
        fewer = _recovered(kept, graphs / f"{folder.name}-fewer.json")
    else:
        fewer = ModelGraph("gram", tuple(n for n in found.nodes if n.id in {f.stem for f in kept}))
    figures = _Figures(folder, graphs / f"{folder.name}-figures.json")
    true = _true(found.nodes, above, relation)
    graphs_ = (true, found, fewer)
    for graph in graphs_:
        for node in graph.nodes:
            figures(graph.parent(node.id), node.id)
    figures.keep()
    return Family(known, graphs_, figures)


def _true(
    nodes: tuple[Node, ...], above: Mapping[str, str | None], relation: Mapping[str, str]
) -> ModelGraph:
    """What is not given is a hidden ancestor, where it has several children."""
    given = {node.id for node in nodes}
    children: dict[str, list[str]] = {}
    for child, parent in above.items():
        if parent is not None:
            children.setdefault(parent, []).append(child)

    def stands(id_: str) -> bool:
        return id_ in given or len(children.get(id_, ())) > 1

    def parent_of(id_: str) -> str | None:
        parent = above[id_]
        while parent is not None and not stands(parent):
            parent = above[parent]
        return parent

    up = {id_: parent_of(id_) for id_ in above if stands(id_)}
    edges = tuple(Edge(p, c, relation[c]) for c, p in up.items() if p in given and p and c in given)
    hidden = []
    for id_ in up.keys() - given:
        below = tuple(sorted(c for c, p in up.items() if p == id_))
        parent = up[id_]
        if below:
            hidden.append(HiddenAncestor(id_, below, parent))
    hidden.sort(key=lambda h: h.id)
    return ModelGraph("truth", nodes, edges, hidden=tuple(hidden))


def _recovered(paths: Sequence[Path], kept: Path) -> ModelGraph:
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        found = mother.recover(paths, bootstrap=0, explain=True, threads=1)
        kept.write_text(found.to_json())
    return ModelGraph.load(kept)


class _Figures:
    """What weights show, measured once and kept."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self.folder, self.kept = folder, kept
        self.known: dict[str, list[float]] = json.loads(kept.read_text()) if kept.exists() else {}
        self.many = len(self.known)
        self.weights: dict[str, Weights] = {}

    def __call__(self, parent: str | None, child: str) -> Array:
        own = self._of(child, lambda: of_model(self._read(child)))
        if parent is None:
            return np.concatenate([own, [0.0] * (len(OF_STEP) + 1)])
        between = self._of(
            f"{parent} {child}", lambda: of_step(self._read(parent), self._read(child))
        )
        return np.concatenate([own, [1.0], between])

    def _of(self, key: str, measure: Callable[[], Array]) -> Array:
        if key not in self.known:
            self.known[key] = [round(x, 6) for x in measure().tolist()]
        return np.array(self.known[key])

    def _read(self, id_: str) -> Weights:
        if id_ not in self.weights:
            with safe_open(self.folder / f"{id_}.safetensors", "pt") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            self.weights[id_] = {k: t.double().numpy() for k, t in tensors.items()}
        return self.weights[id_]

    def keep(self) -> None:
        if len(self.known) > self.many:
            self.kept.write_text(json.dumps(self.known))
        self.weights = {}


def _joined(families: Iterable[Family], name: str) -> tuple[World, World, World]:
    """Families beside each other."""
    every = list(families)
    names = list(dict.fromkeys(a for f in every for row in f.known.values() for a in row))
    true, found, fewer = (_world(every, which, names, name) for which in range(3))
    return true, found, fewer


def _world(families: Sequence[Family], which: int, names: Sequence[str], name: str) -> World:
    """By one of each family's graphs."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    hidden: list[HiddenAncestor] = []
    truth: list[Mapping[str, Value]] = []
    figures: list[Array] = []
    for number, family in enumerate(families):
        graph, known = family.graphs[which], family.known
        whole = [n for n in graph.nodes if n.id in known]
        ids = {n.id: f"{number}/{n.id}" for n in whole}
        nodes += [replace(n, id=ids[n.id]) for n in whole]
        truth += [known[n.id] for n in whole]
        figures += [family.figures(graph.parent(n.id), n.id) for n in whole]
        edges += [
            replace(e, parent=ids[e.parent], child=ids[e.child], runner_up=None)
            for e in graph.edges
            if e.parent in ids and e.child in ids
        ]
        rows = ids | {h.id: f"{number}/{h.id}" for h in graph.hidden}
        for h in graph.hidden:
            below = tuple(rows[c] for c in h.children if c in rows)
            hidden.append(HiddenAncestor(rows[h.id], below, rows.get(h.parent or "")))
    values = {a: [row.get(a) for row in truth] for a in names}
    graph = ModelGraph("", tuple(nodes), tuple(edges), hidden=tuple(hidden))
    return World(name, graph, values, LOGARITHMS, np.array(figures))
