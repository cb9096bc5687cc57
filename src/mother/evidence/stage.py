"""Which stage of training an edge was: pre-training that goes on, which the paper (sec. 4.2) calls
generalization, or a training that was started from a model that was done, specialization.

What tells: a low rank or a layer made anew is tuning; models that many were made from were done;
what goes on itself, in the direction of the step before, far, and to heavier tails, is
pre-training. The sum of log-odds was fitted on one half of a population of trainings and on real
families.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mother.thresholds import PRECISE

STAGE_TOLD = 0.8  # probability of a stage, from which it is told
#: log-odds of generalization, fitted together: what they start from, and what each figure adds
STAGE_ODDS = {
    "start": -0.55,
    "log of the distance": 0.42,
    "low rank": -1.35,
    "new layers": -1.88,
    "log of the parent's children": -2.0,
    "children": 1.43,
    "turn": 1.0,
    "trained": 0.6,
}


@dataclass(frozen=True)
class Step:
    """What is known of an edge. distance: share of the parent's norm that changed. rank: whether
    the step is of low rank. new: whether layers were made anew. children: of its parent, itself
    among them. followed: whether it has children; None of two models alone, which don't tell.
    turn: cosine of the step with the one that led to its start, NaN if there is none. trained:
    log-odds that it came further from an initialization.
    """

    distance: float
    rank: bool
    new: bool
    children: int
    followed: bool | None
    turn: float
    trained: float


def reasons_of(step: Step) -> list[tuple[float, str]]:
    """Why a step was generalization, as log-odds that add up, each with what it says.

    >>> far = Step(0.3, False, False, 1, True, 0.8, 1.0)
    >>> round(generalization(far), 2), stage_of(generalization(far))
    (0.85, 'generalization')
    >>> round(generalization(Step(0.02, True, False, 4, False, math.nan, 0.0)), 2)
    0.0
    """
    far = (
        STAGE_ODDS["log of the distance"] * math.log(max(step.distance, PRECISE))
        if step.distance > 0
        else 0.0
    )
    onward = 0.0 if math.isnan(step.turn) else STAGE_ODDS["turn"] * min(max(step.turn, -1.0), 1.0)
    many = f"{step.children} were made from its parent"
    told = [
        (STAGE_ODDS["start"] + far, f"{100 * step.distance:.2g} % of the weights' norm changed"),
        (STAGE_ODDS["low rank"] * step.rank, "a low rank was added"),
        (STAGE_ODDS["new layers"] * step.new, "layers were made anew"),
        (STAGE_ODDS["log of the parent's children"] * math.log(max(step.children, 1)), many),
        _followed(step.followed),
        (onward, "it goes on in the direction of the step before"),
        (STAGE_ODDS["trained"] * step.trained, "how much further it has come from how nets begin"),
    ]
    return [(odds, says) for odds, says in told if odds]


def _followed(followed: bool | None) -> tuple[float, str]:
    odds = STAGE_ODDS["children"]
    if followed is None:
        return odds / 2, "whether others were made from it, two models do not tell"
    return odds * followed, "others were made from it"


def generalization(step: Step) -> float:
    """The probability that a step was generalization, 0 to 1."""
    return 1 / (1 + math.exp(-sum(odds for odds, _ in reasons_of(step))))


def stage_of(probability: float) -> str | None:
    """The stage where it is told, by a probability of STAGE_TOLD.

    >>> stage_of(0.1), stage_of(0.5)
    ('specialization', None)
    """
    if max(probability, 1 - probability) < STAGE_TOLD:
        return None
    return "generalization" if probability > 0.5 else "specialization"
