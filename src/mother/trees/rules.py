"""What the default method goes by: a few rules, each of which can be switched."""

from __future__ import annotations

from dataclasses import dataclass

from mother.evidence.direction import TRAINING, Training


@dataclass(frozen=True)
class Rules:
    """The rules of one recovery. What is off is not looked at.

    kinds: of evidence, by the names they are registered under; None for all. training: what is
    believed of trainings before any is seen. turning: a step that undoes the one before it is
    dearer. centre: seen from far away, a model hangs from the middle of a cluster. prior: hubs are
    the likelier roots. shares: a child holds its parent's step, and no sibling's. latent: ancestors
    that are not among the models are looked for. vectors: layers that are no matrices count as much
    as these.

    all_pairs: models of a family known by samples, up to which all its pairs are candidates, and
    what is told by all pairs (shares) is looked at; of one that was measured all pairs are.
    """

    kinds: tuple[str, ...] | None = None
    training: Training = TRAINING
    turning: bool = True
    centre: bool = True
    prior: bool = True
    shares: bool = True
    latent: bool = True
    vectors: bool = False
    all_pairs: int = 0


RULES = Rules()
