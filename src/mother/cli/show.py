"""mother show"""

from __future__ import annotations

from pathlib import Path

import click

from mother.cli.output import print_forest
from mother.graph import ModelGraph


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json")
@click.option("--depth", type=click.IntRange(min=1), help="Levels of the tree to print.")
@click.option("--plain", is_flag=True, help="As in a pipe: no colours, names in full.")
def show(graph: Path, depth: int | None, plain: bool) -> None:
    """Print a recovered graph as a tree."""
    print_forest(ModelGraph.load(graph), depth, plain=plain, refused=True)
