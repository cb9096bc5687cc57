"""mother infer"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.text import Text

from mother.attributes import Attribute, Cell, Inferred
from mother.attributes import infer as find
from mother.attributes.inference import annotated
from mother.attributes.result import HEAD, as_text
from mother.cli.output import check_output, print_lines, refused, write_atomically
from mother.errors import UsageError
from mother.graph import ModelGraph
from mother.graph.verdict import certainty
from mother.names import printable

_STRANGERS = 5  # ids that the graph does not hold are named up to so many


def _kinds(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    pairs = [value.rpartition("=") for value in values]
    for name, _, kind in pairs:
        if not name:
            raise click.BadParameter(f"{kind!r} is not NAME=KIND")
    return {name: kind for name, _, kind in pairs}


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json")
@click.option(
    "--attributes",
    "table",
    type=click.Path(path_type=Path),
    metavar="TABLE",
    help="CSV: a column of ids, and one for each attribute.",
)
@click.option(
    "--from-files", is_flag=True, help="Read what cards and configs beside the weights state."
)
@click.option(
    "--attribute", "chosen", multiple=True, metavar="NAME", help="Only this one; more than once."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    callback=_kinds,
    metavar="NAME=KIND",
    help="What an attribute is: category, set, number or text.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A CSV of all cells, or with the ending .json the graph with both.",
)
@click.option("--plain", is_flag=True, help="As in a pipe: no colours.")
def infer(
    graph: Path,
    table: Path | None,
    from_files: bool,
    chosen: tuple[str, ...],
    kinds: dict[str, str],
    output: Path | None,
    plain: bool,
) -> None:
    """Estimate what models hold of which nothing is said, from what is said of their relatives.

    Licences, languages, tags, data, numbers: what a table states of some models, or what their
    files do, is carried along the recovered graph, and each guess says how probable it is and which
    relatives say so. Where they do not tell, it is not known. Nothing inferred is ever mixed with
    what is stated.
    """
    if output is not None:
        as_graph = output.suffix == ".json"
        check_output(output, ("{",) if as_graph else (",".join(HEAD),), "such output")
    if table is None and not from_files:
        raise UsageError("nothing to infer from: say --attributes TABLE, --from-files or both")
    known = ModelGraph.load(graph)
    found = find(known, table, attributes=chosen or None, kinds=kinds, files=from_files)
    if output is not None and as_graph:
        write_atomically(output, annotated(known, found).to_json())
    elif output is not None:
        write_atomically(output, found.to_csv())
    print_lines(_lines(found, heads_only=output is not None), plain=plain)
    if not found.attributes:
        print(
            "mother: nothing is stated of these models; --attributes TABLE tells", file=sys.stderr
        )
    if found.strangers:
        print(f"mother: {_named(found.strangers)}", file=sys.stderr)
    refused(found.faults)


def _lines(found: Inferred, *, heads_only: bool) -> Iterator[Text]:
    for head, column in zip(found.attributes, found.columns, strict=True):
        yield Text.assemble(
            (printable(head.name), "bold"), f" ({head.kind}): {head.told} state it; {head.says}"
        )
        if not heads_only:
            yield from _cells(head, column)


def _cells(head: Attribute, column: Iterable[Cell]) -> Iterator[Text]:
    cells = [cell for cell in column if cell.status != "stated"]
    names = [printable(cell.model) for cell in cells]
    width = min(max(map(len, names), default=0), 40)
    for name, cell in zip(names, cells, strict=True):
        if cell.status == "inferred":
            sure = certainty(cell.probability or 0.0)
            if cell.low is not None and cell.high is not None:
                sure = f"{cell.low:.3g} to {cell.high:.3g} ({sure})"
            said = Text.assemble((f"{printable(as_text(cell.value)) or '(none)'}  {sure}", "green"))
        else:
            said = Text("not known", style="dim")
        yield Text.assemble(f"  {name.ljust(width)}  ", said, (f"  {cell.why}", "dim"))


def _named(strangers: tuple[str, ...]) -> str:
    shown = ", ".join(map(printable, strangers[:_STRANGERS]))
    more = ", …" if len(strangers) > _STRANGERS else ""
    return f"passed over, of models that the graph does not hold: {len(strangers)} ({shown}{more})"
