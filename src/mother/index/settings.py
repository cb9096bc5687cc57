"""What an index is created with, and keeps to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from mother.errors import UsageError
from mother.methods.refinement import READ
from mother.options import MOST_REPLICATES
from mother.sketches.windows import BUDGET, SAMPLED_MATRICES

BUDGETS = range(1 << 10, (1 << 30) + 1)
_SEEDS = range(1 << 31)
_MATRICES = range(1, 1 << 31)
_REPLICATES = range(MOST_REPLICATES + 1)
_BYTES = range(1 << 62)
_FLAGS = {"0": False, "1": True}


@dataclass(frozen=True)
class Settings:
    """budget: bytes of weights in a sketch. matrices: that are sampled of a large model at most.
    bootstrap: replicates that `support` is taken from. read: bytes of models of one family that may
    be read in full, where the largest sketches leave a doubt; download: of those on the Hub, too.
    UsageError.

    >>> Settings.of(Settings(seed=7).stored).seed
    7
    """

    budget: int = BUDGET
    seed: int = 0
    matrices: int = SAMPLED_MATRICES
    bootstrap: int = 0
    read: int = READ
    download: bool = False

    def __post_init__(self) -> None:
        within = {
            "budget": BUDGETS,
            "seed": _SEEDS,
            "matrices": _MATRICES,
            "bootstrap": _REPLICATES,
            "read": _BYTES,
            "download": range(2),
        }
        for name, value in asdict(self).items():
            if value not in within[name]:
                least, most = within[name][0], within[name][-1]
                raise UsageError(f"{name} must lie in {least}..{most}, not {value}")

    @property
    def stored(self) -> dict[str, str]:
        """As the database holds them."""
        return {name: str(int(value)) for name, value in asdict(self).items()}

    @classmethod
    def of(cls, stored: Mapping[str, str]) -> Settings:
        """From what the database holds; of an index that is older than `download`, without that.
        KeyError, ValueError, UsageError where it is broken."""
        names = ("budget", "seed", "matrices", "bootstrap", "read")
        numbers = {name: int(stored[name]) for name in names}
        return cls(**numbers, download=_FLAGS[stored.get("download", "0")])
