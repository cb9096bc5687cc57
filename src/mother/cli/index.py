"""mother index"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path

import click
from rich.filesize import decimal

from mother.checkpoints import Problem
from mother.checkpoints.passed_over import summary
from mother.cli.completion import files
from mother.cli.output import (
    check_output,
    print_forest,
    progress_bar,
    refused,
    said_of_traffic,
    write_atomically,
)
from mother.graph import ModelGraph
from mother.graph.placement import Placement, in_words
from mother.hub import is_hub_address
from mother.index import Index, executors
from mother.methods.refinement import READ
from mother.names import counted
from mother.options import Options
from mother.sketches.windows import BUDGET, SAMPLED_MATRICES
from mother.views.explanation import odds
from mother.views.terminal import printable

MANY = 1000  # models that are worth starting processes for


@click.group()
def index() -> None:
    """Keep a forest that grows, one model at a time.

    An INDEX is a folder. It holds a small sketch of every model, so that the weights are read once
    and not whole, unless nothing less tells.
    """


def _size(_: click.Context, __: click.Parameter, value: str) -> int:
    units = {"K": 10, "M": 20, "G": 30}
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].upper() in units else (value, "")
    if number.isascii() and number.isdecimal() and len(number) < 12:
        return int(number) << units.get(unit, 0)
    raise click.BadParameter(f"{value!r} is no size such as 256K or 4M")


_folder = click.argument("folder", metavar="INDEX", type=click.Path(path_type=Path))
_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write graph.json there."
)
_executor = click.option(
    "--executor",
    metavar="local:N|dask:ADDRESS|ray:ADDRESS",
    help="Work in N processes, or on a cluster of Dask or Ray.",
)
_json = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_base = click.option(
    "--base", shell_complete=files, metavar="PATH", help="Base that LoRA adapters merge into."
)


@index.command()
@_folder
@click.option(
    "--budget",
    callback=_size,
    default=f"{BUDGET >> 10}K",
    show_default=True,
    help="Bytes of weights in a sketch.",
)
@click.option(
    "--matrices",
    type=click.IntRange(min=1),
    default=SAMPLED_MATRICES,
    show_default=True,
    help="Sample so many matrices of a large model at most: each costs a request on the Hub.",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Replicates that support is taken from.",
)
@click.option(
    "--read",
    callback=_size,
    default=f"{READ >> 30}G",
    show_default=True,
    help="Bytes of models of one family to read in full, where no sketch tells.",
)
@click.option(
    "--download",
    is_flag=True,
    help="What --read allows, of models on the Hub, too: kept in its cache (HF_HOME), whole files.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def create(
    folder: Path,
    budget: int,
    matrices: int,
    bootstrap: int,
    read: int,
    download: bool,
    seed: int,
) -> None:
    """Make a new, empty index."""
    Index.create(
        folder,
        budget=budget,
        seed=seed,
        matrices=matrices,
        bootstrap=bootstrap,
        read=read,
        download=download,
    ).close()


def _workers(name: str | None, models: int = 0) -> AbstractContextManager[Executor | None]:
    """Those of that name; for many models as many processes as there are processors, if none."""
    if name is None and models >= MANY and Options().workers > 1:
        name = f"local:{Options().workers}"
    return nullcontext() if name is None else executors.opened(name)


def _models(opened: Index) -> str:
    return "1 model" if len(opened) == 1 else f"{len(opened)} models"


def _asked(ids: Sequence[str]) -> None:
    if ids:
        said = f"asked {len(ids)} model{'s' * (len(ids) > 1)} for more bytes"
        click.echo(f"{said}, since decisions about them were within their error")


def _left(folder: Path, opened: Index, problems: Sequence[Problem] = ()) -> None:
    """On stderr, what may not be read of what was wanted, and what could not be: then exit 2."""
    if held := opened.reader.withheld:
        where = "on the Hub" if all(map(is_hub_address, held)) else "elsewhere"
        them = f"{len(held)} model{'s' * (len(held) > 1)} {where}"
        how = f"`mother index recover {printable(str(folder))} --download`"
        click.echo(
            f"mother: decisions about {them} stay within their error; {how} reads what they are"
            f" about in full, up to {decimal(sum(held.values()))}",
            err=True,
        )
    refused(printable(str(problem)) for problem in (*problems, *opened.reader.problems))


@index.command()
@_folder
@click.argument("paths", nargs=-1, required=True, shell_complete=files, metavar="PATH...")
@_base
@_executor
def add(folder: Path, paths: tuple[str, ...], base: str | None, executor: str | None) -> None:
    """Add checkpoints, or all in folders, and update the forest around them.

    What is there and has not changed is left alone, so a run that was stopped goes on. What can't
    be read is named on stderr, the rest is added, and the exit code is 2. The workers of a cluster
    must find the checkpoints under the same paths, or on the Hub or in a store, and read them there
    themselves.
    """
    with Index(folder) as opened, _workers(executor) as taking:
        with progress_bar(models=True) as progress:
            added = opened.add(paths, base=base, executor=taking, progress=progress)
        counts = {"added": added.new, "changed": added.changed, "unchanged": added.unchanged}
        said = ", ".join(f"{len(ids)} {how}" for how, ids in counts.items() if ids)
        click.echo(f"{said or 'nothing added'}; {_models(opened)} in the index")
        _asked(added.closer)
        said_of_traffic()
        if added.unread:
            click.echo(f"mother: {summary(added.unread)}", err=True)
    _left(folder, opened, added.problems)


@index.command()
@_folder
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def remove(folder: Path, ids: tuple[str, ...]) -> None:
    """Take models out, and update the forest around them."""
    with Index(folder) as opened:
        asked = opened.remove(ids)
        click.echo(f"{_models(opened)} in the index")
        _asked(asked)
    _left(folder, opened)


@index.command("list")
@_folder
@_json
def list_(folder: Path, as_json: bool) -> None:
    """List the models: id, and where it was read."""
    with Index(folder) as opened:
        models = sorted(opened.models(), key=lambda model: counted(model.id))
    if as_json:
        rows = [{"id": m.id, "path": m.path, "architecture": m.architecture} for m in models]
        click.echo(json.dumps(rows, indent=1))
    else:
        for model in models:
            click.echo(f"{printable(model.id)}\t{printable(model.path)}")


@index.command()
@_folder
@click.argument("path", shell_complete=files)
@_base
@_json
def place(folder: Path, path: str, base: str | None, as_json: bool) -> None:
    """Say where a checkpoint would hang, with the evidence. Adds nothing."""
    with Index(folder) as opened:
        found = opened.place(path, base=base)
    click.echo(json.dumps(asdict(found), indent=1) if as_json else "\n".join(_said(found)))
    _left(folder, opened)


def _said(p: Placement) -> list[str]:
    first, *below = in_words(p)
    lines = [first]
    if p.edge is not None:
        lines += [f"  {odds(e.log_odds)}: {printable(e.says)}" for e in p.edge.evidence]
        if p.edge.runner_up is not None and p.edge.runner_up_ratio is not None:
            ratio = f"{p.edge.runner_up_ratio:.3g} times as far"
            lines.append(f"  next best parent: {printable(p.edge.runner_up)}, {ratio}")
    lines += [f"  {line}" for line in below]
    return [*lines, f"  compared with {p.compared} of {p.comparable} models of its architecture"]


def _told(read: Callable[[Index], ModelGraph], folder: Path, output: Path | None) -> None:
    if output is not None:
        check_output(output)
    with Index(folder) as opened:
        graph = read(opened)
    if output is not None:
        write_atomically(output, graph.to_json())
    else:
        print_forest(graph, None, plain=False, refused=False)
    _left(folder, opened)


@index.command()
@_folder
@_output
@click.option(
    "--download/--no-download",
    default=None,
    help="From now on, read models on the Hub in full, too, or no longer; as of create.",
)
@_executor
def recover(folder: Path, output: Path | None, download: bool | None, executor: str | None) -> None:
    """Recover the whole forest afresh from the sketches, and print it.

    What could not be read, or might not, is looked for again.
    """

    def read(opened: Index) -> ModelGraph:
        with _workers(executor, len(opened)) as taking:
            return opened.recover(download=download, executor=taking)

    _told(read, folder, output)


@index.command()
@_folder
@_output
def export(folder: Path, output: Path | None) -> None:
    """Print the forest as it is kept, or write it as graph.json for the other commands."""
    _told(Index.graph, folder, output)


@index.command()
@_folder
@_executor
def verify(folder: Path, executor: str | None) -> None:
    """Check the database, every sketch, and that the forest is what its models make.

    Exit 1 where something is wrong.
    """
    with Index(folder) as opened:
        count = len(opened)
        with _workers(executor, count) as taking:
            faults = opened.verify(taking)
    for fault in faults:
        click.echo(printable(fault))
    if faults:
        raise click.exceptions.Exit(1)
    click.echo(f"all is well with {count} models")
