"""mother evaluate"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

import mother.graph.evaluation
from mother.graph import ModelGraph, rounded
from mother.views.terminal import printable


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json")
@click.argument("truth", type=click.Path(path_type=Path), metavar="truth.json")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def evaluate(graph: Path, truth: Path, as_json: bool) -> None:
    """Compare a recovered graph with the truth.

    accuracy is the paper's: edges found with their direction, over true edges.
    """
    true = mother.graph.evaluation.read_truth(truth)
    result = mother.graph.evaluation.evaluate(ModelGraph.load(graph), true)
    if as_json:
        content = asdict(result)
        plain = {k: rounded(v) if isinstance(v, float) else v for k, v in content.items()}
        click.echo(json.dumps(plain))
        return
    click.echo(
        f"accuracy              {_share(result.accuracy)}  ({result.right} of {result.true})"
    )
    undirected = f"{result.right_undirected} of {result.true}"
    click.echo(f"without direction     {_share(result.undirected)}  ({undirected})")
    click.echo(f"adjusted Rand index   {_share(result.adjusted_rand_index)}")
    click.echo(f"edges found           {result.found}, {result.false} of them not true")
    for name in result.unknown:
        click.echo(f"not in the graph      {printable(name)}")
