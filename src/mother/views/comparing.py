"""What two checkpoints are to each other, in lines: the same in a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mother.graph import Edge
from mother.graph.assembly import is_open
from mother.graph.comparison import Comparison, LayerEvidence
from mother.graph.facts import AS_GOOD_AS_WHOLE, part
from mother.graph.verdict import Verdict, certainty, changed, of_edge
from mother.names import printable, shortened
from mother.views.explanation import odds

_SENTENCES = {
    "unknown": "Unknown: of different architectures, so their weights can't be compared.",
    "strangers": "Strangers: not trained from each other, nor from a common ancestor.",
    "no kinship found": "No kinship found by names and places; under other labels it is not known.",
    "duplicate": "Duplicates: the same weights.",
    "siblings": "Probably siblings: both come from a third, maybe no more than an initialization.",
    "contains": "One contains the other: all weights of the smaller are among those of the larger.",
    "relatives": "Relatives: what they have in common did not change, so who was first is unknown.",
}
#: of sentences that are of no edge
_GRADES = {
    **dict.fromkeys(("unknown", "strangers", "no kinship found"), ""),
    **dict.fromkeys(("duplicate", "contains"), "strong"),
    "siblings": "likely",
    "relatives": "open",
}
_SHOWN = 10
THIRD = 1 / 3  # of the probability of a direction: below it another tale is likelier
_LOUDEST = 5


def sentence(c: Comparison) -> str:
    """The relation in one sentence.

    >>> sentence(Comparison("a.npz", "b.npz", "lora", "a", direction_probability=0.98, rank=4))
    'b.npz is LoRA-tuned (rank 4) from a.npz (98 % sure of the direction).'
    >>> sentence(Comparison("a.npz", "b.npz", "fine-tune", "b", direction_probability=0.6))
    'a.npz is probably fine-tuned from b.npz; which came first is open, and so is whether both \
come from a third.'
    """
    if c.scheme and c.parent is None:
        return f"Copies, {printable(c.scheme)}: which was first is unknown."
    if c.relation == "converted" and c.parent is None:
        return "The same weights in another framework: other names or another order of axes."
    if c.relation in _SENTENCES:
        return _SENTENCES[c.relation]
    parent, child = (c.a, c.b) if c.parent == "a" else (c.b, c.a)
    told = verdict(c, parent, child)
    third = ", and so is whether both come from a third" if unsure(c) else ""
    if c.direction_probability is not None and c.direction_probability < THIRD:
        names = f"{printable(child)} and {printable(parent)}"
        return f"{names} are related; that both come from a third is the likeliest."
    sure = f" ({'; '.join(told.figures)})" if told.figures else ""
    return f"{printable(child)} is {told.sentence}{third}{sure}."


def graded(c: Comparison) -> str:
    """How sure that is, "" where no relation is claimed.

    >>> graded(Comparison("a", "b", "lora", "a", direction_probability=0.98, rank=4))
    'strong'
    >>> graded(Comparison("a", "b", "lora", "b", direction_probability=0.6))
    'open'
    """
    if c.relation in _GRADES:
        return _GRADES[c.relation]
    if c.direction_probability is not None and c.direction_probability < THIRD:
        return "open"
    return verdict(c, c.a, c.b).grade


def verdict(c: Comparison, parent: str, child: str) -> Verdict:
    """The same as of an edge, without the distance, which has a line of its own."""
    p = c.direction_probability
    edge = Edge(
        parent,
        child,
        c.relation,
        direction_probability=p,
        rank=c.rank,
        undirected=unsure(c),
        scheme=c.scheme,
        probabilities=c.probabilities,
    )
    return of_edge(edge)


def unsure(c: Comparison) -> bool:
    """Whether the direction is as good as unknown."""
    p = c.direction_probability
    return p is not None and is_open(p, c.probabilities)


def lines(c: Comparison) -> Iterator[str]:
    """All of it but the map of changes."""
    yield from relation(c)
    yield from reasons(c)
    yield from layers(c)


def relation(c: Comparison) -> Iterator[str]:
    """The relation and its figures, those that are known."""
    yield sentence(c)
    if sure := graded(c):
        yield f"grade      {sure}   (strong, likely or open)"
    if c.compared is not None and min(c.compared) < AS_GOOD_AS_WHOLE:
        for share, of in zip(c.compared, (c.a, c.b), strict=True):
            yield f"compared   {int(100 * share)} % of the weights of {printable(of)}"
    if c.read is not None:
        each = zip(c.read, (c.a, c.b), strict=True)
        said = " and ".join(f"{part(share)} of {printable(of)}" for share, of in each)
        yield f"read       {said}   (windows first; --exact reads all)"
    if c.kinship is not None:
        yield f"kinship    {c.kinship:.3g}   (above 1: related)"
    if c.distance is not None:
        yield f"distance   {c.distance:.3g}   ({changed(c.distance)})"
    if c.polarity is not None:
        share = round(c.polarity, 2) + 0.0  # no minus before a zero
        yield f"polarity   {share:.2f}   (0: a child, 0.5: a sibling, 1: the parent)"
    if c.relabelled is not None:
        yield f"relabelled p = {c.relabelled.p:.2g}   (that independent trainings agree so much)"
        if c.relabelled.undone:
            yield f"undone     {', '.join(c.relabelled.undone)}"
    if c.parent is not None and c.distance:
        p = c.generalization
        sure = "" if p is None else f"   ({certainty(max(p, 1 - p))} sure)"
        told = f"{c.stage}{sure}" if c.stage else "unknown   (two models alone rarely tell)"
        yield f"stage      {told}"


def reasons(c: Comparison) -> Iterator[str]:
    """What speaks for and against it."""
    if c.evidence:
        yield "\nwhy, and what speaks against it"
    for reason in c.evidence:
        weight = odds(reason.log_odds)
        yield f"  {reason.kind:13}  {weight}: {printable(reason.says)}"


def layers(c: Comparison) -> Iterator[str]:
    """The layers that say most of the direction, and those that changed most."""
    seen, told = c.from_parent, c.parent is not None
    telling = [layer for layer in seen if layer.log_odds]
    if told and telling:
        loud = sorted(telling, key=lambda layer: -abs(layer.log_odds or 0.0))
        yield "\nloudest on the direction: log-odds for it, against it below 0"
        yield from _table(loud[:_LOUDEST], told)
    moved = sorted(seen, key=lambda layer: -(layer.change or 0.0))
    if moved:
        whose = "the parent's norm" if told else f"the norm in {printable(c.a)}"
        yield f"\nchanged most, as a share of {whose}"
        yield from _table(moved[:_SHOWN], told)
    if len(moved) > _SHOWN:
        same = sum(layer.change == 0.0 for layer in moved)
        yield f"… {len(moved) - _SHOWN} more layers, {same} in all unchanged (--json has all)"


def not_compared(c: Comparison) -> Iterator[str]:
    """What has no partner, or is no weight."""
    for line in c.not_compared[:_SHOWN]:
        yield f"not compared: {printable(line)}"
    if len(c.not_compared) > _SHOWN:
        yield f"not compared: … {len(c.not_compared) - _SHOWN} more"


def _table(rows: Sequence[LayerEvidence], told: bool) -> Iterator[str]:
    """told: whether one is the parent, so that log-odds are for or against that."""
    heads = ("change", "cosine", "polarity", *(["log-odds"] if told else []))
    yield f"{'layer':40} " + " ".join(f"{head:>8}" for head in heads)
    for row in rows:
        figures = [row.change, row.cosine, row.polarity, *([row.log_odds] if told else [])]
        cells = " ".join(f"{'-' if x is None else f'{x:.3f}':>8}" for x in figures)
        yield f"{shortened(printable(row.name), 40):40} {cells}"
