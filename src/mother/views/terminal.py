"""The forest as lines of text. Names come from strangers: no control character gets through."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from mother.graph import Edge, HiddenAncestor, ModelGraph, Tree
from mother.names import printable as printable
from mother.views.outline import hanging

#: letters of a name that a line shows
LONGEST = 120
_STYLES = {"lora": "magenta", "continuation": "yellow", "duplicate": "dim", "converted": "dim"}


def shortened(name: str, most: int) -> str:
    """The two ends of a long name: what tells relatives apart mostly stands last.

    >>> shortened("organisation/model-7b-instruct-v2", 20)
    'organisati…struct-v2'
    """
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"


def count(n: int) -> str:
    """A number of weights for people.

    >>> count(950), count(86_567_656), count(6_738_415_616)
    ('950', '86.6 M', '6.7 G')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return str(n)


def evidence(edge: Edge) -> str:
    """Relation, distance, support and polarity of an edge, those that are known.

    >>> evidence(Edge("a", "b", "lora", distance=0.0123, support=0.98, rank=8))
    'lora (rank 8), distance 0.0123, support 98 %'
    """
    relation = printable(edge.relation)
    parts = [f"{relation} (rank {edge.rank})" if edge.rank is not None else relation]
    if edge.undirected:
        parts.append("direction unknown")
    if edge.distance is not None and edge.relation != "duplicate":
        parts.append(f"distance {edge.distance:.3g}")
    if edge.support is not None:
        parts.append(f"support {edge.support:.0%}".replace("%", " %"))
    return ", ".join(parts)


def forest(
    graph: ModelGraph,
    depth: int | None = None,
    *,
    refused: bool = True,
    longest: int | None = LONGEST,
) -> Iterator[Text]:
    """The forest, a line at a time; `depth` levels of it. refused: also what could not be read.
    longest: letters of a name, of which the middle is left out."""
    parents = {e.child: e for e in graph.edges}
    hidden = {h.id: h for h in graph.hidden}
    below = hanging(graph)
    sizes = {node.id: node.parameters for node in graph.nodes}
    unaligned = {node.id: node.unaligned for node in graph.nodes}
    for tree in graph.trees:
        yield _root(tree, hidden, sizes, longest)
        yield from _branches(tree.root, below, parents, hidden, depth, longest)
        alone = sorted({line.split(":")[0] for m in tree.members for line in unaligned.get(m, ())})
        if alone and len(tree.members) > 1:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            names = ", ".join(printable(name)[:60] for name in alone[:3])
            yield Text(f"    not compared, no partner: {names}{more}", style="dim")
    for r in graph.refused if refused else ():
        yield Text(f"refused: {printable(r.path)}: {printable(r.fault)}", style="red")


def _named(name: str, longest: int | None) -> str:
    shown = printable(name)
    return shown if longest is None else shortened(shown, longest)


def _root(
    tree: Tree, hidden: dict[str, HiddenAncestor], sizes: dict[str, int], longest: int | None
) -> Text:
    largest = max((sizes.get(m, 0) for m in tree.members), default=0)
    many = f"{len(tree.members)} models" if len(tree.members) > 1 else "1 model"
    line = Text()
    if tree.root in hidden:
        line.append("(hidden ancestor, not among the inputs)", style="italic")
    else:
        line.append(_named(tree.root, longest), style="bold")
    return line.append(f"   {many}, {count(largest)} weights", style="dim")


def _branches(
    root: str,
    below: dict[str, list[str]],
    parents: dict[str, Edge],
    hidden: dict[str, HiddenAncestor],
    depth: int | None,
    longest: int | None,
) -> Iterator[Text]:
    """Depth first with a stack of our own: chains of checkpoints can be long."""
    stack = [(child, "", 1) for child in reversed(below.get(root, []))]
    last = {name for name, _, _ in stack[:1]}
    drawn = {root}
    while stack:
        name, indent, level = stack.pop()
        if name in drawn:  # a circle, or two parents: in a file that we did not write
            continue
        drawn.add(name)
        end = name in last
        line = Text(indent + ("└── " if end else "├── "))
        if name in hidden:
            line.append("(hidden ancestor)", style="italic")
        else:
            line.append(_named(name, longest))
            if name in parents:
                edge = parents[name]
                line.append(f"   {evidence(edge)}", style=_STYLES.get(edge.relation, "cyan"))
        yield line
        inner = below.get(name, [])
        deeper = indent + ("    " if end else "│   ")
        if inner and depth is not None and level >= depth:
            yield Text(f"{deeper}└── … {len(inner)} more below", style="dim")
            continue
        stack.extend((child, deeper, level + 1) for child in reversed(inner))
        last.update(inner[-1:])
