"""The server's answers and refusals, without a network."""

import asyncio
import html.parser
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from forests import HOSTILE, family, graphs, hostile
from hypothesis import given, settings
from kit import check_valid
from serving import outcome
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

import mother
from mother.graph import ModelGraph, Node
from mother.server import guard, sent
from mother.server.app import application
from mother.server.guard import names_of
from mother.server.heavy import Heavy
from mother.server.placement import place

FORMATS = Path(__file__).parents[1] / "data" / "formats" / "frameworks"
HOST = "http://127.0.0.1:8000"


def client(graph, **options):
    app = application(graph, names_of("127.0.0.1", 8000), **options)
    return TestClient(app, base_url=HOST, raise_server_exceptions=False)


def problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert content["status"] == status
    assert "\n" not in content["detail"]
    return content["detail"]


def save(folder, name, weights):
    np.savez(folder / f"{name}.npz", **weights)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """base -> tuned -> deep, base -> other, and a stranger; `deep` is kept apart."""
    folder = tmp_path_factory.mktemp("models")
    draw = np.random.default_rng(0)

    def step(weights, size):
        return {
            name: (w + size * draw.standard_normal(w.shape)).astype(np.float32)
            for name, w in weights.items()
        }

    names = [f"h.{block}.{kind}.weight" for block in range(4) for kind in ("attn", "mlp")]
    nothing = {name: np.zeros((48, 48)) for name in names}
    base = step(nothing, 1)
    tuned = step(base, 0.1)
    (folder / "new").mkdir()
    (folder / "old").mkdir()
    for name, weights in (
        ("base", base),
        ("tuned", tuned),
        ("other", step(base, 0.1)),
        ("stranger", step(nothing, 1)),
    ):
        save(folder / "old", name, weights)
    save(folder / "new", "deep", step(tuned, 0.1))
    save(folder / "new", "foreign", step(nothing, 1))
    save(folder / "new", "small", {"w": draw.standard_normal((3, 3)).astype(np.float32)})
    return folder


@pytest.fixture(scope="module")
def live(models):
    graph = mother.recover(models / "old")
    assert {(e.parent, e.child) for e in graph.edges} == {("base", "tuned"), ("base", "other")}
    with client(graph, folders=[models]) as session:
        yield session


OF_TWO = "hidden ancestor of left and right"


def test_the_graph():
    asked = client(family())
    about = asked.get("/api/graph").json()
    assert (about["models"], about["trees"], about["hidden"]) == (9, 3, 1)
    assert about["refused"] == [{"path": "/models/bad.bin", "fault": "not a zip archive"}]
    assert about["weights"] is False
    roots = asked.get("/api/trees").json()
    assert [entry["name"] for entry in roots["entries"]] == ["alone", "base", OF_TWO]
    keys = {entry["name"]: entry["key"] for entry in roots["entries"]}
    below = asked.get("/api/trees", params={"of": [keys[OF_TWO], keys["base"]]}).json()
    names = [entry["name"] for entry in below["entries"]]
    assert names == ["left", "right", "copy", "lora", "tuned"]
    part = asked.get("/api/trees", params={"of": [keys["base"]], "offset": 1, "limit": 1}).json()
    assert (part["total"], [e["name"] for e in part["entries"]]) == (3, ["lora"])


def test_one_model():
    asked = client(family())
    (match,) = asked.get("/api/search?q=deep").json()["matches"]
    details = asked.get(f"/api/node/{match['key']}").json()
    assert [entry["name"] for entry in details["path"]] == ["base", "tuned", "deep"]
    assert details["node"]["path"] == "/models/deep"
    assert details["changes"]["values"] == [0.1, 0.2, 0, 0.4, 0.5]
    edge = asked.get("/api/edge?child=tuned").json()
    assert (edge["parent"], edge["runner_up"]) == ("base", "lora")
    assert edge["changes"][3] == {"layer": "h.1.attn.weight", "change": 0.3}
    assert [reason["kind"] for reason in edge["evidence"]] == ["slope", "norm"]
    problem(asked.get("/api/edge?child=base"), 404)
    problem(asked.get("/api/node/10"), 404)
    problem(asked.get("/api/node/-1"), 422)


def test_search():
    asked = client(family())
    found = asked.get("/api/search", params={"q": "SAFETENSORS models", "limit": 2}).json()
    assert found["total"] == 9
    assert [match["name"] for match in found["matches"]] == ["alone", "base"]
    assert asked.get("/api/search?q=").json() == {"total": 0, "matches": []}
    assert problem(asked.get("/api/search?q=x&limit=0"), 422).startswith("query.limit: ")
    problem(asked.get("/api/search", params={"q": "x" * 1001}), 422)


@settings(max_examples=20, deadline=None)
@given(graphs())
def test_hostile_names_come_back_as_they_are(graph):
    asked = client(graph)
    roots = asked.get("/api/trees").json()["entries"]
    names = []
    for key in range(len(graph.nodes)):
        response = asked.get(f"/api/node/{key}")
        response.content.decode("ascii")
        names.append(response.json()["entry"]["name"])
    assert sorted(names) == sorted(node.id for node in graph.nodes)
    assert {r["name"] for r in roots} <= set(names)
    for name in names:
        if name.isprintable() and name:
            asked.get("/api/edge", params={"child": name}).json()


def test_compare(live):
    answer = live.post("/api/compare", json={"a": "tuned", "b": "base"}).json()
    assert (answer["a"], answer["b"]) == ("tuned", "base")
    assert (answer["relation"], answer["parent"]) == ("fine-tune", "b")
    assert len(answer["layers"]) == 8
    problem(live.post("/api/compare", json={"a": "tuned", "b": "nobody"}), 404)
    problem(live.post("/api/compare", json={"a": "tuned"}), 422)
    problem(live.post("/api/compare", json={"a": "x", "b": "y", "base": "/etc"}), 422)


def test_place(live, models, monkeypatch):
    """By a path as people write it, and by the name of a model that is there."""
    monkeypatch.setenv("HOME", str(models))
    answer = live.post("/api/place", json={"path": ' "~/new/deep.npz" '}).json()
    assert (answer["found"], answer["parent"]) == ("child", "tuned")
    assert (answer["compared"], answer["comparable"], answer["unread"]) == (4, 4, 0)
    assert live.get("/api/search?q=deep").json()["total"] == 0  # nothing was stored
    there = live.post("/api/place", json={"path": "'tuned'"}).json()
    assert (there["found"], there["said"]) == ("there", ["tuned: among the models already"])


BYTES = {"Content-Type": "application/octet-stream"}


def drop(asked, name, content, headers=BYTES):
    return asked.post("/api/drop", params={"name": name}, content=content, headers=headers)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where files are kept for a while."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_drop(live, models, temporary):
    """The same as of the file that lies there, and nothing is left of it."""
    path = models / "new" / "deep.npz"
    sent = drop(live, path.name, path.read_bytes()).json()
    assert sent == live.post("/api/place", json={"path": str(path)}).json()
    assert sent["parent"] == "tuned"
    assert list(temporary.iterdir()) == []


def test_names_of_dropped_files_mean_nothing_to_the_disk(tmp_path):
    for name in ("../../x.npz", "/etc/passwd", ".", "..", "-rf", "a\x00b", "C:\\x", "", *HOSTILE):
        made = tmp_path / sent.plain(name)
        assert made.parent == tmp_path
        assert made.name.isprintable()
        assert made.name.strip(".")
        made.write_bytes(b"")
    assert list(tmp_path.parent.glob("x.npz")) == []


def test_what_is_dropped_is_bounded(live, models, temporary, monkeypatch):
    assert "empty" in problem(drop(live, "x.npz", b""), 422)
    problem(drop(live, "x.npz", b"x", {"Content-Type": "text/plain"}), 415)
    problem(drop(live, "x.npz", b"x", BYTES | {"Origin": "http://evil.example"}), 403)
    assert "--allow" in problem(drop(client(family()), "x.npz", b"x"), 403)
    free = shutil.disk_usage(temporary)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    parts = (b"x" * 20 for _ in range(3))
    assert "free space" in problem(drop(live, "x.npz", parts), 413)
    assert list(temporary.iterdir()) == []


def test_a_dropped_file_that_does_not_come(temporary, monkeypatch):
    monkeypatch.setattr(sent, "PATIENCE", 0.01)

    async def slow():
        yield b"x"
        await asyncio.sleep(60)

    with pytest.raises(HTTPException) as refused:
        outcome(sent.received(slow(), temporary / "x"))
    assert refused.value.status_code == 408


def test_a_dropped_file_leads_nowhere(live, temporary):
    """ONNX may name files beside it: of what is dropped there are none, nor elsewhere."""
    content = (FORMATS / "beside.onnx").read_bytes()
    elsewhere = content.replace(b"beside.onnx_data", b"../side.onnx_dat")
    detail = problem(drop(live, "../m.onnx", elsewhere), 422)
    assert detail.startswith("m.onnx: ")
    assert str(temporary) not in detail
    assert list(temporary.iterdir()) == []


def test_answers_are_as_described(live, models):
    described = live.get("/api/openapi.json").json()
    for path, schema, asked in (
        ("/api/graph", "Summary", None),
        ("/api/trees", "Entries", None),
        ("/api/node/0", "Details", None),
        ("/api/edge?child=tuned", "ReasonedEdge", None),
        ("/api/search?q=tuned", "Matches", None),
        ("/api/compare", "Compared", {"a": "base", "b": "stranger"}),
        ("/api/place", "Placed", {"path": str(models / "new" / "deep.npz")}),
    ):
        answer = live.post(path, json=asked) if asked else live.get(path)
        reference = {"$ref": f"#/components/schemas/{schema}", **described}
        check_valid(answer.json(), reference)
        shape = {"additionalProperties": False, **described["components"]["schemas"][schema]}
        check_valid(answer.json(), {**shape, **described})


def test_place_says_what_it_found(models):
    old = {p.stem: p for p in (models / "old").iterdir()}
    assert place(models / "new" / "foreign.npz", old).found == "alone"
    small = place(models / "new" / "small.npz", old)
    assert (small.found, small.comparable) == ("alone", 0)
    base = old.pop("base")
    above = place(base, old)
    assert (above.found, set(above.children)) == ("root", {"tuned", "other"})
    other = old.pop("other")
    sibling = place(other, old)
    assert (sibling.found, sibling.siblings) == ("sibling", ("tuned",))
    twin = place(old["tuned"], old)
    assert (twin.id, twin.compared) == ("tuned#2", 2)


def test_place_among_many_takes_the_nearest(models):
    old = {p.stem: p for p in (models / "old").iterdir()}
    placed = place(models / "new" / "deep.npz", old, most=2)
    assert (placed.parent, placed.compared, placed.comparable) == ("tuned", 2, 4)


def test_nothing_is_read_unless_a_folder_is_allowed(models):
    graph = mother.recover(models / "old")
    asked = client(graph)
    assert "--allow" in problem(asked.post("/api/compare", json={"a": "base", "b": "other"}), 403)
    path = str(models / "old" / "base.npz")
    assert "--allow" in problem(asked.post("/api/place", json={"path": path}), 403)


@pytest.fixture
def fenced(tmp_path, models):
    """A folder that is allowed, links out of it, and a client."""
    inside = tmp_path / "inside"
    (inside / "model").mkdir(parents=True)
    (inside / "base.npz").symlink_to(models / "old" / "base.npz")
    (inside / "out").symlink_to(models / "old")
    (inside / "model" / "model.safetensors").symlink_to(models / "old" / "base.npz")
    (inside / "loop").symlink_to("loop")
    nodes = (
        Node("base", str(models / "old" / "base.npz"), "npz", "a", 1),
        Node("passwd", "/etc/passwd", "npz", "a", 1),
    )
    with client(ModelGraph("gram", nodes), folders=[inside]) as session:
        yield inside, session


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "/", "relative", "{}/../inside/base.npz", "{}/../{}", "{}2/x"),
        *("{}/base.npz", "{}/out", "{}/out/base.npz", "{}/nul\0", "file://{}/base.npz"),
        *("~/x", "/proc/self/environ", "/dev/stdin", "{}/loop/../../x", "//etc/passwd"),
    ],
)
def test_paths_stay_inside(fenced, path):
    inside, asked = fenced
    response = asked.post("/api/place", json={"path": path.replace("{}", str(inside))})
    assert problem(response, 403).endswith("outside the folders allowed at the start")


def test_links_inside_a_checkpoint_stay_inside(fenced):
    inside, asked = fenced
    response = asked.post("/api/place", json={"path": str(inside / "model")})
    assert problem(response, 403) == "links to what is outside the folders allowed at the start"


def test_paths_of_the_graph_stay_inside(fenced):
    _, asked = fenced
    for other in ("base", "passwd"):
        problem(asked.post("/api/compare", json={"a": "passwd", "b": other}), 403)


def test_absent_and_broken_checkpoints(fenced):
    inside, asked = fenced
    (inside / "bad.npz").write_bytes(b"PK\x03\x04 and no more")
    os.mkfifo(inside / "pipe.npz")
    problem(asked.post("/api/place", json={"path": str(inside / "absent")}), 404)
    assert "bad.npz: " in problem(asked.post("/api/place", json={"path": f"{inside}/bad.npz"}), 422)
    problem(asked.post("/api/place", json={"path": f"{inside}/pipe.npz"}), 422)
    listed = problem(asked.post("/api/place", json={"path": f"{inside}"}), 403)
    assert "base" not in listed


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:80", "localhost:8001", ""),
        *("localhost.evil.example:8000", "127.0.0.1:8000@evil.example", "127.0.0.2:8000"),
        "0.0.0.0:8000",
    ],
)
def test_a_foreign_host_is_refused(host):
    asked = client(family())
    for path in ("/", "/api", "/api/graph", "/nothing"):
        problem(asked.get(path, headers={"Host": host}), 403)


def test_our_own_hosts():
    asked = client(family())
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LocalHost:8000"):
        assert asked.get("/api/graph", headers={"Host": host}).status_code == 200
    twice = [("Host", "127.0.0.1:8000"), ("Host", "evil.example")]
    problem(asked.get("/api/graph", headers=twice), 403)
    assert names_of("192.0.2.7", 8000) == {"192.0.2.7:8000"}


@pytest.mark.parametrize(
    "headers",
    [
        *({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}),
        *({"Origin": "http://127.0.0.1:8001"}, {"Origin": "https://127.0.0.1:8000"}),
        *({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_a_foreign_origin_is_refused(headers):
    asked = client(family())
    problem(asked.get("/api/graph", headers=headers), 403)
    problem(asked.post("/api/compare", json={"a": "base", "b": "lora"}, headers=headers), 403)
    for method in ("PUT", "DELETE", "PATCH"):
        problem(asked.request(method, "/", headers=headers), 403)


def test_a_foreign_origin_is_not_even_shown_the_page():
    problem(client(family()).get("/", headers={"Origin": "http://evil.example"}), 403)


def test_our_own_origin_and_a_link_from_elsewhere():
    asked = client(family())
    for origin in (HOST, "http://localhost:8000"):
        response = asked.get("/api/graph", headers={"Origin": origin})
        assert response.status_code == 200
        assert not [name for name in response.headers if name.startswith("access-control")]
    assert asked.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_only_json_of_a_bounded_size_is_taken():
    asked = client(family())
    body = json.dumps({"a": "base", "b": "lora"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"):
        problem(asked.post("/api/compare", content=body, headers={"Content-Type": kind}), 415)
    kind = {"Content-Type": "application/json"}
    large = b"x" * (guard.LARGEST_BODY + 1)
    problem(asked.post("/api/compare", content=large, headers=kind), 413)
    chunks = (large[:40_000] for _ in range(3))
    problem(asked.post("/api/compare", content=chunks, headers=kind), 413)
    deep = b"[" * 60_000
    problem(asked.post("/api/compare", content=deep, headers=kind), 400)
    problem(asked.get("/api/search?q=" + "x" * guard.LONGEST_TARGET), 400)


def test_a_body_that_does_not_come(monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.01)

    async def never():
        await asyncio.sleep(60)

    answer = outcome(guard._body(never))
    assert isinstance(answer, guard.Problem)
    assert answer.status_code == 408


def test_reads_change_nothing_and_writes_are_not_read():
    asked = client(family())
    for path in ("/api/compare", "/api/place", "/api/drop"):
        response = asked.get(path)
        problem(response, 405)
        assert response.headers["allow"] == "POST"
    for path in ("/", "/api/graph", "/api/trees"):
        problem(asked.delete(path), 405)


def test_one_at_a_time_and_not_for_ever(models):
    graph = mother.recover(models / "old")
    app = application(graph, names_of("127.0.0.1", 8000), folders=[models], seconds=0.001)
    pair = {"a": "base", "b": "tuned"}
    assert "--timeout" in problem(
        TestClient(app, base_url=HOST).post("/api/compare", json=pair), 504
    )

    async def two():
        heavy = Heavy([models], 60)
        task = {"do": "compare", "a": f"{models}/old/base.npz", "b": f"{models}/old/tuned.npz"}
        task["names"] = ["base", "tuned"]
        return await asyncio.gather(heavy(task), heavy(task)), await heavy(task)

    (first, second), third = outcome(two())
    assert first["relation"] == third["relation"] == "fine-tune"
    assert second.status_code == 503
    assert int(second.headers["retry-after"]) > 0


def test_work_ends_when_nobody_waits_for_it(models, monkeypatch):
    """The process is gone, and the next one who asks is not told that the server is busy."""
    started = []
    spawn = asyncio.create_subprocess_exec

    async def kept(*words, **options):
        # one that would go on for ever
        process = await spawn(words[0], "-c", "import time; time.sleep(600)", **options)
        started.append(process)
        return process

    async def asked_and_left():
        heavy = Heavy([models], 60)
        task = {"do": "compare", "a": "a", "b": "b", "names": ["a", "b"]}
        monkeypatch.setattr(asyncio, "create_subprocess_exec", kept)
        for _ in range(2):
            answer = await heavy(task, lambda: asyncio.sleep(0.05))
            assert (answer.status_code, b"gone" in answer.body) == (503, True)

    outcome(asked_and_left())
    assert [process.returncode for process in started] == [-9, -9]


def test_every_answer_is_sealed():
    asked = client(family())
    for path in ("/", "/api", "/api/openapi.json", "/api/graph", "/nothing"):
        headers = asked.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "connect-src 'self'" in asked.get("/").headers["content-security-policy"]


class Loads(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.loads = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.loads += [v for k, v in attributes if k in ("src", "href", "action")]


def test_the_page_of_the_api_needs_nothing_from_elsewhere():
    asked = client(family())
    found = Loads()
    text = asked.get("/api").text
    found.feed(text)
    assert not {"script", "link", "iframe", "img"} & found.tags
    assert set(found.loads) == {"/", "/api/openapi.json"}
    described = asked.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        *("/api/graph", "/api/trees", "/api/node/{key}", "/api/edge", "/api/search"),
        *("/api/compare", "/api/entries", "/api/place", "/api/drop"),
    }
    assert all(path in text for path in described["paths"])


def test_hostile_paths_are_spelled_out(fenced):
    _, asked = fenced
    for name in HOSTILE:
        response = asked.post(
            "/api/place",
            content=json.dumps({"path": name}),
            headers={"Content-Type": "application/json"},
        )
        detail = problem(response, 403 if 0 < len(name) <= 4096 and "\udce9" not in name else 422)
        assert all(c.isprintable() for c in detail)


def test_a_graph_of_hostile_names_has_a_page():
    assert client(hostile(HOSTILE, list(range(len(HOSTILE))))).get("/").status_code == 200
