"""Where in a store a checkpoint lies, and what a store is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

#: what weights are called whatever the model
USUAL = {
    *("model", "pytorch_model", "diffusion_pytorch_model", "adapter_model", "weights"),
    "consolidated",
}


@dataclass(frozen=True)
class Place:
    """Where in a store a checkpoint lies.

    label: what the store calls the model or the run, which ids start with; full: the same where
    another one is called so, too; inside: the parts of the path from there on; home: the folder of
    the store, for two of them may hold one of that label; note: what the layout says of the
    checkpoint, in a sentence; run: whether the label is of a run, which goes without saying where
    no other run is looked at.
    """

    label: str
    inside: tuple[str, ...]
    home: Path
    full: str = ""
    note: str = ""
    run: bool = False


class Elsewhere(NamedTuple):
    """Weights that lie elsewhere than the file that names them. part: what they are of the model,
    "adapter", "" for the model itself; fault: why they can't be had, "" where they can."""

    path: Path
    place: Place
    part: str = ""
    fault: str = ""


def _all(folder: Path, names: list[str]) -> list[str]:
    return names


def _none(path: Path) -> list[Elsewhere] | None:
    return None


def _nothing(path: Path) -> str:
    return ""


class Store(NamedTuple):
    """How one program keeps checkpoints in folders.

    place: of an absolute path, without the ending of a file, where in such a store it lies, None
    where in none. searched: which of the names in a folder are looked at, and in which order.
    named: the weights that a file names, None where it is no file that does; raises InputError.
    fetches: the command that gets what is absent at an absolute path, "" where none is known.
    """

    place: Callable[[Path], Place | None]
    searched: Callable[[Path, list[str]], list[str]] = _all
    named: Callable[[Path], list[Elsewhere] | None] = _none
    fetches: Callable[[Path], str] = _nothing
