"""Tags for the registry that models came from: parent, relation, probability, evidence.

Only models that lie where tags can be put get any, and nothing is put anywhere here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from urllib.parse import urlencode

from mother.exports.lineage import Lineage, lineages, told
from mother.graph import ModelGraph
from mother.graph.verdict import of_edge
from mother.names import spelled

#: what no parent was found for is tagged with
NO_PARENT = "No parent among the models compared."
_LEAST = 0.001  # of a probability: nothing measured is certain


def tags(
    graph: ModelGraph, unit: Callable[[str], str | None], link: str = ""
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """By the address of what is tagged, its tags; and addresses that hold several models, which no
    tags fit. unit: the address of what is tagged for the model at an address, None where nothing
    can be. link: where the page or the graph will be found.

    A parent is named where the edge has a direction and is not open; where it is, the finding says
    so.

    >>> from mother.graph import Edge, Node, Tree
    >>> nodes = tuple(Node(f"kin:{k}", f"models:/kin/{k}", "npz", "a", 1) for k in "12")
    >>> edge = Edge("kin:1", "kin:2", "lora", direction_probability=0.98)
    >>> graph = ModelGraph("gram", nodes, (edge,), (Tree("kin:1", ("kin:1", "kin:2")),))
    >>> of, _ = tags(graph, lambda address: address, "https://host/page.html")
    >>> of["models:/kin/2"]["mother.parent"], of["models:/kin/2"]["mother.evidence"]
    ('models:/kin/1', 'https://host/page.html#model=kin%3A2')
    """
    units = {node.id: unit(node.path) for node in graph.nodes}
    holds: dict[str, list[str]] = defaultdict(list)
    for id_, where in units.items():
        if where is not None:
            holds[where].append(id_)
    named = {node.id: units[node.id] or spelled(node.path) for node in graph.nodes}
    found = {x.node.id: _of(x, named, link) for x in lineages(graph)}
    single = {where: found[ids[0]] for where, ids in holds.items() if len(ids) == 1}
    return single, [where for where, ids in holds.items() if len(ids) > 1]


def _of(lineage: Lineage, named: dict[str, str], link: str) -> dict[str, str]:
    out: dict[str, str] = {}
    id_ = lineage.node.id
    if lineage.parent is not None:
        edge, verdict = lineage.parent, of_edge(lineage.parent, name=spelled)
        out["mother.parent"] = named[edge.parent]
        for number, other in enumerate(lineage.also, 2):
            out[f"mother.parent.{number}"] = named[other.parent]
        out["mother.relation"] = edge.relation
        if edge.probabilities is not None:
            sure = min(max(edge.probabilities.parent, _LEAST), 1 - _LEAST)
            out["mother.probability"] = f"{sure:.3f}"
        out["mother.finding"] = f"{verdict.grade}: {verdict.sentence}"
        evidence = lineage.accounts[0]
    else:
        beside = "; ".join(lineage.asides)
        evidence = told(lineage.hidden) if lineage.hidden else beside or NO_PARENT
        out["mother.finding"] = evidence
    out["mother.evidence"] = f"{link}#{urlencode({'model': id_})}" if link else evidence
    return out
