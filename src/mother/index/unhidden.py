"""A checkpoint that names and places join to nothing in an index, and that may be kin to models
there under other labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mother.checkpoints import Checkpoint
from mother.evidence.relabelled import LEVEL
from mother.graph import Edge
from mother.graph.placement import Placement, placement
from mother.index.catalogue import Catalogue, Model
from mother.index.newcomer import Newcomer
from mother.index.unlike import where_it_lies
from mother.options import Options
from mother.recovery import recover_checkpoints

ALIKE = 0.5  # cosine of labels from which on two models may be kin
OPENED = 8  # models that are opened at most, those whose labels are most alike, and their parents


def unhidden(
    checkpoint: Checkpoint,
    new: Newcomer,
    alone: Placement,
    catalogue: Catalogue,
    options: Options,
) -> Placement:
    """Where it hangs among the models whose labels are most like its own, recovered from their
    files where they lie. alone: what was found by names and places, which is said where no more is,
    with those that could not be opened. The test counts all models that it could have been kin to.
    """
    models, tried = _likeliest(new, catalogue)
    opened = {m.id: where_it_lies(m) for m in models}
    lost = replace(alone, alike=tuple(id_ for id_, found in opened.items() if found is None))
    others = [replace(found, id=id_) for id_, found in opened.items() if found is not None]
    if not others:
        return lost
    graph = recover_checkpoints([replace(checkpoint, id=alone.id), *others], options)
    found = placement(graph, alone.id, alone.comparable)
    edges = [e for e in (found.edge, *found.below) if e is not None and e.relabelled is not None]
    if not edges or any(e.relabelled.p * tried > LEVEL for e in edges if e.relabelled):
        return lost
    edge = None if found.edge is None else _counted(found.edge, tried)
    return replace(found, edge=edge, below=tuple(_counted(e, tried) for e in found.below))


def _counted(edge: Edge, tried: int) -> Edge:
    test = edge.relabelled
    return edge if test is None else replace(edge, relabelled=replace(test, tried=tried))


def _likeliest(new: Newcomer, catalogue: Catalogue) -> tuple[list[Model], int]:
    """The models whose labels are most like a newcomer's, and their parents; among how many."""
    own = np.frombuffer(new.labels, np.int8).astype(np.float64)
    numbers, held = catalogue.labels(catalogue.comparable(new.architecture, new.sketch))
    if not own.any() or not numbers:
        return [], 0
    others = held.astype(np.float64)
    length = np.linalg.norm(others, axis=1) * np.linalg.norm(own)
    cosine = others @ own / np.where(length > 0, length, 1)
    nearest = np.argsort(-cosine, kind="stable")[:OPENED]
    likely = [numbers[k] for k in nearest if cosine[k] >= ALIKE]
    above = [up for number in likely for up in catalogue.forest.parents(number)]
    return catalogue.numbered(dict.fromkeys([*likely, *above])), len(numbers)
