"""What two checkpoints are to each other: the relation, and the evidence for and against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mother.graph.parts import Evidence, Probabilities, Relabelled
from mother.graph.plain import rounded


@dataclass(frozen=True)
class LayerEvidence:
    """One layer of both. polarity: <a - b, a> / |a - b|^2, near 0 where b holds all of a, near 1
    where a holds all of b; None where they are equal. change: |a - b| / |a|. log_odds: what it adds
    to the log-odds of a being the parent of b rather than its child; None where it tells nothing.
    """

    name: str
    weights: int
    cosine: float | None
    change: float | None
    polarity: float | None
    log_odds: float | None


@dataclass(frozen=True)
class Comparison:
    """What two checkpoints are to each other.

    relation: "strangers" (a test that relabelling does not change found nothing), "no kinship
    found" (by names and places; the test could not be made, or has no power here), "duplicate",
    "converted", "quantized", "pruned", "siblings" (a hidden common ancestor), "relatives" (what
    they share did not change), "fine-tune", "continuation", "lora", "reshaped" (of another shape,
    as a narrower one is), or "unknown" (of different architectures, and neither is a narrower one
    of the other). parent: "a" or "b" where one is trained from
    the other. stage: "specialization" or "generalization", None where it is unknown, and
    generalization: the probability of the second. kinship:
    median over layers of cosine against the cosine that chance allows; above 1 related. evidence:
    what speaks for the relation and the direction told (log-odds above 0), against them (below),
    and what describes the step and decides neither (0). The log-odds of the kinds "layers",
    "shrink", "rows", "trained" and "siblings" add up to that of the direction.
    not_compared: tensors of a and b that found no partner, with the reason. scheme: how a copy was
    quantized or scaled, empty otherwise. compared: which share of a's and of b's weights was.
    probabilities: that the parent is the parent, that it is the child, and that it is neither.
    relabelled: what the test of kinship under relabelling found, where it was made. read: which
    share of the bytes of a's and of b's files was read, at most; None where all were.
    """

    a: str
    b: str
    relation: str
    parent: str | None = None
    stage: str | None = None
    kinship: float | None = None
    distance: float | None = None
    polarity: float | None = None
    direction_probability: float | None = None
    rank: int | None = None
    evidence: tuple[Evidence, ...] = ()
    layers: tuple[LayerEvidence, ...] = ()
    not_compared: tuple[str, ...] = ()
    scheme: str = ""
    compared: tuple[float, float] | None = None
    probabilities: Probabilities | None = None
    relabelled: Relabelled | None = None
    read: tuple[float, float] | None = None
    generalization: float | None = None

    @property
    def from_parent(self) -> tuple[LayerEvidence, ...]:
        """The layers as they are where a is the parent, whichever of the two was named first.

        With x = |b| / |a|, <a - b, a> = |a|^2 (1 - cosine x) gives x, and the two polarities add
        up to 1.

        >>> layer = LayerEvidence("w", 4, cosine=0.8, change=1.0, polarity=0.0, log_odds=-2.0)
        >>> told = Comparison("a", "b", "fine-tune", "b", layers=(layer,)).from_parent[0]
        >>> told.change, told.polarity, told.log_odds
        (0.8, 1.0, 2.0)
        """
        return tuple(map(_reversed, self.layers)) if self.parent == "b" else self.layers

    def _repr_html_(self) -> str:
        """What a notebook shows: a table."""
        from mother.views.tables import of_comparison  # a view of it; it needs none

        return of_comparison(self)


def _reversed(layer: LayerEvidence) -> LayerEvidence:
    """A layer as of b and a."""
    odds = None if layer.log_odds is None else -layer.log_odds
    if layer.polarity is None or layer.change is None:
        return replace(layer, log_odds=odds)
    share = (1 - layer.polarity * layer.change**2) / layer.cosine if layer.cosine else 0.0
    change = rounded(layer.change / share) if share > 0 else None
    return replace(layer, change=change, polarity=rounded(1 - layer.polarity), log_odds=odds)
