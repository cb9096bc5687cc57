"""`python -m experiments hub` and `steps`."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import click


@click.command()
@click.option("--models", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--mixed", is_flag=True, help="Faint steps among others, in one family.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/experiments"),
    show_default=True,
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the sketches, 8 KB a model.  [default: a temporary one]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Processes.  [default: all cores]")
def hub(
    models: int, seed: int, mixed: bool, out: Path, data: Path | None, threads: int | None
) -> None:
    """Draw a hub and recover it: a row of the page on web scale."""
    from experiments.figures.pages import write
    from experiments.hub.page import NAME, merged, page
    from experiments.hub.trial import trial

    start = time.perf_counter()
    many = threads or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary:
        row = trial(models, seed, data or Path(temporary), many, mixed=mixed)
    rows = merged(out / f"{NAME}.csv", row)
    command = f"python -m experiments hub --models {models} --seed {seed}{' --mixed' * mixed}"
    write(page(rows), NAME, out, command, time.perf_counter() - start)
    click.echo(out / f"{NAME}.md")


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def steps(folders: tuple[Path, ...]) -> None:
    """Measure how training moved the weights of built splits: what hubs are drawn from."""
    from experiments.hub.steps import STEPS, measured_steps, write_steps

    write_steps(measured_steps(folders))
    click.echo(STEPS)
