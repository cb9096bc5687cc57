"""python -m experiments.lab DATA: make the family and all kinds, and print the scoreboard."""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.lab.kinds import KINDS
from experiments.lab.models import family
from experiments.lab.score import made, page, scores

if __name__ == "__main__":
    data = Path(sys.argv[1])
    (data / "kinds").mkdir(parents=True, exist_ok=True)
    family(data / "family")
    made(data, KINDS)
    print(page(list(scores(data, KINDS))), end="")
