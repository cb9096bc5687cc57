"""`python -m experiments formats`: the page on formats."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("family", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("written", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("docs/formats.md"),
    show_default=True,
)
def formats(family: Path, written: Path, out: Path) -> None:
    """Judge what is read and said of the copies in WRITTEN, beside FAMILY. The page's rows of other
    copies stay.

    `python -m experiments.formats.family FAMILY` trains the models; a module for each library in
    experiments/formats/writers writes copies of FAMILY/parent, in an environment of its own.
    """
    from experiments.formats.page import page

    text = page(family, written, click.echo, out.read_text() if out.exists() else "")
    out.write_text(text)
