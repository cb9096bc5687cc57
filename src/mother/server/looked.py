"""What of an index needs a look, from as many of its rows as are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mother.graph import Edge, ModelGraph, Node, parsed
from mother.graph.grades import NEEDS, grade, needs

NAMED = 5  # models of each kind


def looks(parts: Sequence[dict[str, Any]], key: Callable[[str], int], limit: int) -> dict[str, Any]:
    """How many edges are strong, likely and open, and which models need a look, by why.

    parts: nodes and edges as they are stored. key: of a model by its id; KeyError where it is gone
    by now. limit: how many of each there are at most; with as many, there may be more.

    >>> edge = {"parent": "a", "child": "b", "relation": "lora", "support": 0.5}
    >>> looks([edge], len, 10)["needs"]
    [{'why': 'support', 'total': 1, 'models': [{'key': 1, 'id': 'b'}]}]
    """
    edges = tuple(parsed(Edge, [x for x in parts if "child" in x]))
    nodes = {node.id: node for node in parsed(Node, [x for x in parts if "child" not in x])}
    to: dict[str, list[Edge]] = {}
    for edge in edges:
        to.setdefault(edge.child, []).append(edge)
    found: dict[str, list[str]] = {why: [] for why in NEEDS}
    for id_ in sorted({*to, *nodes}):
        for why in needs(to.get(id_, ()), nodes.get(id_), (), hinted=False):
            found[why].append(id_)
    main = ModelGraph("gram", edges=edges).main_edges().values()
    return {
        "models": len(nodes),
        "all": max(len(nodes), len(edges)) < limit,
        "grades": dict(Counter(map(grade, main))),
        "needs": [
            {"why": why, "total": len(ids), "models": _named(ids, key)}
            for why, ids in found.items()
            if ids
        ],
    }


def _named(ids: Sequence[str], key: Callable[[str], int]) -> list[dict[str, Any]]:
    named = []
    for id_ in ids[:NAMED]:
        try:
            named.append({"key": key(id_), "id": id_})
        except KeyError:
            continue
    return named
