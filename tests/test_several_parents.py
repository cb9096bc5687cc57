"""A merge in a graph: read, written, drawn, exported and judged with all its parents."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from mother.errors import UsageError
from mother.exports import cyclonedx, dot, graphml, modelcards, newick, spdx
from mother.gate import check
from mother.graph import Block, Edge, ModelGraph, Node, Recipe, Tree
from mother.graph.descent import Descent
from mother.graph.evaluation import evaluate
from mother.graph.placement import placement
from mother.graph.verdict import of_models
from mother.views.outline import outline
from mother.views.page import view
from mother.views.terminal import forest

NODES = tuple(Node(name, f"/m/{name}", "npz", "a1", 10) for name in "oabx")
RECIPE = Recipe("linear", ("a", "b"), (0.7, 0.3), 0.01, (Block("h.0", (0.5, 0.5)),))
MERGE = Node("m", "/m/m", "npz", "a1", 10, recipe=RECIPE)
EDGES = (
    Edge("o", "a", "fine-tune", direction_probability=0.99),
    Edge("o", "b", "fine-tune", direction_probability=0.99),
    Edge("b", "m", "merge", share=0.3, direction_probability=0.99),
    Edge("a", "m", "merge", share=0.7, direction_probability=0.99),
    Edge("m", "x", "fine-tune", direction_probability=0.99),
)
GRAPH = ModelGraph("gram", (*NODES, MERGE), EDGES, (Tree("o", ("a", "b", "m", "o", "x")),))
APART = ModelGraph(
    "gram",
    (*NODES, MERGE),
    (EDGES[0], *EDGES[2:]),
    (Tree("o", ("a", "m", "o", "x")), Tree("b", ("b",))),
)


def test_it_is_written_as_the_second_schema_and_read_back():
    text = GRAPH.to_json()
    assert json.loads(text)["schema"] == "mother.model-graph/2"
    assert ModelGraph.from_json(text) == GRAPH
    assert GRAPH.parents("m") == ("a", "b")
    assert GRAPH.parent("m") == "a"


def test_a_graph_without_merges_stays_of_the_first():
    plain = ModelGraph("gram", NODES, EDGES[:2], (Tree("o", ("a", "b", "o")),))
    content = json.loads(plain.to_json())
    assert content["schema"] == "mother.model-graph/1"
    assert not any("share" in e for e in content["edges"])
    assert not any("recipe" in n for n in content["nodes"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c["edges"].append({"parent": "x", "child": "a", "relation": "merge"}), "two"),
        (lambda c: c["edges"].append(dict(c["edges"][2])), "two parents"),
        (
            lambda c: c["edges"].append(
                {"parent": "x", "child": "m", "relation": "merge", "share": 0.1}
            ),
            r"circle through '[mx]'",
        ),
        (lambda c: c["nodes"][4]["recipe"].update(parents=["?"]), r"names '\?'"),
        (lambda c: c["nodes"][4]["recipe"].update(shares="half"), "wrong type"),
    ],
)
def test_what_is_no_such_graph_is_refused(change, fault):
    content = json.loads(GRAPH.to_json())
    change(content)
    with pytest.raises(ValueError, match=fault):
        ModelGraph.from_json(json.dumps(content))


def test_it_hangs_from_its_main_parent_and_names_the_other():
    lines = [line.plain for line in forest(GRAPH)]
    assert any("merged from a (share 0.7) and b (share 0.3)" in line for line in lines)
    places = {item.id: item for item in outline(GRAPH)}
    assert outline(GRAPH)[places["m"].parent].id == "a"
    seen = {item["name"]: item for item in view(GRAPH, "")["items"]}
    (other,) = seen["m"]["edge"]["also"]
    assert (other["name"], other["share"]) == ("b", 0.3)
    assert seen["m"]["node"]["recipe"]["method"] == "linear"
    assert placement(GRAPH, "m", 4).parent == "a"


def test_both_are_ancestors_and_both_true_pairs_count():
    descent = Descent(GRAPH, 0.9, {})
    assert {"a", "b", "o"} <= set(descent.ancestors("x"))
    found = evaluate(GRAPH, [(e.parent, e.child) for e in EDGES])
    assert (found.accuracy, found.right, found.false) == (1.0, 5, 0)


def test_exports_hold_all_parents():
    root = ElementTree.fromstring(graphml.write(GRAPH).split("\n", 1)[1])
    shares = [d.text for d in root.iter() if d.get("key") == "edge-share"]
    assert shares == ["0.3", "0.7"]
    assert dot.write(GRAPH).count("merged, share") == 2
    (component,) = (c for c in json.loads(cyclonedx.write(GRAPH))["components"] if c["name"] == "m")
    assert [c["name"] for c in component["pedigree"]["ancestors"]] == ["a", "b"]
    related = [e for e in json.loads(spdx.write(GRAPH))["@graph"] if e["type"] == "Relationship"]
    assert sum(e["relationshipType"] == "descendantOf" for e in related) == 5
    front = yaml.safe_load(modelcards.write(GRAPH)["m/README.md"].split("---")[1])
    assert front == {"base_model": ["a", "b"], "base_model_relation": "merge"}


def test_newick_is_the_extended_one_and_refuses_two_trees():
    (line,) = newick.write(GRAPH).splitlines()
    assert line.count("'m#H1'") == 2
    assert line.count("('x'") == 1
    with pytest.raises(UsageError, match=r"different trees.*graphml"):
        newick.write(APART)


def test_several_claims_in_the_gate(tmp_path):
    """Of a merge that was found: its parents, one of them, and a relative that is none."""
    from mother.checkpoints.claims import Claim, Claims
    from mother.gate.verdicts import Inputs, judge

    graph = ModelGraph(
        "gram",
        (*GRAPH.nodes, Node("d", "/m/d", "npz", "a1", 10)),
        (*EDGES, Edge("o", "d", "fine-tune", direction_probability=0.99)),
        (Tree("o", ("a", "b", "d", "m", "o", "x")),),
    )
    paths = {node.id: tmp_path / node.id for node in graph.nodes}

    def verdict(*names):
        said = tuple(Claim("base_model", name, tmp_path / "README.md") for name in names)
        inputs = Inputs(graph, paths, {"m": Claims(said)}, dict.fromkeys(paths, 0))
        return judge(inputs, Descent(graph, 0.9, {}), "m").verdict

    assert verdict("a", "b") == "confirmed"
    assert verdict("b") == "confirmed"
    assert verdict("a", "d") == "contradicted"
    assert verdict("d") == "contradicted"
    assert verdict("a", "elsewhere/z") == "unknown"  # one that is not among the inputs


def test_cards_of_a_merge_are_held_to_its_weights(tmp_path):
    """Right, wrong, one named that is not there, one not named, and one whose weights are missing:
    then no merge is found, and what the card says of a relative is left open."""
    rng = np.random.default_rng(3)
    o = rng.standard_normal((6, 60, 50)).astype(np.float32)
    a, b, d = (o + 0.1 * rng.standard_normal(o.shape).astype(np.float32) for _ in range(3))
    models = {"o": o, "a": a, "b": b, "d": d, "m": (0.6 * a + 0.4 * b).astype(np.float32)}
    for name, w in models.items():
        (tmp_path / name).mkdir()
        layers = {f"h.{k}.weight": x for k, x in enumerate(w)}
        save_file(layers, tmp_path / name / "model.safetensors")

    def verdict(bases, missing=()):
        card = f"---\nbase_model: [{bases}]\nbase_model_relation: merge\n---\n"
        (tmp_path / "m" / "README.md").write_text(card)
        report = check([tmp_path / name for name in models if name not in missing])
        return next(v.verdict for v in report.models if v.id == "m")

    assert verdict("a, b") == "confirmed"
    assert verdict("a") == "confirmed"
    assert verdict("a, d") == "contradicted"
    assert verdict("a, elsewhere/z") == "unknown"
    assert verdict("a, b", missing="b") == "unknown"


def test_nothing_is_called_first_where_that_is_open():
    """Where only the drawing puts it above the others; equal weights make no such claim."""
    nodes = tuple(Node(name, name, "npz", "a", 1) for name in ("base", "kin", "twin"))
    kin = Edge("base", "kin", "fine-tune", undirected=True)
    twin = Edge("base", "twin", "duplicate", undirected=True)
    for edges, said in (
        ((kin, twin), "whether it or kin came first is open"),
        ((twin,), "no parent"),
    ):
        assert said in of_models(ModelGraph("gram", nodes, edges))["base"].sentence
