"""Why two checkpoints are said to be what they are to each other, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mother.checkpoints import Checkpoint
from mother.copies.duplicates import Duplicate
from mother.evidence.direction import Pairs
from mother.evidence.kinship import agreement, allowed, kinship
from mother.evidence.ranks import unchanged
from mother.evidence.relabelled import Relabelling
from mother.evidence.relation import new_layers
from mother.graph import Evidence, rounded
from mother.graph.assembly import MOST_TOLD
from mother.layouts import Group
from mother.layouts.undoing import Undone
from mother.measures import Measures, is_matrix
from mother.measures.formats import roundings
from mother.measures.products import Array

CHANCE = 12.5  # log-odds against kinship at cosine 0: the threshold is at five sigma, 5^2 / 2
SENTENCE_LAYERS = 3  # layers that a sentence names
_LONGEST = 60  # letters of a layer's name


def of_kinship(m: Measures, related: bool) -> Evidence:
    """What the cosines of two models say for, or against, what was made of them.

    With k the median over layers of cosine / threshold, log-odds of kinship are CHANCE (k^2 - 1):
    chance is normal, the threshold lies at five of its standard deviations, and there for and
    against weigh the same.
    """
    if not m.names:
        return Evidence("kinship", 0.0, "no layer could be compared: kinship is unknown")
    kin = float(kinship(m)[0, 1])
    odds = CHANCE * (kin * abs(kin) - 1)
    cosine, chance = agreement(m)[:, 0, 1], allowed(m.sizes, m.seen)
    matrices = np.array([is_matrix(shape) for shape in m.shapes], dtype=bool)
    apart = np.abs(cosine / chance - kin)
    apart[~matrices if matrices.any() else ~np.ones_like(matrices)] = np.inf
    if not np.isfinite(apart).any():
        return Evidence("kinship", 0.0, "a model of zeros has no cosine: kinship is unknown")
    k = int(np.nanargmin(apart))
    return _evidence(
        "kinship",
        odds if related else -odds,
        f"cosine {cosine[k]:.2g} in the middle layer, {_shown(m.names[k])}, "
        f"where chance allows {chance[k]:.2g}: {'relatives' if related else 'strangers'}",
    )


def of_direction(m: Measures, pairs: Pairs, parent: int) -> Iterator[Evidence]:
    """What the layers that tell say for and against model `parent` being the parent of the other;
    together its log-odds. pairs: the two models, from the layers of `m`."""
    toward = 1.0 if parent == 0 else -1.0
    by_layer = toward * pairs.log_odds_by_layer[:, 0]
    order = np.argsort(-np.abs(by_layer), kind="stable")
    loud = {side: [int(k) for k in order if side * by_layer[k] > 0] for side in (1, -1)}
    child = 1 - parent
    sums = {side: float(by_layer[loud[side]].sum()) for side in (1, -1)}
    if loud[1]:
        yield _evidence(
            "layers",
            sums[1],
            f"{len(loud[1])} of {_layers(len(by_layer))} fit this direction better, most of all "
            f"{_named(m.names, loud[1])}; the child's layers hold {_held(m, parent, child)} of the "
            f"parent, the parent's {_held(m, child, parent)} of the child",
        )
    if loud[-1]:
        yield _evidence(
            "layers",
            sums[-1],
            f"{len(loud[-1])} of {_layers(len(by_layer))} fit the reverse better, most of all "
            f"{_named(m.names, loud[-1])}",
        )
    rest = toward * float(pairs.log_odds[0]) - sums[1] - sums[-1]
    side = "likelier" if rest >= 0 else "less likely"
    yield _evidence(
        "shrink", rest, f"what all layers shrank or grew by in common is {side} this way round"
    )


def of_third(pairs: Pairs, parent: int, direction: float, beside: float = 0.0) -> Evidence:
    """What is taken from the log-odds of the direction, whose probability is `direction` with it:
    layers do not speak independently, and two models alone may be siblings. beside: what other
    kinds of evidence say for it."""
    odds = float(pairs.log_odds[0]) * (1.0 if parent == 0 else -1.0) + beside
    says = (
        "layers that were trained together count for less than their sum, and nothing but these "
        "two tells them from siblings"
    )
    sure = min(max(direction, _LEAST_PROBABILITY), 1 - _LEAST_PROBABILITY)
    return _evidence("siblings", math.log(sure / (1 - sure)) - odds, says)


def of_polarity(pairs: Pairs, parent: int | None, polarity: float) -> Evidence:
    """Parent and child against siblings; parent: None where they were told to be siblings."""
    says = (
        f"polarity {polarity:.2g}: 0 where the child holds all of its parent, 0.5 between siblings"
    )
    ways = (pairs.forward[:, 0], pairs.back[:, 0])
    if parent is not None:
        way = ways[parent]
        return _evidence("polarity", float(way[0] - way[1]), says)
    as_parent, as_sibling = (max(float(way[k]) for way in ways) for k in (0, 1))
    return _evidence("polarity", as_sibling - as_parent, says)


def of_step(group: Group, m: Measures, rank: int | None) -> Iterator[Evidence]:
    """What kind of step it was; none of it says which way."""
    same = int(unchanged(m, roundings(group))[:, 0, 1].sum())
    if same:
        yield Evidence("frozen", 0.0, f"{same} of {_layers(len(m.names))} did not change")
    if rank is not None:
        says = f"what changed is of rank {rank} at most in the layers looked at, as by LoRA"
        yield Evidence("low rank", 0.0, says)
    new = new_layers(group, m, 0, 1)
    if new:
        says = f"new in one of them, as a head for another task: {_named(new, range(len(new)))}"
        yield Evidence("new layers", 0.0, says)
    one, two = (c.dtype for c in group.checkpoints)
    if one != two:
        says = f"stored as {one} and {two}, and neither is the other rounded"
        yield Evidence("number format", 0.0, says)


_LEAST_PROBABILITY = 1e-9  # of a probability, of which the log-odds are taken

_LOST = {
    "quantized": "all weights of the child are the parent's, rounded to few values",
    "pruned": "all weights of the child are the parent's, or zero",
}


def of_copies(copies: Duplicate) -> Iterator[Evidence]:
    """Of two that hold the same weights, or of which one is the other rounded or pruned."""
    original, copy = copies.original, copies.copy
    whole = _all(copy)
    one, two = (c.dtype for c in sorted((original, copy), key=lambda c: c.id))
    stored = "" if one == two else f" (as {one} and {two})"
    if copies.relation == "duplicate":
        says = f"{whole} are equal{stored}; that doesn't tell which was first"
        yield Evidence("equal", MOST_TOLD, says)
        return
    if copies.relation == "contains":
        yield of_part(original, copy)
        return
    if copies.undirected:
        says = f"{whole} are equal but for a scale; that doesn't tell which was first"
        yield Evidence("copy", MOST_TOLD, says)
        return
    if copies.relation in _LOST:
        yield Evidence("copy", MOST_TOLD, _LOST[copies.relation])
        return
    if copies.relation == "converted" and copies.scheme:
        says = "every row of its matrices is the parent's times a number, and norms are gone"
        yield Evidence("copy", MOST_TOLD, f"{says}: that can't be undone")
        return
    yield Evidence("equal", MOST_TOLD, f"{whole} are equal but for exact rounding{stored}")
    says = "the parent's weights have more digits; rounding loses them and nothing brings them back"
    yield Evidence("number format", MOST_TOLD, says)


def of_conversion(copies: Duplicate) -> Evidence:
    """Of the same weights in another framework."""
    if copies.relation == "contains":
        return of_part(copies.original, copies.copy)
    whole = _all(copies.copy)
    says = f"{whole} are equal when sorted, tensor by tensor; that doesn't tell which was first"
    return Evidence("equal", MOST_TOLD, says)


def of_part(one: Checkpoint, other: Checkpoint) -> Evidence:
    """Of two of which one holds all of the other's weights, and more."""
    inner, outer = sorted((one, other), key=lambda c: c.parameters)
    more = f"{outer.parameters - inner.parameters:,} more".replace(",", " ")
    says = f"{_all(inner)} of {inner.id} are among those of {outer.id}, which holds {more}"
    return Evidence("equal", MOST_TOLD, says)


def _all(checkpoint: Checkpoint) -> str:
    return f"all {checkpoint.parameters:,} weights".replace(",", " ")


def not_read(checkpoint: Checkpoint) -> Iterator[str]:
    """Tensors that are passed over, for they are no weights."""
    whole = sorted(t.name for t in checkpoint.tensors.values() if not t.is_weight)
    if whole:
        names = _named(whole, range(len(whole)))
        yield f"{checkpoint.id}: {len(whole)} not of floating-point numbers: {names}"
    if checkpoint.unread:
        names = _named(sorted(checkpoint.unread), range(len(checkpoint.unread)))
        yield f"{checkpoint.id}: {len(checkpoint.unread)} not read as finite numbers: {names}"


def of_relabelling(test: Relabelling, hidden: Undone | None) -> Evidence:
    """Of two that are kin, however their units are labelled. hidden: what was undone."""
    what = f"undone: {', '.join(hidden.kinds)}" if hidden else "what hides them could not be undone"
    says = f"{_agreed(test)}; {what}"
    odds = -math.log(max(test.p, math.exp(-MOST_TOLD)))
    return _evidence("relabelled", odds, says)


def of_no_kinship(test: Relabelling | None, power: bool, apart: bool) -> Evidence:
    """Of two that neither names and places nor the test of relabelling join. power: whether it
    would tell either from itself. apart: whether nearly all layers are unlike."""
    if test is None or not test.axes:
        says = "hidden kinship was not tested: no axis of units is known that two matrices share"
        return Evidence("relabelled", 0.0, says)
    open_ = {
        "too few units or labels tell more": not power,
        "more than chance has it, and in no axis half": not test.is_chance(),
        "some layers are alike where they are": not apart,
    }
    why = [says for says, held in open_.items() if held]
    if why:
        return Evidence("relabelled", 0.0, f"{_agreed(test)}; {why[0]}")
    odds = MOST_TOLD - max(-math.log(max(test.p, math.exp(-MOST_TOLD))), 0.0)
    return _evidence("relabelled", odds, f"{_agreed(test)}; it would tell either from itself")


def _agreed(test: Relabelling) -> str:
    share = f"{100 * test.alike:.3g} % of units in the middle one of {len(test.axes)} axes"
    return f"under any labels, what writes and what reads units agrees on {share}, p = {test.p:.2g}"


def _evidence(kind: str, log_odds: float, says: str) -> Evidence:
    return Evidence(kind, rounded(log_odds, 4) or 0.0, says)


def _held(m: Measures, p: int, c: int) -> str:
    """The middle four fifths of the layers' slopes <p, c> / <p, p>."""
    slopes: Array = m.gram[:, p, c] / m.norms[:, p, c]
    low, high = np.quantile(slopes, [0.1, 0.9])
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _named(names: Sequence[str], picked: Iterable[int]) -> str:
    chosen = list(picked)
    more = f" and {len(chosen) - SENTENCE_LAYERS} more" if len(chosen) > SENTENCE_LAYERS else ""
    return ", ".join(_shown(names[k]) for k in chosen[:SENTENCE_LAYERS]) + more


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
