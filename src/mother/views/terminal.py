"""The forest as lines of text. Names come from strangers: no control character gets through."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from mother.graph import Edge as Edge
from mother.graph import ModelGraph, Tree
from mother.graph.facts import copies, count, many, read
from mother.graph.grades import GRADES, tally
from mother.graph.verdict import Verdict, ancestor, of_models
from mother.names import printable as printable
from mother.names import shortened as shortened
from mother.views.outline import hanging

#: letters of a name that a line shows
LONGEST = 120
_STYLES = {"strong": "cyan", "likely": "yellow", "open": "magenta"}
#: how sure an edge is, told by its line: without colour, too
_LINES = {"strong": "── ", "likely": "╌╌ ", "open": "╌? ", "": "── "}
_WORD = re.compile(r"\S+(?: %\S*)?\s*|\s+")  # a figure and its unit are one
_LEAST = 36  # columns that a name and its verdict are left at least


def forest(
    graph: ModelGraph,
    depth: int | None = None,
    *,
    refused: bool = True,
    width: int | None = None,
) -> Iterator[Text]:
    """The forest, a line at a time; `depth` levels of it. refused: also what could not be read.
    width: columns that lines are wrapped to, between words, and long names shortened to; None for
    a line a model, whole."""
    told = of_models(graph, beside=True)
    below = hanging(graph)
    names = _names(graph)
    unaligned = {node.id: node.unaligned for node in graph.nodes}
    for tree in graph.trees:
        yield from wrapped(_root(tree, graph, names, width), width, "    ")
        yield from _branches(tree.root, below, told, names, depth, width)
        alone = sorted({line.split(":")[0] for m in tree.members for line in unaligned.get(m, ())})
        if alone and len(tree.members) > 1:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            some = ", ".join(printable(name)[:60] for name in alone[:3])
            lacking = Text(f"    not compared, no partner: {some}{more}", style="dim")
            yield from wrapped(lacking, width, "        ")
    for r in graph.refused if refused else ():
        said = Text(f"refused: {printable(r.path)}: {printable(r.fault)}", style="red")
        yield from wrapped(said, width, "    ")


def summary(graph: ModelGraph) -> Iterator[str]:
    """What was found, in figures.

    >>> print(*summary(ModelGraph("gram", edges=(Edge("a", "b", "duplicate"),))), sep="\\n")
    0 models in 0 trees; 1 edge: 1 strong
    """
    of = tally(graph)
    grades = ", ".join(f"{of[grade]} {grade}" for grade in GRADES if of[grade])
    parts = [f"{many(len(graph.nodes), 'model')} in {many(len(graph.trees), 'tree')}"]
    parts.append(f"{many(len(graph.edges), 'edge')}{f': {grades}' if grades else ''}")
    if graph.hidden:
        parts.append(f"{many(len(graph.hidden), 'hidden ancestor')}, not among the inputs")
    if graph.refused:
        parts.append(f"{many(len(graph.refused), 'input')} not read")
    yield "; ".join(parts)
    if graph.read is not None:
        yield read(*graph.read)
    yield from copies(graph)


def wrapped(text: Text, width: int | None, hanging: str) -> Iterator[Text]:
    """A text in lines of so many columns, broken between words; lines after the first start with
    `hanging`. A word longer than a line stays whole.

    >>> [line.plain for line in wrapped(Text("one two three"), 8, "  ")]
    ['one two', '  three']
    """
    if width is None or cell_len(text.plain) <= width:
        yield text
        return
    breaks: list[int] = []
    taken = 0
    for word in _WORD.finditer(text.plain):
        room = width - (cell_len(hanging) if breaks else 0)
        if taken and taken + cell_len(word[0].rstrip()) > room:
            breaks.append(word.start())
            taken = 0
        taken += cell_len(word[0])
    for number, line in enumerate(text.divide(breaks)):
        line.rstrip()
        yield Text.assemble((hanging, "") if number else "", line)


def _names(graph: ModelGraph) -> dict[str, Text]:
    """How each model and hidden ancestor is called."""
    names = {node.id: Text(printable(node.id)) for node in graph.nodes}
    return names | {h.id: Text(f"({ancestor(h)})", style="italic") for h in graph.hidden}


def _named(id: str, names: dict[str, Text], room: int | None) -> Text:
    name = names.get(id) or Text(printable(id))
    most = LONGEST if room is None else min(LONGEST, max(room, 16))
    if room is None or cell_len(name.plain) <= most:
        return name.copy()
    return Text(shortened(name.plain, most), style=name.style)


def _root(tree: Tree, graph: ModelGraph, names: dict[str, Text], width: int | None) -> Text:
    line = _named(tree.root, names, width)
    if not tree.hidden_root:
        line.stylize("bold")
    members = set(tree.members)
    sizes = {node.parameters for node in graph.nodes if node.id in members}
    told = f"{many(len(tree.members), 'model')} of {'up to ' if len(sizes) > 1 else ''}"
    each = " each" if len(tree.members) > 1 else ""
    absent = ", not among the inputs" if tree.hidden_root else ""
    return line.append(
        f"   {told}{count(max(sizes, default=0))} weights{each}{absent}", style="dim"
    )


def _branches(
    root: str,
    below: dict[str, list[str]],
    told: dict[str, Verdict],
    names: dict[str, Text],
    depth: int | None,
    width: int | None,
) -> Iterator[Text]:
    """Depth first with a stack of our own: chains of checkpoints can be long."""
    stack = [(child, "", 1) for child in reversed(below.get(root, []))]
    last = {name for name, _, _ in stack[:1]}
    drawn = {root}
    while stack:
        id_, indent, level = stack.pop()
        if id_ in drawn:  # a circle, or two parents: in a file that we did not write
            continue
        drawn.add(id_)
        end, inner = id_ in last, below.get(id_, [])
        deeper = indent + ("    " if end else "│   ")
        verdict = told.get(id_, Verdict("", ""))
        before = _fitted(indent, width) + ("└" if end else "├") + _LINES[verdict.grade]
        line = Text(before).append_text(_named(id_, names, width and width - cell_len(before)))
        if said := str(verdict):
            line.append(f"   {verdict.grade}: {said}", style=_STYLES.get(verdict.grade, "dim"))
        hang = _fitted(deeper, width) + ("│     " if inner else "      ")
        yield from wrapped(line, width, hang)
        if inner and depth is not None and level >= depth:
            yield Text(f"{_fitted(deeper, width)}└── … {len(inner)} more below", style="dim")
            continue
        stack.extend((child, deeper, level + 1) for child in reversed(inner))
        last.update(inner[-1:])


def _fitted(indent: str, width: int | None) -> str:
    """The verticals of a tree; of those that leave no room for names the last ones, after how many
    levels are not drawn."""
    room = len(indent) if width is None else max(8, (width - _LEAST) // 4 * 4)
    if len(indent) <= room:
        return indent
    kept = indent[len(indent) - room + 8 :] if room > 8 else ""
    return f"⋯ {(len(indent) - len(kept)) // 4}".ljust(8) + kept
