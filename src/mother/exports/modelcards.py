"""Front matter for Hugging Face model cards: what each model was trained from.

Keys: https://huggingface.co/docs/hub/model-cards#specifying-a-base-model
"""

from __future__ import annotations

import hashlib
import html
import json
import re

from mother.exports.lineage import Lineage, attributes_of, lineages, told
from mother.graph import Edge, ModelGraph, Node
from mother.graph.facts import of_files
from mother.names import spelled

#: what tells our files from cards that people wrote
START = "---\n# by mother export; to be merged into the model's own card"
#: the Hub's word for the step, by ours
_RELATIONS = {
    "fine-tune": "finetune",
    "continuation": "finetune",
    "lora": "finetune",
    "pruned": "finetune",
    "quantized": "quantized",
    "merge": "merge",
    "average": "merge",
    "adapter": "adapter",
    "edited": "finetune",
    "resized": "finetune",
    "reshaped": "finetune",
    "upcycled": "finetune",
}
_LONGEST = 200
#: what a folder can't be called somewhere: hidden, options, devices and a last dot on Windows
_UNFIT = re.compile(r"^[.-]|^(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)|\.$", re.I | re.ASCII)
_CACHED = re.compile(r"(?:^|/)models--([\w.-]+?)--([\w.-]+?)(?:/|$)", re.ASCII)


def write(graph: ModelGraph) -> dict[str, str]:
    """A README.md for each model, in a folder of its name. base_model is the parent's id, or its
    repository where it lies in a cache of the Hub; it is left out where nobody knows the parent."""
    nodes = {node.id: node for node in graph.nodes}
    stories = {lineage.node.id: lineage for lineage in lineages(graph)}
    known = attributes_of(graph)
    out: dict[str, str] = {}
    taken: set[str] = set()
    for id_, lineage in stories.items():
        base = _base(lineage, stories)
        card = _card(lineage, base, nodes, known.get(id_, {}))
        out[f"{_folder(id_, taken)}/README.md"] = card
    return out


def _base(lineage: Lineage, stories: dict[str, Lineage]) -> Edge | None:
    """The edge from what the Hub calls the base. Copies, and conversions that are no quantization,
    have the base of their original."""
    while True:
        edge = lineage.parent
        if edge is None:
            copied = (e for e in lineage.beside if e.relation == "duplicate")
            edge = next((e for e in copied if e.child == lineage.node.id), None)
            if edge is None:
                return None
        elif edge.relation != "converted" or lineage.node.dtype.startswith("float8"):
            return edge
        lineage = stories[edge.parent]


def _card(
    lineage: Lineage, base: Edge | None, nodes: dict[str, Node], known: dict[str, str]
) -> str:
    id_ = lineage.node.id
    matter = []
    if base is not None and base is lineage.parent and lineage.also:
        bases = [_quoted(_repository(nodes[edge.parent])) for edge in lineage.parents]
        matter += ["base_model:", *(f"- {name}" for name in bases), "base_model_relation: merge"]
    elif base is not None:
        matter.append(f"base_model: {_quoted(_repository(nodes[base.parent]))}")
        relation = _relation(base, lineage.node)
        if relation is not None:
            matter.append(f"base_model_relation: {relation}")
    story = [f"Lineage of {spelled(id_)}, found from the weights alone."]
    for said in lineage.accounts:
        story.append(f"{said[:1].upper()}{said[1:]}.")
    if lineage.hidden is not None:
        story.append(told(lineage.hidden))
    story += [f"{said}." for said in (*lineage.asides, *of_files(lineage.node, spelled))]
    if base is None and not (lineage.hidden or lineage.beside):
        story.append("No parent among the models compared.")
    story += [f"{name}: {said}" for name, said in known.items()]
    text = "\n\n".join(_escaped(line) for line in story)
    return "\n".join([START, *(matter or ["{}"]), "---", "", text, ""])


def _relation(base: Edge, node: Node) -> str | None:
    if base.relation == "converted":
        return "quantized"
    if base.relation == "lora" and node.format == "peft":
        return "adapter"
    return _RELATIONS.get(base.relation)


def _repository(node: Node) -> str:
    cached = _CACHED.search(node.path)
    return f"{cached[1]}/{cached[2]}" if cached else spelled(node.id)


def _quoted(name: str) -> str:
    """As a string of YAML, which but for pairs of surrogates is written as one of JSON."""
    return json.dumps(name, ensure_ascii=False).replace("<", "\\x3c")


def _escaped(line: str) -> str:
    """Text in Markdown that stays text."""
    acting = r"([\\`*_{}\[\]()#!|~$@]|:(?=//)|(?<=www)\.)"
    return re.sub(acting, r"\\\1", html.escape(line, quote=False))


def _folder(id_: str, taken: set[str]) -> str:
    """A name for a folder that is one, on every file system, and no other model's."""
    name = re.sub(
        r"[^A-Za-z0-9._-]",
        lambda c: "--" if c[0] == "/" else "".join(f"%{b:02X}" for b in _bytes(c[0])),
        id_,
    )
    name = _UNFIT.sub(lambda c: f"%{ord(c[0][0]):02X}{c[0][1:]}", name) or "%"
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 17]}-{hashlib.sha256(_bytes(id_)).hexdigest()[:16]}"
    unique, count = name, 1
    while unique.lower() in taken:
        count += 1
        unique = f"{name}~{count}"
    taken.add(unique.lower())
    return unique


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
