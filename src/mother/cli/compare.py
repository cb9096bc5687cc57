"""mother compare"""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.text import Text

import mother.comparison
from mother.cli.completion import files
from mother.cli.output import print_lines, said_of_traffic
from mother.views.comparing import lines, not_compared
from mother.views.heat import heat


@click.command()
@click.argument("a", shell_complete=files)
@click.argument("b", shell_complete=files)
@click.option(
    "--base", shell_complete=files, metavar="PATH", help="Base that a LoRA adapter is merged into."
)
@click.option(
    "--download",
    is_flag=True,
    help="Keep weights from the Hub in its cache (HF_HOME), whole files, for the next time.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all layers.")
@click.option("--exact", is_flag=True, help="Read all of large models, too.")
def compare(a: str, b: str, base: str | None, download: bool, as_json: bool, exact: bool) -> None:
    """What two checkpoints are to each other, and why.

    A and B are paths, or addresses on the Hub: hf://owner/name[@revision][/path];
    elsewhere, s3://bucket/path, https://host/path/file.safetensors and others.

    Prints the relation, what speaks for it and against it, the layers that say most, those that
    changed most, and what was not compared.
    """
    result = mother.comparison.compare(a, b, base=base, download=download, exact=exact)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1, allow_nan=False))
        return
    print_lines(map(Text, lines(result)))
    if any(layer.change for layer in result.layers):
        click.echo()
        names, changes = zip(*((x.name, x.change) for x in result.from_parent), strict=True)
        print_lines(heat(names, changes))
    print_lines(map(Text, not_compared(result)))
    said_of_traffic()
