"""python -m experiments.lab.merge_cost [MANY]: what finding merges adds to a recovery.

MANY small relatives, a tree of drawn steps with ten merges among them, are recovered; the time
that is spent on merges is told beside that of all else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import numpy as np

import mother
from mother import architecture
from mother.evidence.merges import Merged

LAYERS, SIDE = 8, 96


@contextmanager
def _timed(spent: dict[str, float]) -> Iterator[None]:
    """Note how long what finds merges takes."""

    def noted(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return call(*given, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - start

        return timed

    of, sampled = Merged.of, architecture.sampled
    Merged.of = noted(of, "finding")  # type: ignore[method-assign]
    architecture.sampled = noted(sampled, "reading")
    try:
        yield
    finally:
        Merged.of, architecture.sampled = of, sampled  # type: ignore[method-assign]


@click.command()
@click.argument("many", type=int, default=1000)
@click.option("--strangers", type=int, default=0)
def main(many: int, strangers: int) -> None:
    """Print the times, and the ratio."""
    draws = np.random.default_rng(0)
    shape = (LAYERS, SIDE, SIDE)
    models = [draws.standard_normal(shape)]
    for _ in range(1, many - 10):
        parent = models[int(draws.integers(max(1, len(models) // 2)))]
        models.append(parent + draws.uniform(0.05, 0.2) * draws.standard_normal(shape))
    for _ in range(10):
        a, b = draws.choice(len(models) - 10, 2, replace=False)
        models.append(0.6 * models[a] + 0.4 * models[b])
    models += [draws.standard_normal(shape) for _ in range(strangers)]
    named = {
        f"m{k:04d}": {f"h.{x}.w": w[x].astype(np.float32) for x in range(LAYERS)}
        for k, w in enumerate(models)
    }
    spent: dict[str, float] = {}
    start = time.process_time()
    with _timed(spent):
        graph = mother.recover(named, bootstrap=0)
    every = time.process_time() - start
    merges = sum(spent.values())
    found = sum(n.recipe is not None for n in graph.nodes)
    print(f"{len(named)} models, {found} merges found; {every:.1f} s in all")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items()))
    print(f"merges add {100 * merges / (every - merges):.1f} % to the rest")


if __name__ == "__main__":
    main()
