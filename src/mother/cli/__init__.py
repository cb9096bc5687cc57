"""The command `mother`. One file a subcommand; its docstring is its help."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path

from mother.cli.importing import importing

with importing():
    import io

    import click
    from click.shell_completion import CompletionItem, shell_complete

    from mother.errors import InputError, MotherError
    from mother.names import printable

#: what each command does; the rest of it is imported when it is used
COMMANDS = {
    "check": "Compare what models claim of their parents and licences with what their weights say.",
    "compare": "What two checkpoints are to each other, and why.",
    "diff": "Print what changed from one recovered graph to another.",
    "evaluate": "Compare a recovered graph with the truth.",
    "export": "Write a recovered graph in the format of another tool.",
    "index": "Keep a forest that grows, one model at a time.",
    "infer": "Estimate what models hold of which nothing is said, from what is said of"
    " their relatives.",
    "recover": "Recover the family forest of checkpoints.",
    "report": "Write a recovered graph as a page or a picture.",
    "serve": "Serve a graph as a live page, with a JSON API beside it (described at /api).",
    "show": "Print a recovered graph as a tree.",
}
#: BLAS's own threads, which wait for work by spinning, are no gain for small products
_ONE_THREAD = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class _Commands(click.Group):
    """Help and completion of names import no command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            with importing():
                module = import_module(f"mother.cli.{cmd_name}")
            self.add_command(getattr(module, cmd_name))
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=COMMANDS[name]) for name in names), *options]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mother-recovery", prog_name="mother")
def cli() -> None:
    """Recover which neural network was trained from which, from the weights alone.

    \b
    mother recover FOLDER          the family forest of all checkpoints in it
    mother recover hf://OWNER      the same of all models of an owner on the Hub
    mother compare A B             what two checkpoints are to each other
    mother check FOLDER            what models claim, against what their weights say
    """


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a check said no, 2 bad usage or input."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if "numpy" not in sys.modules:
        os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        if shell := os.environ.get("_MOTHER_COMPLETE"):
            sys.exit(shell_complete(cli, {}, "mother", "_MOTHER_COMPLETE", shell))
        # not cli.main(), which makes exit code 1 of a closed pipe
        with cli.make_context("mother", sys.argv[1:] or ["--help"]) as command:
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
