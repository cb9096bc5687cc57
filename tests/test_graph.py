"""The graph and its JSON: round trips, hostile names, refusals."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mother
from mother.errors import InputError
from mother.graph import (
    SCHEMA,
    Edge,
    Evidence,
    HiddenAncestor,
    ModelGraph,
    Node,
    Refused,
    Tree,
    rounded,
)
from mother.graph.comparison import Comparison, LayerEvidence
from mother.graph.parts import Edges

HOSTILE = [
    'quote" and \\backslash\\',
    "line\nbreak\r\ttab",
    "\x1b[31mred\x1b[0m\x07",
    "right\u202eto left",
    "\u2028line separator",
    "</script><!--",
    "nul\x00",
    "ünïcödé-模型-🦙",
    "lone \udce9 surrogate",
    "long" * 1024,
    "",
    " ",
]


def full(ids=("root", "child", "copy", "left", "right", "alone")):
    root, child, copy, left, right, alone = ids
    nodes = tuple(
        Node(
            i,
            f"/models/{i}",
            "safetensors",
            "0123456789ab",
            10**9 + k,
            "bfloat16",
            root if i == copy else None,
            ("head.weight: in no other checkpoint",) if i == child else (),
            ("a note",) if k == 0 else (),
        )
        for k, i in enumerate(ids)
    )
    edges = (
        Edge(root, child, "lora", "specialization", 0.0123, 0.25, 0.9, 0.98, 8),
        Edge(root, copy, "duplicate"),
        Edge(child, alone, "fine-tune", undirected=True),
    )
    hidden = (HiddenAncestor("hidden:1", (left, right), root, 0.5),)
    return ModelGraph(
        "gram",
        nodes,
        edges,
        (Tree(root, tuple(sorted(ids))),),
        hidden,
        (Refused("/models/bad.bin", "not a zip archive"),),
        {"bootstrap": 100, "seed": 0, "trees": None, "stages": {"a": "generalization"}},
    )


TEXT = st.text(max_size=20) | st.sampled_from(HOSTILE)
FIGURE = st.none() | st.floats(-1e9, 1e9, allow_nan=False).map(rounded)
GRAPHS = st.builds(
    ModelGraph,
    TEXT,
    st.lists(
        st.builds(
            Node,
            TEXT,
            TEXT,
            TEXT,
            TEXT,
            st.integers(0, 2**70),
            TEXT,
            st.none() | TEXT,
            st.lists(TEXT, max_size=3).map(tuple),
            st.lists(TEXT, max_size=3).map(tuple),
        ),
        max_size=4,
    ).map(tuple),
    st.lists(
        st.builds(
            Edge,
            TEXT,
            TEXT,
            TEXT,
            st.none() | TEXT,
            FIGURE,
            FIGURE,
            FIGURE,
            FIGURE,
            st.none() | st.integers(0, 999),
            st.booleans(),
        ),
        max_size=4,
    ).map(tuple),
    st.lists(
        st.builds(Tree, TEXT, st.lists(TEXT, max_size=4).map(tuple), st.booleans()), max_size=3
    ).map(tuple),
    st.lists(
        st.builds(
            HiddenAncestor, TEXT, st.lists(TEXT, max_size=4).map(tuple), st.none() | TEXT, FIGURE
        ),
        max_size=3,
    ).map(tuple),
    st.lists(st.builds(Refused, TEXT, TEXT), max_size=3).map(tuple),
    st.dictionaries(TEXT, st.none() | st.integers() | st.booleans() | TEXT, max_size=3),
)


@given(graph=GRAPHS)
@settings(deadline=None, max_examples=150)
def test_round_trip(graph):
    text = graph.to_json()
    assert text.isascii()
    assert text.endswith("}\n")
    try:
        graph._check()
    except ValueError:
        with pytest.raises(ValueError, match="model graph"):
            ModelGraph.from_json(text)
        return
    back = ModelGraph.from_json(text)
    assert back == graph
    assert back.to_json() == text


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_survive_on_disk(name, tmp_path):
    graph = full((name, "child", "copy", "left", "right", "alone"))
    file = tmp_path / "graph.json"
    file.write_text(graph.to_json(), encoding="utf-8")
    assert not set(file.read_bytes()) & (set(range(32)) - {10})
    back = ModelGraph.load(file)
    assert back == graph
    assert back.node(name).path == f"/models/{name}"
    assert back.children(name) == ("child", "copy")


def test_the_contract_that_scripts_rely_on():
    content = json.loads(full().to_json())
    assert content["schema"] == SCHEMA == "mother.model-graph/1"
    assert content["method"] == "gram"
    assert {"id", "path", "architecture", "parameters"} <= set(content["nodes"][0])
    assert {
        "parent",
        "child",
        "relation",
        "stage",
        "distance",
        "polarity",
        "direction_probability",
        "support",
    } <= set(content["edges"][0])
    assert content["trees"] == [
        {"root": "root", "members": sorted(full().trees[0].members), "hidden_root": False}
    ]
    assert content["refused"] == [{"path": "/models/bad.bin", "fault": "not a zip archive"}]


def test_the_same_graph_gives_the_same_bytes():
    assert full().to_json() == full().to_json()
    assert replace(full()).to_json() == full().to_json()


def test_figures_have_six_digits_and_are_never_nan():
    noisy = Edge("a", "b", "fine-tune", distance=1 / 3, polarity=float("nan"), support=float("inf"))
    content = json.loads(ModelGraph("gram", edges=(noisy,)).to_json())["edges"][0]
    assert content["distance"] == 0.333333
    assert content["polarity"] is None
    assert content["support"] is None


@given(st.floats(-1e300, 1e300).filter(lambda x: x == 0 or abs(x) > 1e-300))
def test_rounding(value):
    assert rounded(value) == pytest.approx(value, rel=1e-5)
    assert rounded(rounded(value)) == rounded(value)
    assert len(f"{abs(rounded(value)):e}".split("e")[0].rstrip("0")) <= 7


def test_parents_and_children():
    graph = full()
    assert graph.parent("child") == "root"
    assert graph.parent("root") is None
    assert graph.parent("left") is None
    assert graph.children("root") == ("child", "copy")
    assert graph.children("nobody") == ()
    with pytest.raises(KeyError):
        graph.node("nobody")


def test_unknown_keys_are_left_out():
    content = json.loads(full().to_json())
    content["later"] = 1
    for part in ("nodes", "edges", "trees", "hidden", "refused"):
        for item in content[part]:
            item["later"] = ["x"]
    assert ModelGraph.from_json(json.dumps(content)) == full()


def test_missing_parts_are_empty():
    assert ModelGraph.from_json(f'{{"schema": "{SCHEMA}"}}') == ModelGraph("")


BROKEN = {
    "empty": "",
    "not JSON": "{",
    "cut off": full().to_json()[:200],
    "text": "hello",
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "no schema": "{}",
    "another schema": '{"schema": "other/1"}',
    "a newer schema": '{"schema": "mother.model-graph/3"}',
    "a longer schema": '{"schema": "mother.model-graph/11"}',
    "a schema of a number": '{"schema": 1}',
    "a schema of a list": '{"schema": ["mother.model-graph/1"]}',
    "nodes of a number": f'{{"schema": "{SCHEMA}", "nodes": 5}}',
    "nodes of null": f'{{"schema": "{SCHEMA}", "nodes": null}}',
    "nodes of strings": f'{{"schema": "{SCHEMA}", "nodes": ["a"]}}',
    "a node without an id": f'{{"schema": "{SCHEMA}", "nodes": [{{"path": "a"}}]}}',
    "an edge without a child": f'{{"schema": "{SCHEMA}", "edges": [{{"parent": "a"}}]}}',
    "options of a number": f'{{"schema": "{SCHEMA}", "options": 5}}',
    "options of a string": f'{{"schema": "{SCHEMA}", "options": "ab"}}',
    "deep": "[" * 100_000,
    "a huge number": '{"schema": ' + "9" * 10_000 + "}",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_graph_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match=r".+") as fault:
        ModelGraph.from_json(text)
    assert "\n" not in str(fault.value)
    file = tmp_path / "graph.json"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        ModelGraph.load(file)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


WRONG_TYPES = {
    "an id of a number": {"nodes": [{"id": 5, "path": "", "format": "", "architecture": ""}]},
    "an id of an object": {"nodes": [{"id": {}, "path": "", "format": "", "architecture": ""}]},
    "a parent of a list": {"edges": [{"parent": ["a"], "child": "b", "relation": "lora"}]},
    "a child of null": {"edges": [{"parent": "a", "child": None, "relation": "lora"}]},
    "a distance of text": {
        "edges": [{"parent": "a", "child": "b", "relation": "lora", "distance": "far"}]
    },
    "members of a number": {"trees": [{"root": "a", "members": 5}]},
    "members of numbers": {"trees": [{"root": "a", "members": [5]}]},
    "a fault of a list": {"refused": [{"path": "a", "fault": []}]},
    "children of null": {"hidden": [{"id": "h", "children": None}]},
}


@pytest.mark.parametrize("part", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_parts_of_the_wrong_type_are_refused(part):
    """Else whatever prints the graph fails later, with a traceback."""
    for node in part.get("nodes", []):
        node["parameters"] = 1
    with pytest.raises(ValueError, match="broken part"):
        ModelGraph.from_json(json.dumps({"schema": SCHEMA, **part}))


def test_what_can_not_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        ModelGraph.load(tmp_path / "absent.json")
    with pytest.raises(InputError, match="directory"):
        ModelGraph.load(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"schema": "\xe9"}')
    with pytest.raises(InputError, match="not UTF-8"):
        ModelGraph.load(tmp_path / "latin.json")


def test_to_networkx():
    g = full().to_networkx()
    assert isinstance(g, nx.DiGraph)
    assert set(g.nodes) == {"root", "child", "copy", "left", "right", "alone", "hidden:1"}
    assert set(g.edges) == {
        ("root", "child"),
        ("root", "copy"),
        ("child", "alone"),
        ("root", "hidden:1"),
        ("hidden:1", "left"),
        ("hidden:1", "right"),
    }
    assert nx.is_arborescence(g)
    assert g.nodes["hidden:1"] == {"hidden": True}
    assert g.nodes["copy"]["duplicate_of"] == "root"
    assert g.nodes["root"]["parameters"] == 10**9
    assert g.edges["root", "child"]["rank"] == 8
    assert g.edges["root", "child"]["support"] == 0.98
    assert g.edges["hidden:1", "left"]["relation"] == "hidden"


def test_an_empty_graph():
    graph = ModelGraph("gram")
    assert ModelGraph.from_json(graph.to_json()) == graph
    assert len(graph.to_networkx()) == 0


def test_to_pandas():
    graph = full()
    edges = graph.to_pandas()
    assert list(zip(edges["parent"], edges["child"], strict=True)) == [
        (e.parent, e.child) for e in graph.edges
    ]
    assert set(graph.to_pandas("nodes")["id"]) == {node.id for node in graph.nodes}
    assert len(graph.to_pandas("trees")) == len(graph.trees)
    assert list(ModelGraph("gram").to_pandas().columns) == list(edges.columns)
    with pytest.raises(mother.UsageError, match="table 'hints' is not one of edges, nodes, trees"):
        graph.to_pandas("hints")


def test_distances_add_up_along_the_graph():
    nodes = tuple(Node(x, x, "npz", "a", 1) for x in "abcdefgh")
    edges = (
        Edge("b", "a", "fine-tune", distance=0.3),
        Edge("b", "c", "fine-tune", distance=0.4),
        Edge("c", "d", "lora", distance=1.2),
        Edge("d", "g", "merge", distance=0.1, share=0.4),
        Edge("a", "g", "merge", distance=0.4, share=0.6),
    )
    hidden = (HiddenAncestor("hidden:1", ("e", "f")),)
    found = ModelGraph("gram", nodes, edges, hidden=hidden).distances()
    at = dict(zip("abcdefgh", range(8), strict=True))

    def between(x, y):
        return float(found[at[x], at[y]])

    np.testing.assert_array_equal(found, found.T)
    assert (found.diagonal() == 0).all()
    assert between("a", "c") == pytest.approx(0.5)
    assert between("a", "d") == pytest.approx(1.3)
    assert between("b", "g") == pytest.approx(0.5)
    assert between("a", "h") == np.inf
    assert np.isnan(between("e", "f"))


def test_notebooks_show_tables():
    name = "<script>alert(1)</script>\x1b"
    edge = Edge(name, "b", "lora", distance=0.1, direction_probability=0.99)
    nodes = tuple(Node(x, x, "npz", "x", 1) for x in (name, "b"))
    graph = ModelGraph("gram", nodes, (edge,))
    assert repr(graph) == (
        "ModelGraph(by 'gram': 2 models, 1 edges, 0 trees, 0 hidden ancestors, 0 refused)"
    )
    for html in (edge._repr_html_(), graph.edges._repr_html_()):
        assert html.count("<tr>") == 2
        assert "&lt;script&gt;" in html
        assert "<script" not in html
        assert "\x1b" not in html
    assert "10 % of its weights" in graph.edges._repr_html_()
    assert "weight distance 0.1, in its method" in edge._repr_html_()  # which does not know it
    by_paper = pickle.loads(pickle.dumps(replace(graph, method="mother").edges))
    assert "weight distance 0.1, as the paper measures it" in by_paper._repr_html_()
    many = Edges([edge] * 100, "mother")._repr_html_()
    assert many.count("<tr>") == 61
    assert "… 40 more" in many
    layer = LayerEvidence(name, 10, 0.9, 0.1, 0.0, 1.0)
    why = (Evidence("layers", 1.0, name),)
    found = Comparison(name, "b", "lora", "a", evidence=why, layers=(layer,))
    html = found._repr_html_()
    assert "<script" not in html
    assert html.count("<table>") == 2
