"""Work that ends the process that does it, for workers to import."""

import os
import signal
import time
from pathlib import Path

from mother.index.unit import sketched


def dies_once(unit):
    """Kills its worker at the checkpoint b2, the first time."""
    mark = Path(unit.path).parent.parent / "died"
    if Path(unit.path).stem == "b2" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return sketched(unit)


def always_dies(unit):
    """Kills its worker at the checkpoint b2, each time, and notes that."""
    if Path(unit.path).stem == "b2":
        with (Path(unit.path).parent.parent / "deaths").open("a") as deaths:
            deaths.write(".")
        os.kill(os.getpid(), signal.SIGKILL)
    return sketched(unit)


def slow(unit):
    """Takes its time, and notes that it was asked."""
    (Path(unit.path).parent.parent / "asked" / Path(unit.path).stem).touch()
    time.sleep(0.5)
    return sketched(unit)
