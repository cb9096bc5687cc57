"""A merge as a graph has it: an edge from each parent, and the recipe."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mother.copies.mixtures import Mixture
from mother.evidence.merges import PIECED
from mother.evidence.recipes import BY_WEIGHT, MIXED, PART_OF_A_STEP, Merge
from mother.evidence.sums import EQUAL_SHARES
from mother.graph.model_graph import ModelGraph
from mother.graph.parts import Block, Edge, Evidence, Piece, Recipe
from mother.graph.plain import rounded
from mother.measures import Measures

_BLOCK = re.compile(r"(.*?\d+)(?:\.|$)")


def merged_edges(merge: Merge, ids: Sequence[str], m: Measures) -> list[Edge]:
    """An edge from each parent, with its share. ids: of the models that indices count."""
    odds = math.log(merge.sure / (1 - merge.sure))
    left = f"{100 * merge.left:.2g}" if merge.left >= 1e-4 else "under 0.01"
    says = (
        f"a weighted sum of {len(merge.parents)} models gives it in every layer, but for "
        f"{left} % of the squared step from the nearest; steps of a training leave half and more"
    )
    if merge.method == BY_WEIGHT:
        says = (
            f"each weight is that of one of {len(merge.parents)} models, or has the same multiples "
            f"of their steps as many others, but for {left} % of the weights"
        )
    if merge.method == MIXED:
        says = (
            f"it holds more of {len(merge.parents)} models than these have in common and a tree "
            f"allows; {left} % of the squared step from the nearest is its own"
        )
    if merge.method == PART_OF_A_STEP:
        says = "it holds a part of the step between two models and nothing else, in every layer"
    evidence = (Evidence("merge", rounded(odds, 3) or 0.0, says),)
    return [
        Edge(
            ids[p],
            ids[merge.child],
            merge.kind,
            distance=rounded(_distance(m, p, merge.child)),
            direction_probability=rounded(merge.sure),
            evidence=evidence,
            share=rounded(float(share), 4),
        )
        for p, share in zip(merge.parents, merge.shares, strict=True)
    ]


def with_mixtures(graph: ModelGraph, mixtures: Sequence[Mixture]) -> ModelGraph:
    """The graph with mixtures, which hang from their main parents, as merges of all of them."""
    for found in mixtures:
        ids = [c.id for c in found.parents]
        if not {found.model.id, *ids} <= {n.id for n in graph.nodes}:  # refused since
            continue
        left = rounded(found.left, 3) or 0.0
        shares = _rounded(np.array(found.shares))
        odds = rounded(math.log(PIECED / (1 - PIECED)), 3) or 0.0
        says = f"each of its matrices is that of one of {len(ids)} models, but for its gates"
        edges = [
            Edge(
                parent,
                found.model.id,
                "merge",
                direction_probability=PIECED,
                evidence=(Evidence("merge", odds, says),),
                share=share,
            )
            for parent, share in zip(ids, shares, strict=True)
        ]
        others = (e for e in graph.edges if e.child != found.model.id)
        whole = Recipe("by parts", tuple(ids), shares, left)
        graph = replace(
            graph,
            nodes=tuple(
                replace(n, recipe=whole) if n.id == found.model.id else n for n in graph.nodes
            ),
            edges=tuple(sorted((*others, *edges), key=lambda e: (e.parent, e.child))),
        )
    return graph


def recipe(merge: Merge, ids: Sequence[str], names: Sequence[str]) -> Recipe:
    """How it was put together. names: of the layers, (L,)."""
    return Recipe(
        merge.method,
        tuple(ids[p] for p in merge.parents),
        _rounded(merge.shares),
        rounded(merge.left, 3) or 0.0,
        _blocks(merge, names) if merge.method == "by block" else (),
        ids[merge.start] if merge.pieces else None,
        tuple(
            Piece(
                tuple(ids[p] for p in x.parents),
                _rounded(np.array(x.multiples)),
                rounded(x.share, 4) or 0.0,
            )
            for x in merge.pieces
        ),
    )


def _blocks(merge: Merge, names: Sequence[str]) -> tuple[Block, ...]:
    """By block of layers, "layers.3" of "layers.3.mlp.weight", where its layers are at one."""
    told = [k for k in range(len(names)) if np.isfinite(merge.layers[k]).all()]
    blocks: dict[str, list[int]] = {}
    for k in told:
        found = _BLOCK.match(names[k])
        blocks.setdefault(found[1] if found else names[k], []).append(k)
    out: list[Block] = []
    for name, layers in blocks.items():
        shares = merge.layers[layers]
        if np.ptp(shares, axis=0).max() <= 2 * EQUAL_SHARES:
            out.append(Block(name, _rounded(shares.mean(axis=0))))
        else:
            out += [Block(names[k], _rounded(merge.layers[k])) for k in layers]
    return tuple(out)


def _rounded(shares: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(rounded(float(share), 4) or 0.0 for share in shares)


def _distance(m: Measures, p: int, c: int) -> float:
    """|p - c| as a share of |p|, layers relative to their norms and counted by their weights."""
    two = m.two(p, c)
    squared, norm = two.squared_distance[:, 0, 1], two.gram[:, 0, 0]
    used = np.isfinite(squared) & (norm > 0)
    size = m.sizes[used]
    return float(np.sqrt((size * squared[used] / norm[used]).sum() / max(size.sum(), 1)))
