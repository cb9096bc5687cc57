"""Writing for a terminal or a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mother.errors import InputError
from mother.graph import ModelGraph
from mother.unfinished import unfinished
from mother.views.hints import hints
from mother.views.terminal import LONGEST, forest, summary, wrapped

if TYPE_CHECKING:
    from mother.options import Progress as Report


def print_forest(graph: ModelGraph, depth: int | None, *, plain: bool, refused: bool) -> None:
    """As a tree, hints below it, then what it comes to. plain, or in a pipe: no colours, and a line
    a model, names in full; on a terminal lines are broken where it ends."""
    plain = plain or not sys.stdout.isatty()
    width = None if plain else Console().width
    print_lines(forest(graph, depth, refused=refused, width=width), plain=plain)
    said = (Text(line, style="dim") for line in hints(graph, None if plain else LONGEST))
    print_lines((x for line in said for x in wrapped(line, width, "    ")), plain=plain)
    total = (Text(line, style="bold") for line in ("", *summary(graph)))
    print_lines((x for line in total for x in wrapped(line, width, "    ")), plain=plain)


def print_lines(lines: Iterable[Text], *, plain: bool = False) -> None:
    """Coloured and broken between words on a terminal unless plain is wanted; in a pipe plain and
    whole. ASCII where Unicode can't be told."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    for line in lines:
        try:
            line.plain.encode(encoding)
        except UnicodeEncodeError:
            line = Text(line.plain.translate(str.maketrans("├└│─╌⋯…", "|`|-~..")))
        if console.is_terminal and not plain:
            indent = len(line.plain) - len(line.plain.lstrip())
            for part in wrapped(line, console.width, " " * (indent + 4)):
                console.print(part)
        else:
            print(line.plain)


def check_output(path: Path, starts: tuple[str, ...] = ("{",), kind: str = "JSON") -> None:
    """Refuse, before any work, an output that can't be written or that would destroy something:
    a file that is there must start as our own do."""
    if not path.name:
        raise InputError(path, "can't be written: not a file name")
    if path.is_dir():
        raise InputError(path, "can't be written: it is a folder")
    if not path.parent.is_dir():
        raise InputError(path, "can't be written: there is no such folder")
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(max(map(len, starts))).decode("latin-1")
        if start and not start.startswith(starts):
            raise InputError(path, f"is there and is no {kind}; remove it or choose another name")
    target = path if path.exists() else path.parent
    if not os.access(target, os.W_OK):
        raise InputError(path, "can't be written: permission denied")


def write_atomically(path: Path, content: str | bytes | Iterable[str]) -> None:
    """The whole content, or texts one after the other, or nothing: a kill in the middle leaves the
    file that was there, and beside it one that the next write removes. Links are followed; pipes
    and devices are written to as they are."""
    parts = [content] if isinstance(content, str | bytes) else content
    blocks = (x if isinstance(x, bytes) else x.encode("utf-8") for x in parts)
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                file.writelines(blocks)
            return
        target = path.resolve()
        with unfinished(target) as (descriptor, new):
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.writelines(blocks)
                file.flush()
                os.fsync(descriptor)
            umask = os.umask(0)
            os.umask(umask)
            new.chmod(0o666 & ~umask)
            new.replace(target)
    except OSError as fault:
        raise InputError(path, f"can't be written: {fault.strerror or fault}") from None


@contextlib.contextmanager
def progress_bar(*, models: bool = False) -> Iterator[Report | None]:
    """A bar of bytes read, or of models, on a terminal's stderr; None where there is none."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TransferSpeedColumn,
    )

    from mother.checkpoints.looking import LOOKED
    from mother.hub.traffic import TRAFFIC

    class Looking(ProgressColumn):
        """How many names in folders were looked at, before anything is read."""

        def render(self, task: Task) -> Text:
            shown = LOOKED.names if task.total is None else 0
            return Text(f"{shown:,} names looked at" if shown else "")

    class Requests(ProgressColumn):
        """What was asked of servers, lists of files among it."""

        def render(self, task: Task) -> Text:
            again = f", {TRAFFIC.again:,} of them again" if TRAFFIC.again else ""
            many = f"{TRAFFIC.requests:,} request{'s' * (TRAFFIC.requests > 1)}{again}"
            return Text(many if TRAFFIC.requests else "")

    done = (MofNCompleteColumn(),) if models else (DownloadColumn(), TransferSpeedColumn())
    columns = (TextColumn("reading"), BarColumn(), *done, Looking(), Requests())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


def said_of_traffic() -> None:
    """One line on what came of models that lie elsewhere, if any do, for this command."""
    from mother.hub.traffic import TRAFFIC

    if TRAFFIC.requests:
        print(f"read from elsewhere: {TRAFFIC}")
        TRAFFIC.taken()


def left_unread(graph: ModelGraph) -> None:
    """One line on stderr on the files that look like weights and were not read."""
    if graph.unread:
        from mother.checkpoints import passed_over
        from mother.checkpoints.tensor import Problem

        left = [Problem(Path(r.path), r.fault) for r in graph.unread]
        print(f"mother: {passed_over.summary(left)}", file=sys.stderr)


def refused(lines: Iterable[str]) -> None:
    """One line on stderr for each input refused, and exit 2 after everything else is done."""
    said = False
    for line in lines:
        print(f"mother: {line}", file=sys.stderr)
        said = True
    if said:
        sys.exit(2)
