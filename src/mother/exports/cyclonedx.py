"""CycloneDX 1.6 as an ML-BOM: https://cyclonedx.org/docs/1.6/json/

A parent is a pedigree's ancestor. What is known to be related, but not how, is a variant: the
specification's word for relations of which it is unclear who derives from whom.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mother import __version__
from mother.exports.checked import Checked, spdx_id
from mother.exports.lineage import Lineage, attributes_of, figures_of, lineages, other, told
from mother.exports.texts import as_json, identity
from mother.graph import HiddenAncestor, ModelGraph, Node
from mother.names import spelled

_Object = dict[str, Any]


def write(
    graph: ModelGraph, created: str | None = None, checked: Mapping[str, Checked] | None = None
) -> str:
    """The graph as a bill of materials; `created` is its timestamp, left out where not given.
    checked: by model, what mother check found of its licences and claims.

    The serial number follows from the content. Hidden ancestors are only in the pedigrees.
    """
    references = {node.id: f"model:{k}" for k, node in enumerate(graph.nodes, 1)}
    hidden = {h.id: h for h in graph.hidden}
    known = attributes_of(graph)
    tool = {"type": "application", "name": "mother", "version": __version__}
    metadata: _Object = {"tools": {"components": [tool]}}
    if created is not None:
        metadata["timestamp"] = created
    content: _Object = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": [
            _model(lineage, references, hidden, known.get(lineage.node.id, {}))
            | _checked((checked or {}).get(lineage.node.id))
            for lineage in lineages(graph)
        ],
    }
    return as_json({**content, "serialNumber": f"urn:uuid:{identity(content)}"})


def _model(
    lineage: Lineage,
    references: dict[str, str],
    hidden: dict[str, HiddenAncestor],
    known: dict[str, str],
) -> _Object:
    node = lineage.node
    facts = {
        "architecture": spelled(node.architecture),
        "parameters": str(node.parameters),
        "dtype": spelled(node.dtype),
        "format": spelled(node.format),
        **{name: str(value) for name, value in figures_of(node).items()},
        **known,
    }
    files = [_file(node, k, references[node.id]) for k in range(len(node.files))]
    component: _Object = {
        "type": "machine-learning-model",
        "bom-ref": references[node.id],
        "name": spelled(node.id),
        "modelCard": {
            "properties": [
                {"name": f"mother:{name}", "value": value} for name, value in facts.items()
            ]
        },
    }
    if len(files) == 1 and "hashes" in files[0]:
        component["hashes"] = files[0]["hashes"]
    if files:
        component["components"] = files
    pedigree = _pedigree(lineage, references, hidden)
    return component | ({"pedigree": pedigree} if pedigree else {})


def _checked(found: Checked | None) -> _Object:
    """The licences that a model states and those that bind it, and what its claims are worth."""
    if found is None:
        return {}
    told: dict[str, str] = {"verdict": found.verdict, "reason": found.reason}
    for k, (licence, model, sure) in enumerate(found.binding, 1):
        doubt = "" if sure else ", if it comes from there"
        told[f"binding-licence-{k}"] = f"{licence} of {model}{doubt}"
    content: _Object = {
        "properties": [
            {"name": f"mother:{name}", "value": spelled(value)} for name, value in told.items()
        ]
    }
    if found.licences:
        content["licenses"] = [{"license": _licence(x)} for x in found.licences]
    return content


def _licence(licence: str) -> _Object:
    known = spdx_id(licence)
    named = {"name": spelled(licence)} if known is None else {"id": known}
    return {**named, "acknowledgement": "declared"}


def _file(node: Node, k: int, reference: str) -> _Object:
    file = node.files[k]
    content: _Object = {
        "type": "file",
        "bom-ref": f"{reference}/{k + 1}",
        "name": spelled(file.name),
        "properties": [{"name": "mother:bytes", "value": str(file.bytes)}],
    }
    if file.sha256 is not None:
        content["hashes"] = [{"alg": "SHA-256", "content": file.sha256}]
    return content


def _pedigree(
    lineage: Lineage, references: dict[str, str], hidden: dict[str, HiddenAncestor]
) -> _Object:
    pedigree = _Object()
    notes: list[str] = []
    if lineage.parents:
        named = [edge.parent for edge in lineage.parents]
        pedigree["ancestors"] = [_mention(name, references, hidden) for name in named]
        notes += lineage.accounts
    elif lineage.hidden is not None:
        pedigree["ancestors"] = [_mention(lineage.hidden.id, references, hidden)]
        notes.append(f"from {spelled(lineage.hidden.id)}: {told(lineage.hidden)}")
    if lineage.beside:
        others = [other(edge, lineage.node.id) for edge in lineage.beside]
        pedigree["variants"] = [_mention(name, references, hidden) for name in others]
        notes += lineage.asides
    if notes:
        pedigree["notes"] = "\n".join(notes)
    return pedigree


def _mention(id_: str, references: dict[str, str], hidden: dict[str, HiddenAncestor]) -> _Object:
    """A component within another's pedigree; a hidden ancestor with what it hangs from itself."""
    content = _named(id_, references)
    if id_ in hidden:
        content["description"] = told(hidden[id_])
        above = hidden[id_].parent
        if above is not None:
            content["pedigree"] = {"ancestors": [_named(above, references)]}
    return content


def _named(id_: str, references: dict[str, str]) -> _Object:
    content: _Object = {"type": "machine-learning-model", "name": spelled(id_)}
    if id_ in references:
        content["properties"] = [{"name": "mother:bom-ref", "value": references[id_]}]
    return content
