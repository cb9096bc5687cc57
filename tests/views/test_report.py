"""`mother report`, `mother recover --html`, and --plain."""

from __future__ import annotations

import sys
import unicodedata

import numpy as np
import pytest
from forests import family, graphs
from hypothesis import given, settings

from mother.cli import main
from mother.views.page import page
from mother.views.picture import svg
from mother.views.terminal import forest, printable

#: categories that a terminal may act on
ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.json").write_text(family().to_json(), encoding="utf-8")

    def run_(*arguments):
        monkeypatch.setattr(sys, "argv", ["mother", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run_


def test_a_page(run, tmp_path):
    assert run("report", "graph.json", "-o", "page.html") == (0, "", "")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page(family())
    assert run("report", "graph.json", "-o", "page.html", "--title", "Ours <b>")[0] == 0
    assert "Ours \\u003cb\\u003e" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_pictures(run, tmp_path):
    assert run("report", "graph.json", "-o", "tree.svg")[0] == 0
    assert (tmp_path / "tree.svg").read_text(encoding="utf-8") == svg(family())
    assert run("report", "graph.json", "-o", "tree.svg", "--depth", "0")[0] == 0
    assert (tmp_path / "tree.svg").read_text(encoding="utf-8") == svg(family(), depth=0)
    assert run("report", "graph.json", "-o", "tree.PNG")[0] == 0
    assert (tmp_path / "tree.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["page.txt", "page", "page.html.gz"])
def test_an_ending_that_says_nothing(run, name):
    code, _, said = run("report", "graph.json", "-o", name)
    assert code == 2
    assert said == f"mother: {name}: the ending says what to write: .html, .svg, .png\n"


def test_what_is_there_is_not_destroyed(run, tmp_path):
    (tmp_path / "page.html").write_text("<p>by hand")
    code, _, said = run("report", "graph.json", "-o", "page.html")
    assert code == 2
    assert "is there and is no HTML; remove it or choose another name" in said
    assert (tmp_path / "page.html").read_text() == "<p>by hand"


def test_what_is_no_graph(run, tmp_path):
    (tmp_path / "graph.json").write_text("{}")
    code, _, said = run("report", "graph.json", "-o", "page.html")
    assert code == 2
    assert said == "mother: graph.json: not a model graph: it has no schema mother.model-graph/…\n"
    assert not (tmp_path / "page.html").exists()


def test_png_without_its_library(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    code, _, said = run("report", "graph.json", "-o", "tree.png")
    assert code == 2
    assert "pip install 'mother-recovery[png]'" in said
    assert said.count("\n") == 1


def test_recover_writes_a_page(run, tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(64, 64))
    np.savez(tmp_path / "a.npz", w=weights)
    np.savez(tmp_path / "b.npz", w=weights + 0.1 * rng.normal(size=(64, 64)))
    code, shown, _ = run("recover", "a.npz", "b.npz", "--html", "page.html", "--plain")
    assert code == 0
    assert "2 models" in shown
    assert '"name":"b"' in (tmp_path / "page.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text("by hand")
    assert run("recover", "a.npz", "b.npz", "--html", "page.html")[0] == 2


def test_plain_is_in_full_and_without_colours(run, tmp_path, monkeypatch):
    long = "long" * 1024
    graph = family().to_json().replace('"tuned"', f'"{long}"')
    (tmp_path / "graph.json").write_text(graph, encoding="utf-8")
    code, piped, _ = run("show", "graph.json")
    assert code == 0
    assert long in piped
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    coloured = run("show", "graph.json")[1]
    assert "\x1b[" in coloured
    assert long not in coloured
    assert "longlong…" in coloured
    assert run("show", "graph.json", "--plain")[1] == piped


@given(graphs())
@settings(deadline=None)
def test_hostile_names_in_a_terminal(graph):
    for width in (80, None):
        lines = [line.plain for line in forest(graph, width=width)]
        assert not any(unicodedata.category(c) in ACTING for line in lines for c in line)
        for node in graph.nodes:
            shown = printable(node.id)
            if width is None or len(shown) < 40:
                assert any(shown in line for line in lines)


def test_compare_draws_the_layers(run, tmp_path):
    rng = np.random.default_rng(0)
    layers = {f"h.{k}.{kind}": rng.normal(size=(64, 64)) for k in range(3) for kind in "ab"}
    np.savez(tmp_path / "a.npz", **layers)
    layers["h.1.b"] = layers["h.1.b"] + 0.1 * rng.normal(size=(64, 64))
    np.savez(tmp_path / "b.npz", **layers)
    shown = run("compare", "a.npz", "b.npz")[1].splitlines()
    assert [line.split() for line in shown[-3:]] == [
        ["0", "1", "2"],
        ["a", "·", "·", "·"],
        ["b", "·", "9", "·"],
    ]
