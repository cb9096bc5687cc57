"""graph.json, truth.json and policy.toml that are broken, odd or meant to harm, through every
command that reads them: one line that names the file, exit 2; what is only odd is shown."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from kit import check_one_line, run

import mother.graph.model_graph
from mother.exports import FORMATS
from mother.graph import ModelGraph

DEMO = json.loads((Path(__file__).parent / "data" / "demo-graph.json").read_text())
WHOLE = json.dumps(DEMO).encode()


def node(id_="a", **more):
    return {
        "id": id_, "path": id_, "format": "npz", "architecture": "a", "parameters": 1, **more
    }  # fmt: skip


def edge(parent, child, **more):
    return {"parent": parent, "child": child, "relation": "lora", **more}


def graph(*nodes, **more):
    tree = {"root": "a", "members": ["a"]}
    content = {"schema": mother.graph.SCHEMA, "nodes": nodes, "trees": [tree], **more}
    return json.dumps(content).encode()


BAD = {
    "empty": b"",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "null": b"null",
    "list": b"[]",
    "deep": b"[" * 200_000,
    "not UTF-8": b'{"schema": "\xff"}',
    "UTF-16": WHOLE.decode().encode("utf-16"),
    "no schema": json.dumps({"nodes": []}).encode(),
    "schema of tomorrow": json.dumps({**DEMO, "schema": "mother.model-graph/9"}).encode(),
    "schema of no kind": json.dumps({**DEMO, "schema": {"a": 1}}).encode(),
    "unknown parent": graph(node(), edges=[edge("?", "a")]),
    "circle": graph(node(), node("b"), edges=[edge("a", "b"), edge("b", "a")]),
    "its own parent": graph(node(), edges=[edge("a", "a")]),
    "two parents": graph(node(), node("b"), node("c"), edges=[edge("a", "c"), edge("b", "c")]),
    "twice": graph(node(), node()),
    "unknown root": graph(node(), trees=[{"root": "?", "members": []}]),
    "unknown hint": graph(node(), hints=[{"model": "?", "kind": "", "source": "", "says": ""}]),
    "numbers for nodes": graph(1, 2),
    "text for trees": graph(node(), trees="text"),
    "a list of layers": graph(node(), layers=[1]),
    "a list of options": graph(node(), options=[1]),
    "no name": graph(node(id_=1)),
    "fewer than no weights": graph(node(parameters=-9)),
    "too many weights": graph(node(parameters=10**400)),
    "digits": graph(node()).replace(b'"parameters": 1', b'"parameters": ' + b"9" * 5000),
    "no number": graph(node(), node("b"), edges=[edge("a", "b", distance=float("nan"))]),
    "infinite": graph(node(), node("b"), edges=[edge("a", "b", support=1e308)]).replace(
        b"1e+308", b"1e999"
    ),
    "infinite in whole numbers": graph(node(), node("b"), edges=[edge("a", "b", polarity=10**400)]),
    "Infinity in the options": graph(node(), options={"time": float("inf")}),
    "NaN in the options": graph(node(), options={"of": [{"a": float("nan")}]}),
    "too large in the options": graph(node(), options={"a": 1}).replace(b'"a": 1}', b'"a": 1e999}'),
    "impossible change": graph(
        node(), node("b"), edges=[edge("a", "b", changes=[0.5, float("inf")])]
    ),
}


def readers(path, folder):
    """Every command that reads a graph."""
    yield "show", path
    for name in ("page.html", "tree.svg", "tree.png"):
        yield "report", path, "-o", folder / name
    for name in FORMATS:
        yield "export", path, "--to", name, "-o", folder / name
    yield "evaluate", path, folder / "truth.json"
    yield "serve", path, "--port", "0"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_graph(tmp_path, name):
    (tmp_path / "graph.json").write_bytes(BAD[name])
    (tmp_path / "truth.json").write_text('{"edges": []}')
    for arguments in readers(tmp_path / "graph.json", tmp_path):
        result = run(*arguments)
        check_one_line(result, "graph.json")
        assert result.out == ""
        assert len(result.err) < 400 + len(str(tmp_path))
        assert "int_max_str" not in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"graph.json", "truth.json"}


def test_a_graph_that_is_no_file(tmp_path):
    (tmp_path / "truth.json").write_text('{"edges": []}')
    (tmp_path / "graph.json").mkdir()
    for arguments in readers(tmp_path / "graph.json", tmp_path):
        check_one_line(run(*arguments), "graph.json")


def test_a_graph_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(mother.graph.model_graph, "MAX_GRAPH", 1 << 20)
    check_one_line(run("show", "/dev/zero"), "/dev/zero", "larger than 1 MiB")
    (tmp_path / "graph.json").write_bytes(WHOLE + b" " * (1 << 20))
    check_one_line(run("show", tmp_path / "graph.json"), "larger than 1 MiB")


def test_a_graph_from_a_pipe(tmp_path):
    read, write = os.pipe()
    with os.fdopen(write, "wb") as end:
        end.write(WHOLE[:60_000])
    try:
        result = run("show", f"/dev/fd/{read}")
    finally:
        os.close(read)
    assert result.code == 0
    assert "chgnet_0.2.0" in result.out


@pytest.mark.parametrize(
    "odd",
    [
        {"trees": []},
        {"trees": DEMO["trees"] * 2},
        {"method": {"a": [1]}},
        {"nodes": [{**n, "note of tomorrow": 1} for n in DEMO["nodes"]], "more": {}},
        {"edges": [{**e, "direction_probability": 7, "rank": -3} for e in DEMO["edges"]]},
    ],
    ids=["no trees", "trees twice", "method of no kind", "more keys", "odd figures"],
)
def test_an_odd_graph_is_shown(tmp_path, odd):
    (tmp_path / "graph.json").write_text(json.dumps({**DEMO, **odd}))
    (tmp_path / "truth.json").write_text('{"edges": []}')
    for arguments in readers(tmp_path / "graph.json", tmp_path):
        if arguments[0] != "serve":
            result = run(*arguments)
            assert (result.code, result.err) == (0, ""), arguments


def test_a_graph_saved_on_windows(tmp_path):
    (tmp_path / "graph.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(DEMO, indent=1).encode())
    shown = run("show", tmp_path / "graph.json")
    (tmp_path / "graph.json").write_bytes(WHOLE)
    assert (shown.code, shown.out) == (0, run("show", tmp_path / "graph.json").out)


@pytest.mark.parametrize(
    "content",
    ["", "null", "[]", '{"edges": 5}', '{"edges": [["a"]]}', '{"edges": [[1, 2]]}', "[" * 200_000],
)
def test_a_bad_truth(tmp_path, content):
    (tmp_path / "graph.json").write_text(ModelGraph("gram").to_json())
    (tmp_path / "truth.json").write_text(content)
    result = run("evaluate", tmp_path / "graph.json", tmp_path / "truth.json")
    check_one_line(result, "truth.json")


@pytest.mark.parametrize(
    "content",
    [b"[", b"\xff", b"rules = 5", b"[rules]\nnone = 'warn'", b"deny = 'a'", b"certainty = nan",
     b"[[accept]]\nmodel = 1", b"licences = []", b"unheard_of = 1", b".".join([b"a"] * 60_000),
     b"certainty = " + b"9" * 5000, b"deny = " + b"[" * 9000, b"#" * (1 << 18) + b"#"],
)  # fmt: skip
def test_a_bad_policy(tmp_path, content):
    (tmp_path / "policy.toml").write_bytes(content)
    result = run("check", tmp_path, "--policy", tmp_path / "policy.toml")
    check_one_line(result, "policy.toml")
    assert "int_max_str" not in result.err
    (tmp_path / "policy.toml").unlink()
    (tmp_path / "policy.toml").mkdir()
    check_one_line(run("check", tmp_path, "--policy", tmp_path / "policy.toml"), "policy.toml")
