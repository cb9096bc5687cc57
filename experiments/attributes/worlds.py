"""Graphs of whose models every attribute is known: trained ones, and hubs that never were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.hub.phylogeny import family_sizes, grown
from mother.attributes.table import Value
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node

#: shares of steps by relation, and how often each keeps its parent's licence, language and task
RELATIONS = ("fine-tune", "lora", "quantized", "merge")
OFTEN = (0.5, 0.25, 0.2, 0.05)
KEEPS = {"fine-tune": 0.55, "lora": 0.65, "quantized": 0.92, "merge": 0.5}
LIKE_SIBLINGS = 0.7  # of what is not kept: taken from what siblings hold
#: licences of founders, and those that descendants change to: permissive ones (arXiv:2508.06811)
LICENCES = ("apache-2.0", "mit", "llama3", "gemma", "cc-by-nc-4.0", "openrail")
FOUNDERS = (0.3, 0.15, 0.2, 0.1, 0.15, 0.1)
LATER = (0.6, 0.25, 0.02, 0.02, 0.04, 0.07)
LANGUAGES = ("en", "zh", "fr", "de", "es", "ja", "hi", "ar")
TAGS = tuple(f"tag-{k}" for k in range(12))
TASKS = ("text-generation", "classification", "translation", "summarization", "embedding", "asr")
LIBRARIES = ("transformers", "diffusers", "peft", "gguf")
ORGANIZATIONS, DATASETS = 200, 1000


@dataclass(frozen=True)
class World:
    """A graph, and of each attribute the value of every model, by its place; None where it has
    none. logarithms: numbers whose errors are told on that scale. figures: (models, features) what
    weights show of a model and of its step; None where there are no weights."""

    name: str
    graph: ModelGraph
    truth: dict[str, list[Value | None]]
    logarithms: frozenset[str] = frozenset()
    figures: NDArray[np.float64] | None = None


def simulated(n: int, seed: int) -> World:
    """A hub of n models. Families and trees as in `experiments.hub.phylogeny`; one in twenty steps
    merges two models of a family. What a step does not keep it shares with its siblings, or takes
    from what all take: licences drift to permissive ones, languages to English."""
    rng = np.random.default_rng((seed, n))
    parents: list[tuple[int, ...]] = []
    for size in family_sizes(n, rng).tolist():
        base = len(parents)
        for k, p in enumerate(grown(size, rng).tolist()):
            merged = p >= 0 and k > 2 and rng.random() < OFTEN[3]
            other = int(rng.integers(k)) if merged else p
            parents.append(tuple(sorted({base + p, base + other})) if p >= 0 else ())
    kinds = rng.choice(3, n, p=np.array(OFTEN[:3]) / sum(OFTEN[:3]))
    relations = [
        "" if not p else "merge" if len(p) > 1 else RELATIONS[k]
        for p, k in zip(parents, kinds.tolist(), strict=True)
    ]
    nodes = tuple(Node(f"m{k}", f"m{k}", "safetensors", "a", 1) for k in range(n))
    length = rng.lognormal(-3, 0.5, n)
    edges = tuple(
        Edge(
            f"m{p}",
            f"m{k}",
            relations[k],
            distance=float(length[k]),
            share=1 / len(parents[k]) if len(parents[k]) > 1 else None,
        )
        for k in range(n)
        for p in parents[k]
    )
    graph = ModelGraph("truth", nodes, edges)
    draw = _Drawing(parents, relations, rng)
    truth: dict[str, list[Value | None]] = {
        "license": draw.category(LICENCES, FOUNDERS, LATER),
        "task": draw.category(TASKS, (1 / 6,) * 6, (0.4, 0.2, 0.1, 0.1, 0.1, 0.1), keeps=0.3),
        "organization": draw.category(
            [f"org-{k}" for k in range(ORGANIZATIONS)],
            _zipf(ORGANIZATIONS),
            _zipf(ORGANIZATIONS),
            keeps=-0.3,
        ),
        "language": draw.sets(LANGUAGES, 0.5, (0.5, *[0.03] * 7), loses=0.35),
        "tags": draw.sets(TAGS, 0.2, (0.1,) * 12, loses=0.3),
        "card length": draw.numbers(),
        "seed": [str(x) for x in rng.integers(0, 5, n).tolist()],
        "library": draw.category(LIBRARIES, (0.25,) * 4, (0.7, 0.1, 0.1, 0.1), keeps=0.2),
        "dataset": draw.category(
            [f"data-{k}" for k in range(DATASETS)], _zipf(DATASETS), _zipf(DATASETS), keeps=-0.2
        ),
        "downloads": draw.numbers(),
    }
    return World("hub", graph, truth, frozenset({"card length", "downloads"}))


def _zipf(n: int) -> tuple[float, ...]:
    share = 1 / np.arange(1, n + 1)
    return tuple((share / share.sum()).tolist())


@dataclass
class _Drawing:
    """Draws attributes, parents before children."""

    parents: list[tuple[int, ...]]
    relations: list[str]
    rng: np.random.Generator

    def category(
        self,
        names: Sequence[str],
        founders: Sequence[float],
        later: Sequence[float],
        keeps: float = 0.0,
    ) -> list[Value | None]:
        """keeps: how much more often than `KEEPS` a value is kept."""
        n, rng = len(self.parents), self.rng
        first = rng.choice(len(names), n, p=founders).tolist()
        habit = rng.choice(len(names), n, p=later).tolist()  # of a model's children
        own = rng.choice(len(names), n, p=later).tolist()
        keep, alike = rng.random(n).tolist(), rng.random(n).tolist()
        which = rng.random(n)
        out: list[int] = []
        for k, above in enumerate(self.parents):
            if not above:
                out.append(first[k])
                continue
            parent = above[int(which[k] * len(above))]
            kept = keep[k] < min(0.98, max(0.05, KEEPS[self.relations[k]] + keeps))
            out.append(
                out[parent] if kept else habit[above[0]] if alike[k] < LIKE_SIBLINGS else own[k]
            )
        return [names[k] for k in out]

    def sets(
        self, names: Sequence[str], share: float, gains: Sequence[float], loses: float
    ) -> list[Value | None]:
        n, rng, many = len(self.parents), self.rng, len(names)
        first = rng.random((n, many)) < share * rng.random((n, many))
        lost, won = rng.random((n, many)) < loses, rng.random((n, many)) < np.array(gains)
        alike = rng.random((n, many)) < LIKE_SIBLINGS
        held = np.zeros((n, many), dtype=bool)
        for k, above in enumerate(self.parents):
            if not above:
                held[k] = first[k]
                continue
            if self.relations[k] == "quantized":
                held[k] = held[above[0]]
                continue
            gone = np.where(alike[k], lost[above[0]], lost[k])
            new = np.where(alike[k], won[above[0]], won[k])
            held[k] = (held[list(above)].any(0) & ~gone) | new
        every = np.array(names)
        return [tuple(every[row].tolist()) for row in held]

    def numbers(self) -> list[Value | None]:
        """Lengths of cards: shorter from step to step, on a logarithmic scale, with heavy tails."""
        n, rng = len(self.parents), self.rng
        brood, own = rng.standard_t(5, n) * 0.4, rng.standard_t(5, n) * 0.3
        out: list[float] = []
        for k, above in enumerate(self.parents):
            if not above:
                out.append(float(7.5 + 0.8 * rng.standard_normal()))
                continue
            mean = float(np.mean([out[p] for p in above]))
            small = 0.1 if self.relations[k] == "quantized" else 1.0
            out.append(5.5 + 0.7 * (mean - 5.5) + small * float(brood[above[0]] + own[k]))
        return [float(np.exp(x)) for x in out]


def recovered(world: World, wrong: float, seed: int) -> World:
    """A hub's graph with as many edges wrong as recovery has them: the parent is a sibling of the
    true one, its parent or a child of the same parent; merges hang from one parent."""
    rng = np.random.default_rng((seed, 1))
    above: dict[str, str] = {}
    for edge in world.graph.edges:
        above.setdefault(edge.child, edge.parent)
    below: dict[str, list[str]] = {}
    for child, parent in above.items():
        below.setdefault(parent, []).append(child)
    place = {node.id: k for k, node in enumerate(world.graph.nodes)}
    edges, seen = [], set()
    for edge in world.graph.edges:
        if edge.child in seen:
            continue
        seen.add(edge.child)
        parent = edge.parent
        if rng.random() < wrong:
            near = [*below[parent], *([above[parent]] if parent in above else [])]
            near = [x for x in near if place[x] < place[edge.child]]
            parent = near[int(rng.integers(len(near)))] if near else parent
        relation = "fine-tune" if edge.relation == "merge" else edge.relation
        edges.append(replace(edge, parent=parent, relation=relation, share=None))
    return replace(world, graph=replace(world.graph, edges=tuple(edges)))


def without(world: World, share: float, seed: int) -> World:
    """The world with a share of its models missing: what hung from one hangs from a hidden
    ancestor, where several did."""
    rng = np.random.default_rng((seed, 2))
    graph = world.graph
    gone = {node.id for node in graph.nodes if rng.random() < share}
    below: dict[str, list[str]] = {}
    above: dict[str, str] = {}
    for edge in graph.edges:
        below.setdefault(edge.parent, []).append(edge.child)
        above.setdefault(edge.child, edge.parent)
    hidden = []
    for id_ in sorted(gone):
        children = tuple(x for x in below.get(id_, ()) if x not in gone)
        first = tuple(x for x in children if above[x] == id_)
        if len(first) > 1:
            parent = above.get(id_)
            parent = parent if parent is not None and parent not in gone else None
            hidden.append(HiddenAncestor(f"hidden-{id_}", first, parent))
    taken = {child for ancestor in hidden for child in ancestor.children}
    edges = tuple(
        e
        for e in graph.edges
        if e.parent not in gone and e.child not in gone and e.child not in taken
    )
    kept = [k for k, node in enumerate(graph.nodes) if node.id not in gone]
    nodes = tuple(graph.nodes[k] for k in kept)
    truth = {name: [values[k] for k in kept] for name, values in world.truth.items()}
    fewer = replace(graph, nodes=nodes, edges=edges, hidden=tuple(hidden), trees=())
    return replace(world, graph=fewer, truth=truth)
