"""SPDX 3.0.1 in JSON-LD, models as AI packages: https://spdx.github.io/spdx-spec/v3.0.1/

The document does not claim to conform to the AI profile: that demands a supplier, a licence, a
version and a time of release for each package, which weights don't tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mother import __version__
from mother.exports.checked import Checked, expression
from mother.exports.lineage import (
    Lineage,
    account,
    aside,
    attributes_of,
    claimed,
    lineages,
    told,
)
from mother.exports.texts import as_json, identity
from mother.graph import ModelGraph, Node, WeightFile
from mother.graph.facts import of_files
from mother.names import spelled

CONTEXT = "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
_EPOCH = "1970-01-01T00:00:00Z"
_Object = dict[str, Any]


def write(
    graph: ModelGraph, created: str | None = None, checked: Mapping[str, Checked] | None = None
) -> str:
    """The graph as an SPDX document. checked: by model, what mother check found of its licences and
    claims. `created` is a field that must be there: 1970 where not
    given, and said to be no time then."""
    elements = [
        {"type": "SoftwareAgent", "spdxId": "agent", "name": "mother"},
        {"type": "Tool", "spdxId": "tool", "name": f"mother-{__version__}"},
        *_elements(graph, checked or {}),
    ]
    space = f"urn:uuid:{identity(elements)}#"
    for element in elements:
        element["creationInfo"] = "_:creation"
        element["spdxId"] = space + element["spdxId"]
        if element["type"] == "Relationship":
            element["from"] = space + element["from"]
            element["to"] = [space + name for name in element["to"]]
    models = [e["spdxId"] for e in elements if e["type"] == "ai_AIPackage"]
    creation = {
        "type": "CreationInfo",
        "@id": "_:creation",
        "specVersion": "3.0.1",
        "created": created or _EPOCH,
        "createdBy": [f"{space}agent"],
        "createdUsing": [f"{space}tool"],
    }
    if created is None:
        creation["comment"] = "The time is not recorded, so that the same graph gives this text."
    document = {
        "type": "SpdxDocument",
        "spdxId": f"{space}document",
        "creationInfo": "_:creation",
        "profileConformance": ["core", "software", *(["simpleLicensing"] if checked else [])],
        "rootElement": models or [f"{space}agent"],
        "element": [element["spdxId"] for element in elements],
    }
    return as_json({"@context": CONTEXT, "@graph": [creation, document, *elements]})


def _elements(graph: ModelGraph, checked: Mapping[str, Checked]) -> Iterator[_Object]:
    """Models, files and hidden ancestors, then what relates them; ids are within the document."""
    ids = {node.id: f"model-{k}" for k, node in enumerate(graph.nodes, 1)}
    ids |= {hidden.id: f"hidden-{k}" for k, hidden in enumerate(graph.hidden, 1)}
    attributes = attributes_of(graph)
    for lineage in lineages(graph):
        found = checked.get(lineage.node.id)
        known = attributes.get(lineage.node.id, {})
        yield from _model(lineage, ids[lineage.node.id], found, known)
        if found is not None:
            yield from _licences(ids[lineage.node.id], found)
    for hidden in graph.hidden:
        yield {
            "type": "ai_AIPackage",
            "spdxId": ids[hidden.id],
            "name": spelled(hidden.id),
            "comment": told(hidden),
            "software_primaryPurpose": "model",
        }
    for k, edge in enumerate(graph.edges, 1):
        ends = (ids[edge.child], ids[edge.parent])
        if claimed(edge):
            yield _relation(f"edge-{k}", *ends, "descendantOf", account(edge, graph))
        else:
            yield _relation(f"edge-{k}", *ends, "hasVariant", aside(edge, edge.child, graph))
    for k, (source, target) in enumerate(graph.hidden_edges(), 1):
        says = "Inferred from the weights; the ancestor is not among the inputs."
        yield _relation(f"hidden-edge-{k}", ids[target], ids[source], "descendantOf", says)


def _model(
    lineage: Lineage, id_: str, found: Checked | None, known: dict[str, str]
) -> Iterator[_Object]:
    node = lineage.node
    of_attributes = (f"{name} {said}" for name, said in known.items())
    content = {
        "type": "ai_AIPackage",
        "spdxId": id_,
        "name": spelled(node.id),
        "comment": "; ".join(
            [_facts(node), *of_files(node, spelled), *_claims(found), *of_attributes]
        ),
        "software_primaryPurpose": "model",
    }
    if lineage.parents:
        content["ai_informationAboutTraining"] = "\n".join(lineage.accounts)
    yield content
    if not node.files:
        return
    names = [f"{id_}-file-{k}" for k in range(1, len(node.files) + 1)]
    for name, file in zip(names, node.files, strict=True):
        yield _file(name, file)
    yield _relation(f"{id_}-files", id_, names, "contains", None)


def _claims(found: Checked | None) -> Iterator[str]:
    if found is not None:
        yield f"claims {spelled(found.verdict)}: {spelled(found.reason)}"


def _licences(id_: str, found: Checked) -> Iterator[_Object]:
    """What a model states, and what follows for it from its ancestors where that is sure."""
    bound = tuple(licence for licence, _, sure in found.binding if sure)
    for kind, licences in (("hasDeclaredLicense", found.licences), ("hasConcludedLicense", bound)):
        if licences:
            name = f"{id_}-{kind}"
            yield {
                "type": "simplelicensing_LicenseExpression",
                "spdxId": name,
                "simplelicensing_licenseExpression": expression(licences),
            }
            says = [f"{spelled(x)} of {spelled(model)}" for x, model, sure in found.binding if sure]
            comment = "; ".join(says) if kind == "hasConcludedLicense" else None
            yield _relation(f"{name}-of", id_, name, kind, comment)


def _facts(node: Node) -> str:
    told = f"{node.parameters} parameters of {node.dtype}, {node.format}"
    return spelled(f"{told}, architecture {node.architecture}")


def _file(id_: str, file: WeightFile) -> _Object:
    content: _Object = {
        "type": "software_File",
        "spdxId": id_,
        "name": spelled(file.name),
        "comment": f"{file.bytes} bytes",
        "software_primaryPurpose": "model",
    }
    if file.sha256 is not None:
        digest = {"type": "Hash", "algorithm": "sha256", "hashValue": file.sha256}
        content["verifiedUsing"] = [digest]
    return content


def _relation(
    id_: str, source: str, target: str | list[str], kind: str, comment: str | None
) -> _Object:
    content: _Object = {
        "type": "Relationship",
        "spdxId": id_,
        "from": source,
        "to": target if isinstance(target, list) else [target],
        "relationshipType": kind,
    }
    return content if comment is None else content | {"comment": comment}
