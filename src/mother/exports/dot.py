"""Graphviz: https://graphviz.org/doc/info/lang.html"""

from __future__ import annotations

from mother.exports.lineage import directed, figures
from mother.graph import Edge, ModelGraph
from mother.names import spelled


def write(graph: ModelGraph) -> str:
    """The graph in DOT. Hidden ancestors are dashed, edges without a direction have no arrow."""
    ids = {id_: f"n{k}" for k, id_ in enumerate(graph.ids)}
    lines = ["digraph models {", " node [shape=box];"]
    lines += [f" {ids[node.id]} [label={_quoted(node.id)}];" for node in graph.nodes]
    lines += [
        f" {ids[hidden.id]} [label={_quoted(hidden.id)}, shape=ellipse, style=dashed];"
        for hidden in graph.hidden
    ]
    for edge in graph.edges:
        form = "" if directed(edge) else ", dir=none"
        ends = f"{ids[edge.parent]} -> {ids[edge.child]}"
        lines.append(f" {ends} [label={_quoted(_label(edge))}{form}];")
    lines += [
        f" {ids[source]} -> {ids[target]} [style=dashed];"
        for source, target in graph.hidden_edges()
    ]
    return "\n".join([*lines, "}", ""])


def _label(edge: Edge) -> str:
    known = figures(edge)
    if "share" in known:
        return f"{edge.relation}, share {known['share']:.3g}"
    return f"{edge.relation} {known['support']:.0%}" if "support" in known else edge.relation


def _quoted(name: str) -> str:
    # a label's backslash starts an escape and its & an entity of HTML
    text = spelled(name, also='"').replace("\\", "\\\\").replace("&", "&amp;")
    return f'"{text}"'
