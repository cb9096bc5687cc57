"""The default method on trial: splits measured once for all variants of it, and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from demo import run as demo

from experiments.figures.families import Indices
from experiments.figures.methods import Count, count
from experiments.figures.splits import read
from mother import ModelGraph, recover
from mother.checkpoints import Checkpoint
from mother.copies.duplicates import find_duplicates, originals
from mother.evidence.looks import Look
from mother.graph.evaluation import Truth, read_truth
from mother.layouts import Group, align
from mother.measures import Measures, measure
from mother.methods import gram
from mother.trees.forest import Forest
from mother.trees.rules import RULES, Rules

#: what each scale is for
ROLE = {
    "tiny": "Models of scale tiny are there to try the commands: their figures say nothing.",
    "study": "Families of scale study are those that the method was fitted on: these figures say "
    "how well it fits, not how well it does.",
    "small": "Families of scale small are for judging: the method was fitted on families of scale "
    "study, which are others.",
    "paper": "Families of scale paper are for judging: the method was fitted on families of scale "
    "study, which are others.",
}


@dataclass(frozen=True, eq=False)
class Kind:
    """The models of a split that are of one architecture, measured, and the truth about them.

    original, parents: (n,) what each of the group is a rounded copy of, and the true parent; -1
    where there is none.
    """

    group: Group
    measures: Measures
    original: Indices
    parents: Indices

    def recover(self, replicates: int = 0, rules: Rules = RULES) -> Forest:
        """What the default method finds."""
        return gram.recover(
            self.measures,
            [Look.of(self.group)],
            replicates=replicates,
            original=self.original,
            rules=rules,
        )

    def count(self, found: Indices) -> Count:
        """How right parents are, (n,)."""
        return count(found, self.parents)


@lru_cache(maxsize=64)
def kinds(folder: Path, threads: int) -> tuple[Kind, ...]:
    """A split by architecture, as `recover` takes it; read and measured once."""
    built = read(folder)
    return measured(list(built.checkpoints.values()), built.truth, threads)


def measured(checkpoints: list[Checkpoint], truth: Truth, threads: int) -> tuple[Kind, ...]:
    """The same of checkpoints that are open."""
    above = {child: parent for parent, child in truth.edges}
    found = []
    for group in align(checkpoints):
        copies = find_duplicates(group)
        ids = [c.id for c in group.checkpoints]
        assert all(copy.relation == "converted" for copy in copies), f"copies among {ids}"
        place = {id: k for k, id in enumerate(ids)}
        parents = np.array([place.get(above.get(id, ""), -1) for id in ids], dtype=np.intp)
        measures = measure(group, moments=True, threads=threads)
        found.append(Kind(group, measures, originals(group, copies), parents))
    return tuple(found)


@lru_cache(maxsize=4)
def demo_by_ours(threads: int, bootstrap: int) -> Mapping[str, tuple[ModelGraph, Truth]]:
    """Each family of the demo, fetched if it isn't there, in the graph of all of them."""
    demo.fetch()
    graph = recover(demo.WEIGHTS, bootstrap=bootstrap, threads=threads)
    edges = read_truth(demo.HERE / "truth.json").edges
    return {
        family: (
            part(graph, {node.id for node in graph.nodes if node.id.startswith(prefix)}),
            Truth(tuple(edge for edge in edges if edge[1].startswith(prefix))),
        )
        for family, prefix in demo.FAMILIES.items()
    }


def part(graph: ModelGraph, ids: set[str]) -> ModelGraph:
    """What a graph says of some of its models."""
    return ModelGraph(
        graph.method,
        tuple(node for node in graph.nodes if node.id in ids),
        tuple(edge for edge in graph.edges if {edge.parent, edge.child} <= ids),
        tuple(tree for tree in graph.trees if set(tree.members) <= ids),
    )


def verdict(value: float, aim: float) -> str:
    """
    >>> verdict(0.98, 0.97), verdict(0.955, 0.97)
    ('met', 'missed by 0.015')
    """
    return "met" if value >= aim else f"missed by {aim - value:.3f}"
