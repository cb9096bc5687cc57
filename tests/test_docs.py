"""Every command and snippet of the README and of docs/, run in a folder that holds what they name.

Fences are told apart by their first word. Second words are for those that can't be run here:
`untested: why`."""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import importlib.util
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import huggingface_hub
import pytest
import uvicorn
import yaml
from fences import ROOT, Fence, fences, is_shown, sessions
from kit import run
from loopback_hub import client_of, serve
from loopback_mlflow import serve_registry
from markdown_it import MarkdownIt
from starlette.testclient import TestClient

import mother
from mother.cli import cli
from mother.exports import FORMATS

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEMO = ROOT / "tests" / "data" / "demo-graph.json"
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
#: languages that are run where they stand, in the order of their page
RUN = {"sh", "console", "python", "toml", "yaml"}
#: languages of excerpts: what mother writes
EXCERPTS = {"xml", "dot", "newick", "csv", "json", "yaml"}
#: what makes the environment in which the rest is run
SETUP = {"python3 -m venv .venv", ". .venv/bin/activate"}


ALL = [fence for page in PAGES for fence in fences(page)]


def is_excerpt(fence: Fence) -> bool:
    return fence.page.name == "exports.md" and fence.language in EXCERPTS


def is_drawn(fence: Fence) -> bool:
    """A drawing, a directive of the site's, or what `make experiments` printed."""
    if fence.language == "text" or fence.language.startswith("{"):
        return True
    return not fence.language and fence.page.parent.name == "experiments"


def test_no_fence_is_passed_over():
    """Each is run, compared with what mother writes, drawn, or says why not: those are counted."""
    kinds = {
        fence.where: [
            bool(fence.why_untested),
            is_excerpt(fence),
            is_drawn(fence),
            not is_excerpt(fence) and not fence.why_untested and fence.language in RUN,
        ]
        for fence in ALL
    }
    assert {where for where, kind in kinds.items() if sum(kind) != 1} == set()
    assert sum(kind[0] for kind in kinds.values()) == 7
    assert sum(kind[3] for kind in kinds.values()) > 30


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A home with what the pages name, by the script that they tell readers to use."""
    home = tmp_path_factory.mktemp("home")
    lab = runpy.run_path(str(ROOT / "demo" / "lab.py"))
    lab["write"](home / "lab")
    lab["write"](home / "models")
    weights = {name: home / "lab" / name / "model.safetensors" for name in ("base", "right")}
    shutil.copy(weights["base"], home / "base.safetensors")
    shutil.copy(weights["right"], home / "kid.safetensors")
    shutil.copytree(home / "lab" / "middle", home / "tuned")
    shutil.copy(DEMO, home / "last-week.json")
    edges = [[parent, child] for child, (parent, _) in lab["MODELS"].items() if parent]
    (home / "truth.json").write_text(json.dumps({"edges": edges}))
    (home / "policy.toml").write_text("[rules]\ncontradicted = 'warn'\n")
    assert run("recover", home / "models", "-o", home / "graph.json", "--hashes").code == 0
    return home


class Session:
    """A person who does what a page says, in a folder of their own."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch, opened: contextlib.ExitStack) -> None:
        self.home = home
        self.patch = patch
        #: servers that are up until it ends, and the Hubs among them by the port that is told
        self.opened = opened
        self.hubs: dict[str, str] = {}
        self.code = 0
        self.served: TestClient | None = None

    @property
    def cache(self) -> Path:
        """Where Hugging Face's libraries keep what they downloaded."""
        return self.home / ".cache/huggingface/hub"

    def command(self, line: str) -> str:
        """What it prints. It must succeed, but for `mother check`, which may say no."""
        words = shlex.split(line, comments=True)
        code, out = 0, ""
        if "FORMAT" in words:
            for name in FORMATS:
                self.command(line.replace("FORMAT", name).replace("OUT", f"out-{name}"))
        elif words[0] == "mother":
            code, out = self.mother(words[1:])
        elif words == ["echo", "$?"]:
            return f"{self.code}\n"
        elif words[:2] == ["pip", "install"]:
            (what,) = words[2:]
            assert re.fullmatch(r"\.(\[(\w+)\])?", what), line
            assert what == "." or what[2:-1] in EXTRAS, line
        elif words[:2] == ["python", "experiments/tests/loopback_hub.py"]:
            self.hubs[words[3]] = self.opened.enter_context(serve(Path(words[2]), own=True))
        elif words[0] == "moto_server":
            from moto.server import ThreadedMotoServer
            from s3fs import S3FileSystem

            S3FileSystem.clear_instance_cache()  # those of another test's server
            server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
            server.start()
            self.opened.callback(server.stop)
            self.hubs[words[2]] = "http://127.0.0.1:{1}".format(*server.get_host_and_port())
        elif words[:2] == ["mlflow", "server"]:
            registry = self.opened.enter_context(serve_registry())
            for folder in sorted((self.home / "lab").iterdir()):
                files = {p.name: p.read_bytes() for p in folder.iterdir()}
                registry.add(folder.name, "1", files)
            self.hubs[words[-1]] = registry.at
        elif words[:1] == ["export"]:
            name, _, value = words[1].partition("=")
            port = value.removeprefix("http://127.0.0.1:")
            if name == "HF_ENDPOINT":
                client_of(self.hubs[port], self.home, self.patch)
                self.patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(self.cache))
            else:
                assert name.startswith(("AWS_", "MLFLOW_")), line
                self.patch.setenv(name, self.hubs.get(port, value))
        elif words[:2] == ["hf", "download"]:
            (name,) = words[2:]
            huggingface_hub.snapshot_download(name)
        elif words[:4] == ["hf", "cache", "rm", "-y"]:
            (name,) = words[4:]
            known = huggingface_hub.scan_cache_dir(self.cache)
            (repository,) = [r for r in known.repos if f"{r.repo_type}/{r.repo_id}" == name]
            # as `hf` does: what has none of these commits stays
            known.delete_revisions(*(r.commit_hash for r in repository.revisions)).execute()
        elif words[0] == "python":
            out = self.python(words[1:])
        elif words[0] == "make":
            assert set(words[1:]) <= set(TARGETS), line
        elif words[0] == "curl":
            out = self.curl(words[1:])
        elif words[0] in ("cp", "mv", "mkdir"):
            subprocess.run(words, check=True)
        else:
            assert " ".join(words) in SETUP, f"nobody knows how to run: {line}"
        assert code == 0 or (words[:2] == ["mother", "check"] and code == 1), line
        self.code = code
        return out

    def mother(self, words: list[str]) -> tuple[int, str]:
        words = [str(self.home) + word[1:] if word.startswith("~/") else word for word in words]
        if words[0] == "serve" and "--port" not in words:
            words += ["--port", "0"]
        result = run(*words)
        assert result.code == 1 or not result.err, result.err
        return result.code, result.out

    def python(self, words: list[str]) -> str:
        said, argv = io.StringIO(), sys.argv
        sys.argv = words
        try:
            with contextlib.redirect_stdout(said):
                runpy.run_path(words[0], run_name="__main__")
        finally:
            sys.argv = argv
        return said.getvalue()

    def curl(self, words: list[str]) -> str:
        parser = argparse.ArgumentParser()
        parser.add_argument("url")
        parser.add_argument("-s", action="store_true")
        parser.add_argument("-H", dest="header")
        parser.add_argument("-d", dest="body")
        given = parser.parse_args(words)
        kind, _, value = given.header.partition(": ")
        assert given.url.startswith("http://127.0.0.1:8000/")
        path = given.url.removeprefix("http://127.0.0.1:8000")
        response = self.served.post(path, content=given.body, headers={kind: value})
        assert response.status_code == 200, response.text
        return response.text

    def fence(self, fence: Fence) -> None:
        if fence.language == "sh":
            for line in fence.text.replace("\\\n", " ").splitlines():
                if line.strip():
                    self.command(line)
        elif fence.language == "console":
            for command, shown in sessions(fence.text):
                self.shown(fence, shown, self.command(command))
        elif fence.language == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(fence.text, fence.where, "exec"), {})
        elif fence.language == "toml":
            Path("policy.toml").write_text(fence.text)
            mother.Policy.load("policy.toml")
        else:
            self.pipeline(yaml.safe_load(fence.text))

    def shown(self, fence: Fence, shown: str, out: str) -> None:
        """Equal, `…` apart."""
        said = f"{fence.where}: shown\n{shown}\nprinted\n{out}"
        assert is_shown(shown, out), said

    def pipeline(self, content: dict) -> None:
        """A pre-commit configuration is run; a step of a workflow has the action's inputs."""
        if "include" in content:
            template = yaml.safe_load((ROOT / content["include"][0]["file"]).read_text())
            (job,) = template
            given = content[job]["variables"]
            assert set(given) <= set(template[job]["variables"])
            self.command(f"mother check {given['MOTHER_PATHS']} --policy {given['MOTHER_POLICY']}")
        elif "repos" in content:
            (hook,) = content["repos"][0]["hooks"]
            (ours,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
            assert hook["id"] == ours["id"]
            self.command(shlex.join([*ours["entry"].split(), *hook["args"]]))
        else:
            action = yaml.safe_load((ROOT / "action.yml").read_text())
            given = next(step["with"] for step in content["steps"] if "mother" in step["uses"])
            assert set(given) <= set(action["inputs"])
            self.command(f"mother check {given['paths']} --policy {given['policy']}")


@pytest.fixture
def session(made, tmp_path, monkeypatch) -> Iterator[Session]:
    home = tmp_path / "home"
    shutil.copytree(made, home)
    for folder in ("demo", "experiments"):
        (home / folder).symlink_to(ROOT / folder)
    monkeypatch.chdir(home)
    opened = contextlib.ExitStack()
    person = Session(home, monkeypatch, opened)

    def answer(server, sockets):
        port = sockets[0].getsockname()[1]
        person.served = TestClient(server.config.app, base_url=f"http://127.0.0.1:{port}")
        assert person.served.get("/").status_code == 200

    # the real thing, with its signals, is tested in test_serve.py
    monkeypatch.setattr(uvicorn.Server, "run", answer)
    with opened:
        yield person


def runs(fence: Fence) -> bool:
    return not fence.why_untested and not is_excerpt(fence) and fence.language in RUN


WITH_COMMANDS = [page for page in PAGES if any(runs(f) for f in ALL if f.page == page)]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_works(session, page):
    for fence in ALL:
        if fence.page == page and runs(fence):
            session.fence(fence)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    for name in FORMATS:
        assert run("export", DEMO, "--to", name, "-o", folder / name).code == 0
    return folder


@pytest.mark.parametrize("fence", [*filter(is_excerpt, ALL)], ids=lambda fence: fence.where)
def test_an_excerpt_is_what_mother_writes(exported, fence):
    """Its parts between the `…`, in their order, white space apart."""
    written = exported / fence.heading
    files = [*written.rglob("*.md"), *written.rglob("*.csv")] if written.is_dir() else [written]
    parts = ["".join(part.split()) for part in fence.text.split("…")]
    pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
    assert any(pattern.search("".join(file.read_text().split())) for file in files)


def test_what_can_not_be_run_names_what_there_is():
    for fence in ALL:
        if fence.why_untested and fence.language == "console":
            told = re.findall(r"^(?:\$ )?(mother .*?)(?:   .*)?$", fence.text, re.MULTILINE)
            assert told, fence.where
            assert [command for command in told if not exists(command)] == [], fence.where
        elif fence.why_untested:
            assert fence.language == "python"
            for found in ast.walk(ast.parse(fence.text)):
                if isinstance(found, ast.ImportFrom):
                    module = importlib.import_module(found.module)
                    assert all(hasattr(module, alias.name) for alias in found.names)


@cache
def inline() -> list[tuple[str, str]]:
    return list(_inline())


def _inline() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
            for child in token.children or ():
                if child.type == "code_inline":
                    yield str(page.relative_to(ROOT)), child.content


@pytest.mark.parametrize("name", ["mother", "make", "python", "pip"])
def test_commands_in_sentences_exist(name):
    told = {(page, text) for page, text in inline() if text.startswith(f"{name} ")}
    assert told
    wrong = {(page, text) for page, text in told if not exists(text.split("|")[0])}
    assert wrong == set()


def exists(text: str) -> bool:
    name, *words = shlex.split(text.replace("…", ""))
    if name == "make":
        return words[0] in TARGETS or words[0].isupper()
    if name == "pip":
        extra = words[-1].partition("[")[2].removesuffix("]")
        return words[0] == "install" and extra in {*EXTRAS, ""}
    if name == "python" and words[0] == "-m":
        return importlib.util.find_spec(words[1]) is not None
    if name == "python":
        return (ROOT / words[0]).is_file()
    if words[0].startswith("-"):
        return words[0] == "--help"
    command = cli.get_command(click.Context(cli), words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        command = command.commands.get(words[1])
    known = {o for p in (command.params if command else ()) for o in (*p.opts, "--help")}
    options = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
    return command is not None and options <= known
