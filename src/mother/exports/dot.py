"""Graphviz: https://graphviz.org/doc/info/lang.html"""

from __future__ import annotations

from mother.exports.lineage import directed
from mother.graph import Edge, ModelGraph
from mother.graph.grades import grade
from mother.graph.verdict import STEPS
from mother.names import spelled


def write(graph: ModelGraph) -> str:
    """The graph in DOT. Hidden ancestors are dashed, edges without a direction have no arrow,
    open ones are dotted."""
    ids = {id_: f"n{k}" for k, id_ in enumerate(graph.ids)}
    lines = ["digraph models {", " rankdir=LR;", " node [shape=box];"]
    lines += [f" {ids[node.id]} [label={_quoted(node.id)}];" for node in graph.nodes]
    lines += [
        f" {ids[hidden.id]} [label={_quoted(hidden.id)}, shape=ellipse, style=dashed];"
        for hidden in graph.hidden
    ]
    for edge in graph.edges:
        form = "" if directed(edge) else ", dir=none"
        form += ", style=dotted" if grade(edge) == "open" else ""
        ends = f"{ids[edge.parent]} -> {ids[edge.child]}"
        lines.append(f" {ends} [label={_quoted(_label(edge))}{form}];")
    lines += [
        f" {ids[source]} -> {ids[target]} [style=dashed];"
        for source, target in graph.hidden_edges()
    ]
    return "\n".join([*lines, "}", ""])


def _label(edge: Edge) -> str:
    """The step, its grade, and of a merge the share of the parent."""
    what = STEPS.get(edge.relation, (edge.relation, ""))[0]
    share = "" if edge.share is None else f", share {edge.share:.3g}"
    return f"{what}{share} ({grade(edge)})"


def _quoted(name: str) -> str:
    # a label's backslash starts an escape and its & an entity of HTML
    text = spelled(name, also='"').replace("\\", "\\\\").replace("&", "&amp;")
    return f'"{text}"'
