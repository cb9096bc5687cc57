"""What kind of step an edge is."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from mother.evidence.kinship import cosines, threshold
from mother.layouts import Group
from mother.measures import Measures, is_matrix
from mother.measures.products import Source

Shape = tuple[int, ...]
ONWARD = 0.25  # cosine of a step with the one before it, from which it goes on in its direction


def relation(turn: float, rank: int | None, replaced: bool, edit: bool = False) -> str:
    """What kind of step an edge is.

    turn: cosine of the step with the one that led to its start, NaN if there is none. rank: of the
    step, None if it is not low. replaced: whether the child has new layers, such as a head. edit:
    whether the low rank was added to too few matrices for a training.

    >>> relation(0.4, None, False), relation(0.4, None, True), relation(float("nan"), 4, False)
    ('continuation', 'fine-tune', 'lora')
    """
    if rank is not None:
        return "edited" if edit else "lora"
    return "continuation" if turn > ONWARD and not replaced else "fine-tune"


def has_new_layers(group: Group, m: Source, p: int, c: int) -> bool:
    """Whether two related models share a layer by name but not by content."""
    return bool(new_layers(group, m, p, c))


def new_layers(group: Group, m: Source, p: int, c: int) -> list[str]:
    """The names of layers that two related models share by name but not by content: matrices as
    far from the other's as from a stranger's, and what is of another shape."""
    found = [name for name, same in zip(m.names, kept(m, p, c), strict=True) if not same]
    shapes: list[dict[str, Shape]] = [{}, {}]
    for layer in group.layers:
        for own, model in zip(shapes, (p, c), strict=True):
            if model in layer.members:
                own[layer.name] = layer.shape
    found += [name for name, shape in shapes[0].items() if shapes[1].get(name, shape) != shape]
    alone = [line for model in (p, c) for line in group.unaligned[model] if "elsewhere" in line]
    found += [line.rsplit(": of shape", 1)[0] for line in alone]
    return list(dict.fromkeys(found))


def reshaped(group: Group, p: int, c: int) -> bool:
    """Whether one of two models has other blocks than the other: fewer or more of them, in another
    order, or of other shapes (fewer heads, neurons, or channels)."""
    if group.checkpoints[p].blocks != group.checkpoints[c].blocks:
        return True
    kinds = Counter(
        re.sub(r"\d+", "#", line.split(": of shape", 1)[0])
        for model in (p, c)
        for line in group.unaligned[model]
        if "elsewhere" in line
    )
    return any(many > 1 and "#" in kind for kind, many in kinds.items())


def length(two: Measures, shared: NDArray[np.bool_]) -> float:
    """|p - c| / |p| of a parent and its child, root mean square over the weights of the layers that
    they share; of matrices, where there are any. Nothing but the two models has a part in it.

    >>> gram = np.array([[[4.0, 4.0], [4.0, 5.0]], [[1.0, 1.0], [1.0, 1.0]]])
    >>> m = Measures(("u", "v"), ((2, 3), (2, 9)), np.array([6, 18]), gram)
    >>> length(m, np.array([True, True]))
    0.25
    """
    norm, squared = two.gram[:, 0, 0], two.squared_distance[:, 0, 1]
    told = shared & np.isfinite(squared) & (norm > 0)
    matrices = told & np.array([is_matrix(shape) for shape in two.shapes], dtype=bool)
    told = matrices if matrices.any() else told
    if not told.any():
        return 0.0
    share = squared[told] / norm[told]
    return float(np.sqrt(np.average(share, weights=two.sizes[told])))


def kept(m: Source, p: int, c: int) -> NDArray[np.bool_]:
    """Layers that two related models do not only share by name, (L,): all but the matrices that
    are as far apart as strangers'."""
    cosine = np.nan_to_num(cosines(m.two(p, c))[:, 0, 1], nan=1.0)
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    return np.asarray(~matrices | (cosine >= threshold(m.seen)))
