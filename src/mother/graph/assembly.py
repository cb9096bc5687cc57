"""From what was found, by index, to a `ModelGraph`, by name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mother.checkpoints import Checkpoint, File
from mother.copies.contained import is_part
from mother.copies.duplicates import Duplicate
from mother.evidence.looks import Look, closest_rank
from mother.evidence.ranks import edited, unchanged
from mother.evidence.recipes import Merge
from mother.evidence.relation import has_new_layers, kept, length, relation, reshaped
from mother.graph import (
    Edge,
    Evidence,
    HiddenAncestor,
    ModelGraph,
    Node,
    Probabilities,
    Refused,
    Tree,
    WeightFile,
    rounded,
)
from mother.graph.foretold import among_inputs
from mother.graph.larger import hung_from_larger
from mother.graph.merged import merged_edges, recipe
from mother.graph.stages import staged
from mother.layouts import Group
from mother.measures import Measures
from mother.measures.formats import roundings
from mother.measures.products import Source
from mother.sketches.levels import Doubt
from mother.thresholds import TRACE
from mother.trees.forest import Forest

UNSURE = 1 / 6  # of a probability from one half: odds of less than two to one
NEITHER = 0.55  # probability that an edge is what it says, below which it is told as open
MOST_TOLD = 50.0  # log-odds that are not told from more
WITHIN = "within the error of what was looked at"
#: relations of those that hold the weights of another one, and are no copies of it
NO_COPIES = ("", "contains", "upcycled")
NOTE_MODELS = 4  # models that a note names


@dataclass(frozen=True)
class Part:
    """One group of comparable checkpoints with what was found in it. `group` is without the
    duplicates, and only with the layers that were measured; `lossy` are copies that are in it, for
    they may have children of their own. doubts: decisions that are within the error of sketches.
    looks: what was looked at more closely than `group`. merges: models put together from others.
    in_part: whether parts of the models were read first."""

    group: Group
    forest: Forest
    measures: Source
    duplicates: tuple[Duplicate, ...] = ()
    lossy: tuple[Duplicate, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    looks: tuple[Look, ...] = ()
    merges: tuple[Merge, ...] = ()
    in_part: bool = False


def assemble(
    parts: Sequence[Part],
    refused: Iterable[Refused],
    method: str,
    options: Mapping[str, object],
    *,
    hashes: Mapping[File, str],
    conversions: Iterable[Duplicate] = (),
    explain: bool = False,
) -> ModelGraph:
    """The graph of all parts, everything sorted by name. hashes: SHA-256 of files, where known.
    conversions: copies across parts. explain: with each edge's changes by layer."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    hidden: list[HiddenAncestor] = []
    trees: list[Tree] = []
    taken = {c.id for part in parts for c in _checkpoints(part)}
    for part in parts:
        ids = [c.id for c in part.group.checkpoints]
        copies = {d.copy.id: d for d in (*part.duplicates, *part.lossy)}
        of = {id_: k for k, id_ in enumerate(ids)}
        told = _told(part.doubts, ids)
        merges = {merge.child: merge for merge in part.merges}
        for checkpoint in _checkpoints(part):
            copy = copies.get(checkpoint.id)
            k = of[checkpoint.id] if checkpoint.id in of else of[copies[checkpoint.id].original.id]
            notes = (*checkpoint.notes, *told.get(checkpoint.id, ()))
            node = _node(checkpoint, part.group, k, copy, hashes, notes)
            if checkpoint.id in of and k in merges:
                node = replace(node, recipe=recipe(merges[k], ids, part.measures.names))
            nodes.append(node)
        models = {c.id: c for c in part.group.checkpoints}
        edges += hung_from_larger(edges_of(part, method, explain=explain), part.duplicates, models)
        edges += [_copied(d) for d in part.duplicates]
        names = _hidden_names(len(part.forest.hidden), taken)
        for name, h in zip(names, part.forest.hidden, strict=True):
            above = ids[h.parent] if h.parent >= 0 else None
            children = tuple(sorted(ids[c] for c in h.children))
            hidden.append(HiddenAncestor(name, children, above, rounded(h.polarity)))
        trees += _trees(part, names)
    conversions = list(conversions)
    hidden, edges, trees = among_inputs(hidden, edges, trees, conversions)
    hung = set[Checkpoint]()
    for d in conversions:
        if d.original not in hung:  # a part goes with the first that contains it
            nodes, edges, trees = _converted(d, nodes, edges, trees)
        hung |= {d.original} if is_part(d) else set()
    return ModelGraph(
        method,
        tuple(sorted(nodes, key=lambda node: node.id)),
        tuple(sorted(edges, key=lambda edge: (edge.parent, edge.child))),
        tuple(sorted(trees, key=lambda tree: tree.members)),
        tuple(sorted(hidden, key=lambda h: h.children)),
        tuple(sorted(refused, key=lambda r: (r.path, r.fault))),
        dict(options),
        {a: part.measures.names for part in parts for a in part.group.architecture}
        if explain
        else {},
    )


def _checkpoints(part: Part) -> list[Checkpoint]:
    return [*part.group.checkpoints, *(d.copy for d in part.duplicates)]


def _node(
    checkpoint: Checkpoint,
    group: Group,
    k: int,
    copy: Duplicate | None,
    hashes: Mapping[File, str],
    notes: tuple[str, ...],
) -> Node:
    return Node(
        checkpoint.id,
        checkpoint.shown.encode("utf-8", "replace").decode(),
        checkpoint.format,
        group.architecture[k],
        checkpoint.parameters,
        checkpoint.dtype,
        copy.original.id if copy and copy.relation not in NO_COPIES else None,
        group.unaligned[k],
        notes,
        tuple(
            WeightFile(name, file.size, hashes.get(file))
            for name, file in checkpoint.named_files.items()
        ),
        compared=_compared(checkpoint, group, k if checkpoint is group.checkpoints[k] else None),
    )


def _compared(checkpoint: Checkpoint, group: Group, k: int | None) -> float | None:
    """Share of a model's weights that was compared; k: its place in the group, None of a copy,
    which was compared as far as it can be read."""
    held = checkpoint.parameters
    if k is not None:
        held = sum(layer.size for layer in group.layers if k in layer.members)
    return rounded(held / checkpoint.weights, 4) if checkpoint.weights else None


def _copied(d: Duplicate) -> Edge:
    return Edge(
        d.original.id,
        d.copy.id,
        d.relation,
        distance=rounded(d.distance),
        undirected=d.undirected,
        scheme=d.scheme,
    )


def _told(doubts: Sequence[Doubt], ids: Sequence[str]) -> dict[str, list[str]]:
    """By id, in one line each, what about a model stayed within the error of what was looked at."""
    notes: dict[str, list[str]] = {}
    for doubt in doubts:
        for k in doubt.about:
            others = sorted(ids[m] for m in doubt.models if m != k)
            some = ", ".join(others[:NOTE_MODELS]) + ", and more" * (len(others) > NOTE_MODELS)
            what = f"its parent, among {some}"
            if len(doubt.about) > 1:
                what = f"whether it is related to {some}"
            notes.setdefault(ids[k], []).append(f"{WITHIN}: {what}")
    return notes


def edges_of(part: Part, method: str, *, explain: bool = False) -> list[Edge]:
    """The edges of its forest, but for duplicates."""
    forest, ids = part.forest, [c.id for c in part.group.checkpoints]
    if not (forest.parents >= 0).any():
        return []
    copied = {d.copy.id: d for d in part.lossy}
    labels = forest.labels()
    many = np.bincount(labels)
    twins = Counter(d.original.id for d in part.lossy if d.relation and d.undirected)
    rounding, looks = roundings(part.group), [Look.of(part.group), *part.looks]
    merges = {merge.child: merge for merge in part.merges}
    children = Counter(forest.parents[forest.parents >= 0].tolist())
    out: list[Edge] = []
    for child, parent in enumerate(forest.parents.tolist()):
        if parent < 0:
            continue
        if child in merges and isinstance(part.measures, Measures):
            made = merged_edges(merges[child], ids, part.measures)
            open_ = is_open(merges[child].sure, None)
            out += [replace(edge, undirected=open_) for edge in made]
            continue
        two = part.measures.two(parent, child)
        same = unchanged(two, rounding[[parent, child]])[:, 0, 1]
        shared = kept(part.measures, parent, child)
        blurred = rounding[[parent, child]].max() > TRACE
        rank = None if blurred else closest_rank(looks, same, shared, parent, child)
        new = has_new_layers(part.group, part.measures, parent, child)
        edit = edited(part.group, same, parent, child, rank)
        kind = relation(float(forest.turn[child]), rank, new, edit)
        distance = float(forest.distance[child])
        if method != "mother":
            distance = length(two, shared)
        if distance == 0 and not new and (same | np.isnan(two.squared_distance[:, 0, 1])).all():
            kind = "relatives"  # what they differ in was not read
        direction, scheme = float(forest.direction[child]), ""
        if reshaped(part.group, parent, child):
            kind = "reshaped"
        if ids[child] in copied:
            copy = copied[ids[child]]
            scheme = copy.scheme
            if copy.relation:
                kind, rank = copy.relation, None
            direction = 0.5 if copy.undirected else min(direction, copy.sure)
        rival, believed = int(forest.rival[child]), None if scheme else beliefs(forest, child)
        if believed is not None:
            ends = (1 + twins[ids[parent]]) * (1 + twins[ids[child]])
            believed = among_twins(believed, ends)
        edge = Edge(
            ids[parent],
            ids[child],
            kind,
            distance=rounded(distance),
            polarity=rounded(float(forest.polarity[child])),
            direction_probability=rounded(direction),
            support=rounded(float(forest.support[child])),
            undirected=is_open(direction, believed),
            rank=rank,
            evidence=()
            if direction == 0.5 and scheme
            else _evidence(forest, child, int(many[labels[child]])),
            runner_up=ids[rival] if rival >= 0 else None,
            runner_up_ratio=rounded(float(forest.rival_factor[child]), 3),
            changes=_changes(two) if explain else (),
            scheme=scheme,
            probabilities=believed,
        )
        if method != "mother":
            edge = staged(edge, forest, child, new, children)
        out.append(edge)
    return out


def is_open(direction: float, believed: Probabilities | None) -> bool:
    """Whether the direction of an edge is not told: by odds of less than two to one, or where it is
    about as likely that the edge is not what it says.

    >>> is_open(0.6, None), is_open(0.9, Probabilities(0.45, 0.05, 0.5)), is_open(0.9, None)
    (True, True, False)
    """
    return direction < 0.5 + UNSURE or (believed is not None and believed.parent < NEITHER)


def among_twins(believed: Probabilities, many: int) -> Probabilities:
    """The same where an end is one of models that nothing orders: it may be any of so many edges.

    >>> among_twins(Probabilities(0.8, 0.1, 0.1), 2)
    Probabilities(parent=0.4, reverse=0.1, siblings=0.5)
    """
    parent = rounded(believed.parent / many, 4) or 0.0
    rest = rounded(believed.siblings + believed.parent - parent, 4) or 0.0
    return replace(believed, parent=parent, siblings=rest)


def beliefs(forest: Forest, child: int) -> Probabilities | None:
    """What is believed of a model and its parent; None where the method does not say."""
    joined, direction = float(forest.joined[child]), float(forest.direction[child])
    if math.isnan(joined):
        return None
    each = joined * direction, joined * (1 - direction), 1 - joined
    return Probabilities(*(rounded(x, 4) or 0.0 for x in each))


def _evidence(forest: Forest, child: int, members: int) -> tuple[Evidence, ...]:
    """What the direction of a model's own edge rests on; adds up to the log-odds of the whole.
    members: models in its tree."""
    own, direction = float(forest.odds[child]), float(forest.direction[child])
    if math.isnan(own):
        return ()
    whole = math.log(max(direction, 1e-300) / max(1 - direction, 1e-300))
    whole = min(max(whole, -MOST_TOLD), MOST_TOLD)
    own = min(max(own, -MOST_TOLD), MOST_TOLD)
    beside = [
        Evidence(kind, rounded(odds, 3) or 0.0, says) for kind, odds, says in forest.claims[child]
    ]
    weights = own - sum(found.log_odds for found in beside)
    return (
        Evidence("weights", rounded(weights, 3) or 0.0, _WEIGHTS[weights > 0]),
        *beside,
        Evidence("tree", rounded(whole - own, 3) or 0.0, _TREE if members > 2 else _PAIR),
    )


_WEIGHTS = {
    True: "the child holds what the parent was, evenly in all layers; not so the reverse",
    False: "the parent holds what the child was more evenly than the reverse",
}
_TREE = "the other edges of the tree, and that models with many relatives are rarely the last"
_PAIR = "nothing but these two tells them from two that come from a third"


def _changes(two: Measures) -> tuple[float | None, ...]:
    norm, squared = two.gram[:, 0, 0], two.squared_distance[:, 0, 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return tuple(rounded(float(x), 3) for x in np.sqrt(squared / norm))


def _converted(
    d: Duplicate, nodes: list[Node], edges: list[Edge], trees: list[Tree]
) -> tuple[list[Node], list[Edge], list[Tree]]:
    """With a copy from another part hung from its original; one that has a parent in its own part
    stays there, and the node alone tells."""
    home = {member: tree for tree in trees for member in tree.members}
    if d.original.id not in home or d.copy.id not in home:  # refused since
        return nodes, edges, trees
    if d.relation not in NO_COPIES:
        same = {d.copy.id: d.original.id}
        nodes = [replace(n, duplicate_of=same.get(n.id, n.duplicate_of)) for n in nodes]
    above, below = home[d.original.id], home[d.copy.id]
    if is_part(d) and below.root != d.copy.id and above.root == d.original.id:
        d = replace(d, original=d.copy, copy=d.original)
        above, below = below, above
    if below.root != d.copy.id or above is below:
        return nodes, edges, trees
    joined = replace(above, members=tuple(sorted((*above.members, *below.members))))
    others = [tree for tree in trees if tree is not above and tree is not below]
    # which of the two came first is not told by the same numbers in another order
    open_ = d.undirected or d.relation != "upcycled"
    edges = [*edges, Edge(d.original.id, d.copy.id, d.relation, undirected=open_)]
    return nodes, edges, [*others, joined]


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
