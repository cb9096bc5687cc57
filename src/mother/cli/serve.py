"""mother serve"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import socket
from pathlib import Path

import click

import mother.recovery
from mother.cli.output import left_unread, progress_bar
from mother.errors import UsageError
from mother.graph import ModelGraph
from mother.hub import ground, is_address, shown
from mother.hub.schemes import scheme_of, written
from mother.index import is_index
from mother.views.terminal import printable

CONNECTIONS = 512  # at once; more are refused (503)


@click.command()
@click.argument("graph", type=click.Path(path_type=Path), metavar="graph.json|INDEX|FOLDER|ADDRESS")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="IP address to listen on. Whoever reaches it can read what the graph says.",
)
@click.option(
    "--allow",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FOLDER|ADDRESS",
    help="Weights in it may be read to compare and to place; again for more of them.",
)
@click.option("--title", default="Family forest", show_default=True, help="Heading of the page.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=600,
    show_default=True,
    help="Seconds that one comparison or placement may take.",
)
@click.option("--exact", is_flag=True, help="Of a FOLDER, read all of large models, too.")
def serve(
    graph: Path,
    port: int,
    host: str,
    allow: tuple[Path, ...],
    title: str,
    timeout: float,
    exact: bool,
) -> None:
    """Serve a graph as a live page, with a JSON API beside it (described at /api).

    Of an INDEX, what is in it at the moment is shown. A FOLDER of checkpoints, or what lies at an
    ADDRESS (hf://OWNER, s3://BUCKET/PATH, …), is recovered first, and allowed to be read. Of a
    graph.json or an index only what it says is shown, until --allow names folders. Needs
    'mother-recovery[serve]'. Port 0 takes any that is free. Stop with Ctrl-C.
    """
    try:
        import uvicorn

        from mother.server.app import application
        from mother.server.guard import names_of
    except ImportError as absent:
        raise UsageError(
            f"{absent.name} is not installed; run: pip install 'mother-recovery[serve]'"
        ) from None
    _check_address(host)
    if not math.isfinite(timeout):
        raise UsageError(f"--timeout {timeout}: give a number of seconds")
    for folder in allow:
        if is_address(folder):
            _check_ground(folder)
        elif not folder.is_dir():
            raise UsageError(f"--allow {folder}: no such folder")
    # before the folder is recovered, which may take long
    listening = _listening(host, port)
    with listening:
        source = graph if is_index(graph) else _forest(graph, exact)
        folders = [*allow, *_shown_from(graph)]
        port = listening.getsockname()[1]
        app = application(
            source, names_of(host, port), title=title, folders=folders, seconds=timeout
        )
        name = f"[{host}]" if ":" in host else host
        click.echo(f"http://{name}:{port}/  (API: http://{name}:{port}/api)")
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=3,
            )
        )
        with contextlib.suppress(KeyboardInterrupt):  # how it is meant to end
            server.run(sockets=[listening])


def _check_ground(address: Path) -> None:
    around = written(ground(address))
    if scheme_of(around) == scheme_of(address) and Path(around) != address:
        raise UsageError(f"--allow {shown(address)}: give what it lies in, {shown(around)}")


def _check_address(host: str) -> None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise UsageError(f"--host {host}: give an IP address, such as 127.0.0.1") from None
    if address.is_unspecified:
        raise UsageError(f"--host {host}: give the one address that it is to be reached by")
    if not address.is_loopback:
        click.echo(
            f"mother: {host} is not loopback: whoever reaches it sees the graph, and nobody is"
            " asked for a password",
            err=True,
        )


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as fault:
        reason = fault.strerror or os.strerror(fault.errno or 0)
        raise UsageError(f"can't listen on {host} port {port}: {reason}; try --port 0") from None


def _shown_from(graph: Path) -> list[Path]:
    """What is allowed because it is what the graph is recovered from."""
    if is_address(graph):
        return [Path(ground(graph))]
    return [graph] if graph.is_dir() and not is_index(graph) else []


def _forest(graph: Path, exact: bool) -> ModelGraph:
    elsewhere = is_address(graph)
    if not (elsewhere or graph.is_dir()):
        return ModelGraph.load(graph)
    source = graph if elsewhere else graph.resolve()
    with progress_bar() as progress:
        forest = mother.recovery.recover(
            [source], progress=progress, explain=True, hints=not elsewhere, exact=exact
        )
    left_unread(forest)
    for r in forest.refused:
        click.echo(f"mother: {printable(f'{r.path}: {r.fault}')}", err=True)
    return forest
