"""What the pages of this folder's commands have in common, as Markdown."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mother
from experiments.wild.families import EdgeNames
from mother.cli.output import write_atomically
from mother.views.terminal import forest, printable

UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))
OFFICIAL = "https://huggingface.co"


def nbytes(count: int) -> str:
    """A number of bytes for people.

    >>> nbytes(512), nbytes(67_400_000_000)
    ('512 bytes', '67.4 GB')
    """
    for unit, size in UNITS:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def made_by(command: str) -> str:
    """The command, the day and the machine."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"`{command}` on {datetime.date.today()}: {cores} cores ({_cpu()}), Python "
        f"{platform.python_version()}, mother {mother.__version__}."
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table; nothing in a cell can end it.

    >>> table(["a", "b"], [["1", "x|y"]])
    ['| a | b |', '|---|---|', '| 1 | x\\\\|y |', '']
    """
    lines = [list(head), *map(list, rows)]
    cells = [[printable(cell).replace("|", "\\|") for cell in line] for line in lines]
    text = [f"| {' | '.join(line)} |" for line in cells]
    return [text[0], "|" + "---|" * len(head), *text[1:], ""]


def tree(graph: mother.ModelGraph) -> list[str]:
    """The forest as the terminal shows it."""
    return ["```", *(line.plain.replace("```", "'''") for line in forest(graph)), "```", ""]


def parents(
    names: Iterable[str],
    truths: Mapping[str, EdgeNames],
    graphs: Mapping[str, mother.ModelGraph],
) -> list[str]:
    """Each model's parent, as documented and as found."""
    rows = []
    for name in names:
        told = [next((p for p, c in edges if c == name), "-") for edges in truths.values()]
        rows.append([name, *told, *(_found(graph, name) for graph in graphs.values())])
    return table(["model", *truths, *graphs], rows)


def _found(graph: mother.ModelGraph, name: str) -> str:
    edge = next((e for e in graph.edges if e.child == name), None)
    if edge is None:
        above = next((h for h in graph.hidden if name in h.children), None)
        if above is None:
            return "-"
        return f"a hidden ancestor below {above.parent}" if above.parent else "a hidden ancestor"
    if edge.direction_probability is None:
        return edge.parent
    unsure = ", direction unknown" if edge.undirected else ""
    return f"{edge.parent} ({edge.relation}, {edge.direction_probability:.2f}{unsure})"


def scores(truths: Mapping[str, EdgeNames], graphs: Mapping[str, mother.ModelGraph]) -> list[str]:
    """Documented edges found, with and without their direction, for each truth and method."""
    rows = []
    for method, graph in graphs.items():
        row = [method]
        for edges in truths.values():
            result = mother.evaluate(graph, edges)
            row.append(f"{result.right}/{result.true} ({result.right_undirected}/{result.true})")
        rows.append(row)
    return table(["found (without direction)", *truths], rows)


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "\n".join(lines).rstrip("\n") + "\n")
