"""An in-toto Statement v1 to be signed: https://github.com/in-toto/attestation/tree/main/spec/v1

The text is canonical (RFC 8785), so that whoever holds the same graph signs the same bytes.
"""

from __future__ import annotations

from typing import Any

from mother.errors import UsageError
from mother.exports.lineage import attributes_of, claimed, figures, figures_of
from mother.exports.texts import canonical
from mother.graph import Edge, ModelGraph, rounded
from mother.graph.grades import grade
from mother.names import spelled

PREDICATE = "urn:mother:model-lineage:1"
_Object = dict[str, Any]


def write(graph: ModelGraph) -> str:
    """The statement: its subjects are the weight files, by hash, its predicate is the lineage.

    Raises UsageError where a hash is absent, or there is no model to speak of.
    """
    if not graph.nodes:
        raise UsageError("the graph holds no models, and a statement must be about some")
    for node in graph.nodes:
        if not node.files or any(file.sha256 is None for file in node.files):
            raise UsageError(
                f"the graph lacks the SHA-256 of {node.id!r}, which a statement is about; "
                "run mother recover with --hashes"
            )
    subjects = [
        {"name": _subject(node.id, file.name), "digest": {"sha256": file.sha256}}
        for node in graph.nodes
        for file in node.files
    ]
    content = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": _predicate(graph),
    }
    return canonical(content) + "\n"


def _predicate(graph: ModelGraph) -> _Object:
    known = attributes_of(graph)
    return {
        "method": _name(graph.method),
        "models": [
            {
                "id": _name(node.id),
                "architecture": _name(node.architecture),
                "parameters": node.parameters,
                **{k: _safe(v) if isinstance(v, str) else v for k, v in figures_of(node).items()},
                "files": [_subject(node.id, file.name) for file in node.files],
                **({"annotations": known[node.id]} if node.id in known else {}),
            }
            for node in graph.nodes
        ],
        "edges": [_directed(edge) for edge in graph.edges if claimed(edge)],
        "undirected": [
            {"between": [_name(edge.parent), _name(edge.child)], **_told(edge)}
            for edge in graph.edges
            if not claimed(edge)
        ],
        "hidden": [
            {
                "id": _name(hidden.id),
                "children": [_name(child) for child in hidden.children],
                "parent": None if hidden.parent is None else _name(hidden.parent),
            }
            for hidden in graph.hidden
        ],
    }


def _directed(edge: Edge) -> _Object:
    evidence = [
        {"kind": _name(e.kind), "log_odds": rounded(e.log_odds), "says": _name(e.says)}
        for e in edge.evidence
    ]
    ends = {"parent": _name(edge.parent), "child": _name(edge.child)}
    return {**ends, **_told(edge), "evidence": evidence}


def _told(edge: Edge) -> _Object:
    return {"relation": _name(edge.relation), "grade": grade(edge), **figures(edge)}


def _subject(id_: str, file: str) -> str:
    # the colon between the two is the only one
    return f"{spelled(id_, '<:')}:{spelled(file, '<:')}"


def _name(text: str) -> str:
    """Canonical JSON has no escape for <, which a page that holds it would act on."""
    return spelled(text, "<")


def _safe(text: str) -> str:
    """The same of a name that is spelled already."""
    return text.replace("<", r"\x3c")
