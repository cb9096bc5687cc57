"""Hidden ancestors that are among the inputs after all: all of one's children hold a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mother.checkpoints import Checkpoint
from mother.copies.contained import is_part
from mother.copies.duplicates import Duplicate
from mother.graph.parts import Edge, HiddenAncestor, Tree


def among_inputs(
    hidden: Sequence[HiddenAncestor],
    edges: Sequence[Edge],
    trees: Sequence[Tree],
    copies: Iterable[Duplicate],
) -> tuple[list[HiddenAncestor], list[Edge], list[Tree]]:
    """Without the roots of trees that are hidden where a model of another tree, its root, is a part
    of each of their children: it stands there, the largest of several. Whether it was there before
    them or was taken out of one is open."""
    holders: dict[Checkpoint, set[str]] = defaultdict(set)
    for d in filter(is_part, copies):
        holders[d.original].add(d.copy.id)
    every = {tree.root: tree for tree in trees}
    left, found = list[HiddenAncestor](), list(edges)
    for h in hidden:
        held = [c for c, some in holders.items() if some >= set(h.children) and c.id in every]
        if h.id not in every or not held:
            left.append(h)
            continue
        part = max(held, key=lambda c: (c.parameters, c.id)).id
        below, above = every.pop(h.id), every[part]
        members = tuple(sorted((*above.members, *below.members)))
        every[part] = replace(above, members=members)
        found += [Edge(part, child, "contains", undirected=True) for child in h.children]
    return left, found, list(every.values())
