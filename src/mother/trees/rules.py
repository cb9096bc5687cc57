"""What the default method goes by: a few rules, each of which can be switched."""

from __future__ import annotations

from dataclasses import dataclass

from mother.evidence.direction import TRAINING, Training


@dataclass(frozen=True)
class Rules:
    """The rules of one recovery. What is off is not looked at.

    kinds: of evidence, by the names they are registered under; None for all. training: what is
    believed of trainings before any is seen. prior: hubs are the likelier roots. latent: ancestors
    that are not among the models are looked for. whitened: the directions that trainings of a
    family have in common count less in its distances. vectors: layers that are no matrices count as
    much as these.
    """

    kinds: tuple[str, ...] | None = None
    training: Training = TRAINING
    prior: bool = True
    latent: bool = True
    whitened: bool = True
    vectors: bool = False


RULES = Rules()
