"""Every export, read back by the format's own tool: the same names, and who is whose parent."""

import csv
import html
import io
import json
import re
import tempfile
import warnings
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unicodedata import category
from urllib.parse import unquote

import dendropy
import networkx as nx
import pydot
import pytest
import rfc8785
from Bio import Phylo
from cyclonedx.model.bom import Bom
from google.protobuf import json_format
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from kit import check_one_line, run
from license_expression import Licensing
from markdown_it import MarkdownIt
from spdx_python_model.bindings import v3_0_1 as spdx
from test_graph import HOSTILE

from mother.errors import UsageError
from mother.exports import FORMATS, dot
from mother.exports.checked import Checked, expression
from mother.exports.checked import read as read_report
from mother.exports.texts import as_json, canonical
from mother.graph import (
    Edge,
    Evidence,
    HiddenAncestor,
    Hint,
    ModelGraph,
    Node,
    Probabilities,
    Tree,
    WeightFile,
)
from mother.graph.grades import GRADES
from mother.names import spelled, unspelled

NASTY = [
    *HOSTILE,
    '=cmd|"/C calc"!A0',
    "@SUM(1+1)*cmd",
    "-2+3",
    "+1",
    "\t=1",
    " =1",
    "'=1",
    "a;=1+1",
    'a","=1',
    "＝1",
    "../../x",
    "/etc/passwd",
    ".",
    "..",
    "~",
    "-rf",
    "a/b",
    "a--b",
    "A/B",
    "\\",
    "a\\",
    "\\x41",
    "'; (a,b)[c]:1",
    "it''s",
    "[&support=1]",
    "---\nbase_model: evil\n---",
    "{base_model: evil}",
    "<img src=x onerror=alert(1)>",
    "![](http://evil) [a](javascript:b)",
    "https://evil.example",
    "&lt;b&gt; \\N \\G \\l",
    "]]>",
    "\x9b31m",
    "\ufeff",
    "\ufffe\U0001ffff",
    "hidden:1",
    "a:b",
    "%2e%2e",
    "null",
    "true",
    "1e5",
]
TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
NAMES = st.lists(st.sampled_from(NASTY) | TEXT, min_size=1, max_size=9, unique=True)
GRAMMAR = Licensing()
SHARE = st.none() | st.floats(0, 1).map(lambda x: float(f"{x:.6g}"))
KINDS = ("fine-tune", "lora", "converted", "duplicate", "undirected", "hidden", "root")


@st.composite
def graphs(draw, hashed=True):
    """A forest of hostile names with every kind of edge."""
    names = draw(NAMES)
    edges, hidden, nodes = [], [], []
    for k, name in enumerate(names):
        kind = draw(st.sampled_from(KINDS)) if k else "root"
        parent = names[draw(st.integers(0, k - 1))] if k else None
        if kind == "hidden":
            own = f"hidden:{k}"
            assume(own not in names)
            hidden.append(HiddenAncestor(own, (name,), draw(st.sampled_from([None, parent]))))
        elif kind != "root":
            evidence = (Evidence("decay", 1.5, draw(TEXT)),) if draw(st.booleans()) else ()
            relation = "fine-tune" if kind == "undirected" else kind
            figures = [draw(SHARE) for _ in range(4)]
            rank = draw(st.none() | st.integers(1, 99))
            undirected = kind == "undirected"
            edges.append(
                Edge(parent, name, relation, None, *figures, rank, undirected, evidence, parent)
            )
        files = tuple(
            WeightFile(f"{draw(TEXT)}{k}", draw(st.integers(0, 2**62)), hashed and f"{k:064x}")
            for k in range(draw(st.integers(1, 2)))
        )
        dtype = draw(st.sampled_from(["float32", "float8_e4m3fn"]))
        big = draw(st.integers(0, 2**62))
        kind = draw(st.sampled_from(["safetensors", "peft"]))
        path = f"/models/{name}"
        nodes.append(Node(name, path, kind, "0123456789ab", big, dtype, None, (), (), files))
    graph = ModelGraph("gram", tuple(nodes), tuple(edges), (), tuple(hidden))
    return ModelGraph.from_json(graph.to_json())


#: what names ancestors to people who act on it
DOCUMENTS = ("cyclonedx", "spdx", "intoto")


def is_open(edge):
    """Whether another edge was found as often."""
    return edge.support is not None and edge.support < 0.5


def truth(graph, claims=False):
    """Names, (parent, child) whose direction is known, and the pairs where it is not. claims: only
    edges that make an ancestor of the parent."""
    names = {n.id for n in graph.nodes} | {h.id for h in graph.hidden}
    mutual = {e for e in graph.edges if e.undirected or e.relation == "duplicate"}
    mutual |= {e for e in graph.edges if claims and is_open(e)}
    directed = {(e.parent, e.child) for e in graph.edges if e not in mutual}
    for h in graph.hidden:
        directed |= {(h.id, c) for c in h.children}
        directed |= {(h.parent, h.id)} - {(None, h.id)}
    return names, directed, {frozenset((e.parent, e.child)) for e in mutual}


def from_graphml(text):
    read = nx.parse_graphml(text)
    name = {n: unspelled(data["name"]) for n, data in read.nodes(data=True)}
    both = {(a, b) for a, b, data in read.edges(data=True) if data["undirected"]}
    assert both == {(b, a) for a, b in both}
    directed = {(name[a], name[b]) for a, b in read.edges if (a, b) not in both}
    assert len(set(name.values())) == len(read)
    return set(name.values()), directed, {frozenset((name[a], name[b])) for a, b in both}


def from_dot(text):
    with warnings.catch_warnings():
        # pydot calls pyparsing by names that it is about to drop
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        (read,) = pydot.graph_from_dot_data(text)
    names = {}
    for node in read.get_nodes():
        if node.get_name().startswith("n") and node.get_name() != "node":
            label = node.get_label()
            assert (label[0], label[-1]) == ('"', '"')
            shown = html.unescape(label[1:-1].replace("\\\\", "\\"))
            names[node.get_name()] = unspelled(shown)
    directed, mutual = set(), set()
    for edge in read.get_edges():
        ends = names[edge.get_source()], names[edge.get_destination()]
        if edge.get("dir") == "none":
            mutual.add(frozenset(ends))
        else:
            directed.add(ends)
    return set(names.values()), directed, mutual


def test_the_leaves_of_a_star_stand_in_columns_in_dot():
    """Or Graphviz draws a ribbon: 1,000 of them, 7 by 750 inches."""
    leaves = [f"leaf\\n{k}" for k in range(144)]
    edges = tuple(Edge("root", leaf, "lora", support=1.0) for leaf in leaves)
    nodes = tuple(Node(name, "/m", "npz", "a", 1) for name in ("root", *leaves))
    text = dot.write(ModelGraph("gram", nodes, edges))
    assert 'n1 [label="leaf\\\\x5cn0\\n' in text
    assert Counter(re.findall(r"minlen=(\d+)", text)) == {str(k): 36 for k in (1, 2, 3, 4)}
    few = dot.write(ModelGraph("gram", nodes[:61], edges[:60]))
    assert "minlen" not in few
    assert "nodesep" not in few


def test_a_long_chain_stands_in_rows_in_dot():
    """Or Graphviz draws a ribbon: 200 steps, 764 inches by half an inch. Independent: where the
    way from the root is a multiple of twelve steps long."""
    nodes = tuple(Node(f"s{k}", "/m", "npz", "a", 1) for k in range(40))
    edges = tuple(Edge(f"s{k}", f"s{k + 1}", "lora") for k in range(39))
    text = dot.write(ModelGraph("gram", nodes, edges))
    assert re.findall(r"-> n(\d+) .*constraint=false", text) == ["12", "24", "36"]
    assert "constraint" not in dot.write(ModelGraph("gram", nodes[:12], edges[:11]))
    hidden = HiddenAncestor("h", ("s39",), "s35")
    text = dot.write(ModelGraph("gram", nodes, edges[:38], hidden=(hidden,)))
    assert re.findall(r"-> n(\d+) .*constraint=false", text) == ["12", "24", "36", "40"]


def from_trees(roots, label, children):
    """Nameless nodes join models of which nobody knows which came first; the first is at 0."""
    names, directed, mutual = set(), set(), set()
    stack = [(root, None) for root in roots]
    while stack:
        node, above = stack.pop()
        name = label(node)
        if name is None:
            first, *others = children(node)
            mutual |= {frozenset((label(first), first_named(o, label, children))) for o in others}
            stack += [(first, above), *((o, None) for o in others)]
            continue
        names.add(name)
        if above is not None:
            directed.add((above, name))
        stack += [(child, name) for child in children(node)]
    return names, directed, mutual


def first_named(node, label, children):
    while label(node) is None:
        node = children(node)[0]
    return label(node)


def from_newick_by_dendropy(text):
    trees = dendropy.TreeList.get(
        data=text,
        schema="newick",
        extract_comment_metadata=True,
        suppress_leaf_node_taxa=True,
        suppress_internal_node_taxa=True,
    )
    assert all(tree.is_rooted for tree in trees)
    return from_trees(
        [tree.seed_node for tree in trees],
        lambda node: None if node.label is None else unspelled(node.label),
        lambda node: node.child_nodes(),
    )


def from_newick_by_biopython(text):
    return from_trees(
        [tree.root for tree in Phylo.parse(io.StringIO(text), "newick")],
        lambda node: None if node.name is None else unspelled(node.name),
        lambda node: node.clades,
    )


def from_csv(files):
    def table(text):
        for row in csv.DictReader(io.StringIO(text, newline="")):
            assert None not in row
            yield {k: unspelled(v.removeprefix("'")) for k, v in row.items()}

    names = [row["Id"] for row in table(files["nodes.csv"])]
    directed, mutual = set(), set()
    for row in table(files["edges.csv"]):
        ends = row["Source"], row["Target"]
        if row["Type"] == "Directed":
            directed.add(ends)
        else:
            assert row["Type"] == "Undirected"
            mutual.add(frozenset(ends))
    assert len(set(names)) == len(names)
    return set(names), directed, mutual


def fault_of_cyclonedx(text):
    """What its own schema has against it."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator  # slow to import, as kit says

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def from_cyclonedx(text):
    assert fault_of_cyclonedx(text) is None
    bom = Bom.from_json(json.loads(text))
    names, directed, mutual = set(), set(), set()

    def climb(component, child):
        name = unspelled(component.name)
        names.add(name)
        directed.add((name, child))
        for above in component.pedigree.ancestors if component.pedigree else ():
            climb(above, name)

    for component in bom.components:
        assert component.type.value == "machine-learning-model"
        name = unspelled(component.name)
        names.add(name)
        for above in component.pedigree.ancestors if component.pedigree else ():
            climb(above, name)
        for beside in component.pedigree.variants if component.pedigree else ():
            mutual.add(frozenset((name, unspelled(beside.name))))
    return names, directed, mutual


def read_spdx(text):
    found = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().read(io.BytesIO(text.encode()), found)
    assert not found.link()
    return found


def from_spdx(text):
    found = read_spdx(text)
    packages = list(found.foreach_type(spdx.ai_AIPackage))
    names = [unspelled(p.name) for p in packages]
    assert len(set(names)) == len(names)
    directed, mutual = set(), set()
    kinds = spdx.RelationshipType
    for relation in found.foreach_type(spdx.Relationship):
        if relation.relationshipType == kinds.contains:
            continue
        (to,) = relation.to
        ends = unspelled(relation.from_.name), unspelled(to.name)
        if relation.relationshipType == kinds.descendantOf:
            directed.add(ends[::-1])
        else:
            assert relation.relationshipType == kinds.hasVariant
            mutual.add(frozenset(ends))
    return set(names), directed, mutual


def from_intoto(text):
    assert rfc8785.dumps(json.loads(text)) + b"\n" == text.encode()
    read = json_format.Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(read).validate()
    said = json_format.MessageToDict(read.predicate)
    subjects = [s.name for s in read.subject]
    assert len(set(subjects)) == len(subjects)
    assert [f for m in said["models"] for f in m["files"]] == subjects
    names = {unspelled(m["id"]) for m in (*said["models"], *said["hidden"])}
    pairs = [(e["parent"], e["child"]) for e in said["edges"]]
    pairs += [(h["id"], c) for h in said["hidden"] for c in h["children"]]
    pairs += [(h["parent"], h["id"]) for h in said["hidden"] if h["parent"] is not None]
    mutual = {frozenset(map(unspelled, e["between"])) for e in said["undirected"]}
    return names, {(unspelled(a), unspelled(b)) for a, b in pairs}, mutual


READERS = {
    "graphml": [from_graphml],
    "dot": [from_dot],
    "newick": [from_newick_by_dendropy, from_newick_by_biopython],
    "csv": [from_csv],
    "cyclonedx": [from_cyclonedx],
    "spdx": [from_spdx],
    "intoto": [from_intoto],
}
SLOW = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=list(HealthCheck),
)


def texts(written):
    return written.values() if isinstance(written, dict) else [written]


@pytest.mark.parametrize("name", READERS)
@given(graph=graphs())
@SLOW
def test_what_was_written_is_read_back(name, graph):
    written = FORMATS[name].write(graph)
    for read in READERS[name]:
        assert read(written) == truth(graph, name in DOCUMENTS)


@given(graph=graphs())
@SLOW
def test_no_name_acts(graph):
    for name, format_ in FORMATS.items():
        written = format_.write(graph)
        assert written == format_.write(graph)
        for text in texts(written):
            assert all(c.isprintable() or c in "\r\n" or category(c) == "Zs" for c in text)
            assert text.startswith(format_.starts) or text == ""
            text.encode()
            if name not in ("dot", "csv", "newick"):
                assert "</script" not in text
                assert "<img" not in text


@given(st.lists(st.sampled_from(NASTY) | TEXT, unique=True))
@settings(deadline=None)
def test_spelling_can_be_undone(names):
    for also in ("", "'", '",;'):
        spelt = [spelled(name, also) for name in names]
        assert [unspelled(text) for text in spelt] == names
        assert len(set(spelt)) == len(names)
        assert not any(c in text for text in spelt for c in also)


@given(graph=graphs())
@SLOW
def test_no_spreadsheet_finds_a_formula(graph):
    """Whatever its locale takes for a separator."""
    for text in FORMATS["csv"].write(graph).values():
        for separator in ",;\t|":
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
                for cell in row:
                    if not re.fullmatch(r"-?[\d.]+(?:e-?\d+)?", cell):
                        assert not cell.strip().startswith(tuple("=+-@＝＋－＠\t\r"))


def expected_base(graph, id_, quantizing=True):
    """By the words of the documentation, followed one step at a time."""
    for edge in graph.edges:
        if edge.child == id_ and not edge.undirected:
            eight = graph.node(id_).dtype.startswith("float8")
            converted = edge.relation == "converted" and not eight and not is_open(edge)
            if edge.relation == "duplicate" or converted:
                return expected_base(graph, edge.parent)
            return None if is_open(edge) else edge
    return None


@given(graph=graphs())
@SLOW
def test_model_cards(graph):
    written = FORMATS["modelcards"].write(graph)
    assert len({place.lower() for place in written}) == len(graph.nodes)
    for node, (place, text) in zip(graph.nodes, written.items(), strict=True):
        folder, name = place.split("/")
        assert name == "README.md"
        assert re.fullmatch(r"[\w%~-][\w%.~-]*", folder, re.ASCII)
        assert len(folder) < 250
        card = ModelCard(text, ignore_metadata_errors=False)
        base = expected_base(graph, node.id)
        if base is None:
            assert card.data.to_dict() == {}
        else:
            assert unspelled(card.data.base_model) == base.parent
            told = {"fine-tune": "finetune", "converted": "quantized", "lora": "finetune"}
            if base.relation == "lora" and node.format == "peft":
                told["lora"] = "adapter"
            assert card.data.base_model_relation == told[base.relation]
        page = MarkdownIt("gfm-like", {"linkify": False}).render(card.text)
        assert set(re.findall(r"</?(\w+)", page)) == {"p"}
        shown = html.unescape(re.sub(r"</?p>", "", page))
        assert " ".join(spelled(node.id).split()) in " ".join(shown.split())


def test_a_card_lies_in_a_folder_that_windows_can_make():
    names = ["con", "NUL.b", "Com1", "last.", "..", "-rf", "const", "auxiliary"]
    nodes = tuple(Node(name, name, "npz", "a", 1) for name in names)
    written = FORMATS["modelcards"].write(ModelGraph("gram", nodes, (), ()))
    folders = [place.split("/")[0] for place in written]
    assert [unquote(folder) for folder in folders] == names
    assert folders[:2] == ["%63on", "%4EUL.b"]
    assert folders[3] == "last%2E"
    assert folders[6:] == names[6:]
    assert not any(Path(folder).name.startswith((".", "-")) for folder in folders)


@given(graph=graphs())
@SLOW
def test_folders_hold_what_is_written(graph):
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "in/graph.json"
        file.parent.mkdir()
        file.write_text(graph.to_json())
        result = run("export", file, "--to", "modelcards", "-o", Path(home) / "in/out")
        assert result.code == 0, result.err
        found = {p.relative_to(home).as_posix() for p in Path(home).rglob("*") if p.is_file()}
        cards = FORMATS["modelcards"].write(graph)
        assert found == {"in/graph.json", *(f"in/out/{place}" for place in cards)}


SMALL = ModelGraph(
    "gram",
    tuple(
        Node(
            name,
            f"/m/{name}",
            "safetensors",
            "0123456789ab",
            10,
            "float32",
            files=(WeightFile(f"{name}.safetensors", 40, f"{k:064x}"),),
        )
        for k, name in enumerate(("base", "copy", "kin", "left", "right", "tuned"))
    ),
    (
        Edge("base", "copy", "duplicate"),
        Edge("base", "kin", "fine-tune", distance=0.2, direction_probability=0.5, undirected=True),
        Edge("base", "tuned", "fine-tune", "specialization", 0.125, 0.25, 0.99, 0.95),
    ),
    (Tree("base", ("base", "copy", "kin", "left", "right", "tuned")),),
    (HiddenAncestor("hidden:1", ("left", "right"), "base", 0.5),),
)


@pytest.fixture
def saved(tmp_path):
    file = tmp_path / "graph.json"
    file.write_text(SMALL.to_json())
    return file


def test_figures_arrive():
    g = nx.parse_graphml(FORMATS["graphml"].write(SMALL))
    ids = {data["name"]: n for n, data in g.nodes(data=True)}
    edge = g.edges[ids["base"], ids["tuned"]]
    figures = {"distance": 0.125, "polarity": 0.25, "direction_probability": 0.99, "support": 0.95}
    assert figures.items() <= edge.items()
    assert g.nodes[ids["base"]]["bytes"] == 40
    assert g.nodes[ids["hidden:1"]]["hidden"] is True
    assert "direction_probability" not in g.edges[ids["base"], ids["kin"]]
    text = FORMATS["newick"].write(SMALL)
    (tree,) = dendropy.TreeList.get(data=text, schema="newick", extract_comment_metadata=True)
    node = tree.find_node_with_taxon_label("tuned")
    assert node.edge_length == 0.125
    assert node.annotations["support"].value == "0.95"
    kin = tree.find_node_with_taxon_label("kin")
    assert kin.annotations["direction"].value == "unknown"
    assert tree.find_node_with_taxon_label("copy").edge_length == 0
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"].write(SMALL)["edges.csv"])))
    assert {k: float(rows[2][k]) for k in figures} == figures
    (statement,) = [json.loads(FORMATS["intoto"].write(SMALL))["predicate"]["edges"]]
    assert figures.items() <= statement[0].items()


def test_ids_in_graphml_are_names_as_xml_has_them():
    for element in ET.fromstring(FORMATS["graphml"].write(SMALL)).iter():
        assert re.fullmatch(r"[\w.:-]*", element.get("id", ""), re.ASCII)


def test_tables_hold_what_models_and_edges_are_known_by():
    """Equal bytes, how much was read, grades of hidden ancestors, all probabilities."""
    nodes = [replace(node, unaligned=("w: 2 x 3",), read=0.25) for node in SMALL.nodes]
    nodes[1] = replace(nodes[1], identical_to="base", freed=12)
    edges = [
        replace(e, probabilities=Probabilities(0.5, 0.2, 0.3), changes=(0.1, 0.25))
        for e in SMALL.edges
    ]
    known = replace(SMALL, nodes=tuple(nodes), edges=tuple(edges))
    hints = (Hint("kin", "claim", "README.md", "base_model: base", "base"),)
    known = replace(known, hints=hints, layers={"0123456789ab": ("a", "b")})
    files = FORMATS["csv"].write(known)
    models, found = (
        list(csv.DictReader(io.StringIO(files[name]))) for name in ("nodes.csv", "edges.csv")
    )
    assert {(m["read"], m["unaligned"]) for m in models if m["hidden"] == "false"} == {
        ("0.25", "w: 2 x 3")
    }
    assert [(m["identical_to"], m["freed"]) for m in models].count(("base", "12")) == 1
    for edge in found:
        told = [edge[f"probability_{kind}"] for kind in ("parent", "reverse", "siblings")]
        known = edge["relation"] != "hidden"
        assert told == (["0.5", "0.2", "0.3"] if known else ["", "", ""])
        assert edge["grade"] in GRADES
        assert edge["finding"]
        assert "\\" not in edge["finding"] + edge["evidence"]
        assert edge["changed_most"] == ("b 0.25 / a 0.1" if known else "")
    (kin,) = (edge for edge in found if edge["Target"] == "kin")
    assert kin["hints"] == "claim base_model: base: not known"
    assert (kin["Type"], kin["direction_probability"]) == ("Undirected", "0.5")


def test_bills_of_materials_hold_hashes():
    bom = Bom.from_json(json.loads(FORMATS["cyclonedx"].write(SMALL)))
    assert {h.content for c in bom.components for h in c.hashes} == {f"{k:064x}" for k in range(6)}
    found = read_spdx(FORMATS["spdx"].write(SMALL))
    hashes = {f.verifiedUsing[0].hashValue for f in found.foreach_type(spdx.software_File)}
    assert hashes == {f"{k:064x}" for k in range(6)}


def test_what_is_unknown_is_said_to_be():
    content = json.loads(FORMATS["cyclonedx"].write(SMALL))
    pedigrees = {c["name"]: c.get("pedigree", {}) for c in content["components"]}
    assert "ancestors" not in pedigrees["kin"]
    assert "which came first is open" in pedigrees["kin"]["notes"]
    assert {v["name"] for v in pedigrees["base"]["variants"]} == {"copy", "kin"}
    assert "same weights" in pedigrees["copy"]["notes"]
    assert "not among the inputs" in pedigrees["left"]["notes"]
    cards = FORMATS["modelcards"].write(SMALL)
    for name in ("base", "copy", "kin", "left", "right"):
        assert "base_model:" not in cards[f"{name}/README.md"]
    assert 'base_model: "base"' in cards["tuned/README.md"]


def test_the_oracles_can_say_no():
    bom = FORMATS["cyclonedx"].write(SMALL)
    broken = bom.replace("machine-learning-model", "model")
    assert fault_of_cyclonedx(broken) is not None
    document = FORMATS["spdx"].write(SMALL)
    for old, new in (("descendantOf", "childOf"), ("rootElement", "root"), ('"sha256"', '"sha"')):
        assert old in document
        with pytest.raises((ValueError, KeyError)):
            read_spdx(document.replace(old, new))


def test_time_is_only_what_is_given(saved):
    for name in ("cyclonedx", "spdx"):
        result = run("export", saved, "--to", name, "--created", "2026-01-31T12:00:00Z")
        assert result.code == 0
        assert "2026-01-31T12:00:00Z" in result.out
        READERS[name][0](result.out)
    assert "timestamp" not in FORMATS["cyclonedx"].write(SMALL)
    check_one_line(run("export", saved, "--to", "dot", "--created", "2026-01-31T12:00:00Z"), "dot")
    check_one_line(run("export", saved, "--to", "spdx", "--created", "yesterday"), "yesterday")


def test_serial_numbers_follow_the_content():
    def serial(graph):
        return json.loads(FORMATS["cyclonedx"].write(graph))["serialNumber"]

    other = ModelGraph("gram", SMALL.nodes, SMALL.edges[:2], (), SMALL.hidden)
    assert serial(SMALL) == serial(ModelGraph.from_json(SMALL.to_json())) != serial(other)


def test_a_statement_needs_hashes(saved):
    bare = json.loads(SMALL.to_json())
    bare["nodes"][2]["files"][0]["sha256"] = None
    saved.write_text(json.dumps(bare))
    check_one_line(run("export", saved, "--to", "intoto"), "kin", "--hashes")
    with pytest.raises(UsageError, match="no models"):
        FORMATS["intoto"].write(ModelGraph("gram"))


@pytest.mark.parametrize("name", sorted(set(READERS) - {"intoto", "newick"}))
def test_an_empty_graph(name):
    for read in READERS[name]:
        assert read(FORMATS[name].write(ModelGraph("gram"))) == (set(), set(), set())


def test_no_trees_are_no_lines():
    assert FORMATS["newick"].write(ModelGraph("gram")) == ""


def test_a_long_chain():
    many = 1500
    nodes = tuple(Node(f"m{k}", "", "npz", "a", 1) for k in range(many))
    edges = tuple(
        Edge(f"m{k}", f"m{k + 1}", "duplicate" if k % 2 else "converted") for k in range(many - 1)
    )
    graph = ModelGraph("gram", nodes, edges)
    for name, format_ in FORMATS.items():
        if name != "intoto":
            assert all(texts(format_.write(graph)))


def test_the_hubs_own_names():
    path = "/root/.cache/huggingface/hub/models--org--base.7b/snapshots/0123abc"
    nodes = (Node("base.7b", path, "safetensors", "a", 1), Node("tuned", "", "npz", "a", 1))
    cards = FORMATS["modelcards"].write(ModelGraph("gram", nodes, (Edge("base.7b", "tuned", "x"),)))
    card = ModelCard(cards["tuned/README.md"])
    assert card.data.to_dict() == {"base_model": "org/base.7b"}


def test_output(saved, tmp_path):
    for name in ("graphml", "dot", "newick", "cyclonedx", "spdx", "intoto"):
        to = tmp_path / f"out.{name}"
        assert run("export", saved, "--to", name, "-o", to).code == 0
        assert run("export", saved, "--to", name, "-o", to).code == 0
        with to.open(newline="") as file:
            assert file.read() == run("export", saved, "--to", name).out
    for name in ("csv", "modelcards"):
        check_one_line(run("export", saved, "--to", name), "-o FOLDER")
        for _ in range(2):
            assert run("export", saved, "--to", name, "-o", tmp_path / name).code == 0
        for place, text in FORMATS[name].write(SMALL).items():
            assert (tmp_path / name / place).read_bytes() == text.encode()


def test_nothing_of_others_is_overwritten(saved, tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    check_one_line(run("export", saved, "--to", "dot", "-o", weights), "no such export")
    card = tmp_path / "models/tuned/README.md"
    card.parent.mkdir(parents=True)
    card.write_text("---\nlicense: mit\n---\nMine.\n")
    check_one_line(run("export", saved, "--to", "modelcards", "-o", tmp_path / "models"), "README")
    assert card.read_text().endswith("Mine.\n")
    assert [p for p in (tmp_path / "models").rglob("*") if p.is_file()] == [card]


def test_no_link_leads_out_of_the_folder(saved, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/tuned").symlink_to(tmp_path / "elsewhere")
    check_one_line(run("export", saved, "--to", "modelcards", "-o", tmp_path / "out"), "link")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/nodes.csv").symlink_to(tmp_path / "elsewhere/nodes.csv")
    check_one_line(run("export", saved, "--to", "csv", "-o", tmp_path / "tables"), "link")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_help_tells_the_formats():
    out = run("export", "--help").out
    for name, format_ in FORMATS.items():
        assert re.search(rf"^  {name} +{re.escape(format_.says)}$", out, re.M)


def test_edges_to_what_is_no_model_are_refused():
    content = json.loads(SMALL.to_json())
    content["edges"].append({"parent": "hidden:1", "child": "left", "relation": "lora"})
    content["hidden"][0]["children"] = ["right"]
    with pytest.raises(ValueError, match="hidden ancestor"):
        ModelGraph.from_json(json.dumps(content))


@pytest.mark.parametrize("wrong", [{"bytes": -1}, {"sha256": "=cmd()"}, {"sha256": "0" * 63}])
def test_impossible_files_are_refused(wrong):
    content = json.loads(SMALL.to_json())
    content["nodes"][0]["files"][0] |= wrong
    with pytest.raises(ValueError, match="impossible"):
        ModelGraph.from_json(json.dumps(content))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcXYZ_", max_size=4), inner),
    max_leaves=9,
)


@given(VALUES)
@settings(deadline=None, max_examples=100)
def test_canonical_json(value):
    assert canonical(value).encode() == rfc8785.dumps(value)
    assert json.loads(as_json(value)) == value


def test_canonical_numbers_at_the_edges():
    for value in (0.0, -0.0, 1e21, 1e20, 123e18, 1e-6, 1e-7, 5e-324, 1.7976931348623157e308, 0.1):
        assert canonical(value).encode() == rfc8785.dumps(value)
    assert canonical(2**70) == f'"{2**70}"'
    with pytest.raises(ValueError, match="no number"):
        canonical(float("nan"))


@pytest.mark.parametrize("name", list("(),:;[]=&'"))
def test_a_name_that_is_a_mark_is_no_mark_in_newick(name):
    """Readers take some of them for the mark, though they are quoted."""
    graph = ModelGraph(
        "gram", (Node(name, "p", "npz", "a", 1, "float32"),), (), (Tree(name, (name,)),)
    )
    text = FORMATS["newick"].write(graph)
    (by_dendropy,) = dendropy.TreeList.get(data=text, schema="newick")
    assert unspelled(by_dendropy.seed_node.taxon.label) == name
    (by_biopython,) = Phylo.parse(io.StringIO(text), "newick")
    assert unspelled(by_biopython.root.name) == name


TERMS = (
    st.sampled_from([*NASTY, "mit", "apache-2.0", "odc-by-1.0", "llama 2", "模型", "other"]) | TEXT
)
LICENCES = TERMS.filter(str.strip)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.data())
def test_bills_of_materials_with_licences_pass_their_validators(graph, data):
    """What --check adds: the schema of CycloneDX, SPDX's classes and its grammar of licences."""
    terms = st.lists(LICENCES, max_size=3).map(tuple)
    bound = st.lists(st.tuples(LICENCES, TERMS, st.booleans()), max_size=3).map(tuple)
    checked = {
        node.id: Checked(data.draw(terms), data.draw(bound), data.draw(TERMS), data.draw(TERMS))
        for node in graph.nodes
    }
    text = FORMATS["cyclonedx"].write(graph, checked=checked)
    assert from_cyclonedx(text) == from_cyclonedx(FORMATS["cyclonedx"].write(graph))
    stated = {
        unspelled(c["name"]): len(c.get("licenses", ())) for c in json.loads(text)["components"]
    }
    assert stated == {id_: len(of.licences) for id_, of in checked.items()}
    found = read_spdx(FORMATS["spdx"].write(graph, checked=checked))
    for said in found.foreach_type(spdx.simplelicensing_LicenseExpression):
        GRAMMAR.parse(said.simplelicensing_licenseExpression)
    kinds = (spdx.RelationshipType.hasDeclaredLicense, spdx.RelationshipType.hasConcludedLicense)
    told = [
        (unspelled(relation.from_.name), relation.relationshipType)
        for relation in found.foreach_type(spdx.Relationship)
        if relation.relationshipType in kinds
    ]
    declared = [(id_, kinds[0]) for id_, of in checked.items() if of.licences]
    concluded = [(id_, kinds[1]) for id_, of in checked.items() if any(b[2] for b in of.binding)]
    assert sorted(told) == sorted(declared + concluded)


def test_licences_of_other_alphabets_stay_apart():
    told = expression(("模型", "лицензия", "-", "+", "MIT OR GPL-2.0", "mit AND"))
    assert len(GRAMMAR.parse(told).args) == 6
    assert all(re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", x) for x in told.split(" AND "))


def test_an_empty_licence_in_a_report_is_none(tmp_path):
    binding = [{"licence": x, "model": "a", "sure": True} for x in (" ", "mit")]
    model = {"id": "a", "licences": ["", "mit"], "binding": binding, "verdict": "", "reason": ""}
    report = tmp_path / "check.json"
    report.write_text(json.dumps({"schema": "mother.check/1", "models": [model]}))
    assert read_report(report) == {"a": Checked(("mit",), (("mit", "a", True),), "", "")}
