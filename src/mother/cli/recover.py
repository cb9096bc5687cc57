"""mother recover"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.text import Text

import mother.recovery
from mother.cli.completion import files
from mother.cli.output import (
    check_output,
    left_unread,
    print_forest,
    print_lines,
    progress_bar,
    refused,
    said_of_traffic,
    write_atomically,
)
from mother.errors import InputError, UsageError
from mother.graph import ModelGraph
from mother.graph.documents import read_json
from mother.graph.evaluation import MAX_TRUTH
from mother.hub import shown, tags_of
from mother.methods.scores import SCORES
from mother.options import DISTANCES, METHODS, STAGES, Options
from mother.views.explanation import explanation
from mother.views.page import page
from mother.views.terminal import printable


def _trees(_: click.Context, __: click.Parameter, value: str) -> int | None:
    if value == "auto":
        return None
    if value.isascii() and value.isdecimal() and int(value) > 0:
        return int(value)
    raise click.BadParameter(f"{value!r} is neither 'auto' nor a positive number")


def _memory(_: click.Context, __: click.Parameter, value: str) -> int:
    units = {"K": 10, "M": 20, "G": 30}
    number, unit = (value[:-1], value[-1].upper()) if value[-1:].upper() in units else (value, "")
    if number.isascii() and number.isdecimal() and int(number) > 0:
        return int(number) << units.get(unit, 0)
    raise click.BadParameter(f"{value!r} is no size such as 512M or 2G")


@click.command()
@click.argument("paths", nargs=-1, required=True, shell_complete=files, metavar="PATH...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write graph.json there.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the page to look at there.")
@click.option("--method", type=click.Choice(METHODS), default="gram", show_default=True)
@click.option("--trees", callback=_trees, default="auto", metavar="auto|K", show_default=True)
@click.option(
    "--base", shell_complete=files, metavar="PATH", help="Base that LoRA adapters merge into."
)
@click.option("--layers", metavar="REGEX", help="Only layers whose name it finds.")
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Replicates that support is taken from.",
)
@click.option(
    "--distance",
    type=click.Choice(DISTANCES),
    default="auto",
    show_default=True,
    help="Paper's method: full fine-tuning or LoRA distance.",
)
@click.option(
    "--stage",
    type=click.Choice(STAGES),
    default="specialization",
    show_default=True,
    help="Paper's method: training stage of all models.",
)
@click.option(
    "--stages",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='Paper\'s method: JSON {"id": "generalization", …}, for models that differ from --stage.',
)
@click.option(
    "--score",
    type=click.Choice(tuple(SCORES)),
    default="kurtosis",
    show_default=True,
    help="Paper's method: directional score.",
)
@click.option(
    "--c",
    type=click.FloatRange(min=0),
    default=Options.c,
    show_default=True,
    help="Paper's method: lambda = c * mean(D).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="0: all cores.")
@click.option(
    "--memory",
    callback=_memory,
    default="1G",
    show_default=True,
    help="What blocks of weights in work may take.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="For each edge the evidence, the next best parent, and changes by layer.",
)
@click.option(
    "--download",
    is_flag=True,
    help="Keep weights from the Hub in its cache (HF_HOME), whole files, for the next time.",
)
@click.option("--hashes", is_flag=True, help="Note the SHA-256 of every file in graph.json.")
@click.option(
    "--hints",
    is_flag=True,
    help="Also what files say: claims of parents, steps in names, dates. Changes no edge.",
)
@click.option(
    "--write",
    is_flag=True,
    help="Put parent, relation, probability and evidence as tags on model versions in MLflow.",
)
@click.option(
    "--link", default="", metavar="URL", help="With --write: where the page will be found."
)
@click.option(
    "--exact",
    is_flag=True,
    help="Read all of large models, too, not windows of their layers first.",
)
@click.option("--depth", type=click.IntRange(min=1), help="Levels of the tree to print.")
@click.option("--plain", is_flag=True, help="As in a pipe: no colours, names in full.")
def recover(
    paths: tuple[str, ...],
    output: Path | None,
    html: Path | None,
    method: str,
    trees: int | None,
    base: str | None,
    layers: str | None,
    bootstrap: int,
    distance: str,
    stage: str,
    stages: Path | None,
    score: str,
    c: float,
    seed: int,
    threads: int,
    memory: int,
    explain: bool,
    download: bool,
    hashes: bool,
    hints: bool,
    write: bool,
    link: str,
    exact: bool,
    depth: int | None,
    plain: bool,
) -> None:
    """Recover the family forest of checkpoints.

    A PATH is a checkpoint (.safetensors, .pt, .bin, .npz, …; a transformers, diffusers or PEFT
    folder), or a folder that holds checkpoints, such as a cache of Hugging Face's or Ollama's
    models; on the Hub, hf://owner/name[@revision] is one and hf://owner all that the owner has;
    elsewhere s3://bucket/path, gs://, az://, https://…
    Prints the forest as a tree. What can't be read is named on stderr, the rest is recovered, and
    the exit code is 2.
    """
    if output is not None:
        check_output(output)
    if html is not None:
        check_output(html, ("<!doctype html>",), "HTML")
    if link and not write:
        raise UsageError("--link needs --write")
    if write and not any(tags_of(path) for path in paths):
        raise UsageError("--write: none of the paths is in a registry that takes tags")
    given = _read_stages(stages) if stages is not None else {}
    with progress_bar() as progress:
        graph = mother.recovery.recover(
            paths,
            base=base,
            download=download,
            progress=progress,
            method=method,
            distance=distance,
            stage=stage,
            stages=given,
            trees=trees,
            layers=layers,
            score=score,
            c=c,
            bootstrap=bootstrap,
            seed=seed,
            threads=threads,
            memory=memory,
            explain=explain or html is not None,
            hashes=hashes,
            hints=hints,
            exact=exact,
        )
    if output is not None:
        write_atomically(output, graph.to_json())
    if html is not None:
        write_atomically(html, page(graph))
    print_forest(graph, depth, plain=plain, refused=False)
    said_of_traffic()
    for line in _closing(paths, output, html):
        click.echo(line)
    if explain:
        print_lines(Text(line) for line in ("", *explanation(graph)))
    left_unread(graph)
    faults = list(_tagged(graph, link)) if write else []
    faults += [f"{r.path}: {r.fault}" for r in graph.refused]
    refused(map(printable, faults))


def _tagged(graph: ModelGraph, link: str) -> Iterator[str]:
    """Put tags on the models that can have some; what could not be done, a line each."""
    from mother.exports.tags import tags

    def unit(path: str) -> str | None:
        known = tags_of(path)
        return known.unit(path) if known else None

    wanted, several = tags(graph, unit, link)
    done = 0
    for where, own in wanted.items():
        try:
            known = tags_of(where)
            assert known is not None
            known.write(where, own)
            done += 1
        except InputError as fault:
            yield f"{fault}; its tags are not written"
    click.echo(f"tags written: {done} model version{'s' * (done != 1)}")
    yield from (f"{where}: holds several models; no tags are written" for where in several)


def _closing(paths: Sequence[str], output: Path | None, html: Path | None) -> Iterator[str]:
    """What was written; on a terminal also the next command."""
    written = [shlex.quote(str(path)) for path in (output, html) if path is not None]
    if written:
        yield f"written: {', '.join(map(printable, written))}"
    if sys.stdout.isatty():
        given = " ".join(shlex.quote(shown(path)) for path in paths)
        follow = f"mother recover {given} -o graph.json --html page.html"
        if output is not None:
            follow = f"mother report {shlex.quote(str(output))} -o page.html"
        if html is not None:
            follow = f"mother check {given} --html check.html"
        yield f"next: {printable(follow)}"


def _read_stages(path: Path) -> dict[str, str]:
    content = read_json(path, MAX_TRUTH)
    if not isinstance(content, dict):
        raise UsageError(f'{path}: stages are JSON such as {{"id": "generalization"}}')
    return {str(k): str(v) for k, v in content.items()}
