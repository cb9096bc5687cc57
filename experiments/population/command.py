"""The population on the command line."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = Path("data/population")
PAGE = Path("docs/experiments/population.md")
folder = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=FOLDER, show_default=True
)


@click.group()
def population() -> None:
    """Small trees of trainings, drawn at random."""


@population.command()
@click.argument("first", type=click.IntRange(min=0))
@click.argument("last", type=click.IntRange(min=0))
@folder
def build(first: int, last: int, data: Path) -> None:
    """Train the trees of these numbers, on one core; what is there stays."""
    from experiments.population.build import Diverged
    from experiments.population.build import build as built

    for number in range(first, last + 1):
        try:
            click.echo(built(number, data))
        except Diverged as fault:
            click.echo(f"left out: {fault} diverged", err=True)


@population.command()
@folder
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=PAGE)
def judge(data: Path, out: Path) -> None:
    """Recover all trees, and write how right and how sure the edges are."""
    import mother
    from experiments.population.judge import folders, judged, page

    families = []
    for each in folders(data):
        try:
            families.append(judged(each))
        except mother.InputError as fault:  # all of its models are missing
            click.echo(f"left out: {fault}", err=True)
    out.write_text(page(families, "python -m experiments population judge"))
    click.echo(out)
