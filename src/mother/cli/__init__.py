"""The command `mother`. One file a subcommand; its docstring is its help."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

import click
from threadpoolctl import threadpool_limits

from mother.cli.check import check
from mother.cli.compare import compare
from mother.cli.evaluate import evaluate
from mother.cli.export import export
from mother.cli.index import index
from mother.cli.infer import infer
from mother.cli.recover import recover
from mother.cli.report import report
from mother.cli.serve import serve
from mother.cli.show import show
from mother.errors import InputError, MotherError
from mother.views.terminal import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mother-recovery", prog_name="mother")
def cli() -> None:
    """Recover which neural network was trained from which, from the weights alone.

    \b
    mother recover FOLDER          the family forest of all checkpoints in it
    mother recover hf://OWNER      the same of all models of an owner on the Hub
    mother compare A B             what two checkpoints are to each other
    mother check FOLDER            what models claim, against what their weights say
    """


for command in (recover, compare, show, report, serve, evaluate, export, check, index, infer):
    cli.add_command(command)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a check said no, 2 bad usage or input."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        # not cli.main(), which makes exit code 1 of a closed pipe
        with (
            # BLAS's own threads, which wait for work by spinning, are no gain for small products
            threadpool_limits(limits=1, user_api="blas"),
            cli.make_context("mother", sys.argv[1:] or ["--help"]) as command,
        ):
            cli.invoke(command)
        sys.stdout.flush()
        sys.exit(0)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped")
        sys.exit(130)
    except click.ClickException as fault:
        context = getattr(fault, "ctx", None)
        path = context.command_path if context is not None else "mother"
        _say(f"{fault.format_message()} ({path} --help tells more)")
    except InputError as fault:
        for refused in (fault, *fault.others):
            _say(str(refused))
    except MotherError as fault:
        _say(str(fault))
    except MemoryError:
        _say("out of memory; try a smaller --memory or fewer models")
    except BrokenPipeError:
        _drop_output()
        sys.exit(0)
    except OSError as fault:
        _say(f"can't write the output: {fault.strerror or fault}")
        _drop_output()
    sys.exit(2)


def _open_closed_streams() -> None:
    """Streams that the caller has closed lead nowhere: no file is to be opened in their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _say(line: str) -> None:
    print(f"mother: {printable(line)}", file=sys.stderr)


def _drop_output() -> None:
    """What Python would still flush at its end has nowhere to go."""
    with contextlib.suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
