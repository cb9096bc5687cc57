"""Two tables as Gephi's import and every spreadsheet read them: nodes.csv and edges.csv.

Separators and quotes in names are spelled out, so that no locale's spreadsheet splits a cell; what
would start a formula has an apostrophe before it, and so has what starts with one.
https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

from mother.exports.lineage import FIGURES, directed, figures
from mother.graph import ModelGraph
from mother.names import guarded, spelled

STARTS = ("Id,Label,", "Source,Target,")
_NODES = (
    "Id",
    "Label",
    "hidden",
    "architecture",
    "format",
    "dtype",
    "parameters",
    "bytes",
    "duplicate_of",
    "path",
)
_EDGES = ("Source", "Target", "Type", "relation", *FIGURES)


def write(graph: ModelGraph) -> dict[str, str]:
    """nodes.csv, and edges.csv with the Type Directed or Undirected."""
    nodes: list[tuple[str | float | None, ...]] = [_NODES]
    edges: list[tuple[str | float | None, ...]] = [_EDGES]
    for node in graph.nodes:
        size = sum(file.bytes for file in node.files) if node.files else None
        told = (node.architecture, node.format, node.dtype, node.parameters, size)
        nodes.append((node.id, node.id, "false", *told, node.duplicate_of, node.path))
    for hidden in graph.hidden:
        nodes.append((hidden.id, hidden.id, "true", *[None] * 7))
    for edge in graph.edges:
        known = figures(edge)
        type_ = "Directed" if directed(edge) else "Undirected"
        ends = (edge.parent, edge.child, type_, edge.relation)
        edges.append((*ends, *(known.get(name) for name in FIGURES)))
    for source, target in graph.hidden_edges():
        edges.append((source, target, "Directed", "hidden", *[None] * len(FIGURES)))
    return {"nodes.csv": _table(nodes), "edges.csv": _table(edges)}


def _table(rows: list[tuple[str | float | None, ...]]) -> str:
    return "".join(",".join(map(_cell, row)) + "\r\n" for row in rows)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return guarded(spelled(value, also='",;'))
