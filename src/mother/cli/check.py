"""mother check"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from rich.text import Text

import mother
import mother.gate
from mother.cli.completion import files
from mother.cli.output import (
    check_output,
    print_lines,
    progress_bar,
    said_of_traffic,
    write_atomically,
)
from mother.errors import UsageError
from mother.gate.binding import in_words
from mother.gate.junit import to_junit
from mother.gate.page import page
from mother.gate.policy import RULES, Policy
from mother.gate.report import Report
from mother.gate.sarif import to_sarif
from mother.graph.facts import read
from mother.hub import shown
from mother.names import printable

_STYLES = {
    "confirmed": "green",
    "contradicted": "bold red",
    "undeclared": "yellow",
    "error": "bold red",
    "warn": "yellow",
}


@click.command()
@click.argument("paths", nargs=-1, required=True, shell_complete=files, metavar="PATH...")
@click.option("--policy", type=click.Path(path_type=Path), help="TOML file: what is forbidden.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--sarif", is_flag=True, help="As SARIF 2.1.0.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path),
    help="Also write JUnit's XML there, as GitLab reads it.",
)
@click.option("--html", type=click.Path(path_type=Path), help="Also write a page to read there.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the JSON or SARIF there, and print text.",
)
@click.option(
    "--download",
    is_flag=True,
    help="Keep weights from the Hub in its cache (HF_HOME), whole files, for the next time.",
)
@click.option("--exact", is_flag=True, help="Read all of large models, too.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="0: all cores.")
def check(
    paths: tuple[str, ...],
    policy: Path | None,
    as_json: bool,
    sarif: bool,
    junit: Path | None,
    html: Path | None,
    output: Path | None,
    download: bool,
    exact: bool,
    threads: int,
) -> None:
    """Compare what models claim of their parents and licences with what their weights say.

    A PATH is a checkpoint, a folder that holds some, or an address on the Hub:
    hf://owner/name[@revision], or hf://owner for all of its models; or s3://bucket/path, …
    Claims are read from model cards, configs, adapter configs, safetensors metadata and GGUF
    headers. Exit codes: 0 nothing forbidden, 1 the policy forbids something that was found, 2 bad
    usage, or weights that can't be read and nothing forbidden beside them.
    """
    if as_json and sarif:
        raise UsageError("--json and --sarif: choose one")
    if output is not None and not (as_json or sarif):
        raise UsageError("--output needs --json or --sarif")
    if output is not None:
        check_output(output)
    if junit is not None:
        check_output(junit, ("<?xml",), "XML")
    if html is not None:
        check_output(html, ("<!doctype html>",), "HTML")
    weighs = Policy.load(policy) if policy is not None else Policy()
    with progress_bar() as progress:
        report = mother.gate.check(
            paths, weighs, download=download, progress=progress, threads=threads, exact=exact
        )
    if junit is not None:
        write_atomically(junit, to_junit(report))
    if html is not None:
        write_atomically(html, page(report, mother.__version__))
    if as_json or sarif:
        text = to_sarif(report, mother.__version__) if sarif else report.to_json()
        if output is None:
            click.echo(text, nl=False)
        else:
            write_atomically(output, text)
    if output is not None or not (as_json or sarif):
        print_lines(lines(report))
        said_of_traffic()
    for finding in report.unchecked:
        print(f"mother: {printable(finding.message)}", file=sys.stderr)
    if report.forbidden:
        sys.exit(1)
    if report.unchecked:
        sys.exit(2)


def lines(report: Report) -> Iterator[Text]:
    """A line on every model, one on every finding, and what it comes to."""
    width = min(max((len(printable(m.id)) for m in report.models), default=0), 40)
    for m in report.models:
        name = printable(m.id).ljust(width)
        licence = in_words(m.binding, m.id)
        bound = f"; licence: {printable(licence)}" if licence else ""
        yield Text.assemble(
            (f"{m.verdict:12} ", _STYLES.get(m.verdict, "dim")),
            (name, "bold"),
            f"  {m.reason}{bound}",
        )
        if m.probably:
            yield Text(f"{'':13}inferred, decides nothing: licence {m.probably}", style="dim")
    if report.findings:
        yield Text()
    for f in report.findings:
        where = printable(shown(f.file)) + (f":{f.row}" if f.row is not None else "")
        accepted = f" (accepted: {printable(f.accepted)})" if f.accepted is not None else ""
        yield Text.assemble(
            f"{where}: ",
            (f.level, "dim" if accepted else _STYLES.get(f.level, "dim")),
            f" {RULES[f.rule].id} {f.rule}: {f.message}{accepted}",
        )
    levels = Counter("accepted" if f.accepted is not None else f.level for f in report.findings)
    many = {
        "forbidden": levels["error"],
        "warnings": levels["warn"],
        "notes": levels["note"],
        "accepted": levels["accepted"],
    }
    said = ", ".join(_counted(n, what) for what, n in many.items() if n or what == "forbidden")
    yield Text()
    yield Text(f"{_counted(len(report.models), 'models')}: {said}")
    if report.read is not None:
        yield Text(read(*report.read))
    yield from map(Text, report.copies)


def _counted(n: int, what: str) -> str:
    return f"{n} {what.removesuffix('s') if n == 1 else what}"
