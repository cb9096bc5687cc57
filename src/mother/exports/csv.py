"""Two tables as Gephi's import and every spreadsheet read them: nodes.csv and edges.csv.

Separators and quotes in names are spelled out, so that no locale's spreadsheet splits a cell; what
would start a formula has an apostrophe before it, and so has what starts with one.
https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

from mother.exports.lineage import FIGURES, attributes_of, directed, figures
from mother.graph import Edge, ModelGraph, Node, rounded
from mother.graph.verdict import of_edge, of_models, resamplings
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
    "compared",
    "sha256",
    "notes",
    "identical_to",
    "freed",
    "read",
    "unaligned",
)
_MORE = ("stage", "scheme", "grade", "finding", "runner_up", "runner_up_ratio", "evidence")
_KINDS = ("parent", "reverse", "siblings")  # of Probabilities
_EDGES = (
    "Source",
    "Target",
    "Type",
    "relation",
    *FIGURES,
    *_MORE,
    *(f"probability_{x}" for x in _KINDS),
)


def write(graph: ModelGraph) -> dict[str, str]:
    """nodes.csv, and edges.csv with the Type Directed or Undirected."""
    known = attributes_of(graph)
    names = sorted({name for of in known.values() for name in of})
    nodes: list[tuple[str | float | None, ...]] = [(*_NODES, *names)]
    edges: list[tuple[str | float | None, ...]] = [_EDGES]
    for node in graph.nodes:
        size = sum(file.bytes for file in node.files) if node.files else None
        facts = (node.architecture, node.format, node.dtype, node.parameters, size)
        more: tuple[str | float | None, ...]
        more = (node.compared, _hashes(node), " / ".join(node.notes) or None)
        more += (node.identical_to, node.freed, node.read, " / ".join(node.unaligned) or None)
        row = (node.id, node.id, "false", *facts, node.duplicate_of, node.path, *more)
        nodes.append((*row, *(known.get(node.id, {}).get(name) for name in names)))
    for hidden in graph.hidden:
        nodes.append((hidden.id, hidden.id, "true", *[None] * (len(_NODES) - 3 + len(names))))
    for edge in graph.edges:
        found = figures(edge)
        type_ = "Directed" if directed(edge) else "Undirected"
        ends = (edge.parent, edge.child, type_, edge.relation)
        edges.append((*ends, *(found.get(name) for name in FIGURES), *_more(edge, graph)))
    told = of_models(graph, name=str)
    for source, target in graph.hidden_edges():
        said = {"grade": told[target].grade, "finding": str(told[target])}
        ends = (source, target, "Directed", "hidden")
        edges.append((*ends, *(said.get(name) for name in _EDGES[len(ends) :])))
    return {"nodes.csv": _table(nodes), "edges.csv": _table(edges)}


def _hashes(node: Node) -> str | None:
    """SHA-256 of a model's only file, or of each with its name."""
    known = [(file.name, file.sha256) for file in node.files if file.sha256 is not None]
    if len(node.files) == 1 and known:
        return known[0][1]
    return " / ".join(f"{name} {digest}" for name, digest in known) or None


def _more(edge: Edge, graph: ModelGraph) -> tuple[str | float | None, ...]:
    verdict = of_edge(edge, resamplings=resamplings(graph), method=graph.method, name=str)
    why = " / ".join(f"{reason.says} ({reason.log_odds:g})" for reason in edge.evidence)
    shown = directed(edge)
    return (
        edge.stage if shown else None,
        edge.scheme or None,
        verdict.grade,
        str(verdict),
        edge.runner_up,
        rounded(edge.runner_up_ratio),
        why if shown and why else None,
        *(rounded(getattr(edge.probabilities, x, None)) if shown else None for x in _KINDS),
    )


def _table(rows: list[tuple[str | float | None, ...]]) -> str:
    return "".join(",".join(map(_cell, row)) + "\r\n" for row in rows)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return guarded(spelled(value, also='",;'))
