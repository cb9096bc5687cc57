"""How to recover: the choices there are, checked."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mother.errors import UsageError
from mother.methods import paper as mother
from mother.methods.scores import SCORES

METHODS = ("gram", "mother")
DISTANCES = ("auto", "ft", "lora")
STAGES = ("specialization", "generalization")
MANY = 512  # sketches of one architecture, beyond which no n x n matrices are held
MOST_REPLICATES = 100_000  # of the bootstrap: support to a tenth of a percent, in bounded memory
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How to recover. See `recover`."""

    method: str = "gram"
    distance: str = "auto"
    stage: str = "specialization"
    stages: Mapping[str, str] = field(default_factory=dict)
    trees: int | None = None
    layers: str | None = None
    score: str = "kurtosis"
    c: float = mother.C
    bootstrap: int = 100
    seed: int = 0
    threads: int = 0
    memory: int = 1 << 30
    explain: bool = False
    hashes: bool = False
    hints: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        choices = {
            "method": METHODS,
            "distance": DISTANCES,
            "stage": STAGES,
            "score": tuple(SCORES),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}")
        for model, stage in self.stages.items():
            if stage not in STAGES:
                raise UsageError(f"stage {stage!r} of {model!r} is not one of {', '.join(STAGES)}")
        for name, least in (("bootstrap", 0), ("threads", 0), ("memory", 1 << 20)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.bootstrap > MOST_REPLICATES:
            raise UsageError(f"bootstrap must be {MOST_REPLICATES} at most, not {self.bootstrap}")
        if not (math.isfinite(self.c) and self.c >= 0):
            raise UsageError(f"c must be a number of at least 0, not {self.c}")
        if self.trees is not None and self.trees < 1:
            raise UsageError(f"trees must be at least 1, not {self.trees}")
        try:
            re.compile(self.layers or "")
        except re.error as fault:
            raise UsageError(f"layers {self.layers!r} is no regular expression: {fault}") from None

    @property
    def recorded(self) -> dict[str, object]:
        """What graph.json keeps: the options that can change the forest, with their values."""
        common = ("trees", "layers", "seed")
        own = {
            "gram": ("bootstrap",),
            "mother": ("distance", "stage", "stages", "score", "c"),
        }
        exact = ("exact",) if self.exact else ()
        return {name: getattr(self, name) for name in (*common, *own[self.method], *exact)}

    @property
    def workers(self) -> int:
        """Threads to use; 0 asks for as many as this process may run on."""
        if self.threads:
            return self.threads
        allowed = getattr(os, "sched_getaffinity", None)
        return len(allowed(0)) if allowed else os.cpu_count() or 1
