"""Graphviz: https://graphviz.org/doc/info/lang.html"""

from __future__ import annotations

from collections import Counter
from math import isqrt

from mother.exports.lineage import directed
from mother.graph import Edge, ModelGraph
from mother.graph.grades import grade
from mother.graph.verdict import STEPS
from mother.names import spelled

#: leaves below one model that stand in one column; more stand in several, or the picture would be
#: a ribbon
COLUMN = 60
#: steps of a chain that stand in one row; a longer one goes on below
DEEP = 12


def write(graph: ModelGraph) -> str:
    """The graph in DOT. Hidden ancestors are dashed, edges without a direction have no arrow,
    open ones are dotted. Of a star, the leaves stand in columns and say themselves what they are:
    a label takes as much room as a model, wherever its edge goes by. Trees stand beside each other,
    and a long chain in rows."""
    ids = {id_: f"n{k}" for k, id_ in enumerate(graph.ids)}
    columns, rows = _columns(graph), _rows(graph)
    lines = ["digraph models {", " rankdir=LR;", ' pack=16; packmode="array";']
    lines += [" node [shape=box];"]
    lines += [" nodesep=0.02;"] if columns else []
    steps = {e.child: _label(e) for e in graph.edges if e.child in columns}
    for node in graph.nodes:
        told = (node.id, *([steps[node.id]] if node.id in steps else []))
        lines.append(f" {ids[node.id]} [label={_quoted(*told)}];")
    lines += [
        f" {ids[hidden.id]} [label={_quoted(hidden.id)}, shape=ellipse, style=dashed];"
        for hidden in graph.hidden
    ]
    for edge in graph.edges:
        form = "" if directed(edge) else ", dir=none"
        form += ", style=dotted" if grade(edge) == "open" else ""
        form += "" if rows[edge.parent] == rows[edge.child] else ", constraint=false"
        ends = f"{ids[edge.parent]} -> {ids[edge.child]}"
        if edge.child in columns:
            form = f"minlen={columns[edge.child]}{form}"
        else:
            form = f"label={_quoted(_label(edge))}{form}"
        lines.append(f" {ends} [{form}];")
    for source, target in graph.hidden_edges():
        form = f"minlen={columns[target]}, " if target in columns else ""
        form += "" if rows[source] == rows[target] else "constraint=false, "
        lines.append(f" {ids[source]} -> {ids[target]} [{form}style=dashed];")
    return "\n".join([*lines, "}", ""])


def _columns(graph: ModelGraph) -> dict[str, int]:
    """Which of several columns each leaf of a star stands in, from 1.

    >>> star = ModelGraph("gram", edges=tuple(Edge("a", f"b{k}", "lora") for k in range(61)))
    >>> sorted(set(_columns(star).values()))
    [1, 2]
    """
    pairs = [*((edge.parent, edge.child) for edge in graph.edges), *graph.hidden_edges()]
    above = {parent for parent, _ in pairs}
    many = Counter(child for _, child in pairs)
    leaves: dict[str, list[str]] = {}
    for parent, child in pairs:
        if child not in above and many[child] == 1:
            leaves.setdefault(parent, []).append(child)
    stars = [of for of in leaves.values() if len(of) > COLUMN]
    return {leaf: 1 + k % max(2, isqrt(len(of)) // 3) for of in stars for k, leaf in enumerate(of)}


def _rows(graph: ModelGraph) -> dict[str, int]:
    """In which row of a chain that is too long for one each model stands, from 0.

    >>> chain = ModelGraph("gram", edges=tuple(Edge(str(k), str(k + 1), "lora") for k in range(30)))
    >>> [_rows(chain)[str(k)] for k in (0, 11, 12, 30)]
    [0, 0, 1, 2]
    """
    pairs = [*((e.parent, e.child) for e in graph.main_edges().values()), *graph.hidden_edges()]
    below: dict[str, list[str]] = {}
    for parent, child in pairs:
        below.setdefault(parent, []).append(child)
    level = sorted(below.keys() - {child for _, child in pairs})
    rows, depth = dict.fromkeys((*graph.ids, *(x for pair in pairs for x in pair)), 0), 0
    while level:
        rows |= dict.fromkeys(level, depth // DEEP)
        level = [child for id_ in level for child in below.get(id_, ())]
        depth += 1
    return rows


def _label(edge: Edge) -> str:
    """The step, its grade, and of a merge the share of the parent."""
    what = STEPS.get(edge.relation, (edge.relation, ""))[0]
    share = "" if edge.share is None else f", share {edge.share:.3g}"
    return f"{what}{share} ({grade(edge)})"


def _quoted(*name: str) -> str:
    # a label's backslash starts an escape and its & an entity of HTML
    lines = [spelled(x, also='"').replace("\\", "\\\\").replace("&", "&amp;") for x in name]
    return '"' + "\\n".join(lines) + '"'
