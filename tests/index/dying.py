"""Work that ends the process that does it, for workers to import."""

import os
import signal
import time
from pathlib import Path

from mother.index.family import _recovered
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
    time.sleep(1.5)
    return sketched(unit)


def recovers_once(families):
    """Kills its worker at the family of b2, the first time."""
    paths = [Path(m.path) for family in families for m in family.models]
    mark = paths[0].parent.parent / "died"
    if any(path.stem == "b2" for path in paths) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return _recovered(families)


def never_recovers(families):
    """Kills its worker, each time."""
    os.kill(os.getpid(), signal.SIGKILL)
