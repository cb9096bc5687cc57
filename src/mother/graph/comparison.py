"""What two checkpoints are to each other: the relation, and the evidence for and against it."""

from __future__ import annotations

from dataclasses import dataclass

from mother.graph.parts import Evidence, Probabilities, Relabelled


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
    they share did not change), "fine-tune", "continuation", "lora", or "unknown" (of different
    architectures). parent: "a" or "b" where one is trained from
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

    def _repr_html_(self) -> str:
        """What a notebook shows: a table."""
        from mother.views.tables import of_comparison  # a view of it; it needs none

        return of_comparison(self)
