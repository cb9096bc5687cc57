"""Newick, with what is known of a branch in a comment as BEAST and FigTree write them.

Phylogenetic trees know no undirected branch. Two models of which nobody knows which came first
hang side by side from a nameless node, a length of 0 from the one that the graph names first.

Where models were merged it is extended Newick (Cardona, Rossello and Valiente 2008): a merge stands
below its main parent and again, as a leaf of the same name and number #H, below each other one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mother.errors import UsageError
from mother.exports.lineage import directed, figures
from mother.graph import Edge, ModelGraph
from mother.graph.grades import grade
from mother.names import spelled

#: what ends a quoted label, and what ends or parts a comment
_QUOTE = "'"
_MARKS = "'[]{}()=,:;\"& "
#: what hangs where: the model, and what is written of the branch to it; None for a merge that
#: stands elsewhere, with all that is written of it here
_Clade = tuple[str | None, str]


def write(graph: ModelGraph) -> str:
    """One rooted tree a line. Models and hidden ancestors are named nodes, wherever they are.

    Raises UsageError where the parents of a merge stand in different trees: no line holds both.
    """
    main, also = graph.main_edges(), graph.other_edges()
    _check_one_tree(graph, main, also)
    merged = {id_: f"#H{k}" for k, id_ in enumerate(sorted(also), 1)}
    below: dict[str, list[_Clade]] = {}
    beside: dict[str, list[_Clade]] = {}
    hanging = set()
    for edge in graph.edges:
        if edge is main[edge.child]:
            place = below if directed(edge) else beside
            place.setdefault(edge.parent, []).append((edge.child, _branch(edge)))
        else:
            leaf = _label(edge.child, merged)
            below.setdefault(edge.parent, []).append((None, leaf + _branch(edge)))
        hanging.add(edge.child)
    for source, target in graph.hidden_edges():
        below.setdefault(source, []).append((target, "[&relation=hidden]"))
        hanging.add(target)
    roots = [id_ for id_ in graph.ids if id_ not in hanging]
    return "".join(f"[&R] {_tree(root, below, beside, merged)};\n" for root in roots)


def _check_one_tree(
    graph: ModelGraph, main: Mapping[str, Edge], also: Mapping[str, Sequence[Edge]]
) -> None:
    up = {child: edge.parent for child, edge in main.items()}
    up |= {child: parent for parent, child in graph.hidden_edges()}

    def root(id_: str) -> str:
        while id_ in up:
            id_ = up[id_]
        return id_

    for child, edges in also.items():
        if len({root(edge.parent) for edge in edges} | {root(child)}) > 1:
            raise UsageError(
                f"{spelled(child)!r} was merged from models of different trees, which Newick can't "
                "write; export to graphml or dot"
            )


def _tree(
    root: str,
    below: dict[str, list[_Clade]],
    beside: dict[str, list[_Clade]],
    merged: Mapping[str, str],
) -> str:
    """With a stack of our own: chains of checkpoints can be long."""
    out: list[str] = []
    stack: list[str | _Clade] = [(root, "")]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
            continue
        name, branch = item
        if name is None:
            out.append(branch)
            continue
        parts: list[str | _Clade] = [*_group(below.get(name, [])), _label(name, merged)]
        if name in beside:
            parts = ["(", *parts, ":0,", *_group(beside[name])[1:]]
        stack.extend(reversed([*parts, branch]))
    return "".join(out)


def _group(clades: list[_Clade]) -> list[str | _Clade]:
    if not clades:
        return []
    parts: list[str | _Clade] = ["("]
    for clade in clades:
        parts += [clade, ","]
    return [*parts[:-1], ")"]


def _label(name: str, merged: Mapping[str, str]) -> str:
    """Quoted; a name that is a number would be taken for the support of a branch, and by some
    readers one that is a single mark for that mark. A merge ends in its number."""
    if merged:
        return f"'{spelled(name, _QUOTE + '#')}{merged.get(name, '')}'"
    if len(name) == 1 and name in _MARKS:
        return f"'{spelled(name, name)}'"
    try:
        float(name)
    except ValueError:
        return f"'{spelled(name, _QUOTE)}'"
    return f"'{spelled(name, _QUOTE + name.strip()[0])}'"


def _branch(edge: Edge) -> str:
    known = figures(edge)
    told = [f"{name}={value:g}" for name, value in known.items() if name != "distance"]
    if edge.undirected:
        told.append("direction=unknown")
    told.append(f"grade={grade(edge)}")
    comment = ",".join([*told, f"relation={spelled(edge.relation, _MARKS)}"])
    length = 0 if edge.relation == "duplicate" else known.get("distance")
    return f"[&{comment}]" + ("" if length is None else f":{length:g}")
