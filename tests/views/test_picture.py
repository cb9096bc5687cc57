"""SVG and PNG, read back by an independent parser."""

from __future__ import annotations

import base64
import struct
import sys
import zlib
from itertools import pairwise
from xml.etree import ElementTree

import html5lib
import pytest
from forests import HOSTILE, crowded, family, graphs, hostile, overlapping
from hypothesis import given, settings

from mother.errors import UsageError
from mother.graph import Edge, ModelGraph, Node, Tree
from mother.views.picture import png, svg
from mother.views.terminal import printable

SVG = "{http://www.w3.org/2000/svg}"
ALLOWED = {f"{SVG}{tag}" for tag in ("svg", "title", "rect", "path", "circle", "text", "g")}


def texts(root):
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_what_is_drawn():
    root = ElementTree.fromstring(svg(family()))
    assert {e.tag for e in root.iter()} == ALLOWED
    assert len(list(root.iter(f"{SVG}circle"))) == 10
    shown = texts(root)
    assert {"alone", "base", "lora", "hidden ancestor of left and right"} <= set(shown)
    assert {"87", ">99", "50", "<1"} <= set(shown)  # support
    assert {"fine-tune", "unheard-of", "direction unknown"} <= set(shown)  # legend
    titles = [e.text for e in root.iter(f"{SVG}title")]
    assert (
        "lora: likely: probably LoRA-tuned (rank 8) from base; 90 % sure of the direction; "
        "1 % of its weights' norm changed; found in 87 % of resamplings"
    ) in titles
    dashed = [e for e in root.iter(f"{SVG}path") if "stroke-dasharray" in e.attrib]
    assert len(dashed) == 4  # a trunk and two branches of the hidden ancestor; the legend's


def test_nothing_lies_outside_the_picture():
    root = ElementTree.fromstring(svg(family()))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter(f"{SVG}text"):
        assert 0 < float(element.attrib["x"]) < width
        assert 0 < float(element.attrib["y"]) < height


def test_no_name_lies_in_another():
    assert overlapping(ElementTree.fromstring(svg(crowded()))) == []


def test_width_is_support():
    widths = {}
    for path in ElementTree.fromstring(svg(family())).iter(f"{SVG}path"):
        if "stroke-width" in path.attrib and path.attrib.get("fill") == "none":
            widths.setdefault(path.attrib["stroke"], float(path.attrib["stroke-width"]))
    assert widths["#2563a8"] == pytest.approx(1.8)  # fine-tune, support 1
    assert widths["#b3540b"] == pytest.approx(1.2)  # continuation, support 0.5


def test_depth_says_what_it_leaves_out():
    root = ElementTree.fromstring(svg(family(), depth=0))
    assert [t for t in texts(root) if t.startswith("+")] == ["+ 4", "+ 3"]
    assert len(list(root.iter(f"{SVG}circle"))) == 3
    assert "… 2 more trees" in texts(ElementTree.fromstring(svg(family(), trees=1)))


def test_the_same_bytes():
    assert svg(family()) == svg(family())
    assert png(family()) == png(family())


def test_an_empty_graph():
    assert texts(ElementTree.fromstring(svg(ModelGraph("gram")))) == []
    assert png(ModelGraph("gram")).startswith(b"\x89PNG")


def pixels(data):
    """Width, height and the distinct bytes of the picture, by the PNG specification."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts, size = 8, b"", (0, 0)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + length :][:4])[0]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        parts += body if kind == b"IDAT" else b""
        at += 12 + length
    return (*size, set(zlib.decompress(parts)))


def test_png():
    root = ElementTree.fromstring(svg(family()))
    width, height, values = pixels(png(family(), scale=1))
    assert (width, height) == (int(root.attrib["width"]), int(root.attrib["height"]))
    assert len(values) > 50
    assert pixels(png(family()))[:2] == (2 * width, 2 * height)


def test_a_png_that_is_too_large():
    ids = [f"m{k:05}" for k in range(12_000)]
    nodes = tuple(Node(i, i, "npz", "a", 1) for i in ids)
    edges = tuple(Edge(ids[0], i, "lora") for i in ids[1:])
    graph = ModelGraph("gram", nodes, edges, (Tree(ids[0], tuple(ids)),))
    with pytest.raises(UsageError, match=r"pixels is too large; give --depth, or write \.svg"):
        png(graph)


def test_png_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImportError, match=r"pip install 'mother-recovery\[png\]'"):
        png(family())


def test_long_chains():
    ids = [f"m{k:04}" for k in range(3000)]
    edges = tuple(Edge(a, b, "fine-tune") for a, b in pairwise(ids))
    nodes = tuple(Node(i, i, "npz", "a", 1) for i in ids)
    root = ElementTree.fromstring(svg(ModelGraph("gram", nodes, edges, (Tree(ids[0], ()),))))
    assert len(list(root.iter(f"{SVG}circle"))) == 3000


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_hostile_names_in_svg(graph):
    root = ElementTree.fromstring(svg(graph))
    assert {e.tag for e in root.iter()} <= ALLOWED
    assert not any(
        name.startswith("on") or "href" in name for e in root.iter() for name in e.attrib
    )
    titles = [e.text or "" for e in root.iter(f"{SVG}title")][1:]
    assert len(titles) == len(graph.nodes)
    for node in graph.nodes:  # whole, however long
        assert any(
            t == printable(node.id) or t.startswith(f"{printable(node.id)}: ") for t in titles
        )
    assert all(len(t) < 60 for t in texts(root) if not t.startswith("number and"))


@given(graphs())
@settings(deadline=None, max_examples=10)
def test_hostile_names_in_png(graph):
    assert pixels(png(graph, scale=0.5))[0] > 0


@given(graphs())
@settings(deadline=None, max_examples=30)
def test_hostile_names_in_a_notebook(graph):
    tree = html5lib.parseFragment(graph._repr_html_(), namespaceHTMLElements=False)
    (image,) = list(tree)
    assert image.tag == "img"
    assert set(image.attrib) == {"alt", "style", "src"}
    kind, _, data = image.attrib["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    ElementTree.fromstring(base64.b64decode(data, validate=True))


def test_a_notebook_shows_what_fits():
    ids = [f"m{k:04}" for k in range(1000)]
    edges = tuple(Edge(ids[(k - 1) // 10], ids[k], "lora") for k in range(1, 1000))
    nodes = tuple(Node(i, i, "npz", "a", 1) for i in ids)
    shown = ModelGraph("gram", nodes, edges, (Tree(ids[0], tuple(ids)),))._repr_html_()
    assert len(shown) < 200_000
    root = ElementTree.fromstring(base64.b64decode(shown.partition("base64,")[2].partition('"')[0]))
    assert len(list(root.iter(f"{SVG}circle"))) == 111
    assert "1000 models in 1 tree," in shown


def test_every_hostile_name_at_once():
    graph = hostile(HOSTILE, [k // 2 for k in range(len(HOSTILE))])
    assert ElementTree.fromstring(svg(graph)) is not None
    assert pixels(png(graph))[0] > 0
