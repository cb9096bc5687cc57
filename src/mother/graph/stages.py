"""The stage of training of an edge, beside what else is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mother.evidence.stage import Step, generalization, reasons_of, stage_of
from mother.graph.parts import Edge, Evidence
from mother.graph.plain import rounded
from mother.trees.forest import Forest

TRAININGS = ("fine-tune", "continuation", "lora")


def staged(edge: Edge, forest: Forest, child: int, new: bool, children: Mapping[int, int]) -> Edge:
    """The edge of a model of a forest, with the probability of its stage where it is a training.
    new: whether it has layers made anew. children: how many each model has."""
    if edge.relation not in TRAININGS or edge.distance is None:
        return edge
    step = Step(
        edge.distance,
        edge.relation == "lora",
        new,
        children[int(forest.parents[child])],
        children.get(child, 0) > 0 if len(forest.parents) > 2 else None,
        float(forest.turn[child]),
        sum(odds for claim, odds, _ in forest.claims[child] if claim == "trained"),
    )
    told = tuple(Evidence("stage", rounded(x, 3) or 0.0, says) for x, says in reasons_of(step))
    likely = generalization(step)
    return replace(
        edge, stage=stage_of(likely), generalization=rounded(likely, 4), stage_evidence=told
    )
