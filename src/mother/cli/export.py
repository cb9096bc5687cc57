"""mother export"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from mother.cli.output import check_output, write_atomically
from mother.errors import InputError, UsageError
from mother.exports import FORMATS
from mother.exports.checked import read
from mother.graph import ModelGraph


class _Command(click.Command):
    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Formats"):
            formatter.write_dl([(name, format_.says) for name, format_ in FORMATS.items()])


@click.command(cls=_Command)
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json")
@click.option("--to", "name", type=click.Choice(list(FORMATS)), required=True, metavar="FORMAT")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File, or folder; else standard output."
)
@click.option(
    "--created",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    metavar="TIME",
    help="Bills of materials: their time, such as 2026-01-31T12:00:00Z.",
)
@click.option(
    "--check",
    "report",
    type=click.Path(path_type=Path),
    metavar="check.json",
    help="Bills of materials: with licences and verdicts, of mother check --json.",
)
def export(
    graph: Path, name: str, output: Path | None, created: datetime | None, report: Path | None
) -> None:
    """Write a recovered graph in the format of another tool.

    Without --created nothing in the output depends on when it was made.
    """
    chosen = FORMATS[name]
    if chosen.folder and output is None:
        raise UsageError(f"{name} is several files; say in which folder: -o FOLDER")
    if created is not None and not chosen.bill:
        raise UsageError(f"{name} holds no time; leave out --created")
    if output is not None and not chosen.folder:
        check_output(output, chosen.starts, "such export")
    if report is not None and not chosen.bill:
        raise UsageError(f"{name} holds no licences; leave out --check")
    options: dict[str, Any] = {}
    if created is not None:
        options["created"] = f"{created:%Y-%m-%dT%H:%M:%SZ}"
    if report is not None:
        options["checked"] = read(report)
    written = chosen.write(ModelGraph.load(graph), **options)
    if isinstance(written, dict):
        assert output is not None
        _write_folder(output, written, chosen.starts)
    elif output is not None:
        write_atomically(output, written)
    else:
        # always UTF-8, whatever the locale: some formats say so inside
        click.echo(written.encode(), nl=False)


def _write_folder(folder: Path, files: dict[str, str], starts: tuple[str, ...]) -> None:
    """All files below the folder, none through a link that leads out of it."""
    places = {folder / name: text for name, text in files.items()}
    try:
        folder.mkdir(exist_ok=True)
        inside = folder.resolve()
        for place in places:
            if not place.resolve().is_relative_to(inside):
                raise InputError(place, "can't be written: a link leads out of the folder")
            place.parent.mkdir(exist_ok=True)
            check_output(place, starts, "such export")
    except OSError as fault:
        raise InputError(folder, f"can't be written: {fault.strerror or fault}") from None
    for place, text in places.items():
        write_atomically(place, text)
