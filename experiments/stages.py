"""python -m experiments.stages DATA [--split FOLDER]...: how often the stage of training is told,
and how often right.

DATA holds trees of the population. An edge is generalization where both its ends are of one
training that began at an initialization. --split: a split of VTHR, on which the paper's method is
run with the stages given and with those told by the default method.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

import mother
from experiments.figures.pages import markdown
from experiments.population.judge import folders

Told = tuple[str, str, bool, float]


def told(folder: Path) -> Iterator[Told]:
    """Of each true edge that was found: half, stage ("" where it is not told), whether it is
    generalization, and its probability."""
    plan = json.loads((folder / "plan.json").read_text())
    of = {name: training for training in plan["trainings"] for name in training["ids"]}
    true = {tuple(e) for e in json.loads((folder / "truth.json").read_text())["edges"]}
    if not any(folder.glob("*.safetensors")):
        return
    for e in mother.recover(folder, bootstrap=0, threads=1).edges:
        if (e.parent, e.child) in true and e.generalization is not None:
            one = of[e.parent] is of[e.child] and of[e.child]["relation"] == "root"
            yield plan["half"], e.stage or "", one, e.generalization


def rows(edges: list[Told]) -> Iterator[list[object]]:
    for half in ("fit", "judge"):
        own = [e for e in edges if e[0] == half]
        for stage in ("all", "generalization", "specialization"):
            said = [e for e in own if e[1] and stage in ("all", e[1])]
            right = sum((e[1] == "generalization") == e[2] for e in said)
            share = len(said) / max(len(own), 1)
            yield [
                half,
                stage,
                len(own),
                len(said),
                f"{share:.2f}",
                right,
                f"{right / max(len(said), 1):.3f}",
            ]


def by_paper(split: Path) -> list[object]:
    """Right parents by the paper's method: stages given, told by the default method, all
    specialization."""
    truth = json.loads((split / "truth.json").read_text())
    true = {tuple(e) for e in truth["edges"]}
    trees = len(truth["trees"])
    graph = mother.recover(split, bootstrap=0)
    guessed = {
        e.child: "generalization" if e.generalization > 0.5 else "specialization"
        for e in graph.edges
        if e.generalization is not None
    }
    given = [truth["stages"], guessed, {}]
    right = [
        len(true & {(e.parent, e.child) for e in _paper(split, trees, stages)}) for stages in given
    ]
    return [split.name, len(true), *right]


def _paper(split: Path, trees: int, stages: dict[str, str]) -> tuple[mother.Edge, ...]:
    return mother.recover(split, method="mother", trees=trees, stages=stages, bootstrap=0).edges


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option("--split", "splits", multiple=True, type=click.Path(path_type=Path, exists=True))
def main(data: Path, splits: tuple[Path, ...]) -> None:
    """Print how the stage of training is told."""
    edges = [e for folder in folders(data) for e in told(folder)]
    print(
        markdown(
            ["half", "stage", "edges", "told", "share", "right", "of these"], list(rows(edges))
        )
    )
    if splits:
        head = ["split", "edges", "stages given", "stages told", "all specialization"]
        print(markdown(head, [by_paper(split) for split in splits]))


if __name__ == "__main__":
    main()
