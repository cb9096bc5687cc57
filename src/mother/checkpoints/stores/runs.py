"""Folders of training runs, in which checkpoints are called by their step: RUN/checkpoint-500 of
transformers' Trainer, RUN/checkpoints/checkpoint_5 of accelerate, RUN/global_step500 of DeepSpeed,
lightning_logs/version_3/checkpoints/epoch=1-step=500.ckpt, RUN/checkpoint-12.pth.tar of timm.

A step's number is a claim of whoever named the file: it orders, and is no evidence of anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mother.checkpoints.folders import listing
from mother.checkpoints.json_files import read_json
from mother.checkpoints.stores.place import USUAL, Place, Store
from mother.errors import InputError

_COUNTED = (
    r"(?P<unit>global_?step|steps?|checkpoint|ckpt|iter(?:ation)?|epoch)[-_=]?(?P<n>\d{1,15})"
)
#: names that tell a step, and not of which run
_STEP = re.compile(rf"{_COUNTED}(?:-v\d+)?|(?:epoch|step)=\d+\D.*", re.I)
_ALIAS = re.compile(
    r"(?:(?:model|checkpoint|ckpt)[-_])?(?:best|last|latest|final)"
    r"(?:[-_](?:model|checkpoint|ckpt|v\d+))?",
    re.I,
)
#: where in a name a count stands
_COUNT = re.compile(rf"(?:(?<=[-_.=])|^){_COUNTED}(?!\d)", re.I)
#: folders between a run's and its checkpoints
_BETWEEN = {"checkpoints", "ckpts", "weights"}
#: what the Trainer writes into each of its checkpoints, and bytes of one
STATE, MAX_STATE = "trainer_state.json", 16 << 20
#: folders below a step's in which parts of it lie
_BELOW = 2


@dataclass(frozen=True)
class Step:
    """What a name says. run: what the paths of one run's checkpoints share, with what the name
    starts with and what follows it; unit: the name's own word, "checkpoint", "step", "epoch";
    number: how many."""

    run: Path
    unit: str
    number: int


def place(path: Path) -> Place | None:
    """RUN/STEP, and the path below it."""
    at = _marked(path)
    if at is None:
        return None
    run = _run(at)
    if not run.name:
        return None
    home = run.parent.parent if run.parent.name == "lightning_logs" else run.parent
    return Place(run.name, path.relative_to(at.parent).parts, home, note=_best(at), run=True)


def _best(at: Path) -> str:
    """That a folder of transformers' Trainer is the best of its run, as the newest of them says."""
    if not (at / STATE).is_file() or (own := step_of(at)) is None:
        return ""
    try:
        newest, best = _told_by_newest(at.parent, at.parent.stat().st_mtime_ns).get(
            own.run, ("", "")
        )
    except (InputError, OSError):
        return ""
    return f"the best of its run, {STATE} of {newest} says" if best == at.name else ""


@lru_cache(maxsize=64)
def _told_by_newest(folder: Path, _: int) -> dict[Path, tuple[str, str]]:
    """Of each run with steps in a folder, the name of the newest and of what it calls the best. The
    other argument is when the folder changed: it is looked through once, not for each of its
    steps. Raises InputError."""
    newest: dict[Path, tuple[int, Path]] = {}
    for path in (folder / name for name in listing(folder)):
        step = step_of(path)
        if step is not None and (path / STATE).is_file():
            newest[step.run] = max(newest.get(step.run, (-1, path)), (step.number, path))
    found = {}
    for run, (_, path) in newest.items():
        try:
            told = read_json(path / STATE, MAX_STATE).get("best_model_checkpoint")
        except (InputError, ValueError):
            continue
        found[run] = path.name, re.split(r"[/\\]", str(told or ""))[-1]
    return found


def step_of(path: Path) -> Step | None:
    """Which step of which run the checkpoint at an absolute path is, as its name says.

    >>> step_of(Path("/out/tuned/checkpoint-500"))
    Step(run=PosixPath('/out/tuned'), unit='checkpoint', number=500)
    >>> step_of(Path("/out/tuned/checkpoint-500/model.safetensors")).run
    PosixPath('/out/tuned')
    >>> step_of(Path("/logs/version_0/checkpoints/epoch=1-step=500.ckpt")).number
    500
    >>> step_of(Path("/models/llama-3")) is None
    True
    """
    at = _marked(path) or path
    counts = list(_COUNT.finditer(at.name))
    if not counts:
        return None
    # of an epoch and a step in it the finer one
    told = next((c for c in counts if "step" in c["unit"].lower()), counts[-1])
    below = path.relative_to(at)
    if below.parts and below.stem in USUAL:  # the step's one model, or the first of several
        below = below.parent
    run = _run(at) / at.name[: counts[0].start()] / below
    return Step(run, told["unit"].lower(), int(told["n"]))


def _marked(path: Path) -> Path | None:
    """The highest of a path and the folders right above it that is called as a step."""
    near = (path, *path.parents[:_BELOW])
    return next((p for p in reversed(near) if _is_step(p.name)), None)


def _is_step(name: str) -> bool:
    return bool(_STEP.fullmatch(name) or _ALIAS.fullmatch(name))


def _run(at: Path) -> Path:
    return at.parent.parent if at.parent.name in _BETWEEN else at.parent


STORE = Store(place)
