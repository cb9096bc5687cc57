"""The command line as scripts and people rely on it: output, files, exit codes, one-line faults."""

import io
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kit import (
    Result,
    check_one_line,
    check_refused,
    child_process,
    ended,
    model,
    run,
    save,
    save_family,
    tuned,
)

SCORES = ("kurtosis", "mean", "variance", "skewness", "entropy")


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return save_family(tmp_path_factory.mktemp("family"))


@pytest.fixture(scope="module")
def graph(family, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "graph.json"
    assert run("recover", family, "-o", path).code == 0
    return path


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"edges": [["root", f"child{k}"] for k in range(1, 5)]}))
    return path


def test_help_and_version():
    bare, asked = run(), run("--help")
    assert bare.code == asked.code == 0
    assert bare.out == asked.out
    assert "recover" in bare.out
    assert not bare.err
    assert run("--version").out.startswith("mother, version ")
    for command in ("recover", "compare", "evaluate", "show"):
        assert run(command, "-h").code == 0


def test_as_a_module():
    ran = subprocess.run([sys.executable, "-m", "mother"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Usage: mother [OPTIONS] COMMAND")


def test_recover_prints_the_forest_and_writes_the_graph(family, tmp_path):
    output = tmp_path / "graph.json"
    result = run("recover", family, "-o", output)
    assert result.code == 0
    assert not result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("root ")
    assert [line.split()[1] for line in lines[1:5]] == [f"child{k}" for k in range(1, 5)]
    assert all("fine-tuned" in line and "%" in line for line in lines[1:5])
    assert lines[6].startswith("5 models in 1 tree; 4 edges: ")
    content = json.loads(output.read_text())
    assert content["schema"] == "mother.model-graph/1"
    assert content["method"] == "gram"
    wanted = {
        "nodes": {"id", "path", "architecture", "parameters"},
        "edges": {"parent", "child", "relation", "stage", "distance", "polarity", "support"}
        | {"direction_probability"},
        "trees": {"root", "members", "hidden_root"},
    }
    for part, keys in wanted.items():
        assert all(keys <= set(item) for item in content[part])
    assert {(e["parent"], e["child"]) for e in content["edges"]} == {
        ("root", f"child{k}") for k in range(1, 5)
    }
    assert not list(tmp_path.glob(".graph*"))


def test_show_prints_what_recover_printed(family, graph):
    assert run("show", graph) == run("recover", family)


def test_one_checkpoint_is_a_tree_of_one(family, tmp_path):
    result = run("recover", family / "root.safetensors", "-o", tmp_path / "g.json")
    assert result.code == 0
    assert not result.err
    assert result.out.startswith("root   1 model")
    content = json.loads((tmp_path / "g.json").read_text())
    assert content["trees"] == [{"root": "root", "members": ["root"], "hidden_root": False}]
    assert content["edges"] == []


def test_the_same_file_twice_is_one_checkpoint(family):
    path = family / "root.safetensors"
    again = family / ".." / family.name / "root.safetensors"
    assert run("recover", path, path, again).out == run("recover", path).out


@pytest.mark.parametrize("method", ["gram", "mother"])
@pytest.mark.parametrize("distance", ["auto", "ft", "lora"])
def test_methods_and_distances(family, method, distance):
    result = run("recover", family, "--method", method, "--distance", distance)
    assert result.code == 0
    assert not result.err
    assert len(result.out.splitlines()) == 7  # the summary is two


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("stage", ["specialization", "generalization"])
def test_scores_and_stages(family, score, stage):
    result = run("recover", family, "--method=mother", "--score", score, "--stage", stage)
    assert result.code == 0
    assert not result.err
    assert len(result.out.splitlines()) == 7  # the summary is two


def test_stages_from_a_file(family, tmp_path):
    stages = tmp_path / "stages.json"
    stages.write_text('{"root": "generalization"}')
    result = run("recover", family, "--method=mother", "--stages", stages)
    assert result.code == 0
    assert not result.err


@pytest.mark.parametrize(
    "content",
    [
        '{"nobody": "generalization"}',
        '{"root": "infancy"}',
        '{"root": ["generalization"]}',
        '["root"]',
        "{broken",
        b"\xff\xfe",
        "[" * 100_000,
        None,
    ],
)
def test_broken_stages(family, tmp_path, content):
    stages = tmp_path / "stages.json"
    if content is not None:
        stages.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_one_line(run("recover", family, "--method=mother", "--stages", stages))


@pytest.mark.parametrize(
    "option",
    [
        "--trees=0",
        "--trees=-1",
        "--trees=some",
        "--trees=²",
        "--trees=6",
        "--trees=99999999999999999999",
        "--memory=x",
        "--memory=0",
        "--memory=",
        "--memory=²",
        "--memory=1K",
        "--threads=-1",
        "--threads=two",
        "--bootstrap=-1",
        "--bootstrap=1000000000",
        "--seed=-1",
        "--layers=[",
        "--layers=nothing",
        "--depth=0",
        "--c=-1",
        "--c=nan",
        "--c=inf",
        "--method=guess",
        "--distance=far",
        "--score=luck",
        "--stage=infancy",
        "--unknown",
        "--base=no/such/base",
    ],
)
@pytest.mark.parametrize("method", ["gram", "mother"])
def test_nonsense_options(family, option, method):
    check_one_line(run("recover", family, f"--method={method}", option))


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("recover",), ("compare", "a"), ("show",), ("evaluate", "a")]
)
def test_missing_arguments(arguments):
    check_one_line(run(*arguments))


def test_a_number_of_trees_needs_one_architecture(family, tmp_path):
    other = save(tmp_path / "other.safetensors", model(3, layers=2, width=40))
    check_one_line(run("recover", family, other, "--trees=2"))


def test_architectures_are_separate_trees(family, tmp_path):
    other = save(tmp_path / "other.safetensors", model(3, layers=2, width=40))
    result = run("recover", family, other)
    assert result.code == 0
    assert [line for line in result.out.splitlines() if line.startswith("other ")]
    assert len(result.out.splitlines()) == 8


@pytest.mark.parametrize("path", ["no/such/folder", "", "nul\0byte"])
def test_paths_that_are_not_there(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_family(tmp_path, 2)
    check_one_line(run("recover", path))


@pytest.mark.parametrize(
    "arguments",
    [("recover", ""), ("recover", ".", "--base", ""), ("compare", "", "."), ("compare", ".", ""),
     ("check", ""), ("index", "add", "x.index", ""), ("index", "place", "x.index", "")],
)  # fmt: skip
def test_an_empty_path_is_not_the_current_folder(family, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "alone.safetensors", model())
    assert run("index", "create", "x.index").code == 0
    check_one_line(run(*arguments), "a path is empty; the current folder is '.'")


def test_all_paths_that_are_not_there_are_named():
    check_refused(run("recover", "nope1", "nope2", "nope3"), "nope1", "nope2", "nope3")


@pytest.mark.parametrize("output", ["missing/g.json", ".", "folder", ""])
def test_outputs_that_can_not_be_written(family, output, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    # told at once, not after an hour of reading
    monkeypatch.setattr("mother.recovery.recover", lambda *_, **__: pytest.fail("has begun"))
    check_one_line(run("recover", family, "-o", output), "can't be written")


def test_an_input_is_never_overwritten(tmp_path):
    save_family(tmp_path, 3)
    path = tmp_path / "child1.safetensors"
    before = path.read_bytes()
    # what a shell makes of: mother recover -o *.safetensors
    result = run("recover", "-o", *sorted(tmp_path.iterdir()))
    assert path.read_bytes() == before
    check_one_line(result, path.name)


def test_an_output_that_is_a_link_keeps_its_link(family, tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("real.json")
    assert run("recover", family, "-o", tmp_path / "link.json").code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["nodes"]


def test_an_output_that_is_no_regular_file_is_not_replaced(family, tmp_path):
    """As root, `-o /dev/null` must not turn /dev/null into a regular file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        run("recover", family, "-o", pipe)
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_the_mode_of_a_graph_is_that_of_any_new_file(family, tmp_path):
    (tmp_path / "plain").write_text("")
    assert run("recover", family, "-o", tmp_path / "g.json").code == 0
    assert (tmp_path / "g.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_evaluate(graph, truth):
    result = run("evaluate", graph, truth)
    assert result.code == 0
    assert not result.err
    assert "1.000  (4 of 4)" in result.out
    figures = json.loads(run("evaluate", graph, truth, "--json").out)
    assert figures["accuracy"] == figures["undirected"] == figures["adjusted_rand_index"] == 1.0
    assert figures["true"] == figures["found"] == 4


def test_evaluate_without_true_edges(graph, truth):
    truth.write_text('{"edges": [], "note": "ignored"}')
    result = run("evaluate", graph, truth, "--json")
    assert result.code == 0
    assert json.loads(result.out)["accuracy"] is None


@pytest.mark.parametrize(
    "content",
    [
        "nope",
        "",
        "[]",
        "{}",
        '{"edges": 5}',
        '{"edges": [["a"]]}',
        '{"edges": [[1, 2]]}',
        '{"edges": ["ab"]}',
        "[" * 100_000,
        b"\xff\xfe",
        None,
    ],
)
def test_broken_truths(graph, truth, content):
    truth.unlink()
    if content is not None:
        truth.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_one_line(run("evaluate", graph, truth), truth.name)


def change(part, key, value):
    def apply(content):
        content[part][0][key] = value

    return apply


BROKEN = {
    "another schema": lambda g: g.update(schema="mother.model-graph/99"),
    "no schema": lambda g: g.pop("schema"),
    "nodes are a number": lambda g: g.update(nodes=5),
    "nodes are an object": lambda g: g.update(nodes={"a": 1}),
    "edges are lists": lambda g: g.update(edges=[[1, 2]]),
    "edge without parent": lambda g: g["edges"][0].pop("parent"),
    "child is a list": change("edges", "child", ["root"]),
    "parent is a number": change("edges", "parent", 5),
    "distance is text": change("edges", "distance", "far"),
    "support is text": change("edges", "support", "much"),
    "relation is null": change("edges", "relation", None),
    "id is an object": change("nodes", "id", {}),
    "parameters are text": change("nodes", "parameters", "many"),
    "parameters are null": change("nodes", "parameters", None),
    "tree root is a number": change("trees", "root", 3),
    "tree members are a number": change("trees", "members", 3),
    "tree root is nobody": change("trees", "root", "nobody"),
    "hidden without children": lambda g: g.update(hidden=[{"id": "hidden:1"}]),
    "hidden children are a number": lambda g: g.update(hidden=[{"id": "h", "children": 5}]),
    "hidden is its own child": lambda g: g.update(
        hidden=[{"id": "h", "children": ["h", "root"], "parent": "root"}]
    ),
    "a ring": lambda g: g["edges"].append(g["edges"][0] | {"parent": "child1", "child": "root"}),
    "refused by numbers": lambda g: g.update(refused=[{"path": 5, "fault": 7}]),
    "options are a list": lambda g: g.update(options=[1]),
}


RINGS = ("a ring", "hidden is its own child")


@pytest.mark.parametrize("name", BROKEN)
def test_broken_graphs(graph, tmp_path, name):
    content = json.loads(graph.read_text())
    BROKEN[name](content)
    path = tmp_path / "broken.json"
    path.write_text(json.dumps(content))
    if name in RINGS:
        # in a process of its own: it must not take this one with it
        with child_process("show", path, stdout=subprocess.DEVNULL) as process:
            _, err = ended(process, 15)
        result = Result(process.returncode, "", err)
    else:
        result = run("show", path)
    check_one_line(result, path.name)


@pytest.mark.parametrize("content", [b"", b"nope", b"[]", b"\xff", b"[" * 100_000, None])
def test_what_is_no_graph(tmp_path, truth, content):
    path = tmp_path / "graph.json"
    if content is not None:
        path.write_bytes(content)
    check_one_line(run("show", path), path.name)
    check_one_line(run("evaluate", path, truth), path.name)
    check_one_line(run("show", tmp_path), tmp_path.name)


def test_control_characters_of_a_graph_are_spelled_out(graph, tmp_path):
    content = json.loads(graph.read_text())
    content["edges"][0]["relation"] = "\x1b[31mred\nline"
    content["refused"] = [{"path": "a\nb", "fault": "\x1b[31mred\nline"}]
    path = tmp_path / "evil.json"
    path.write_text(json.dumps(content))
    result = run("show", path)
    assert "\x1b" not in result.out + result.err
    assert all(not line.startswith(("line", "b:")) for line in result.out.splitlines())


@pytest.mark.parametrize("command", ["show", "evaluate", "recover", "compare", "-o", "--stages"])
def test_control_characters_of_a_path_are_spelled_out(family, graph, truth, command):
    evil = "no\nsuch\x1b[31mthing"
    arguments = {
        "show": ("show", evil),
        "evaluate": ("evaluate", evil, truth),
        "recover": ("recover", evil),
        "compare": ("compare", evil, evil),
        "-o": ("recover", family, "-o", f"{evil}/g.json"),
        "--stages": ("recover", family, "--stages", evil),
    }
    result = run(*arguments[command])
    check_one_line(result, "such")
    assert "\x1b" not in result.err


@pytest.fixture
def relatives(tmp_path):
    """One pair of paths for each relation."""
    import torch

    root = model(1)
    a = save(tmp_path / "a.safetensors", root)
    kid = save(tmp_path / "kid.safetensors", tuned(root, 1))
    sibling = save(tmp_path / "sibling.safetensors", tuned(root, 2))
    copy = save(tmp_path / "copy.safetensors", root)
    stranger = save(tmp_path / "stranger.safetensors", model(2))
    coarse = tmp_path / "coarse.pt"
    torch.save({name: torch.tensor(w).bfloat16() for name, w in root.items()}, coarse)
    low = dict(root)
    draw = np.random.default_rng(5)
    for k in range(6):
        left, right = draw.standard_normal((64, 4)), draw.standard_normal((4, 64))
        low[f"layer{k}.weight"] = (low[f"layer{k}.weight"] + 0.1 * left @ right).astype("f4")
    return {
        "fine-tune": (a, kid),
        "siblings": (kid, sibling),
        "duplicate": (a, copy),
        "strangers": (a, stranger),
        "converted": (a, coarse),
        "lora": (a, save(tmp_path / "low.safetensors", low)),
    }


@pytest.mark.parametrize(
    "relation", ["fine-tune", "siblings", "duplicate", "strangers", "converted", "lora"]
)
def test_compare(relatives, relation):
    a, b = relatives[relation]
    result = run("compare", a, b)
    assert result.code == 0
    assert not result.err
    content = json.loads(run("compare", a, b, "--json").out)
    assert content["relation"] == relation
    directed = relation in ("fine-tune", "converted", "lora")
    assert content["parent"] == ("a" if directed else None)
    assert json.loads(run("compare", b, a, "--json").out)["parent"] == ("b" if directed else None)
    if relation == "lora":
        assert content["rank"] == 4


@pytest.mark.parametrize(
    "relation", ["fine-tune", "siblings", "duplicate", "strangers", "converted", "lora"]
)
def test_compare_says_what_recover_says(relatives, relation, tmp_path):
    a, b = relatives[relation]
    assert run("recover", a, b, "-o", tmp_path / "g.json").code == 0
    graph = json.loads((tmp_path / "g.json").read_text())
    content = json.loads(run("compare", a, b, "--json").out)
    if graph["edges"]:
        (edge,) = graph["edges"]
        assert edge["relation"] == content["relation"]
        if edge["distance"] is not None:
            assert edge["distance"] == pytest.approx(content["distance"], rel=1e-3)
    else:
        assert content["relation"] == ("siblings" if graph["hidden"] else "strangers")


def test_compare_across_architectures_says_so(family, tmp_path):
    other = save(tmp_path / "other.safetensors", model(3, layers=2, width=40))
    result = run("compare", family / "root.safetensors", other)
    assert result.code == 0
    assert result.out.startswith("Unknown: of different architectures")
    assert "tranger" not in result.out


def test_compare_wants_one_checkpoint_each(family):
    check_one_line(run("compare", family, family / "root.safetensors"), family, "5 checkpoints")
    check_one_line(run("compare", "nope.pt", family / "root.safetensors"), "nope.pt")


def test_same_bytes_whatever_the_threads_order_and_memory(family, tmp_path):
    files = sorted(family.iterdir())
    ways = [
        ([family], ["--threads=1"]),
        ([family], ["--threads=2"]),
        ([family], ["--threads=3", "--memory=1M"]),
        (files, ["--threads=2"]),
        (files[::-1], ["--threads=1"]),
    ]
    for method in ("gram", "mother"):
        texts = set()
        for paths, options in ways:
            out = tmp_path / "g.json"
            printed = run("recover", *paths, *options, f"--method={method}", "-o", out).out
            texts.add((printed, out.read_bytes()))
        assert len(texts) == 1


@pytest.mark.slow
def test_same_bytes_whatever_the_hash_seed(family, tmp_path):
    texts = set()
    for seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        out = tmp_path / "graph.json"  # the last line names it
        with child_process("recover", family, "-o", out, env=environment) as process:
            texts.add((*ended(process), out.read_bytes()))
    assert len(texts) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "cp1252"])
def test_streams_that_are_not_unicode(encoding, tmp_path, truth):
    save_family(tmp_path / "日本", 3)
    (tmp_path / "日本" / "child1.safetensors").rename(tmp_path / "日本" / "語—….safetensors")
    paths = sorted((tmp_path / "日本").iterdir())
    truth.write_text('{"edges": [["語", "…"]]}')
    graph = tmp_path / "g.json"
    for arguments in (
        ("recover", tmp_path / "日本", "-o", graph),
        ("show", graph),
        ("compare", *paths[:2]),
        ("compare", *paths[:2], "--json"),
        ("evaluate", graph, truth),
        ("recover", "--help"),
    ):
        result = run(*arguments, encoding=encoding)
        assert result.code == 0, result
        assert result.out
    check_one_line(run("recover", "日本語", encoding=encoding))


def test_a_pipe_gets_plain_lines(family, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    result = run("recover", family)
    assert "\x1b" not in result.out
    assert not result.err
    assert len(result.out.splitlines()) == 7  # the summary is two


@pytest.mark.parametrize("command", ["recover", "show", "compare"])
@pytest.mark.slow
def test_a_reader_that_leaves_early(family, graph, command):
    arguments = {
        "recover": ("recover", family),
        "show": ("show", graph),
        "compare": ("compare", family / "root.safetensors", family / "child1.safetensors"),
    }
    reader, writer = os.pipe()
    os.close(reader)
    with child_process(*arguments[command], stdout=writer) as process:
        os.close(writer)
        _, err = ended(process)
    assert not err
    # 1 would say that a check said no
    assert process.returncode in (0, 141, -signal.SIGPIPE)


class FullDisk(io.TextIOBase):
    encoding = "utf-8"

    def writable(self):
        return True

    def write(self, _):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("command", ["recover", "show", "compare", "evaluate"])
def test_a_full_disk(family, graph, truth, command):
    arguments = {
        "recover": ("recover", family),
        "show": ("show", graph),
        "compare": ("compare", family / "root.safetensors", family / "child1.safetensors"),
        "evaluate": ("evaluate", graph, truth),
    }
    check_one_line(run(*arguments[command], stdout=FullDisk()), "o space left")


@pytest.mark.parametrize("command", ["recover", "show", "compare", "evaluate"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.slow
def test_closed_streams(family, graph, truth, command, closed, tmp_path):
    """They lead nowhere; what goes elsewhere is written, and nothing but that."""
    arguments = {
        "recover": ("recover", family, "-o", tmp_path / "again.json"),
        "show": ("show", graph),
        "compare": ("compare", family / "root.safetensors", family / "child1.safetensors"),
        "evaluate": ("evaluate", graph, truth),
    }[command]
    words = [sys.executable, "-c", "from mother.cli import main; main()", *map(str, arguments)]
    shell = f"exec {shlex.join(words)} {closed}"
    result = subprocess.run(shell, shell=True, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert bool(result.stdout) == (" >&-" not in f" {closed}")
    if command == "recover":
        assert (tmp_path / "again.json").read_bytes() == graph.read_bytes()


PAUSE = """
import time
def pause(*_, **__):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
"""


def test_ctrl_c_leaves_in_peace(family, tmp_path):
    output = tmp_path / "g.json"
    output.write_text('{"what": "was there"}')
    before = f"{PAUSE}\nimport mother.architecture\nmother.architecture.measure = pause"
    with child_process("recover", family, "-o", output, before=before) as process:
        assert process.stderr.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = ended(process)
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 1
    assert process.returncode in (130, -signal.SIGINT)
    assert output.read_text() == '{"what": "was there"}'
    assert [p.name for p in tmp_path.iterdir()] == ["g.json"]


def test_a_kill_while_writing_leaves_the_graph_that_was_there(family, tmp_path):
    output = tmp_path / "g.json"
    output.write_text('{"what": "was there"}')
    before = f"{PAUSE}\nimport os\nos.fsync = pause"
    with child_process("recover", family, "-o", output, before=before) as process:
        assert process.stderr.readline() == "ready\n"
        process.kill()
        ended(process)
    assert output.read_text() == '{"what": "was there"}'
    # what it left behind is in nobody's way
    assert run("recover", family, "-o", output).code == 0
    assert json.loads(output.read_text())["nodes"]


def test_the_installed_command(family):
    command = Path(sys.executable).with_name("mother")
    result = subprocess.run(
        [command, "recover", family], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0
    assert result.stdout == run("recover", family).out
    assert not result.stderr
