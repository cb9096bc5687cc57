"""What looking for hidden kin costs in an ordinary collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import mother
import mother.recovery as recovery
from mother.evidence.hiding import Hidden
from mother.layouts import Group

TREES, CHILDREN, BLOCKS, WIDTH = 5, 20, 4, 192
Models = dict[str, dict[str, NDArray[np.float32]]]


def vits(step: float) -> Models:
    """105 small ViTs: five bases, and children of these and of each other by steps of random
    numbers, relative to their weights; heads of their own."""
    draw = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return (0.02 * draw.standard_normal(shape)).astype(np.float32)

    models: Models = {}
    for tree in range(TREES):
        base = {"patch.weight": normal(WIDTH, 3, 16, 16), "positions": normal(1, 197, WIDTH)}
        for k in range(BLOCKS):
            at = f"layers.{k}."
            for name in ("query", "key", "value", "out"):
                base |= {
                    f"{at}{name}.weight": normal(WIDTH, WIDTH),
                    f"{at}{name}.bias": normal(WIDTH),
                }
            base |= {f"{at}up.weight": normal(4 * WIDTH, WIDTH), f"{at}up.bias": normal(4 * WIDTH)}
            base |= {f"{at}down.weight": normal(WIDTH, 4 * WIDTH), f"{at}down.bias": normal(WIDTH)}
            base |= {f"{at}norm{n}.weight": 1 + normal(WIDTH) for n in (1, 2)}
        own = [base]
        for _ in range(CHILDREN):
            parent = own[int(draw.integers(len(own)))]
            kid = {n: w + step * w.std() / 0.02 * normal(*w.shape) for n, w in parent.items()}
            kid["head.weight"] = normal(int(draw.integers(5, 50)), WIDTH)
            own.append(kid)
        models |= {f"{tree}-{k}": w for k, w in enumerate(own)}
    return models


def costs() -> Iterator[tuple[float, float, float]]:
    """Step, seconds of processor time to recover, and of these to look for hidden kin."""
    for step in (0.1, 0.9, 2.0):
        models = vits(step)
        looked = _Timed(recovery.find_hidden)
        with patch.object(recovery, "find_hidden", looked):
            start = time.process_time()
            mother.recover(models)
            yield step, time.process_time() - start, looked.spent


@dataclass
class _Timed:
    looks: Callable[[Group], list[Hidden]]
    spent: float = 0.0

    def __call__(self, group: Group) -> list[Hidden]:
        start = time.process_time()
        found = self.looks(group)
        self.spent += time.process_time() - start
        return found
