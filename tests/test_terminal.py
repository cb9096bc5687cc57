"""What a terminal gets to see of a forest."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import run
from rich.cells import cell_len
from rich.text import Text

from mother.cli.output import print_lines
from mother.cli.recover import _closing as closing
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Refused, Tree
from mother.views.terminal import count, forest, printable, summary, wrapped

#: categories that a terminal may act on: controls, formats, surrogates, line and paragraph breaks
ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")
HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "two\nlines",
    "back\rover",
    "tab\tbell\x07\x08\x7f",
    "\x9b31m",
    "right\u202eto left",
    "isolate\u2066\u2069",
    "zero\u200bwidth\ufeff",
    "line\u2028and paragraph\u2029",
    "lone\udce9",
    "tag\U000e0041",
    "new\x85line",
]


def nodes(*ids):
    return tuple(Node(i, i, "npz", "a", 1000 * (k + 1)) for k, i in enumerate(ids))


def plain(graph, **options):
    return [line.plain for line in forest(graph, **options)]


def acts(text):
    return [c for c in text if unicodedata.category(c) in ACTING]


def family():
    edges = (
        Edge("root", "lora", "lora", distance=0.0123, support=0.98, rank=8),
        Edge("root", "tuned", "fine-tune", distance=0.5, support=1.0),
        Edge("tuned", "deeper", "continuation", support=0.5, undirected=True),
        Edge("root", "copy", "duplicate", distance=0.0),
        Edge("lora", "half", "converted"),
    )
    return ModelGraph(
        "gram",
        nodes("root", "lora", "tuned", "deeper", "copy", "half", "alone", "left", "right"),
        edges,
        (
            Tree("alone", ("alone",)),
            Tree("hidden:1", ("left", "right"), True),
            Tree("root", ("copy", "deeper", "half", "lora", "root", "tuned")),
        ),
        (HiddenAncestor("hidden:1", ("left", "right"), None, 0.5),),
        (Refused("bad.safetensors", "header claims 9 bytes, the file has 4"),),
    )


def test_the_whole_drawing():
    assert plain(family()) == [
        "alone   1 model of 7.0 k weights",
        "(hidden ancestor of left and right)   2 models of up to 9.0 k weights each, not among the "
        "inputs",
        "├╌╌ left   likely: probably made from it",
        "└╌╌ right   likely: probably made from it",
        "root   6 models of up to 6.0 k weights each",
        "├── copy   strong: the same weights; which of the two came first is not told",
        "├╌╌ lora   likely: probably LoRA-tuned (rank 8); 1.2 % of its weights' norm changed; "
        "found in 98 % of resamplings",
        "│   └── half   strong: converted to another number type",
        "└╌╌ tuned   likely: probably fine-tuned; 50 % of its weights' norm changed; "
        "found in over 99 % of resamplings",
        "    └╌? deeper   open: probably trained further; which came first is open; "
        "found in 50 % of resamplings",
        "refused: bad.safetensors: header claims 9 bytes, the file has 4",
    ]
    assert plain(family()) == plain(family())


def test_figures_below_a_hidden_ancestor_follow_a_sentence():
    half = replace(nodes("a")[0], compared=0.5099)
    hidden = HiddenAncestor("hidden:1", ("a", "b"))
    tree = Tree("hidden:1", ("a", "b"), True)
    drawn = plain(ModelGraph("gram", (half, *nodes("b")), (), (tree,), (hidden,)))
    assert drawn[1:] == [
        "├╌╌ a   likely: probably made from it; 50 % of its weights compared",
        "└╌╌ b   likely: probably made from it",
    ]


def test_depth_says_what_it_leaves_out():
    assert plain(family(), depth=1)[4:] == [
        "root   6 models of up to 6.0 k weights each",
        "├── copy   strong: the same weights; which of the two came first is not told",
        "├╌╌ lora   likely: probably LoRA-tuned (rank 8); 1.2 % of its weights' norm changed; "
        "found in 98 % of resamplings",
        "│   └── … 1 more below",
        "└╌╌ tuned   likely: probably fine-tuned; 50 % of its weights' norm changed; "
        "found in over 99 % of resamplings",
        "    └── … 1 more below",
        "refused: bad.safetensors: header claims 9 bytes, the file has 4",
    ]
    assert plain(family(), depth=2) == plain(family(), depth=99) == plain(family())


def test_a_hidden_ancestor_inside_a_tree():
    graph = ModelGraph(
        "gram",
        nodes("r", "a", "b", "c"),
        (Edge("b", "c", "fine-tune", support=0.7),),
        (Tree("r", ("a", "b", "c", "r")),),
        (HiddenAncestor("hidden:1", ("a", "b"), "r", 0.5),),
    )
    assert plain(graph) == [
        "r   4 models of up to 4.0 k weights each",
        "└╌╌ (hidden ancestor of a and b)   likely: probably made from it; not among the inputs",
        "    ├╌╌ a   likely: probably made from it",
        "    └╌╌ b   likely: probably made from it",
        "        └╌╌ c   likely: probably fine-tuned; found in 70 % of resamplings",
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_acts_on_a_terminal(name):
    inner = f"{name}2"
    graph = ModelGraph(
        "gram",
        nodes(name, inner, "x"),
        (Edge(name, inner, "fine-tune"), Edge(inner, "x", "fine-tune")),
        (Tree(name, (name, inner, "x")),),
        (),
        (Refused(name, "no good"),),
    )
    lines = plain(graph)
    assert len(lines) == 4
    assert all(acts(line) == [] for line in lines)
    assert all(len(line.splitlines()) == 1 for line in lines)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nor_does_anything_else_in_a_graph_from_a_stranger(text):
    """`mother show` prints what a file says: faults and relations are its words, too."""
    graph = ModelGraph(
        "gram",
        nodes("a", "b"),
        (Edge("a", "b", text),),
        (Tree("a", ("a", "b")),),
        (),
        (Refused("x", text),),
    )
    lines = plain(graph)
    assert len(lines) == 3
    assert all(acts(line) == [] for line in lines)


@given(st.text(max_size=30))
def test_printable(name):
    shown = printable(name)
    assert acts(shown) == []
    shown.encode()
    blank = "\u115f\u1160\u2800\u3164\uffa0"  # letters that nobody sees
    if not any(unicodedata.category(c)[0] in "CZ" or c in blank for c in name):
        assert shown == name


def test_names_of_people_are_left_alone():
    for name in ("bert-base", "ünïcödé", "模型 v2", "🦙", "[bold]x[/bold]", "שלום", "a\\b"):
        assert printable(name) == name
    assert plain(ModelGraph("g", nodes("[red]x"), (), (Tree("[red]x", ("[red]x",)),)))[
        0
    ].startswith("[red]x ")


def test_a_chain_2000_deep():
    ids = [f"m{k:04}" for k in range(2000)]
    edges = tuple(Edge(a, b, "fine-tune") for a, b in pairwise(ids))
    graph = ModelGraph("gram", nodes(*ids), edges, (Tree(ids[0], tuple(ids)),))
    lines = 0
    for k, line in enumerate(forest(graph)):
        lines += 1
        if k and k % 500 == 0:
            assert line.plain == "    " * (k - 1) + f"└╌╌ m{k:04}   likely: probably fine-tuned"
    assert lines == 2000
    assert plain(graph, depth=2)[-1] == "        └── … 1 more below"


def test_a_wide_tree():
    ids = [f"m{k:04}" for k in range(3000)]
    edges = tuple(Edge(ids[0], b, "fine-tune") for b in reversed(ids[1:]))
    lines = plain(ModelGraph("gram", nodes(*ids), edges, (Tree(ids[0], tuple(ids)),)))
    assert [line[4:9] for line in lines[1:]] == ids[1:]
    assert [line[0] for line in lines[1:]] == ["├"] * 2998 + ["└"]


def test_order_of_edges_does_not_matter():
    graph = family()
    turned = ModelGraph(
        graph.method,
        graph.nodes[::-1],
        graph.edges[::-1],
        graph.trees,
        graph.hidden,
        graph.refused,
    )
    assert plain(turned) == plain(graph)


def test_a_circle_in_a_broken_file_ends():
    edges = (Edge("a", "b", "fine-tune"), Edge("b", "a", "fine-tune"))
    graph = ModelGraph("gram", nodes("a", "b"), edges, (Tree("a", ("a", "b")),))
    assert len(list(islice(forest(graph), 100))) < 100


def test_nothing_at_all():
    assert plain(ModelGraph("gram")) == []


def test_a_tree_without_its_nodes():
    assert plain(ModelGraph("gram", trees=(Tree("ghost", ()),)))[0].startswith("ghost ")


def test_counts_for_people():
    shown = [count(n) for n in (0, 999, 1000, 1_500_000, 2 * 10**9, 10**12)]
    assert shown == ["0", "999", "1.0 k", "1.5 M", "2.0 G", "1000.0 G"]


@pytest.mark.parametrize("width", [80, 200])
def test_lines_are_broken_between_words_and_keep_the_verticals(width):
    graph = family()
    lines = plain(graph, width=width)
    assert max(map(cell_len, lines)) <= width
    whole = " ".join(" ".join(line.split()) for line in plain(graph))
    broken = " ".join(" ".join(line.split()) for line in lines)
    assert broken.replace("│ ", "") == whole.replace("│ ", "")  # not a word was broken
    at = next(k for k, line in enumerate(lines) if "lora" in line)
    after = next(k for k, line in enumerate(lines) if "half" in line)
    assert all(line.startswith("│   │ ") for line in lines[at + 1 : after])


def test_a_chain_of_200_fits_a_terminal():
    ids = [f"step-{k:03}" for k in range(200)]
    edges = tuple(Edge(a, b, "continuation") for a, b in pairwise(ids))
    graph = ModelGraph("gram", nodes(*ids), edges, (Tree(ids[0], tuple(ids)),))
    lines = plain(graph, width=80)
    assert max(map(cell_len, lines)) <= 80
    shown = " ".join(lines)
    assert all(id_ in shown for id_ in ids)
    assert any(line.startswith("⋯ ") for line in lines)


@pytest.mark.parametrize(
    "edge", [Edge("a", "b", "lora", support=0.3), Edge("a", "b", "lora", undirected=True)]
)
def test_a_weak_edge_is_seen_without_colour(edge):
    lines = plain(ModelGraph("gram", nodes("a", "b"), (edge,), (Tree("a", ("a", "b")),)))
    assert lines[1].startswith("└╌? b   open: ")


def test_sizes_are_no_sum():
    same = tuple(Node(i, i, "npz", "a", 49_200) for i in "abcdefg")
    graph = ModelGraph("gram", same, (), (Tree("a", tuple("abcdefg")),))
    assert plain(graph) == ["a   7 models of 49.2 k weights each"]


def test_the_summary():
    assert list(summary(family())) == [
        "9 models in 3 trees; 5 edges: 2 strong, 2 likely, 1 open; 1 hidden ancestor, not among "
        "the inputs; 1 input not read"
    ]


CHECK = "mother check 'my models' --html check.html"


@pytest.mark.parametrize(
    ("output", "html", "written", "follow"),
    [
        (None, None, [], "mother recover 'my models' -o graph.json --html page.html"),
        ("g.json", None, ["written: g.json"], "mother report g.json -o page.html"),
        (None, "p.html", ["written: p.html"], CHECK),
        ("g\x1b.json", "p.html", ["written: 'g\\x1b.json', p.html"], CHECK),
    ],
)
def test_what_was_written_and_the_next_command(monkeypatch, output, html, written, follow):
    paths = [name and Path(name) for name in (output, html)]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert [*closing(["my models"], *paths)] == written  # a script's output
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert [*closing(["my models"], *paths)] == [*written, f"next: {follow}"]


def test_a_figure_stays_with_its_unit():
    lines = wrapped(Text("changed by 78 %, mostly"), 14, "  ")
    assert [line.plain for line in lines] == ["changed by", "  78 %, mostly"]


def test_whatever_is_printed_is_broken_between_words_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    said = [Text("b: fine-tuned from a, surely"), Text("  seven to one for: evenly")]
    print_lines(said)
    assert capsys.readouterr().out.splitlines() == [
        *("b: fine-tuned from", "    a, surely"),
        *("  seven to one for:", "      evenly"),
    ]
    monkeypatch.delenv("FORCE_COLOR")
    print_lines(said)
    assert capsys.readouterr().out.splitlines() == [line.plain for line in said]


def test_weak_edges_are_seen_in_ascii_too(tmp_path):
    edges = (
        Edge("a", "b", "lora", direction_probability=0.98),
        Edge("a", "c", "lora"),
        Edge("a", "d", "lora", direction_probability=0.6, undirected=True),
    )
    path = tmp_path / "graph.json"
    path.write_text(ModelGraph("gram", nodes(*"abcd"), edges, (Tree("a", (*"abcd",)),)).to_json())
    said = run("show", path, encoding="ascii").out.splitlines()
    assert [line[:6] for line in said[1:4]] == ["|-- b ", "|~~ c ", "`~? d "]
