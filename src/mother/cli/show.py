"""mother show"""

from __future__ import annotations

from pathlib import Path

import click

from mother.cli.output import print_lines
from mother.graph import ModelGraph
from mother.views.terminal import forest


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json")
@click.option("--depth", type=click.IntRange(min=1), help="Levels of the tree to print.")
def show(graph: Path, depth: int | None) -> None:
    """Print a recovered graph as a tree."""
    print_lines(forest(ModelGraph.load(graph), depth))
