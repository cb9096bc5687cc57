"""Two tables as Gephi's import and every spreadsheet read them: nodes.csv and edges.csv.

Separators and quotes in names are spelled out, so that no locale's spreadsheet splits a cell; what
would start a formula has an apostrophe before it, and so has what starts with one.
https://owasp.org/www-community/attacks/CSV_Injection
"""

from __future__ import annotations

from collections.abc import Sequence

from mother.exports.lineage import FIGURES, attributes_of, directed
from mother.graph import Edge, Hint, ModelGraph, Node, rounded
from mother.graph.verdict import of_edge, of_models, resamplings
from mother.names import guarded, spelled

_LAYERS = 3  # that changed most
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
_KINDS = ("parent", "reverse", "siblings")  # of Probabilities
_EDGES = (
    "Source",
    "Target",
    "Type",
    "relation",
    *FIGURES,
    *(
        "stage",
        "generalization",
        "scheme",
        "grade",
        "finding",
        "runner_up",
        "runner_up_ratio",
        "evidence",
    ),
    *(f"probability_{x}" for x in _KINDS),
    *("changed_most", "hints"),
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
    layers = {node.id: graph.layers.get(node.architecture, ()) for node in graph.nodes}
    hints: dict[str, list[str]] = {}
    for hint in graph.hints:
        hints.setdefault(hint.model, []).append(f"{hint.kind} {hint.says}: {_agrees(hint)}")
    for edge in graph.edges:
        type_ = "Directed" if directed(edge) else "Undirected"
        ends = (edge.parent, edge.child, type_, edge.relation)
        known_of = _known(edge, graph, layers.get(edge.child, ()), hints.get(edge.child, ()))
        edges.append((*ends, *(known_of[name] for name in _EDGES[len(ends) :])))
    told = of_models(graph, name=str)
    for source, target in graph.hidden_edges():
        said = {"grade": told[target].grade, "finding": _dashed(str(told[target]))}
        ends = (source, target, "Directed", "hidden")
        edges.append((*ends, *(said.get(name) for name in _EDGES[len(ends) :])))
    return {"nodes.csv": _table(nodes), "edges.csv": _table(edges)}


def _hashes(node: Node) -> str | None:
    """SHA-256 of a model's only file, or of each with its name."""
    known = [(file.name, file.sha256) for file in node.files if file.sha256 is not None]
    if len(node.files) == 1 and known:
        return known[0][1]
    return " / ".join(f"{name} {digest}" for name, digest in known) or None


def _known(
    edge: Edge, graph: ModelGraph, layers: Sequence[str], hints: Sequence[str]
) -> dict[str, str | float | None]:
    """All that is known of an edge by column, whatever its Type, and what files say of the child.
    Source is who would be the parent."""
    verdict = of_edge(edge, resamplings=resamplings(graph), method=graph.method, name=str)
    changed = [(x, name) for x, name in zip(edge.changes, layers, strict=False) if x]
    most = sorted(changed, key=lambda pair: (-pair[0], pair[1]))[:_LAYERS]
    of = {name: rounded(getattr(edge, name)) for name in (*FIGURES, "runner_up_ratio")}
    why = (f"{_dashed(e.says)} ({e.log_odds:g})" for e in edge.evidence)
    return {
        **of,
        "rank": edge.rank,
        "stage": edge.stage,
        "generalization": rounded(edge.generalization),
        "scheme": edge.scheme or None,
        "grade": verdict.grade,
        "finding": _dashed(str(verdict)),
        "runner_up": edge.runner_up,
        "evidence": " / ".join(why) or None,
        **{f"probability_{x}": rounded(getattr(edge.probabilities, x, None)) for x in _KINDS},
        "changed_most": " / ".join(f"{name} {x:.3g}" for x, name in most) or None,
        "hints": " / ".join(hints) or None,
    }


def _dashed(sentence: str) -> str:
    """A sentence of ours with dashes for what separates cells, which would be spelled out.

    >>> _dashed("probably fine-tuned; which came first is open")
    'probably fine-tuned - which came first is open'
    """
    return sentence.replace("; ", " - ").replace(", ", " - ")


def _agrees(hint: Hint) -> str:
    return {True: "agrees", False: "disagrees", None: "not known"}[hint.agrees]


def _table(rows: list[tuple[str | float | None, ...]]) -> str:
    return "".join(",".join(map(_cell, row)) + "\r\n" for row in rows)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    return guarded(spelled(value, also='",;'))
