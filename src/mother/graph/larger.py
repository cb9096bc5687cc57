"""Children of a model that is whole within a larger one, beside it: whose are they?

All that the smaller one holds is the larger one's, too, so the two are one point of the tree. What
was trained from the larger one holds what that has more: the tower that sees beside a language
model, a critic beside an actor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from mother.checkpoints import Checkpoint
from mother.copies.contained import cosine
from mother.copies.duplicates import Duplicate
from mother.evidence.sums import KIN_COSINE
from mother.graph.parts import Edge
from mother.measures import is_matrix


def hung_from_larger(
    edges: Iterable[Edge], pairs: Iterable[Duplicate], models: Mapping[str, Checkpoint]
) -> list[Edge]:
    """The edges, children of the smaller of two hung from the larger where they hold what that has
    more. pairs: of which the copy contains the original."""
    larger = {d.original.id: d.copy for d in pairs if d.relation == "contains"}
    out = []
    for e in edges:
        outer, child = larger.get(e.parent), models.get(e.child)
        if outer is not None and child not in (None, outer):
            assert child is not None
            if _holds_more(models[e.parent], outer, child):
                e = replace(e, parent=outer.id)
        out.append(e)
    return out


def _holds_more(inner: Checkpoint, outer: Checkpoint, child: Checkpoint) -> bool:
    more = [
        (tensor, other)
        for name, tensor in outer.tensors.items()
        if name not in inner.tensors and is_matrix(tensor.shape) and tensor.is_weight
        if (other := child.tensors.get(name)) is not None and other.shape == tensor.shape
    ]
    return bool(more) and float(np.median([cosine(*pair) for pair in more])) > KIN_COSINE
