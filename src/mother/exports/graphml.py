"""GraphML: http://graphml.graphdrawing.org/specification.html

An edge without a direction is two edges, there and back, with `undirected` set: GraphML's own
`directed="false"` beside directed edges is refused by networkx.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from mother.exports.lineage import attributes_of, directed, figures, figures_of, verdict_of
from mother.graph import ModelGraph
from mother.graph.verdict import of_models
from mother.names import spelled

_KEYS = {
    "node": {
        "name": "string",
        "path": "string",
        "format": "string",
        "architecture": "string",
        "parameters": "long",
        "bytes": "long",
        "dtype": "string",
        "duplicate_of": "string",
        "identical_to": "string",
        "freed": "long",
        "compared": "double",
        "read": "double",
        "notes": "string",
        "hidden": "boolean",
    },
    "edge": {
        "relation": "string",
        "undirected": "boolean",
        "distance": "double",
        "polarity": "double",
        "direction_probability": "double",
        "support": "double",
        "rank": "int",
        "share": "double",
        "grade": "string",
        "finding": "string",
    },
}


def write(graph: ModelGraph) -> str:
    """The graph as GraphML: nodes by their names, and what is known of them as data."""
    root = ElementTree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for kind, keys in _KEYS.items():
        for name, type_ in keys.items():
            attributes = {"id": f"{kind}-{name}", "for": kind}
            attributes |= {"attr.name": name, "attr.type": type_}
            ElementTree.SubElement(root, "key", attributes)
    known = attributes_of(graph)
    for name in sorted({name for of in known.values() for name in of}):
        attributes = {"id": f"node-{name}", "for": "node", "attr.name": name}
        ElementTree.SubElement(root, "key", attributes | {"attr.type": "string"})
    body = ElementTree.SubElement(root, "graph", id="models", edgedefault="directed")
    ids = {id_: token(id_) for id_ in graph.ids}
    for node in graph.nodes:
        element = ElementTree.SubElement(body, "node", id=ids[node.id])
        _data(element, "name", spelled(node.id))
        for name in ("path", "format", "architecture", "dtype"):
            _data(element, name, spelled(getattr(node, name)))
        _data(element, "parameters", str(int(node.parameters)))
        if node.files:
            _data(element, "bytes", str(sum(file.bytes for file in node.files)))
        if node.duplicate_of is not None:
            _data(element, "duplicate_of", spelled(node.duplicate_of))
        for name, value in figures_of(node).items():
            _data(element, name, str(value))
        if node.notes:
            _data(element, "notes", " / ".join(map(spelled, node.notes)))
        _data(element, "hidden", "false")
        for name, said in known.get(node.id, {}).items():
            _data(element, name, said)
    for hidden in graph.hidden:
        element = ElementTree.SubElement(body, "node", id=ids[hidden.id])
        _data(element, "name", spelled(hidden.id))
        _data(element, "hidden", "true")
    for edge in graph.edges:
        ends = (ids[edge.parent], ids[edge.child])
        for source, target in (ends,) if directed(edge) else (ends, ends[::-1]):
            element = ElementTree.SubElement(body, "edge", source=source, target=target)
            _data(element, "relation", spelled(edge.relation))
            _data(element, "undirected", "false" if directed(edge) else "true")
            for name, value in figures(edge).items():
                _data(element, name, repr(value))
            verdict = verdict_of(edge, graph)
            _data(element, "grade", verdict.grade)
            _data(element, "finding", str(verdict))
    told = of_models(graph, name=spelled)
    for source, target in graph.hidden_edges():
        element = ElementTree.SubElement(body, "edge", source=ids[source], target=ids[target])
        _data(element, "relation", "hidden")
        _data(element, "undirected", "false")
        _data(element, "grade", told[target].grade)
        _data(element, "finding", str(told[target]))
    ElementTree.indent(root, " ")
    # ASCII, with references for what is beyond it: right in every encoding
    text = ElementTree.tostring(root, encoding="us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def token(name: str) -> str:
    """A name as XML's NMTOKEN, which a node's id has to be; another one for every name.

    >>> token("org/model-7b"), token("a_x2f_b"), token("")
    ('org_x2f_model-7b', 'a_x5f_x2f_b', '_x_')
    """
    if not name:
        return "_x_"
    spelled_out = re.sub("_(?=x)", "_x5f_", name)
    return re.sub(r"[^A-Za-z0-9_.:-]", lambda c: f"_x{ord(c[0]):x}_", spelled_out)


def _data(element: ElementTree.Element, name: str, value: str) -> None:
    data = ElementTree.SubElement(element, "data", key=f"{element.tag}-{name}")
    data.text = value
