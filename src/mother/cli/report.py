"""mother report"""

from __future__ import annotations

from pathlib import Path

import click

from mother.cli.output import check_output, write_atomically
from mother.errors import UsageError
from mother.graph import ModelGraph
from mother.views.page import page
from mother.views.picture import png, svg

#: what each starts with, as Latin-1
_STARTS = {".html": "<!doctype html>", ".svg": "<svg", ".png": "\x89PNG"}


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="page.html, tree.svg or tree.png.",
)
@click.option("--depth", type=click.IntRange(min=0), help="Levels of the tree in a picture.")
@click.option("--title", default="Family forest", show_default=True, help="Heading of the page.")
def report(graph: Path, output: Path, depth: int | None, title: str) -> None:
    """Write a recovered graph as a page or a picture.

    \b
    .html   one file to look through the forest, offline: search, evidence, comparison
    .svg    the tree for a paper
    .png    the same in pixels; needs resvg-py: pip install 'mother-recovery[png]'
    """
    ending = output.suffix.lower()
    if ending not in _STARTS:
        raise UsageError(f"{output}: the ending says what to write: {', '.join(_STARTS)}")
    check_output(output, (_STARTS[ending],), ending[1:].upper())
    forest = ModelGraph.load(graph)
    if ending == ".html":
        write_atomically(output, page(forest, title))
    elif ending == ".svg":
        write_atomically(output, svg(forest, depth=depth))
    else:
        try:
            write_atomically(output, png(forest, depth=depth))
        except ImportError as absent:
            raise UsageError(str(absent)) from None
