"""mother diff"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.text import Text

from mother.cli.output import print_lines
from mother.graph import ModelGraph
from mother.graph.diff import Difference, difference
from mother.graph.grades import grade
from mother.graph.verdict import ancestor, of_edge, of_hidden, resamplings
from mother.names import printable

_STYLES = {"+": "green", "-": "red", "~": "yellow"}


@click.command()
@click.argument("old", type=click.Path(path_type=Path), metavar="old.json")
@click.argument("new", type=click.Path(path_type=Path), metavar="new.json")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Print what changed from one recovered graph to another.

    \b
    +  models and edges that came
    -  that went
    ~  models with another name or other weights, edges turned round or told otherwise

    Models are the same by name, and by content where both graphs were recovered with --hashes.
    """
    graph = ModelGraph.load(new)
    found = difference(ModelGraph.load(old), graph)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1, allow_nan=False))
        return
    print_lines(Text(line, style=_STYLES.get(line[:1], "")) for line in lines(found, graph))


def lines(found: Difference, graph: ModelGraph) -> Iterator[str]:
    """A line a change, models first.

    >>> print(*lines(Difference(added=("b",), gone=("a",)), ModelGraph("gram")), sep="\\n")
    + b: a new model
    - a: is gone
    """
    told = partial(of_edge, resamplings=resamplings(graph), method=graph.method)
    for id_ in found.added:
        yield f"+ {printable(id_)}: a new model"
    for id_ in found.gone:
        yield f"- {printable(id_)}: is gone"
    for before, now in found.renamed:
        yield f"~ {printable(now)}: was called {printable(before)}, the same bytes"
    for id_ in found.replaced:
        yield f"~ {printable(id_)}: other weights under the same name"
    for edge in found.gained:
        yield f"+ {printable(edge.child)}: {grade(edge)}: {told(edge)}"
    for edge in found.lost:
        yield f"- {printable(edge.child)}: no longer {of_edge(edge).sentence}"
    for edge in found.turned:
        yield f"~ {printable(edge.child)}: turned round: {grade(edge)}: {told(edge)}"
    for changed in found.regraded:
        was = f"{grade(changed.before)}: {of_edge(changed.before).sentence}"
        now = f"{grade(changed.now)}: {told(changed.now)}"
        yield f"~ {printable(changed.now.child)}: {now}; was {was}"
    for hidden in found.inferred:
        verdict = of_hidden(hidden)
        yield f"+ {ancestor(hidden)}: {verdict.grade}: {verdict}"
    for hidden in found.dropped:
        yield f"- {ancestor(hidden)}: no longer inferred"
    if found == Difference():
        yield "nothing changed"
