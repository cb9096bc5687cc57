"""What is found is told in one voice, wherever it is read: no surer than the edge is."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mother.checkpoints.claims import Claim, Claims
from mother.exports import cyclonedx, dot, graphml, intoto, modelcards, newick, spdx
from mother.gate.inspection import weigh
from mother.gate.policy import Policy
from mother.gate.verdicts import Inputs
from mother.graph import Edge, ModelGraph, Node, Probabilities, Tree, WeightFile
from mother.graph.comparison import Comparison
from mother.graph.placement import in_words, placement
from mother.graph.verdict import stage
from mother.views.comparing import sentence

SHARES = st.floats(0, 1, allow_nan=False)


def graph_of(*edges: Edge, format_: str = "safetensors") -> ModelGraph:
    """One tree of those edges."""
    ids = sorted({x for e in edges for x in (e.parent, e.child)})
    nodes = tuple(Node(i, f"/m/{i}", format_, "a1", 10, "float32") for i in ids)
    return ModelGraph("gram", nodes, edges, (Tree(edges[0].parent, tuple(ids)),))


@given(SHARES, st.none() | st.tuples(SHARES, SHARES, SHARES))
def test_a_comparison_tells_no_bare_and_no_whole_probability(p, three):
    believed = None
    if three is not None:
        total = sum(three) or 1.0
        believed = Probabilities(*(x / total for x in three))
    told = Comparison("a", "b", "fine-tune", "a", direction_probability=p, probabilities=believed)
    assert not re.search(r"\d\.\d|\b0 %|100 %", sentence(told))


def test_an_adapter_on_an_adapter_is_not_known():
    """Their weights don't tell what they were put on: neither confirmed nor contradicted."""
    graph = replace(graph_of(Edge("a", "b", "lora"), format_="peft"), edges=())
    card = Path("README.md")
    claims = {
        "a": Claims(),
        "b": Claims((Claim("base_model", "a", card, 2),), (), files=(card,)),
    }
    inputs = Inputs(graph, {x: Path("lab", x) for x in "ab"}, claims, dict.fromkeys("ab", 0))
    (told,) = (m for m in weigh(inputs, Policy()).models if m.id == "b")
    assert (told.verdict, told.reason) == (
        "unknown",
        "claims a; an adapter's weights don't tell what it was put on",
    )


def test_dot_reads_from_left_to_right():
    assert "rankdir=LR" in dot.write(graph_of(Edge("a", "b", "lora")))


@pytest.mark.parametrize(
    ("edge", "said"),
    [
        (
            Edge("a", "b", "lora", direction_probability=0.6, undirected=True),
            ["b: open: probably LoRA-tuned from a; which came first is open"],
        ),
        (
            Edge("b", "c", "lora", direction_probability=0.6, undirected=True),
            [
                "b: drawn as the first of its tree; whether it or c came first is open",
                "below it, c: open: probably LoRA-tuned from b; which came first is open",
            ],
        ),
        (
            Edge("b", "c", "lora", direction_probability=0.99, support=0.3),
            [
                "b: the first of its tree: no parent among the inputs",
                "below it, c: open: perhaps LoRA-tuned from b; 99 % sure of the direction; "
                "found in 30 % of resamplings",
            ],
        ),
    ],
)
def test_where_a_checkpoint_would_hang(edge, said):
    assert [*in_words(placement(graph_of(edge), "b", 1))] == said


OPEN = Edge("a", "b", "lora", direction_probability=0.99, support=0.3)
SURE = replace(OPEN, support=0.98)


@pytest.mark.parametrize(("edge", "claims"), [(OPEN, False), (SURE, True)])
def test_documents_make_nobody_an_ancestor_whose_edge_is_open(edge, claims):
    graph = replace(graph_of(edge), options={"bootstrap": 100})
    graph = replace(graph, nodes=tuple(_hashed(node) for node in graph.nodes))
    bom = json.loads(cyclonedx.write(graph))["components"][1]["pedigree"]
    assert ("ancestors" in bom) is claims
    assert ("descendantOf" in spdx.write(graph)) is claims
    assert ("base_model:" in modelcards.write(graph)["b/README.md"]) is claims
    assert bool(json.loads(intoto.write(graph))["predicate"]["edges"]) is claims
    for text in (json.dumps(bom), spdx.write(graph), graphml.write(graph)):
        assert f"found in {98 if claims else 30} of 100 resamplings" in text
        assert ("perhaps LoRA-tuned from a" in text) is not claims
    assert ("style=dotted" in dot.write(graph)) is not claims
    assert f"grade={'strong' if claims else 'open'}" in newick.write(graph)


def _hashed(node: Node) -> Node:
    return replace(node, files=(WeightFile("w.npz", 80, f"{ord(node.id):064x}"),))


def test_exports_tell_equal_bytes_and_what_was_read():
    graph = graph_of(Edge("a", "b", "duplicate"))
    twin = replace(_hashed(graph.nodes[1]), identical_to="a", freed=80, read=0.034, compared=0.5)
    graph = replace(graph, nodes=(_hashed(graph.nodes[0]), twin))
    known = {"identical_to": "a", "freed": 80, "read": 0.034, "compared": 0.5}
    read = networkx.parse_graphml(graphml.write(graph)).nodes["b"]
    assert {name: read[name] for name in known} == known
    facts = json.loads(cyclonedx.write(graph))["components"][1]["modelCard"]["properties"]
    told = {fact["name"].removeprefix("mother:"): fact["value"] for fact in facts}
    assert {name: told[name] for name in known} == {k: str(v) for k, v in known.items()}
    (_, signed) = json.loads(intoto.write(graph))["predicate"]["models"]
    assert {name: signed[name] for name in known} == known
    for text in (spdx.write(graph), modelcards.write(graph)["b/README.md"]):
        text = text.replace("\\", "")
        assert "a holds the same bytes: 80 bytes can be freed, safe to delete" in text
        assert "3.4 % of its bytes read" in text


def test_the_gate_takes_nobody_for_an_ancestor_whose_edge_is_open():
    for edge, verdict in ((OPEN, "unknown"), (SURE, "confirmed")):
        card = Path("README.md")
        claims = {"a": Claims(), "b": Claims((Claim("base_model", "a", card, 2),), files=(card,))}
        paths = {x: Path("lab", x) for x in "ab"}
        report = weigh(Inputs(graph_of(edge), paths, claims, dict.fromkeys("ab", 0)), Policy())
        (told,) = (m for m in report.models if m.id == "b")
        assert told.verdict == verdict
        assert ("or from elsewhere" in told.reason) is (edge is OPEN)


def test_an_inferred_stage_is_told_with_the_edge():
    edge = Edge("a", "b", "lora", "specialization", support=0.97)
    assert stage(edge) == "stage of training: specialization"
    told = stage(replace(edge, undirected=True))
    assert told == "stage of training: specialization, if this direction is right"
