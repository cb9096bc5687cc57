"""The gate on graphs made by hand: lines of descent, licences along them, names."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mother.checkpoints.claimed_names import Names
from mother.checkpoints.claims import Claim, Claims
from mother.gate.inspection import weigh
from mother.gate.licences import DEFAULT, permits
from mother.gate.policy import RULES, Policy
from mother.gate.report import Report
from mother.gate.verdicts import Inputs
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Tree
from mother.graph.descent import Descent
from mother.graph.parts import Relabelled


def edge(parent: str, child: str, sure: float | None = 0.99, relation: str = "fine-tune") -> Edge:
    return Edge(parent, child, relation, distance=0.1, direction_probability=sure)


def same(original: str, copy: str) -> Edge:
    return Edge(original, copy, "duplicate")


def graph_of(*edges: Edge, hidden: tuple[HiddenAncestor, ...] = ()) -> ModelGraph:
    """A graph of one tree."""
    named = {x for e in edges for x in (e.parent, e.child)}
    named |= {x for h in hidden for x in (*h.children, h.parent) if x is not None}
    named -= {h.id for h in hidden}
    ids = tuple(sorted(named))
    nodes = tuple(Node(i, f"lab/{i}", "safetensors", "a", 10) for i in ids)
    return ModelGraph("gram", nodes, edges, (Tree(ids[0], ids),), hidden)


def told(licence: str | None = None, *bases: str) -> Claims:
    card = Path("README.md")
    parents = tuple(Claim("base_model", base, card, 2) for base in bases)
    licences = (Claim("license", licence, card, 3),) if licence else ()
    return Claims(parents, licences, files=(card,))


def report_on(graph: ModelGraph, policy: str = "", **claims: Claims) -> Report:
    ids = [node.id for node in graph.nodes]
    inputs = Inputs(
        graph,
        {id_: Path("lab", id_) for id_ in ids},
        {id_: claims.get(id_, Claims()) for id_ in ids},
        dict.fromkeys(ids, 0),
    )
    return weigh(inputs, Policy.parse(policy))


def rules(report: Report, model: str) -> set[str]:
    return {f.rule for f in report.findings if f.model == model}


def verdict(report: Report, model: str) -> str:
    return next(m.verdict for m in report.models if m.id == model)


NC = "cc-by-nc-4.0"


def test_an_edge_of_unknown_direction_neither_confirms_nor_contradicts():
    graph = graph_of(edge("a", "b", 0.7))
    for child, parent in (("a", "b"), ("b", "a")):
        report = report_on(graph, **{child: told(None, parent)})
        assert verdict(report, child) == "unknown"
        assert rules(report, child) == {"unknown"}
    assert verdict(report_on(graph), "b") == "unknown"
    assert verdict(report_on(graph, "certainty = 0.6"), "b") == "undeclared"
    report = report_on(graph, "certainty = 0.6", b=told(None, "a"))
    assert verdict(report, "b") == "confirmed"


def test_undirected_edges_without_a_probability():
    graph = graph_of(replace(edge("a", "b", None), undirected=True))
    assert verdict(report_on(graph, b=told(None, "a")), "b") == "unknown"
    assert verdict(report_on(graph_of(edge("a", "b", None)), b=told(None, "a")), "b") == "confirmed"


@pytest.mark.parametrize(("nc", "free"), [("a", "b"), ("b", "a")])
def test_a_licence_over_an_edge_of_unknown_direction_is_possible(nc, free):
    report = report_on(graph_of(edge("a", "b", 0.7)), **{nc: told(NC), free: told("mit")})
    assert rules(report, free) == {"possible"}
    assert rules(report, nc) == set()


def test_a_licence_is_carried_through_copies_renamed_and_hidden_ancestors():
    """base -> mid = copy -> (hidden) -> leaf, and a sibling of the leaf that is bound as well."""
    graph = graph_of(
        edge("base", "mid"),
        same("mid", "copy"),
        edge("leaf", "twig", None, "converted"),
        hidden=(HiddenAncestor("hidden:1", ("leaf", "side"), "copy"),),
    )
    report = report_on(
        graph,
        base=told(NC),
        mid=told(None, "base"),
        copy=told(None, "mid"),
        side=told(NC, "mid"),
        leaf=told("apache-2.0", "copy"),
        twig=told("apache-2.0", "leaf"),
    )
    assert {f.model for f in report.findings if f.rule == "laundered"} == {"leaf", "twig"}
    (finding,) = (f for f in report.findings if f.model == "twig")
    assert [(s.kind, s.parent) for s in finding.line] == [
        ("edge", "leaf"),
        ("hidden", "hidden:1"),
        ("hidden", "copy"),
        ("copy", "mid"),
        ("edge", "base"),
    ]
    assert all(verdict(report, m) == "confirmed" for m in ("mid", "copy", "leaf", "twig", "side"))


def test_siblings_of_a_hidden_ancestor_do_not_bind_each_other():
    graph = graph_of(hidden=(HiddenAncestor("hidden:1", ("a", "b")),))
    report = report_on(graph, a=told(NC), b=told("mit", "a"))
    assert verdict(report, "b") == "contradicted"
    assert rules(report, "b") == {"contradicted"}
    assert rules(report, "a") == {"undeclared"}


def test_the_nearest_licence_that_forbids_is_told_once():
    graph = graph_of(edge("a", "b"), edge("b", "c"), edge("c", "d"))
    report = report_on(graph, a=told("llama2"), b=told(NC), c=told(NC), d=told("mit", "c"))
    (finding,) = (f for f in report.findings if f.model == "d")
    assert (finding.rule, finding.about) == ("licence", "c")
    assert rules(report, "b") >= {"licence"}


def test_licences_that_the_table_does_not_know():
    graph = graph_of(edge("a", "b"))
    for a, b, expected in (
        ("house-rules", "mit", {"unknown-licence"}),
        ("house-rules", "house-rules", set()),
        ("llama2", "house-rules", {"unknown-licence"}),
        ("mit", "house-rules", set()),
    ):
        assert rules(report_on(graph, a=told(a), b=told(b, "a")), "b") == expected, (a, b)
    known = '[licences]\n"house-*" = ["mit"]'
    assert rules(report_on(graph, known, a=told("House-Rules"), b=told("MIT", "a")), "b") == set()
    forbidden = report_on(graph, known, a=told("house-rules"), b=told("gpl-3.0", "a"))
    assert rules(forbidden, "b") == {"licence"}


def test_a_model_without_a_licence_is_told_where_its_parent_sets_terms():
    graph = graph_of(edge("a", "b"))
    assert rules(report_on(graph, a=told(NC), b=told(None, "a")), "b") == {"unlicensed"}
    assert rules(report_on(graph, a=told("mit"), b=told(None, "a")), "b") == set()


def test_a_model_that_states_several_licences_is_held_to_each():
    graph = graph_of(edge("a", "b"))
    both = replace(told("mit"), licences=told("mit").licences + told("llama2").licences)
    assert rules(report_on(graph, a=both, b=told("mit", "a")), "b") == {"licence"}
    assert rules(report_on(graph, a=told("llama2"), b=replace(both, parents=())), "b") == {
        "licence",
        "undeclared",
    }


def test_a_denied_ancestor_over_an_edge_of_unknown_direction_is_possible():
    report = report_on(graph_of(edge("a", "b", 0.7), edge("b", "c")), "deny = ['a']")
    assert rules(report, "a") == {"denied"}
    assert "possible" in rules(report, "b")
    assert "possible" in rules(report, "c")


def random_forest(seed: int) -> ModelGraph:
    """A forest of edges, copies and hidden ancestors, every edge sure."""
    draw = np.random.default_rng(seed)
    names = [f"m{k}" for k in range(int(draw.integers(2, 15)))]
    edges, hidden = [], []
    for k, name in enumerate(names[1:], 1):
        up = names[int(draw.integers(k))]
        how = draw.random()
        if how < 0.6:
            edges.append(edge(up, name))
        elif how < 0.8 and not any(e.child == up and e.relation == "duplicate" for e in edges):
            edges.append(same(up, name))
        elif how < 0.95:
            hidden.append(HiddenAncestor(f"h{k}", (name,), up))
    nodes = tuple(Node(n, n, "npz", "a", 1) for n in names)
    return ModelGraph("gram", nodes, tuple(edges), (), tuple(hidden))


@given(st.integers(0, 10_000))
def test_ancestors_are_those_of_networkx(seed):
    graph = random_forest(seed)
    whole = graph.to_networkx()
    whole.add_edges_from([(e.child, e.parent) for e in graph.edges if e.relation == "duplicate"])
    descent = Descent(graph, 0.9, {})
    for node in graph.nodes:
        found = descent.ancestors(node.id)
        assert set(found) == networkx.ancestors(whole, node.id) - {node.id}
        for ancestor, line in found.items():
            assert (line[0].child, line[-1].parent) == (node.id, ancestor)
            assert all(a.parent == b.child for a, b in itertools.pairwise(line))


def test_claims_in_a_circle_end():
    graph = graph_of(edge("a", "b"))
    declared = {"a": ("b",), "b": ("a",)}
    assert set(Descent(graph, 0.9, declared).ancestors("a")) == {"b"}


#: adapter's licence -> original's -> may it, by https://creativecommons.org/faq/#if-i-derive-or-
#: adapt-material-offered-under-a-creative-commons-license-which-cc-licenses-can-i-use
CREATIVE_COMMONS = {
    "cc-by-4.0": {"cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"},
    "cc-by-sa-4.0": {"cc-by-sa-4.0"},
    "cc-by-nc-4.0": {"cc-by-nc-4.0", "cc-by-nc-sa-4.0"},
    "cc-by-nc-sa-4.0": {"cc-by-nc-sa-4.0"},
    "cc-by-nd-4.0": set(),
    "cc-by-nc-nd-4.0": set(),
}


def test_default_table_agrees_with_creative_commons_own():
    adaptable = [x for x in CREATIVE_COMMONS if "nd" not in x]
    for original, allowed in CREATIVE_COMMONS.items():
        for adapted in adaptable:
            assert permits(original, adapted, DEFAULT) is (adapted in allowed), (original, adapted)


@pytest.mark.parametrize(
    ("ancestor", "child", "expected"),
    [
        ("apache-2.0", "llama2", True),
        ("gpl-3.0", "mit", False),
        ("gpl-3.0", "agpl-3.0", True),
        ("agpl-3.0", "gpl-3.0", False),
        ("gpl", "mit", False),
        ("lgpl", "gpl", True),
        ("cc-by-nc-4.0", "cc-by-nc-4.0 or mit", False),
        ("cc-by-nc-4.0", "(cc-by-nc-4.0 and cc-by-nc-sa-4.0)", True),
        ("cc-by-nc-4.0", "cc-by-nc-4.0 or mine", None),
        ("mit and cc-by-nc-4.0", "mit", None),
        ("bsd-3-clause and cc-by-nc-4.0", "apache-2.0", None),
        ("llama2", "llama3", False),
        ("llama3.1", "llama3.1", True),
        ("llama3.1", "apache-2.0", False),
        ("gemma", "mit", False),
        ("creativeml-openrail-m", "openrail++", True),
        ("creativeml-openrail-m", "mit", False),
        ("cc-by-sa-4.0", "gpl-3.0", True),
        ("bigscience-bloom-rail-1.0", "apache-2.0", False),
    ],
)
def test_default_table(ancestor, child, expected):
    assert permits(ancestor, child, DEFAULT) is expected


def test_copies_may_keep_any_licence():
    graph = graph_of(same("a", "copy"))
    nd = "cc-by-nd-4.0"
    assert rules(report_on(graph, a=told(nd), copy=told(nd, "a")), "copy") == set()
    assert rules(report_on(graph, a=told(nd), copy=told("mit", "a")), "copy") == {"licence"}


def test_long_lines_are_told_by_their_ends():
    """A training run of many checkpoints, each of which names the first."""
    names = [f"m{k:03}" for k in range(200)]
    graph = graph_of(*(edge(a, b) for a, b in itertools.pairwise(names)))
    claims = {name: told(NC, *names[:1]) for name in names[1:-1]}
    report = report_on(graph, m000=told(NC), m199=told("mit", "m000"), **claims)
    assert all(verdict(report, name) == "confirmed" for name in names[1:])
    (finding,) = report.findings
    assert finding.model == "m199"
    assert "m198 -> m199" in finding.message
    reason = next(m.reason for m in report.models if m.id == "m199")
    assert "m000 -> m001 -> m002 -> m003 -> m004 -> … -> m196 -> m197 -> m198 -> m199" in reason
    content = json.loads(report.to_json())["models"][-1]
    assert len(content["claims"][0]["evidence"]) == 20


def test_what_was_hidden_is_told_with_its_test():
    hidden = Relabelled(1e-30, 1.0, 4, ("units permuted",), 3)
    claims = {"kid": told(None, "base"), "grandkid": told(None, "base")}
    graph = graph_of(replace(edge("base", "kid"), relabelled=hidden), edge("kid", "grandkid"))
    report = json.loads(report_on(graph, **claims).to_json())
    said = "kin under other labels, p = 1e-30 (3 pairs tried), undone: units permuted"
    for model in report["models"]:
        if model["id"] != "base":
            (claim,) = model["claims"]
            assert claim["reason"].endswith(f"; {said})")
            assert claim["evidence"][-1]["relabelled"]["tried"] == 3


def test_a_conversion_is_no_derived_work():
    graph = graph_of(edge("a", "half", None, "converted"))
    nd = "cc-by-nd-4.0"
    assert rules(report_on(graph, a=told(nd), half=told(nd, "a")), "half") == set()
    assert rules(report_on(graph, a=told(nd), half=told("mit", "a")), "half") == {"licence"}
    tuned = graph_of(edge("a", "b"))
    assert rules(report_on(tuned, a=told(nd), b=told(nd, "a")), "b") == {"licence"}


MODELS = {
    "Llama-2-7b": Path("meta/Llama-2-7b"),
    "tuned": Path("files/tuned.safetensors"),
    "cached": Path("models--org--cached/snapshots/0a1b"),
    "a/stem": Path("a/stem"),
    "b/stem": Path("b/stem"),
}


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("tuned", ["tuned"]),
        ("tuned.safetensors", ["tuned"]),
        ("me/tuned", ["tuned"]),
        ("https://huggingface.co/meta/Llama-2-7b/tree/main", ["Llama-2-7b"]),
        ("meta/llama-2-7B", ["Llama-2-7b"]),
        ("Llama 2 7b", ["Llama-2-7b"]),
        ("org/cached", ["cached"]),
        ("other/cached", ["cached"]),
        ("a/stem", ["a/stem"]),
        ("c/stem", ["a/stem", "b/stem"]),
        ("/home/me/tuned/", ["tuned"]),
        ("C:\\runs\\tuned", ["tuned"]),
        ("meta/Llama-2-7b@main", ["Llama-2-7b"]),
        ("none", None),
        ("", None),
        ("/", None),
        ("*", None),
    ],
)
def test_names_mean(name, ids):
    found = Names(MODELS).match(name)
    assert (list(found.ids) if found else None) == ids


def test_the_page_tells_every_rule_and_its_default():
    page = (Path(__file__).parent.parent / "docs" / "check.md").read_text()
    for rule in RULES.values():
        assert f"| {rule.id} | `{rule.name}` | {rule.level} |" in page


def test_the_policy_on_the_page_is_one():
    page = (Path(__file__).parent.parent / "docs" / "check.md").read_text()
    text = page.split("```toml\n")[1].split("```")[0].replace("0a1b…", "0a1b" * 16)
    policy = Policy.parse(text)
    assert policy.levels["undeclared"] == "error"
    assert policy.licences["llama3*"] == ("llama3*",)
    assert permits("llama3", "llama3.1", policy.licences)
    assert policy.accepted[0].model == "old-run"


def test_an_inferred_licence_is_pointed_at_and_decides_nothing(monkeypatch):
    """Two families, of which nine in twenty state nothing; what the gate finds is the same with
    what is inferred of them and without."""
    ids = {root: [f"{root}-{k}" for k in range(9)] for root in ("x", "y")}
    graph = graph_of(*(edge(root, child) for root, children in ids.items() for child in children))
    known = {x: told("mit" if x[0] == "x" else NC) for x in graph.ids if x[-1] not in "56789"}
    report = report_on(graph, **known)
    probably = {m.id: m.probably for m in report.models if m.probably}
    assert set(probably) == set(graph.ids) - set(known)
    assert probably["x-7"].startswith("mit (")
    assert probably["y-7"].startswith(f"{NC} (")
    assert all(not m.probably for m in report.models if m.licences)
    monkeypatch.setattr("mother.gate.inspection._inferred_licences", lambda inputs: {})
    without = report_on(graph, **known)
    assert report.findings == without.findings
    assert [replace(m, probably="") for m in report.models] == list(without.models)
