"""Trees of models of another width than their relatives, hung from the model that they were made
from: the one that is nearest in the units that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints import Checkpoint
from mother.checkpoints.factors import is_adapter_alone
from mother.checkpoints.tensor import clean
from mother.graph.attached import hung, noted_on
from mother.graph.comparison import Comparison
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, Evidence, Tree
from mother.graph.plain import rounded
from mother.layouts.blocks import said
from mother.layouts.narrowed import Narrowing, narrowed, under_names
from mother.thresholds import LIKELY

LOOKS = 64  # pairs of trees that are looked at
MEMBERS = 64  # of a tree, that may be the parent
WEIGHTS_TOGETHER = 1 << 24  # of a model, that distances are of
ALSO_LIKELY = 0.25  # of the step to the next best parent, from which it may be that one
COPIES = ("duplicate", "converted", "quantized", "pruned", "adapter")


def with_narrowed(graph: ModelGraph, checkpoints: Sequence[Checkpoint]) -> ModelGraph:
    """The graph with the trees of narrower models hung from the wider ones, of which each may be
    the parent. checkpoints: what it was recovered from. No other edge changes."""
    models = {c.id: c for c in checkpoints if _is_whole(c)}
    trees = [t for t in graph.trees if not t.hidden_root and t.root in models]
    for below, above in _pairs(trees, models):
        other = models[above.root]
        if not any(t.root == below.root for t in graph.trees):
            continue  # it hangs from another one by now
        if (known := _narrower(models[below.root], other)) is not None:
            graph = _hung(graph, below, above, known, models)
    return graph


def compared(a: Checkpoint, b: Checkpoint, names: tuple[str, str]) -> Comparison | None:
    """What two models are of which one is a narrower one of the other: what `recover` says of them;
    None where neither is. A wider one may have been grown from a narrow one: no third tells."""
    if not (_is_whole(a) and _is_whole(b)) or a.parameters == b.parameters:
        return None
    wide, few = ("a", (b, a)) if a.parameters > b.parameters else ("b", (a, b))
    if (known := _narrower(*few)) is None:
        return None
    own, found = known
    distance = _nearest(own, found, few[1:]).distance
    held = sum(cut.of_own(own).size for cut in found.cuts)
    return Comparison(
        *names,
        "reshaped",
        wide,
        distance=rounded(distance),
        direction_probability=0.5,
        evidence=(Evidence("units", 0.0, f"{_kept(found)} of {wide}; {_alike(found)}"),),
        compared=(rounded(held / a.weights, 4) or 0.0, rounded(held / b.weights, 4) or 0.0),
    )


def _is_whole(model: Checkpoint) -> bool:
    return not model.is_sketch and not is_adapter_alone(model)


def _narrower(own: Checkpoint, other: Checkpoint) -> tuple[Checkpoint, Narrowing] | None:
    """A model under names of the one that it is a narrower one of, and how."""
    every = ((seen, narrowed(seen, other)) for seen in under_names(own, other))
    return next(((seen, found) for seen, found in every if found is not None), None)


def _pairs(trees: Sequence[Tree], models: Mapping[str, Checkpoint]) -> Iterator[tuple[Tree, Tree]]:
    """Narrower and wider ones that may be relatives, the nearest in size first, LOOKS at most."""
    size = {t: models[t.root].parameters for t in trees}
    pairs = [
        (size[a] / size[b], b.root, a, b)
        for a in trees
        for b in trees
        if 0 < size[a] < size[b] and any(under_names(models[a.root], models[b.root]))
    ]
    for _, _, a, b in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:LOOKS]:
        yield a, b


@dataclass(frozen=True)
class _Place:
    """Where a model hangs in a tree: its parent, the share of its squared norm between them, and
    what it holds of the step to the next best."""

    parent: str
    distance: float
    share: float


def _placed(
    graph: ModelGraph,
    tree: Tree,
    own: Checkpoint,
    found: Narrowing,
    models: Mapping[str, Checkpoint],
) -> _Place:
    """The member that a narrower model is nearest to."""
    copies = {e.child for e in graph.edges if e.relation in COPIES}
    shapes = {cut.name: models[tree.root].tensors[cut.name].shape for cut in found.cuts}
    members = [
        id_
        for id_ in (tree.root, *sorted(set(tree.members) - copies - {tree.root}))
        if id_ in models
        and all(n in models[id_].tensors for n in shapes)
        and all(models[id_].tensors[n].shape == shape for n, shape in shapes.items())
    ][:MEMBERS]
    return _nearest(own, found, [models[id_] for id_ in members])


def _nearest(own: Checkpoint, found: Narrowing, members: Sequence[Checkpoint]) -> _Place:
    total, gram = 0, np.zeros((len(members) + 1,) * 2)
    for cut in found.cuts:
        parts = [cut.of_own(own), *(cut.of(member) for member in members)]
        rows = np.stack([x.reshape(-1) for x in parts]).astype(np.float64)
        gram += rows @ rows.T / max(float(rows[0] @ rows[0]), 1e-300) * rows.shape[1]
        total += rows.shape[1]
        if total > WEIGHTS_TOGETHER:
            break
    norm = np.diagonal(gram)
    apart = norm[0] + norm[1:] - 2 * gram[0, 1:]
    order = np.argsort(apart, kind="stable")
    best = int(order[0])
    share = 0.0
    if len(order) > 1:
        p, c = best + 1, int(order[1]) + 1
        step = norm[p] + norm[c] - 2 * gram[p, c]
        share = float((gram[0, c] - gram[0, p] - gram[p, c] + norm[p]) / max(step, 1e-300))
    return _Place(members[best].id, float(np.sqrt(max(apart[best], 0.0) / total)), share)


def _hung(
    graph: ModelGraph,
    below: Tree,
    above: Tree,
    known: tuple[Checkpoint, Narrowing],
    models: Mapping[str, Checkpoint],
) -> ModelGraph:
    own, found = known
    place = _placed(graph, above, own, found, models)
    # a wider one may have been grown from it, but not one that went on from another wide one
    went_on = any(e.child == place.parent and not e.undirected for e in graph.edges)
    open_ = place.share > ALSO_LIKELY or not went_on
    odds = rounded(float(np.log(LIKELY / (1 - LIKELY))), 3) or 0.0
    edge = Edge(
        place.parent,
        below.root,
        "reshaped",
        distance=rounded(place.distance),
        direction_probability=0.5 if open_ else LIKELY,
        undirected=open_,
        evidence=() if open_ else (Evidence("units", odds, _alike(found)),),
    )
    note = f"{_kept(found)} of {clean(place.parent)[:100]}"
    return noted_on(hung(graph, edge), below.root, note)


def _kept(found: Narrowing) -> str:
    sizes = ", ".join(f"{n} of {many}" for many, n in found.sizes)
    kept = f"it has {sizes} units" if sizes else "it has all units"
    if found.blocks:
        kept += f" and blocks {said([found.blocks[k] for k in sorted(found.blocks)])}"
    return kept


def _alike(found: Narrowing) -> str:
    return (
        f"its units are like some of the parent's, by a cosine of {found.cosine:.2f} in the middle"
    )
