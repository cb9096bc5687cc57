"""Command line of the experiments."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.attributes.command import attributes
from experiments.figures import EXPERIMENTS
from experiments.formats.command import formats
from experiments.hidden.command import chance, hidden, wirings
from experiments.hub.command import hub, steps
from experiments.population.command import population
from experiments.wild.command import wild

DATA = Path("data")
PAGES = Path("docs/experiments")
SCALES = click.Choice(["tiny", "study", "small", "paper"])


@click.group()
def main() -> None:
    """Experiments on model graphs whose truth is known."""


main.add_command(wild)
main.add_command(population)
main.add_command(attributes)
main.add_command(hub)
main.add_command(formats)
main.add_command(chance)
main.add_command(hidden)
main.add_command(wirings)
main.add_command(steps)


@main.command()
@click.argument("split")
@click.option("--scale", type=SCALES, default="small", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the graph.  [default: data/SCALE/SPLIT-SEED]",
)
@click.option(
    "--roots",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the trees' roots.  [default: data/SCALE/roots-0]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Models trained at once, each on one core.  [default: all cores; paper: 1]",
)
def build(
    split: str, scale: str, seed: int, out: Path | None, roots: Path | None, threads: int | None
) -> None:
    """Train the models of SPLIT, and write the truth about them.

    SPLIT is one of ft, lora-v, lora-f (the paper's), ft-wd, ft-light, continued, same-seed,
    strangers, cnn, text; mixed, which builds these and puts them into one folder; all; or roots.
    A build that is stopped goes on where it was.
    """
    from experiments.build import Build, OtherBuild, Workers
    from experiments.images import MissingData
    from experiments.mixed import mix
    from experiments.scales import SCALES
    from experiments.splits import available
    from experiments.training import TrainingFailed

    singles = available(SCALES[scale])
    if split not in {*singles, "roots", "mixed", "all"}:
        raise click.UsageError(f"scale {scale} has no split {split!r}; it has {', '.join(singles)}")
    if split == "all" and out is not None:
        raise click.UsageError("--out names one folder, and all builds several")
    base = DATA / scale
    folders = {name: base / f"{name}-{seed}" for name in (*singles, "mixed")}
    folders["roots"] = base / "roots-0"
    if out is not None:
        folders[split] = out
    wanted = singles if split in {"mixed", "all"} else [split]
    processes = threads or (1 if scale == "paper" else len(os.sched_getaffinity(0)))
    builds = [Build(s, scale, seed, folders[s], roots or folders["roots"]) for s in wanted]
    try:
        with Workers(processes) as workers:
            for each in builds:
                with _progress(each.split) as progress:
                    each.run(workers, progress)
                click.echo(each.folder)
        if split in {"mixed", "all"}:
            mix(builds, folders["mixed"], scale, seed)
            click.echo(folders["mixed"])
    except (MissingData, TrainingFailed, OtherBuild) as error:
        raise click.ClickException(str(error)) from None


def _seeds(context: click.Context, option: click.Parameter, value: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", value):
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 0,1,2")
    return tuple(dict.fromkeys(int(seed) for seed in value.split(",")))


def _figure_options(command: Callable[..., None]) -> Callable[..., None]:
    folder = click.Path(path_type=Path, file_okay=False)
    options = (
        click.option("--scale", type=SCALES, default="small", show_default=True),
        click.option("--seeds", default="0,1,2", show_default=True, callback=_seeds),
        click.option("--data", type=folder, default=DATA, show_default=True),
        click.option("--out", type=folder, default=PAGES, show_default=True),
        click.option("--threads", type=click.IntRange(min=1), help="[default: all cores]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


@main.command("all")
@_figure_options
def everything(**options: Any) -> None:
    """Train all that the experiments read, and write every page and their index.

    The first seed has every split, the others the paper's and same-seed. What is there is not
    trained again.
    """
    from experiments.figures.everything import build_all, write_all

    with _faults():
        data, out = _data(**options), options["out"]
        build_all(data, click.echo)
        named = _named(**options)
        missing = write_all(data, out, f"python -m experiments all {named}", named, click.echo)
    for line in missing:
        click.echo(line, err=True)


def _experiment(name: str, help: str) -> click.Command:
    """The command that writes one page."""

    @_figure_options
    def run(**options: Any) -> None:
        from experiments.figures.everything import write_page

        with _faults():
            command = f"python -m experiments {name} {_named(**options)}"
            write_page(name, _data(**options), options["out"], command)
        click.echo(options["out"] / f"{name}.md")

    return click.command(name, help=help)(run)


for _name, _help in EXPERIMENTS.items():
    main.add_command(_experiment(_name, _help))


def _data(
    scale: str, seeds: tuple[int, ...], data: Path, threads: int | None, **others: Any
) -> Any:
    from experiments.figures.families import Data

    return Data(data, scale, seeds, threads or len(os.sched_getaffinity(0)))


def _named(scale: str, seeds: tuple[int, ...], **others: Any) -> str:
    """The options that change what comes out, as they are typed."""
    return f"--scale {scale} --seeds {','.join(map(str, seeds))}"


@contextmanager
def _faults() -> Iterator[None]:
    """What went wrong in one line."""
    from experiments.build import OtherBuild
    from experiments.figures.families import NotBuilt
    from experiments.images import MissingData
    from experiments.training import TrainingFailed

    try:
        yield
    except (MissingData, TrainingFailed, OtherBuild, NotBuilt) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def _progress(split: str) -> Iterator[Callable[[int, int], None]]:
    """Progress on a terminal's stderr; nothing in a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(split, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
