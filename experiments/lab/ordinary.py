"""python -m experiments.lab.ordinary FOLDER: is any model of the population taken for a merge?

FOLDER holds the population's trees (experiments/population): fine-tunes of all kinds, LoRAs,
siblings, averages of a run's steps that nobody kept. None is a merge of models that are there."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import click

import mother


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--most", type=float, default=600.0, help="Seconds; trees are left out after these.")
def main(folder: Path, most: float) -> None:
    """Print how many models of which relation were tried, and the merges that were found."""
    start, tried, trees, found = time.monotonic(), Counter[str](), 0, list[str]()
    for tree in sorted(p.parent for p in folder.glob("*/truth.json")):
        if not any(tree.glob("*.safetensors")):
            continue
        if time.monotonic() - start > most:
            break
        graph = mother.recover(tree, bootstrap=0)
        kinds = _kinds(tree / "plan.json")
        tried.update(kinds.get(n.id, "other") for n in graph.nodes)
        trees += 1
        found += [
            f"{tree.name} {n.id} ({kinds.get(n.id, 'other')}): {n.recipe.method} of "
            + ", ".join(f"{p} {s}" for p, s in zip(n.recipe.parents, n.recipe.shares, strict=True))
            for n in graph.nodes
            if n.recipe is not None
        ]
    print(f"{sum(tried.values())} models of {trees} trees: {dict(tried.most_common())}")
    print(f"{len(found)} taken for a merge")
    print("\n".join(found))


def _kinds(plan: Path) -> dict[str, str]:
    """By model, how it was trained."""
    trainings = json.loads(plan.read_text())["trainings"]
    return {
        id_: ("LoRA" if t["rank"] else t["relation"]) + (", averaged" if t["averaged"] else "")
        for t in trainings
        for id_ in t["ids"]
    }


if __name__ == "__main__":
    main()
