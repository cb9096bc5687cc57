"""Adapters in a graph: each hangs from the family that its factors were trained on, and there from
the model that its config names. The first is seen in weights, the second is a claim."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, open_checkpoint
from mother.checkpoints.claimed_names import Names
from mother.checkpoints.factors import Learnt, factors, is_adapter_alone, module_of
from mother.checkpoints.tensor import clean
from mother.evidence.adapters import FITS, STRANGE, alignment, block
from mother.graph import continued
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Edge, Evidence, Tree
from mother.graph.plain import rounded

_CLAIM = "base_model_name_or_path"
ADAPTER_MODULES = 24  # modules of an adapter whose factors are read
ADAPTER_LARGEST = 1 << 26  # weights of a matrix that is read
CLAIM_FITS = 0.97  # probability of the model claimed, in the family that the factors fit
AMONG = 0.6  # of the root of that family, where none is claimed, or it is of another family


@dataclass(frozen=True)
class _Fit:
    """How well an adapter fits a family, NaN where their modules don't match."""

    tree: Tree
    alignment: float


def attached(graph: ModelGraph, checkpoints: Sequence[Checkpoint]) -> ModelGraph:
    """The graph with the adapters that stand alone hung from their families. checkpoints: what it
    was recovered from; of each family the root is read, or its first member."""
    models = {c.id: c for c in checkpoints}
    alone = {c.id for c in checkpoints if is_adapter_alone(c)}
    for merged in (c for c in checkpoints if c.base is not None and not c.is_sketch):
        graph = _held_to_its_base(graph, merged, models)
    graph = continued.alone(graph, {id_: models[id_] for id_ in alone})
    waiting = [t for t in graph.trees if t.root in alone]
    families = [t for t in graph.trees if t.root not in alone and not set(t.members) <= alone]
    if not waiting or not families:
        return graph
    names = Names({id_: Path(c.path) for id_, c in models.items() if id_ not in alone})
    for tree in waiting:
        adapter = models[tree.root]
        fits = [_Fit(t, _aligned(adapter, models[_read(t)])) for t in families]
        graph = _hung(graph, tree, adapter, fits, names)
    return graph


def _held_to_its_base(
    graph: ModelGraph, merged: Checkpoint, models: Mapping[str, Checkpoint]
) -> ModelGraph:
    """The graph with an adapter that was merged into a base as told; where its factors don't fit
    that one's family, its edges are open, and a note says so, and whose they fit."""
    adapter = open_checkpoint(merged.path, id=merged.id)
    home = next((t for t in graph.trees if merged.id in t.members), None)
    others = [t for t in graph.trees if t is not home and t.members != (merged.id,)]
    assert merged.base is not None
    own = _aligned(adapter, merged.base)
    if math.isnan(own) or own >= FITS:
        return graph
    fits = [_Fit(t, _aligned(adapter, models[_read(t)])) for t in others if _read(t) in models]
    best = max((f for f in fits if f.alignment >= FITS), key=lambda f: f.alignment, default=None)
    if best is None and own >= STRANGE:  # not sure enough to say
        return graph
    note = f"its factors do not fit {clean(merged.base.id)[:100]}, which it was merged into as told"
    if best is not None:
        note += f": it was trained on another family, that of {clean(_read(best.tree))[:100]}"
    edges = tuple(
        replace(e, undirected=True, direction_probability=0.5, probabilities=None, evidence=())
        if e.child == merged.id
        else e
        for e in graph.edges
    )
    return noted_on(replace(graph, edges=edges), merged.id, note)


def _read(family: Tree) -> str:
    return family.members[0] if family.hidden_root else family.root


def _aligned(adapter: Checkpoint, model: Checkpoint) -> float:
    learnt = factors(adapter)
    of: dict[str, list[Learnt]] = {}
    for x in learnt:
        for module in x.modules:
            of.setdefault(module, []).append(x)
    found = dict[str, list[Learnt]]()
    for name, tensor in model.tensors.items():
        own = of.get(module_of(name, of) or "", [])
        if fits := [x for x in own if x.factor.rows in tensor.shape[:2]]:
            found[name] = fits
    there = {str(module_of(name, of)) for name in found}
    if not found or 2 * sum(not there.isdisjoint(x.modules) for x in learnt) < len(learnt):
        return math.nan
    names = sorted(found)
    picked = [names[k] for k in _spread(len(names), ADAPTER_MODULES)]
    left = {f"{name} {x.label}": x.factor.read() for name in picked for x in found[name]}
    blocks = {block(name) for name in picked}
    beside = {
        name: _matrix(tensor.read(), tensor.shape)
        for name, tensor in model.tensors.items()
        if block(name) in blocks and len(tensor.shape) > 1 and tensor.is_weight
        if 0 < tensor.size <= ADAPTER_LARGEST
    }
    return alignment(left, beside)


def _spread(many: int, most: int) -> list[int]:
    return sorted({int(k) for k in np.linspace(0, many - 1, min(many, most))})


def _matrix(values: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return values.astype(np.float64).reshape(shape[0], -1)


def _hung(
    graph: ModelGraph, tree: Tree, adapter: Checkpoint, fits: Sequence[_Fit], names: Names
) -> ModelGraph:
    """With one adapter's tree hung from a family, or a note on why it is not."""
    claim = adapter.config.get(_CLAIM)
    claimed = names.match(claim) if isinstance(claim, str) and claim else None
    meant = claimed.ids[0] if claimed is not None and len(claimed.ids) == 1 else None
    known = [fit for fit in fits if not math.isnan(fit.alignment)]
    best = max(known, key=lambda fit: fit.alignment, default=None)
    note = ""
    if best is None or best.alignment < FITS:
        return noted_on(graph, tree.root, _why_not(adapter, known, meant))
    parent, sure = _read(best.tree), AMONG
    says = (
        f"its factors lie along what this family's matrices read or write, {best.alignment:.2g} "
        "times as much as chance has it"
    )
    sure_of_claim = math.log(CLAIM_FITS / (1 - CLAIM_FITS))
    evidence = [Evidence("factors", rounded(sure_of_claim, 3) or 0.0, says)]
    if meant in best.tree.members:
        parent, sure = str(meant), CLAIM_FITS
        evidence.append(Evidence("claim", 0.0, f"which of the family: by {_CLAIM}, a claim"))
    else:
        off = rounded(math.log(AMONG / (1 - AMONG)) - sure_of_claim, 3) or 0.0
        evidence.append(Evidence("claim", off, "which model of the family is not told"))
        if meant is not None:
            note = f"{_CLAIM} names {clean(str(claim))[:100]}; it was trained on another family"
    edge = Edge(
        parent,
        tree.root,
        "adapter",
        direction_probability=sure,
        evidence=tuple(evidence),
    )
    graph = hung(graph, edge)
    return noted_on(graph, tree.root, note) if note else graph


def _why_not(adapter: Checkpoint, known: Sequence[_Fit], meant: str | None) -> str:
    """Why it hangs from no family, and what it claims."""
    claim = adapter.config.get(_CLAIM)
    named = f"{_CLAIM} names {clean(claim)[:100]}" if isinstance(claim, str) and claim else ""
    fit = next((f for f in known if meant in f.tree.members), None)
    if fit is not None and fit.alignment < STRANGE:
        return f"{named}; its factors fit no family here"
    why = f"what {_kind(adapter)} learns does not tell which family it was trained on"
    return why + (named and f"; {named}, a claim")


def _kind(adapter: Checkpoint) -> str:
    kind = adapter.config.get("peft_type")
    return clean(kind)[:40] if isinstance(kind, str) and kind else "such an adapter"


def hung(graph: ModelGraph, edge: Edge) -> ModelGraph:
    """The graph with an edge to the root of one of its trees from a model of another one."""
    above = next(t for t in graph.trees if edge.parent in t.members)
    below = next(t for t in graph.trees if edge.child in t.members)
    trees = [t for t in graph.trees if t not in (above, below)]
    trees.append(replace(above, members=tuple(sorted((*above.members, *below.members)))))
    return replace(
        graph,
        edges=tuple(sorted((*graph.edges, edge), key=lambda e: (e.parent, e.child))),
        trees=tuple(sorted(trees, key=lambda t: t.members)),
    )


def noted_on(graph: ModelGraph, id: str, note: str) -> ModelGraph:
    nodes = (replace(n, notes=(*n.notes, note)) if n.id == id else n for n in graph.nodes)
    return replace(graph, nodes=tuple(nodes))
