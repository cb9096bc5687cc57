"""`mother serve` as a command: what it says, where it listens, how it ends."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.error
import urllib.request

import pytest
from kit import check_one_line, child_process, ended, model, run, save, save_family

from mother.graph import ModelGraph


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "graph.json"
    path.write_text(ModelGraph("gram").to_json())
    return path


def fetched(address):
    with urllib.request.urlopen(address, timeout=30) as response:
        return response.read().decode()


def said_address(process):
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), (line, process.stderr.read())
    return line.split()[0]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_it_serves_a_folder_until_it_is_told_to_stop(tmp_path, end):
    save_family(tmp_path / "models", count=3)
    with child_process("serve", tmp_path / "models", "--port", "0") as process:
        address = said_address(process)
        assert "<!doctype html>" in fetched(address)
        about = json.loads(fetched(f"{address}api/graph"))
        assert (about["models"], about["weights"]) == (3, True)
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetched(urllib.request.Request(f"{address}api/graph", headers={"Host": "evil.example"}))
        assert refused.value.code == 403
        refused.value.close()
        process.send_signal(end)
        out, err = ended(process)
    assert process.returncode == (0 if end == signal.SIGINT else -end)
    assert (out, err) == ("", "")


def test_a_port_in_use(graph):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", graph, "--port", port)
    check_one_line(result, f"127.0.0.1 port {port}", "--port 0")
    assert result.out == ""


@pytest.mark.parametrize("absent", ["fastapi", "uvicorn", "starlette", "pydantic"])
def test_a_missing_extra(graph, monkeypatch, absent):
    for name in [*sys.modules]:
        if name.split(".")[0] == absent or name.startswith("mother.server"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    check_one_line(run("serve", graph), absent, "pip install 'mother-recovery[serve]'")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--host", "localhost"), "give an IP address"),
        (("--host", "0.0.0.0"), "the one address"),
        (("--host", "::"), "the one address"),
        (("--host", "192.0.2.1"), "can't listen"),
        (("--port", "65536"), "65536"),
        (("--port", "http"), "http"),
        (("--allow", "no/such/folder"), "no such folder"),
        (("--timeout", "0"), "timeout"),
        (("--timeout", "nan"), "timeout"),
        (("--timeout", "inf"), "timeout"),
    ],
)
def test_bad_usage(graph, options, told):
    result = run("serve", graph, "--port", "0", *options)
    assert result.code == 2
    assert told in result.err
    assert "Traceback" not in result.err


def test_what_can_not_be_served(tmp_path, graph):
    check_one_line(run("serve", tmp_path / "none.json"), "none.json")
    graph.write_text("[]")
    check_one_line(run("serve", graph, "--port", "0"), "graph.json")
    (tmp_path / "empty").mkdir()
    check_one_line(run("serve", tmp_path / "empty", "--port", "0"), "empty")
    save(tmp_path / "file.safetensors", model(layers=1))
    check_one_line(run("serve", tmp_path / "file.safetensors", "--port", "0"), "file.safetensors")
