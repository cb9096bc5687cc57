"""The page as a file: what is in it, read by an independent parser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import html5lib
import pytest
from forests import HOSTILE, family, graphs, hostile
from hypothesis import given, settings

from mother.graph import Edge, ModelGraph, Tree
from mother.views.page import MODULES, embedded, page


def parsed(text):
    return html5lib.parse(text, treebuilder="etree", namespaceHTMLElements=False)


def scripts(tree):
    return [(e.attrib.get("type"), "".join(e.itertext())) for e in tree.iter("script")]


def data(tree):
    return json.loads(next(text for kind, text in scripts(tree) if kind == "application/json"))


def test_the_graph_is_in_it():
    content = data(parsed(page(family())))
    items = {item["name"]: item for item in content["items"]}
    assert [item["name"] for item in content["items"]] == [
        *("alone", "base", "copy", "lora", "tuned", "deep", "hidden:1", "left", "odd", "right")
    ]
    assert content["items"][items["deep"]["p"]]["name"] == "tuned"
    assert items["tuned"]["edge"]["runner"] == 3
    assert items["tuned"]["changes"] == "0 0.1 - 0.3 0.2"
    assert items["odd"]["edge"]["support"] == 0.0
    assert items["hidden:1"]["hidden"] == {"polarity": 0.5}
    assert "edge" not in items["left"]
    assert content["grids"]["a1"]["kinds"] == ["embed.weight", "attn.weight", "mlp.weight"]
    assert content["about"]["refused"] == [
        {"path": "/models/bad.bin", "fault": "not a zip archive"}
    ]


def test_the_same_bytes():
    assert page(family()) == page(family())


def test_the_policy_lets_only_our_own_files_run():
    tree = parsed(page(family()))
    (policy,) = (
        e.attrib["content"]
        for e in tree.iter("meta")
        if e.attrib.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert set(rules) == {"script-src", "style-src", "base-uri", "form-action"}
    running = [text for kind, text in scripts(tree) if kind != "application/json"]
    assert len(running) == 2
    (style,) = ("".join(e.itertext()) for e in tree.iter("style"))
    for rule, texts in (("script-src", running), ("style-src", [style])):
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        expected = [f"'sha256-{base64.b64encode(d).decode()}'" for d in digests]
        assert rules[rule].split() == expected


def test_nothing_comes_from_elsewhere():
    tree = parsed(page(family()))
    for element in tree.iter():
        for name in ("src", "srcset", "data", "poster", "action"):
            assert name not in element.attrib
        assert element.attrib.get("href", "#").startswith("#")
        assert not any(name.startswith("on") or name == "style" for name in element.attrib)
    style = "".join(next(tree.iter("style")).itertext())
    assert "url(" not in style
    assert "@import" not in style


def test_modules_are_joined_whole():
    script = next(text for kind, text in scripts(parsed(page(family()))) if kind == "module")
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert word not in script
    for k, module in enumerate(MODULES):
        before = {f"m_{m.removesuffix('.js')}" for m in MODULES[:k]}
        scope = f"const m_{module.removesuffix('.js')} = "
        body = script.split(scope)[1].split("\n})();")[0]
        assert set(re.findall(r"\} = (m_\w+);", body)) <= before


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_hostile_names(graph):
    text = page(graph)
    tree = parsed(text)
    calm = parsed(page(family()))
    assert [e.tag for e in tree.iter()] == [e.tag for e in calm.iter()]
    content = data(tree)
    assert {item["name"] for item in content["items"]} == {node.id for node in graph.nodes}
    assert {item["node"].get("path", "") for item in content["items"]} == {
        n.path for n in graph.nodes
    }
    block = text.split('id="graph">')[1].split("</script>")[0]
    assert not set(block) & set("<>&\u2028\u2029")
    assert block.isascii()


def test_every_hostile_name_at_once():
    graph = hostile(HOSTILE, [k // 2 for k in range(len(HOSTILE))])
    assert len(data(parsed(page(graph, title=HOSTILE[0])))["items"]) == len(HOSTILE)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_embedded(text):
    assert json.loads(embedded({text: [text]})) == {text: [text]}


def test_a_graph_built_by_hand():
    """Nothing of it is lost: no trees named, a child whose parent is no node, a circle."""
    loose = replace(family(), trees=())
    assert len(data(parsed(page(loose)))["items"]) == 10
    orphan = ModelGraph("gram", edges=(Edge("ghost", "child", "lora"),))
    assert [i["name"] for i in data(parsed(page(orphan)))["items"]] == ["ghost", "child"]
    circle = (Edge("a", "b", "lora"), Edge("b", "a", "lora"))
    ring = ModelGraph("gram", edges=circle, trees=(Tree("a", ("a", "b")),))
    assert [i["name"] for i in data(parsed(page(ring)))["items"]] == ["a", "b"]


def test_an_empty_graph():
    assert data(parsed(page(ModelGraph("gram"))))["items"] == []
