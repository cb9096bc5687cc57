"""From what was found, by index, to a `ModelGraph`, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints import Checkpoint, Group
from mother.checkpoints.tensor import DType, is_floating
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Refused, Tree, rounded
from mother.heritage.duplicates import Duplicate
from mother.heritage.forest import Forest
from mother.heritage.gram import relation
from mother.heritage.lora import unchanged, update_rank
from mother.measures import Measures

UNSURE = 1 / 6  # of a probability from one half: odds of less than two to one
_STAGES = {
    "fine-tune": "specialization",
    "lora": "specialization",
    "continuation": "generalization",
}


@dataclass(frozen=True)
class Part:
    """One group of comparable checkpoints with what was found in it. `group` is without the
    duplicates, and only with the layers that were measured."""

    group: Group
    forest: Forest
    measures: Measures
    duplicates: tuple[Duplicate, ...] = ()


def assemble(
    parts: Sequence[Part],
    refused: Iterable[Refused],
    method: str,
    options: Mapping[str, object],
) -> ModelGraph:
    """The graph of all parts, everything sorted by name."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    hidden: list[HiddenAncestor] = []
    trees: list[Tree] = []
    taken = {c.id for part in parts for c in _checkpoints(part)}
    for part in parts:
        ids = [c.id for c in part.group.checkpoints]
        copies = {d.copy.id: d for d in part.duplicates}
        of = {id_: k for k, id_ in enumerate(ids)}
        for checkpoint in _checkpoints(part):
            copy = copies.get(checkpoint.id)
            k = of[copy.original.id if copy else checkpoint.id]
            nodes.append(_node(checkpoint, part.group, k, copy))
        edges += _edges(part, method)
        edges += [Edge(d.original.id, d.copy.id, d.relation) for d in part.duplicates]
        names = _hidden_names(len(part.forest.hidden), taken)
        for name, h in zip(names, part.forest.hidden, strict=True):
            above = ids[h.parent] if h.parent >= 0 else None
            children = tuple(sorted(ids[c] for c in h.children))
            hidden.append(HiddenAncestor(name, children, above, rounded(h.polarity)))
        trees += _trees(part, names)
    return ModelGraph(
        method,
        tuple(sorted(nodes, key=lambda node: node.id)),
        tuple(sorted(edges, key=lambda edge: (edge.parent, edge.child))),
        tuple(sorted(trees, key=lambda tree: tree.members)),
        tuple(sorted(hidden, key=lambda h: h.children)),
        tuple(sorted(refused, key=lambda r: (r.path, r.fault))),
        dict(options),
    )


def _checkpoints(part: Part) -> list[Checkpoint]:
    return [*part.group.checkpoints, *(d.copy for d in part.duplicates)]


def _node(checkpoint: Checkpoint, group: Group, k: int, copy: Duplicate | None) -> Node:
    sizes = Counter[DType]()
    for tensor in checkpoint.tensors.values():
        sizes[tensor.dtype] += tensor.size
    weights = {str(dtype): size for dtype, size in sizes.items() if is_floating(dtype)}
    return Node(
        checkpoint.id,
        str(checkpoint.path).encode("utf-8", "replace").decode(),
        checkpoint.format,
        group.architecture[k],
        checkpoint.parameters,
        max(weights, key=lambda t: (weights[t], t), default=""),
        copy.original.id if copy else None,
        group.unaligned[k],
        tuple(checkpoint.notes),
    )


def _edges(part: Part, method: str) -> list[Edge]:
    forest, ids = part.forest, [c.id for c in part.group.checkpoints]
    if not (forest.parents >= 0).any():
        return []
    same = unchanged(part.measures)
    out = []
    for child, parent in enumerate(forest.parents.tolist()):
        if parent < 0:
            continue
        rank = update_rank(part.group, same[:, parent, child], parent, child)
        polarity = float(forest.polarity[child])
        kind = relation(polarity, rank)
        out.append(
            Edge(
                ids[parent],
                ids[child],
                kind,
                None if method == "mother" else _STAGES[kind],
                distance=rounded(float(forest.distance[child])),
                polarity=rounded(polarity),
                direction_probability=rounded(float(forest.direction[child])),
                support=rounded(float(forest.support[child])),
                undirected=bool(abs(forest.direction[child] - 0.5) < UNSURE),
                rank=rank,
            )
        )
    return out


def _hidden_names(many: int, taken: set[str]) -> list[str]:
    names: list[str] = []
    k = 1
    while len(names) < many:
        if f"hidden:{k}" not in taken:
            names.append(f"hidden:{k}")
            taken.add(f"hidden:{k}")
        k += 1
    return names


def _trees(part: Part, names: Sequence[str]) -> list[Tree]:
    ids = [c.id for c in part.group.checkpoints]
    copies: dict[str, list[str]] = {}
    for d in part.duplicates:
        copies.setdefault(d.original.id, []).append(d.copy.id)
    out = []
    labels = part.forest.labels()
    beside = {c for h in part.forest.hidden for c in h.children}
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label).tolist()
        all_ids = [x for m in members for x in (ids[m], *copies.get(ids[m], []))]
        top = [m for m in members if part.forest.parents[m] < 0 and m not in beside]
        above = [
            name
            for name, h in zip(names, part.forest.hidden, strict=True)
            if h.parent < 0 and h.children[0] in members
        ]
        root = ids[top[0]] if top else above[0]
        out.append(Tree(root, tuple(sorted(all_ids)), hidden_root=not top))
    return out
