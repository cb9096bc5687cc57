"""The relation of two checkpoints, with evidence by layer."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

from mother.checkpoints import Group, align, open_checkpoint
from mother.errors import InputError, UsageError
from mother.graph import rounded
from mother.heritage import gram
from mother.heritage.conversions import find_conversions
from mother.heritage.duplicates import find_duplicates
from mother.heritage.lora import unchanged, update_rank
from mother.heritage.relatedness import cosines, kinship
from mother.heritage.relation import has_new_layers, kept
from mother.heritage.relation import relation as relation_of
from mother.measures import Measures, measure
from mother.recovery import NotFiniteError, Options, finite_layers, no_weights


@dataclass(frozen=True)
class LayerEvidence:
    """One layer of both. polarity: <a - b, a> / |a - b|^2, near 0 where b holds all of a, near 1
    where a holds all of b; None where they are equal. change: |a - b| / |a|."""

    name: str
    weights: int
    cosine: float | None
    change: float | None
    polarity: float | None


@dataclass(frozen=True)
class Comparison:
    """What two checkpoints are to each other.

    relation: "strangers", "duplicate", "converted", "siblings" (a hidden common ancestor),
    "fine-tune", "continuation" or "lora". parent: "a" or "b" where one is trained from the other.
    kinship: median over layers of cosine against the cosine that chance allows; above 1 related.
    not_compared: tensors of a and b that found no partner, with the reason.
    """

    a: str
    b: str
    relation: str
    parent: str | None
    kinship: float | None
    distance: float | None
    polarity: float | None
    direction_probability: float | None
    rank: int | None
    layers: tuple[LayerEvidence, ...]
    not_compared: tuple[str, ...]


def compare(
    a: str | PathLike[str], b: str | PathLike[str], *, base: str | PathLike[str] | None = None
) -> Comparison:
    """Compare two checkpoints on disk. InputError if one can't be read."""
    first = open_checkpoint(a, id="a", base=base)
    second = open_checkpoint(b, id="b", base=base)
    for checkpoint in (first, second):
        if fault := no_weights(checkpoint):
            raise InputError(checkpoint.path, fault)
    groups = align([first, second])
    unpaired = tuple(
        f"{c.id}: {reason}"
        for group in groups
        for c, reasons in zip(group.checkpoints, group.unaligned, strict=True)
        for reason in reasons
    )
    names = (str(a), str(b))
    adapters = [c.format == "peft" for c in (first, second)]
    if base is None and any(adapters) and not all(adapters):
        raise UsageError(
            f"{names[adapters.index(True)]} is a LoRA adapter; give its base by --base"
        )
    if find_conversions(groups):
        # which of the two came first is not told by the same numbers in another order
        return Comparison(*names, "converted", None, None, 0.0, None, None, None, (), ())
    if len(groups) > 1:
        return Comparison(*names, "strangers", None, None, None, None, None, None, (), unpaired)
    (group,) = groups
    copies = find_duplicates(group)
    if copies:
        parent = copies[0].original.id if copies[0].relation == "converted" else None
        relation = copies[0].relation
        return Comparison(*names, relation, parent, None, 0.0, None, None, None, (), unpaired)
    return _measured(group, names, unpaired)


def _measured(group: Group, names: tuple[str, str], unpaired: tuple[str, ...]) -> Comparison:
    m = measure(group, threads=Options().workers)
    try:
        usable = finite_layers(group, m)
    except NotFiniteError as found:
        refused = [InputError(c.path, fault) for c, fault in found.bad]
        raise InputError(refused[0].path, refused[0].fault, tuple(refused[1:])) from None
    group, m = group.over(usable), m.over(usable)
    layers = _evidence(m)
    kin = rounded(float(kinship(m)[0, 1]))
    forest = gram.recover(m)
    child = next((k for k in (0, 1) if forest.parents[k] >= 0), None)
    if child is None:
        relation = "siblings" if forest.hidden else "strangers"
        pooled = rounded(forest.hidden[0].polarity) if forest.hidden else None
        return Comparison(*names, relation, None, kin, None, pooled, None, None, layers, unpaired)
    parent = 1 - child
    same = unchanged(m)[:, parent, child]
    rank = update_rank(group, same, kept(m, parent, child), parent, child)
    polarity = float(forest.polarity[child])
    return Comparison(
        *names,
        relation_of(float(forest.turn[child]), rank, has_new_layers(group, m, parent, child))[0],
        "ab"[parent],
        kin,
        rounded(float(forest.distance[child])),
        rounded(polarity),
        rounded(float(forest.direction[child])),
        rank,
        layers,
        unpaired,
    )


def _evidence(m: Measures) -> tuple[LayerEvidence, ...]:
    cosine, squared, loss = cosines(m)[:, 0, 1], m.squared_distance[:, 0, 1], m.loss[:, 0, 1]
    norm, same = m.gram[:, 0, 0], unchanged(m)[:, 0, 1]
    return tuple(
        LayerEvidence(
            name,
            int(m.sizes[k]),
            rounded(float(cosine[k])),
            0.0 if same[k] else rounded((squared[k] / norm[k]) ** 0.5 if norm[k] else None),
            None if same[k] else rounded(float(loss[k] / squared[k])),
        )
        for k, name in enumerate(m.names)
    )
