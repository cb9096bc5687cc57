"""The command `mother`. One file a subcommand; its docstring is its help."""

from __future__ import annotations

import sys

import click

from mother.cli.compare import compare
from mother.cli.evaluate import evaluate
from mother.cli.recover import recover
from mother.cli.show import show
from mother.errors import MotherError


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(package_name="mother-recovery", prog_name="mother")
def cli() -> None:
    """Recover which neural network was trained from which, from the weights alone.

    \b
    mother recover FOLDER          the family forest of all checkpoints in it
    mother compare A B             what two checkpoints are to each other
    """


for command in (recover, compare, show, evaluate):
    cli.add_command(command)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a check said no, 2 bad usage or input."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        cli.main(prog_name="mother")
    except MotherError as fault:
        click.echo(f"mother: {fault}", err=True)
        sys.exit(2)
    except MemoryError:
        click.echo("mother: out of memory; try a smaller --memory or fewer models", err=True)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
