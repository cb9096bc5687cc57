"""Files on a web server, read by ranges."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx2
import numpy as np
import pytest
from click.testing import CliRunner
from kit import model, tuned
from loopback_web import Web, serve
from safetensors.numpy import save
from views.serving import served

import mother
import mother.hub.web
from mother.checkpoints import discover, open_checkpoint
from mother.cli import cli
from mother.errors import InputError
from mother.graph import ModelGraph
from mother.hub import TRAFFIC, shown
from mother.hub.schemes import public
from mother.hub.web import followed


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("mother.hub.mirrors._spool", tmp_path / "spool")
    monkeypatch.setattr("mother.hub.patience.sleep", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve() as found:
        yield found
    mother.hub.web.client().close()
    mother.hub.web._client = None


def weights(count: int = 600_000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"layer{k}": rng.normal(size=count // 4).astype(np.float32) for k in range(4)}


def test_ranges_of_a_file(web: Web) -> None:
    web.files["/my models/ü.safetensors"] = save(weights())
    c = open_checkpoint(f"{web.at}/my models/ü.safetensors")
    assert (c.id, c.shown) == ("ü", f"{web.at}/my models/ü.safetensors")
    assert np.array_equal(c.tensors["layer3"].read(0, 10), weights()["layer3"][:10])
    assert web.sent < 400_000 < len(web.files["/my models/ü.safetensors"])
    assert len(web.asked) == 3
    assert open_checkpoint(c.shown).shown == c.shown


@pytest.mark.parametrize(
    ("given", "asked", "shown"),
    [
        ("a%2Bb/m.npz", "/a%2Bb/m.npz", "a%2Bb/m.npz"),  # a signature is one of what was spelled
        ("%C3%BC/m n.npz", "/%C3%BC/m%20n.npz", "ü/m n.npz"),
        ("50%25/m.npz", "/50%25/m.npz", "50%25/m.npz"),
    ],
)
def test_an_address_is_asked_for_as_it_is_spelled(
    web: Web, given: str, asked: str, shown: str
) -> None:
    web.files[unquote(asked)] = archive()
    c = open_checkpoint(f"{web.at}/{given}")
    assert {path for path, _ in web.asked} == {asked}
    assert c.shown == f"{web.at}/{shown}"
    assert open_checkpoint(c.shown).shown == c.shown


def test_recover_compare_check(web: Web, tmp_path: Path) -> None:
    base = model(0)
    web.files = {"/base.safetensors": save(base), "/tuned.safetensors": save(tuned(base, 1))}
    paths = [f"{web.at}/base.safetensors", f"{web.at}/tuned.safetensors"]
    for command in ("recover", "compare", "check"):
        ran = CliRunner().invoke(cli, [command, *paths])
        assert ran.exit_code == 0, ran.output
        assert "tuned" in ran.stdout
        assert "came in" in ran.stdout.splitlines()[-1]
    index = str(tmp_path / "index")
    for arguments in (["create", index], ["add", index, *paths], ["add", index, paths[0]]):
        ran = CliRunner().invoke(cli, ["index", *arguments])
        assert ran.exit_code == 0, ran.output
    assert "1 unchanged" in ran.stdout
    web.files["/base.safetensors"] = save(model(2))
    web.faults["/base.safetensors"] = ["changed"] * 9
    assert "1 changed" in CliRunner().invoke(cli, ["index", "add", index, paths[0]]).stdout


def test_shards_lie_beside_their_list(web: Web) -> None:
    places = {}
    for k, (name, values) in enumerate(weights(4000).items(), 1):
        places[name] = f"model-{k:05}-of-00004.safetensors"
        web.files[f"/m/{places[name]}"] = save({name: values})
    web.files["/m/model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    c = open_checkpoint(f"{web.at}/m/model.safetensors.index.json")
    assert np.array_equal(c.tensors["layer2"].read(), weights(4000)["layer2"])
    web.files["/m/model.safetensors.index.json"] = b'{"weight_map": {"a": "../secret"}}'
    with pytest.raises(InputError, match="names a shard outside its folder"):
        open_checkpoint(f"{web.at}/m/model.safetensors.index.json")


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        (["404"], "the server answers 404 Not Found"),
        (["403"], "403 Forbidden: credentials are missing, not accepted or expired"),
        (["503"] * 9, "503 Service Unavailable; try again in 0 seconds"),
        (["whole"], "the server ignores byte ranges; --download fetches the whole file"),
        (["page"], "a page to look at, not a model's file"),
        (["", "changed"], "has changed on the server while it was read"),
        (["", "", "changed"], "has changed on the server while it was read"),
        (["", "longer"], "bytes by the server's list and"),
        (["cut"] * 9, "can't be read"),
        (["to ftp://x/y"], "which is not https"),
        (["to /a.safetensors"] * 9, "elsewhere more than 5 times"),
    ],
)
def test_faults_are_one_line(web: Web, faults: list[str], said: str) -> None:
    web.files["/a.safetensors"] = save(weights())
    web.faults["/a.safetensors"] = faults
    with pytest.raises(InputError) as raised:
        open_checkpoint(f"{web.at}/a.safetensors").tensors["layer3"].read()
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nobody_is_followed_into_a_private_network() -> None:
    with pytest.raises(ValueError, match="into a private network"):
        followed("http://93.184.216.34/a", "http://169.254.169.254/latest")
    with pytest.raises(ValueError, match="which is not https"):
        followed("https://93.184.216.34/a", "http://93.184.216.34/a")
    assert followed("https://93.184.216.34/a", "/b?c") == "https://93.184.216.34/b?c"


def listed(*links: str) -> bytes:
    """The page of a folder, as servers make one."""
    rows = "".join(f'<a href="{link}">{link}</a>\n' for link in links)
    return f"<!DOCTYPE html><h1>Index of</h1><a href='?C=N;O=D'>Name</a>{rows}</html>".encode()


def test_a_folder_by_the_list_that_its_server_shows(web: Web) -> None:
    base = weights(400)
    rng = np.random.default_rng(1)
    kid = {k: v + 0.1 * rng.normal(size=v.shape).astype(v.dtype) for k, v in base.items()}
    elsewhere = (
        "../",
        "/",
        "https://host.example/models/a.npz",
        "javascript:x",
        "http://[",
        "..%2f",
    )
    pages = {
        "/models/": listed(
            "base.safetensors", "ein%20Kind,%20%C3%BC/", ".git/", "no.npz", *elsewhere
        ),
        "/models/ein Kind, ü/": listed("model.safetensors", "config.json", "../"),
    }
    files = {"base.safetensors": base, "ein Kind, ü/model.safetensors": kid}
    web.files |= pages | {f"/models/{name}": save(data) for name, data in files.items()}
    web.files["/models/ein Kind, ü/config.json"] = b"{}"
    web.faults = {path: ["page"] * 9 for path in pages}
    at = f"{web.at}/models/"
    graph = mother.recover(at)
    (edge,) = graph.edges
    assert (edge.parent, edge.child) == ("base", "ein Kind, ü")
    assert [r.path for r in graph.refused] == [f"{at}no.npz"]  # of which the server answers 404
    assert {unquote(path) for path, _ in web.asked} == {*web.files, "/models/no.npz"}
    web.faults["/models/ein Kind, ü"] = ["to /models/ein%20Kind,%20%C3%BC/"]
    found = open_checkpoint(graph.nodes[1].path)  # what the graph says is read again
    assert (found.id, found.shown) == ("ein Kind, ü", f"{at}ein Kind, ü")


def test_a_folder_without_end(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mother.hub.web_folders.MAX_FOLDERS", 20)
    monkeypatch.setattr("mother.hub.web_folders.MAX_DEPTH", 4)
    for depth in range(6):
        web.files["/" + "more/" * depth] = listed("more/")
        web.faults["/" + "more/" * depth] = ["page"] * 2
    with pytest.raises(InputError, match="a page to look at, and no models"):
        mother.recover(f"{web.at}/")
    assert len(web.asked) == 5
    web.files["/"] = listed(*(f"{k}/" for k in range(30)))
    with pytest.raises(InputError, match="more than 20000 files or 20 folders"):
        mother.recover(f"{web.at}/")
    web.files["/a/"] = b"-"
    with pytest.raises(InputError, match="no list of a folder, but application/octet-stream"):
        mother.recover(f"{web.at}/a/")


def test_what_passes_is_tried_again(web: Web) -> None:
    web.files["/a.safetensors"] = data = save(weights())
    web.faults["/a.safetensors"] = ["503", "", "cut", "429", "cut", ""]
    before = TRAFFIC.again
    c = open_checkpoint(f"{web.at}/a.safetensors")
    for name, values in weights().items():
        assert np.array_equal(c.tensors[name].read(), values)
    assert TRAFFIC.again - before == 4  # which a terminal shows while it waits
    assert web.sent < 1.2 * len(data)  # what came is not asked for again


def test_what_does_not_pass_is_not_tried_again(web: Web) -> None:
    before = TRAFFIC.requests
    with pytest.raises(InputError, match="WRONG_VERSION_NUMBER"):
        mother.recover(f"{web.at.replace('http:', 'https:')}/a.npz")
    assert TRAFFIC.requests - before == 1


def test_two_versions_and_two_spellings_of_one_file(web: Web) -> None:
    web.files["/m/ü.npz"] = archive()
    at = f"{web.at}/m/ü.npz"
    (one,) = discover([at, f"{web.at}/m/%C3%BC.npz"])[0]
    assert one.id == "ü"
    found, _ = discover([f"{at}?versionId=1", f"{at}?versionId=2"])
    assert [c.id for c in found] == ["ü.npz?versionId=1", "ü.npz?versionId=2"]


def test_a_server_without_ranges_when_allowed(web: Web) -> None:
    web.files["/a.safetensors"] = save(weights())
    web.faults["/a.safetensors"] = ["whole", "503", "whole"]
    c = open_checkpoint(f"{web.at}/a.safetensors", download=True)
    assert np.array_equal(c.tensors["layer3"].read(), weights()["layer3"])
    assert len(web.asked) == 3  # one byte, a connection that broke, and all of it


SIGNED = "X-Amz-Credential=AKIA&X-Amz-Signature=5ec2e7"


def test_no_secret_is_told(web: Web, tmp_path: Path) -> None:
    base = model(0)
    web.files = {"/base.safetensors": save(base), "/tuned.safetensors": save(tuned(base, 1))}
    web.allow = "Basic bWU6NWVjMmU3"  # me:5ec2e7
    host = web.at.replace("http://", "http://me:5ec2e7@")
    paths = [f"{host}/{name}.safetensors?{SIGNED}&key=5ec2e7" for name in ("base", "tuned", "none")]
    html, graph = tmp_path / "p.html", tmp_path / "g.json"
    ran = CliRunner().invoke(cli, ["recover", *paths, "--html", str(html), "-o", str(graph)])
    assert "404" in ran.stderr
    assert SIGNED in web.asked[0][0]
    told = ran.output + html.read_text() + graph.read_text()
    assert "5ec2e7" not in told
    assert "AKIA" not in told
    nodes = mother.ModelGraph.load(graph).nodes
    assert {n.path.split("?")[0] for n in nodes} == {
        f"{web.at}/{name}.safetensors" for name in ("base", "tuned")
    }
    assert all(public(n.path) == shown(n.path) == n.path for n in nodes)


def test_credentials_go_to_no_other_host(web: Web) -> None:
    web.files["/a.safetensors"] = save(weights())
    with serve() as other:
        other.files["/b.safetensors"] = save(weights())
        web.faults["/a.safetensors"] = [f"to {other.at}/b.safetensors"] * 9
        host = web.at.replace("http://", "http://me:5ec2e7@")
        c = open_checkpoint(f"{host}/a.safetensors")
        assert np.array_equal(c.tensors["layer3"].read(), weights()["layer3"])
    assert all("authorization" in headers for _, headers in web.asked)
    assert not any("authorization" in headers for _, headers in other.asked)


def test_netrc(web: Web, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password 5ec2e7\n")
    (tmp_path / ".netrc").chmod(0o600)
    web.files["/a.npz"] = web.files["/a.npz"] = archive()
    web.allow = "Basic bWU6NWVjMmU3"
    assert open_checkpoint(f"{web.at}/a.npz").id == "a"


def archive() -> bytes:
    out = io.BytesIO()
    np.savez(out, **weights(400))
    return out.getvalue()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://huggingface.co/org/model/tree/main", "the models there are hf://org/model"),
        ("https://huggingface.co/org", "the models there are hf://OWNER/NAME"),
        ("https:///a.npz", "names no file"),
    ],
)
def test_addresses_of_no_file(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mother.recover(address)


def test_serve_places_what_is_allowed(web: Web, tmp_path: Path) -> None:
    """In a process of its own, which opens nothing else."""
    base = model(0)
    for name, data in {"base": base, "tuned": tuned(base, 1), "kid ü": tuned(base, 2)}.items():
        web.files[f"/models/{name}.safetensors"] = save(data)
    web.files["/secret.safetensors"] = save(model(3))
    web.allow = "Basic bWU6d29yZA=="
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password word")
    (tmp_path / ".netrc").chmod(0o600)
    at = f"{web.at}/models"
    graph = mother.recover([f"{at}/base.safetensors", f"{at}/tuned.safetensors"])
    with served(graph, folders=[Path(at)]) as address, httpx2.Client(timeout=60) as client:

        def ask(what: str, **body: str) -> httpx2.Response:
            return client.post(f"{address}/api/{what}", json=body)

        placed = ask("place", path=f"{at}/kid ü.safetensors").json()
        assert (placed.get("found"), placed.get("unread")) == ("child", 0), placed
        for outside in (
            "/secret",
            "/models/../secret",
            "/models/%2e%2e/secret",
            "/models/.\t./secret",
        ):
            assert ask("place", path=f"{web.at}{outside}.safetensors").status_code == 403
        assert ask("place", path=f"{at.replace('//', '//me@')}/base.safetensors").status_code == 403
        gone = ask("place", path=f"{at}/gone.safetensors")
        assert (gone.status_code, "404 Not Found" in gone.text) == (422, True)
    assert not any("secret" in path for path, _ in web.asked)


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        ("hf://org/kid@v1", "give what it lies in, hf://org/kid"),
        ("oci://host/lab/kid:v1", "give what it lies in, oci://host/lab/kid"),
        ("s3://bucket/../other", "leads elsewhere than it says"),
    ],
)
def test_what_serve_can_be_allowed(tmp_path: Path, allow: str, told: str) -> None:
    (tmp_path / "graph.json").write_text(ModelGraph("gram", ()).to_json())
    ran = CliRunner().invoke(cli, ["serve", str(tmp_path / "graph.json"), "--allow", allow])
    assert told in str(ran.exception)
