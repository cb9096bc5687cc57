"""Averages of one run, and of several."""

from __future__ import annotations

from pathlib import Path

import torch

from experiments.lab.kinds import BESIDE, Weights, kind, stored, weights
from experiments.lab.models import load, trained


def _mean(every: list[Weights]) -> Weights:
    return {name: torch.stack([w[name] for w in every]).mean(0) for name in every[0]}


@kind("soup of three", "a b d", "average merge", first=True)
def _soup(folder: Path, out: Path) -> None:
    stored(out, folder / "a", _mean([weights(folder / n) for n in "abd"]))


@kind("soup of three in bfloat16", "a b d", "average merge")
def _soup_half(folder: Path, out: Path) -> None:
    mean = _mean([weights(folder / n) for n in "abd"])
    stored(out, folder / "a", mean, torch.bfloat16)


def _run(folder: Path, parent: str, text: str, marks: tuple[int, ...]) -> list[Weights]:
    """The weights of a run at some steps."""
    model, kept = load(folder / parent), list[Weights]()

    def note(step: int) -> None:
        if step + 1 in marks:
            kept.append({n: w.clone() for n, w in model.state_dict().items()})

    trained(model, text, marks[-1], seed=13, rate=5e-4, each=note)
    return kept


@kind("mean of the last three checkpoints", "s1 s2 s3", "average merge")
def _swa(folder: Path, out: Path) -> None:
    run = _run(folder, "a", "readme", (30, 45, 60))
    for k, values in enumerate(run):
        stored(out / BESIDE / f"s{k + 1}", folder / "a", values)
    stored(out, folder / "a", _mean(run))


@kind("mean of five checkpoints", "s1 s2 s3 s4 s5", "average merge")
def _lawa(folder: Path, out: Path) -> None:
    run = _run(folder, "base", "licences", (20, 30, 40, 50, 60))
    for k, values in enumerate(run):
        stored(out / BESIDE / f"s{k + 1}", folder / "a", values)
    stored(out, folder / "a", _mean(run))


def _moving(folder: Path, parent: str, text: str) -> tuple[Weights, Weights]:
    model = load(folder / parent)
    mean = {n: w.clone() for n, w in model.state_dict().items()}

    def note(step: int) -> None:
        for n, w in model.state_dict().items():
            mean[n] = 0.95 * mean[n] + 0.05 * w

    trained(model, text, 60, seed=14, rate=5e-4, each=note)
    return mean, dict(model.state_dict())


@kind("moving average", "a", "average fine-tune continuation")
def _ema(folder: Path, out: Path) -> None:
    stored(out, folder / "a", _moving(folder, "a", "readme")[0])


@kind("moving average beside its run", "a", "average fine-tune continuation")
def _ema_beside(folder: Path, out: Path) -> None:
    mean, end = _moving(folder, "a", "readme")
    stored(out / BESIDE / "end", folder / "a", end)
    stored(out, folder / "a", mean)


@kind("soup of three runs from one start", "r1 r2 r3", "average merge")
def _runs(folder: Path, out: Path) -> None:
    every = []
    for k in range(3):
        model = load(folder / "b")
        trained(model, "licences", 40, seed=20 + k, rate=5e-4)
        every.append({n: w.clone() for n, w in model.state_dict().items()})
        stored(out / BESIDE / f"r{k + 1}", folder / "b", every[-1])
    stored(out, folder / "b", _mean(every))


@kind("masters and their bfloat16 upload", "masters", "converted")
def _masters(folder: Path, out: Path) -> None:
    model = load(folder / "a")
    trained(model, "readme", 60, seed=15, rate=5e-4)
    model.save_pretrained(out / BESIDE / "masters")
    stored(out, folder / "a", dict(model.state_dict()), torch.bfloat16)
