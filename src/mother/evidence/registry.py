"""The kinds of evidence that take part in the default method, beside what layers say of pairs."""

from __future__ import annotations

from mother.evidence.counters import COUNTERS
from mother.evidence.kinds import Kind
from mother.evidence.optimizers import OPTIMIZERS
from mother.evidence.trained import TRAINED
from mother.evidence.untouched import UNTOUCHED
from mother.evidence.ways import RANKS
from mother.evidence.zeroed import ZEROED

KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Let a kind of evidence take part, under its name."""
    KINDS[kind.name] = kind


register(UNTOUCHED)
register(RANKS)
register(TRAINED)
register(COUNTERS)
register(OPTIMIZERS)
register(ZEROED)
