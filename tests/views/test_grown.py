"""An index behind the server: as it is when it is asked, and a part at a time."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path

import pytest
from kit import check_valid
from planted import plant, planted, star
from starlette.testclient import TestClient
from test_server import HOST, problem

from mother.graph import Edge, HiddenAncestor, ModelGraph, Node, Tree
from mother.index import Index
from mother.server.answers import Answers
from mother.server.app import application
from mother.server.guard import names_of

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))
from families import collection, grown


def client(folder, **options):
    app = application(folder, names_of("127.0.0.1", 8000), **options)
    return TestClient(app, base_url=HOST, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    collection(folder)
    return folder


@pytest.fixture(scope="module")
def index(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grown") / "index"
    with Index.create(folder, budget=16 << 10) as made:
        made.add([models])
    return folder


def all_of(asked):
    """Name, parent, children and below of all, walked from the roots."""
    found, waiting = {}, asked.get("/api/trees").json()["entries"]
    while waiting:
        entry = waiting.pop()
        above = entry["parent"]
        found[entry["key"]] = entry["name"], above, entry["children"], entry["below"]
        waiting += asked.get("/api/trees", params={"of": entry["key"]}).json()["entries"]
    return {
        (name, found[above][0] if above is not None else None, children, below)
        for name, above, children, below in found.values()
    }


def test_it_says_what_the_exported_graph_says(index):
    """Independent: there the answers are made of the whole graph, here of rows."""
    asked = client(index)
    with Index(index) as opened:
        graph = opened.graph()
    whole = Answers(graph, "Family forest")
    about, expected = asked.get("/api/graph").json(), whole.about()
    apart = {"version": None, "whole": False, "weights": False}
    known = about.pop("looks")
    assert {**about, "version": None} == {**json.loads(json.dumps(expected)), **apart}
    seen = [item for item in whole.entries(range(len(whole.items))) if item["edge"]]
    assert known["grades"] == Counter(item["values"]["grade"] for item in seen)
    needing = Counter(why for item in seen for why in item["needs"])
    assert {each["why"]: each["total"] for each in known["needs"]} == needing
    assert (known["all"], known["models"]) == (True, about["models"])
    items = whole.entries(range(len(whole.items)))
    names = {item["key"]: item["name"] for item in items}
    assert all_of(asked) == {
        (i["name"], names.get(i["parent"]), i["children"], i["below"]) for i in items
    }
    for item in items:
        (match,) = asked.get("/api/search", params={"q": f"{item['name']}.safetensors"}).json()[
            "matches"
        ]
        ours = asked.get(f"/api/node/{match['key']}").json()
        theirs = whole.details(item["key"])
        assert [e["name"] for e in ours["path"]] == [e["name"] for e in theirs["path"]]
        for part in ("node", "hidden"):
            assert ours[part] == theirs[part]
        edges = [
            {k: v for k, v in (d["edge"] or {}).items() if k != "runner"} for d in (ours, theirs)
        ]
        assert edges[0] == edges[1]
        if theirs["edge"]:
            edge = asked.get("/api/edge", params={"child": item["name"]}).json()
            assert edge["parent"] == whole.edge(item["name"])["parent"]
    assert asked.get("/api/search?q=").json() == {"total": 0, "matches": []}
    problem(asked.get("/api/node/9999998"), 404)
    problem(asked.get("/api/trees?of=9999998"), 404)
    problem(asked.get("/api/edge?child=nobody"), 404)


def test_answers_are_as_described(index):
    asked = client(index)
    described = asked.get("/api/openapi.json").json()
    key = asked.get("/api/trees").json()["entries"][0]["key"]
    for path, schema in (
        ("/api/graph", "Summary"),
        ("/api/trees", "Entries"),
        (f"/api/node/{key}", "Details"),
        ("/api/edge?child=a1", "ReasonedEdge"),
        ("/api/search?q=a", "Matches"),
    ):
        shape = {"additionalProperties": False, **described["components"]["schemas"][schema]}
        check_valid(asked.get(path).json(), {**shape, **described})


def test_newcomers_are_there_at_once_and_keys_stay(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    grown(models, "a", 5, 1)
    with Index.create(tmp_path / "index", budget=16 << 10) as index:
        index.add([models / f"a{k}.safetensors" for k in range(4)])
        asked = client(tmp_path / "index")
        before = asked.get("/api/graph").json()
        keys = {e["name"]: e["key"] for e in asked.get("/api/trees").json()["entries"]}
        assert asked.get("/api/graph").json()["version"] == before["version"]
        assert asked.get("/api/search?q=a4").json()["total"] == 0
        index.add([models / "a4.safetensors"])
        after = asked.get("/api/graph").json()
        assert (after["models"], before["models"]) == (5, 4)
        assert after["version"] != before["version"]
        assert asked.get("/api/search?q=a4").json()["total"] == 1
        again = {e["name"]: e["key"] for e in asked.get("/api/trees").json()["entries"]}
        assert again == keys
        index.remove(["a4"])
        assert asked.get("/api/search?q=a4").json()["total"] == 0


def test_a_large_tree_is_asked_for_a_part_at_a_time(tmp_path):
    asked = client(planted(tmp_path / "index", star(3000)))
    (root,) = asked.get("/api/trees").json()["entries"]
    assert (root["name"], root["children"], root["below"]) == ("root", 3000, 3001)
    part = asked.get("/api/trees", params={"of": root["key"], "offset": 2990, "limit": 500}).json()
    assert part["total"] == 3000
    assert [e["name"] for e in part["entries"]] == [f"m{k:06}" for k in range(2990, 3000)]
    last = part["entries"][-1]
    both = {"of": [last["key"], root["key"]], "offset": 0, "limit": 3}
    names = [e["name"] for e in asked.get("/api/trees", params=both).json()["entries"]]
    assert names == ["grandchild", "m000000", "m000001"]
    details = asked.get(f"/api/node/{last['key'] + 2}").json()
    assert [e["name"] for e in details["path"]] == ["root", "m002999", "grandchild"]
    assert details["edge"]["runner"] == root["key"]


def test_hidden_ancestors(tmp_path):
    nodes = tuple(Node(name, f"/m/{name}", "npz", "a1", 10) for name in "abc")
    hidden = (HiddenAncestor("hidden:1", ("b", "c"), polarity=0.5),)
    graph = ModelGraph(
        "gram", nodes, (Edge("b", "a", "lora"),), (Tree("hidden:1", tuple("abc"), True),), hidden
    )
    asked = client(planted(tmp_path / "index", graph))
    (root,) = asked.get("/api/trees").json()["entries"]
    assert (root["hidden"], root["children"], root["below"]) == (True, 2, 3)
    assert asked.get(f"/api/node/{root['key']}").json()["hidden"] == {"polarity": 0.5}
    about = asked.get("/api/graph").json()
    assert (about["models"], about["hidden"], about["trees"]) == (3, 1, 1)


def test_place_and_compare(index, models, tmp_path):
    asked = client(index, folders=[models])
    answer = asked.post("/api/place", json={"path": str(models / "a3.safetensors")}).json()
    with Index(index) as opened:
        assert answer["parent"] == opened.graph().parent("a3")
    assert asked.post("/api/compare", json={"a": "a0", "b": "a1"}).json()["relation"] == "fine-tune"
    problem(asked.post("/api/place", json={"path": str(tmp_path)}), 403)
    problem(client(index).post("/api/place", json={"path": str(models / "a3.safetensors")}), 403)


def test_a_damaged_row_is_one_line(tmp_path):
    folder = planted(tmp_path / "index", star(2))
    with sqlite3.connect(folder / "index.sqlite") as database:
        database.execute("UPDATE nodes SET content = '[' WHERE id = 'root'")
    asked = client(folder)
    assert "damaged row of nodes" in problem(asked.get("/api/trees"), 500)
    with Index(folder) as index:
        plant(
            index,
            ModelGraph("gram", (Node("x", "/x", "npz", "a1", 1),), trees=(Tree("x", ("x",)),)),
        )
    assert asked.get("/api/search?q=/x").json()["total"] == 1


def test_an_index_that_is_gone_and_one_that_takes_its_place(tmp_path):
    folder = planted(tmp_path / "index", star(2))
    asked = client(folder)
    before = asked.get("/api/graph").json()
    folder.rename(tmp_path / "elsewhere")
    for question in ("/api/graph", "/api/trees", "/api/search?q=root"):
        assert "no index" in problem(asked.get(question), 500)
    planted(folder, star(3))
    after = asked.get("/api/graph").json()
    assert (before["models"], after["models"]) == (4, 5)
    assert before["version"] != after["version"]
    assert asked.get("/api/search?q=root").json()["total"] == 1
