"""Where programs keep checkpoints, told by the layout of their folders: a store is one module and
one line in `STORES`. It says what is called how, where to look, and writes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mother.checkpoints.formats import ending
from mother.checkpoints.stores import hugging_face, interfaces, lm_studio, ollama, runs, wandb
from mother.checkpoints.stores.place import USUAL, Elsewhere, Place
from mother.checkpoints.tensor import clean

#: the first in which a path lies names what lies there
STORES = (
    *(hugging_face.STORE, ollama.STORE, lm_studio.STORE, wandb.STORE),
    *(interfaces.STORE, runs.STORE),
)


@dataclass(frozen=True)
class Called:
    """What a checkpoint is called. short: its id where no other one is called so; exact: the same
    with the file's whole name; full: with all that its store knows; above: the folders whose names
    go before any of them, the nearest last; note: what the layout of its store says of it; step:
    its name within its run, "" where it is of none."""

    short: str
    exact: str
    full: str
    above: tuple[str, ...]
    note: str = ""
    step: str = ""

    @property
    def run(self) -> tuple[tuple[str, ...], str]:
        """Of which run it is, if of one."""
        return self.above, self.short.removesuffix(self.step)


def called(path: Path, *, whole: bool) -> Called:
    """What the checkpoint at a path is called. whole: it is a folder.

    >>> called(Path("/hub/models--org--base/snapshots/0123abc"), whole=True).short
    'org/base@0123abc'
    >>> called(Path("/out/tuned/checkpoint-500/model.safetensors"), whole=False).short
    'tuned/checkpoint-500'
    >>> called(Path("/models/llama.gguf"), whole=False).short
    'llama'
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (without following symlinks)
    name = absolute.name if whole else _bare(absolute)
    bare = absolute.parent / name
    for store in STORES:
        place = store.place(bare)
        if place is not None:
            inside = place.inside
            if not whole and place.label and inside and inside[-1] in USUAL:
                inside = inside[:-1]
            return within(place, inside, "" if whole else absolute.name[len(name) :])
    exact = clean(absolute.name or "root")
    return Called(clean(name or "root"), exact, exact, absolute.parts[1:-1])


def within(place: Place, inside: tuple[str, ...] | None = None, end: str = "") -> Called:
    """What a checkpoint at a place is called. end: the ending of its file."""
    below = place.inside if inside is None else inside
    exact = _joined(place.label, place.inside) + clean(end)
    full = _joined(place.full or place.label, place.inside) + clean(end)
    step = _joined("", below) if place.run else ""
    return Called(_joined(place.label, below), exact, full, place.home.parts[1:], place.note, step)


def _joined(label: str, inside: tuple[str, ...]) -> str:
    return clean("/".join(part for part in (label, *inside) if part))


def searched(folder: Path, names: list[str]) -> list[str]:
    """Which of the names in a folder are looked at, and in which order."""
    for store in STORES:
        names = store.searched(folder, names)
    return names


def named(path: Path) -> list[Elsewhere] | None:
    """The weights that a file names in place of holding them, None where it is no file that does.
    Raises InputError."""
    return next((found for s in STORES if (found := s.named(path)) is not None), None)


def fetched(path: Path) -> str:
    """What gets what is absent at a path, as the end of a sentence; "" where nothing is known to.

    >>> fetched(Path("/hub/models--org--base/snapshots/main"))
    '; `hf download org/base --revision main` fetches it'
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  (without following symlinks)
    command = next((told for store in STORES if (told := store.fetches(absolute))), "")
    return f"; `{command}` fetches it" if command else ""


def _bare(path: Path) -> str:
    """The name without the ending of weights; also without one that no format has, ".th", and that
    is no part of a name, ".2"."""
    end = ending(path.name) or (path.suffix if path.suffix[1:].isalpha() else "")
    return path.name.removesuffix(end)
