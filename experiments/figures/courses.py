"""What a training does to weights, checkpoint after checkpoint; figures 3 and 9 to 19 read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.courses import checkpoints, plan
from experiments.figures.families import Data, Family, measured
from experiments.figures.pictures import COLOURS, GREY
from experiments.scales import SCALES

Array = NDArray[np.float64]
#: by the stage that it is taken to be
WAYS = {"generalization": "pre-training", "specialization": "fine-tuning"}


@dataclass(frozen=True)
class Course:
    """One training: `models` in the order in which they were saved, what it began with first,
    `progress` the share of it done by then. way: "pre-training" or "fine-tuning"."""

    seed: int
    way: str
    root: str
    models: Family
    progress: Array


def courses(data: Data, way: str | None = None) -> Iterator[Course]:
    """Each training of each seed, all of them or those of one way."""
    for seed, folder in data.watched("courses"):
        runs = plan(SCALES[data.scale], "courses", seed)
        for (stage, root), ids in checkpoints(runs).items():
            if way in (None, WAYS[stage]):
                paths = [folder / f"{id}.safetensors" for id in ids]
                yield Course(seed, WAYS[stage], root, _measured(paths, data), _progress(len(ids)))


def _measured(paths: list[Path], data: Data) -> Family:
    return measured(paths, entropy=True, threads=data.processes)


def _progress(models: int) -> Array:
    """Checkpoints are a tenth apart; a pre-training's first is its first step."""
    return np.linspace(0, 1, models)


def falling(score: Array) -> float:
    """Share of pairs of checkpoints whose later one has the lower score: 1 where it falls
    throughout, 0 where it grows throughout.

    >>> falling(np.array([3.0, 2.0, 2.5]))
    0.6666666666666666
    """
    earlier, later = np.triu_indices(len(score), 1)
    return float((score[later] < score[earlier]).mean())


def in_order(probability: Array) -> float:
    """Share of pairs of checkpoints (n, n) whose earlier one is held for the parent.

    >>> in_order(np.array([[0.5, 0.9], [0.1, 0.5]]))
    1.0
    """
    earlier, later = np.triu_indices(len(probability), 1)
    return float((probability[earlier, later] > 0.5).mean())


def change(score: Array) -> Array:
    """Change since the start, scaled to its largest."""
    moved = score - score[0]
    return np.asarray(moved / max(float(np.abs(moved).max()), 1e-300))


def draw(ax: Axes, lines: list[tuple[str, Array, Array]], roots: list[str]) -> None:
    """Lines (root, x, y): a colour each of `roots`, the lines of other seeds thinner."""
    seen: set[str] = set()
    for root, x, y in lines:
        first = root not in seen
        seen.add(root)
        ax.plot(
            x,
            y,
            color=COLOURS[roots.index(root) % len(COLOURS)],
            label=root if first else None,
            linewidth=1.4 if first else 0.7,
            alpha=1 if first else 0.6,
        )


def draw_polarity(ax: Axes, lines: list[tuple[str, Array, Array]], roots: list[str]) -> None:
    """The same of polarity, with the line that tells a parent from a child."""
    draw(ax, lines, roots)
    ax.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    values = [value for _, _, y in lines for value in y]
    ax.set_ylim(max(-1.0, min(-0.1, *values) - 0.05), min(1.2, max(0.6, *values) + 0.05))
