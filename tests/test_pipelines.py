"""What a pipeline is given: JUnit's XML, GitLab's template and the Dockerfile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import junitparser
import pytest
import yaml
from click.testing import CliRunner
from kit import check_valid, save_claims

from mother.cli import COMMANDS, cli
from mother.gate.junit import to_junit
from mother.gate.policy import RULES
from mother.gate.report import Finding, ModelVerdict, Report
from mother.gate.sarif import to_sarif

ROOT = Path(__file__).parent.parent
(JOB,) = yaml.safe_load((ROOT / "gitlab-ci.yml").read_text()).values()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base, a model that claims another parent, and a file that is none."""
    save_claims(tmp_path / "my models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cases(path: Path) -> dict[str, junitparser.TestCase]:
    """As an independent reader has them; its counts are those that are told."""
    found = junitparser.JUnitXml.fromfile(str(path))
    (suite,) = found
    told = (suite.tests, suite.failures, suite.errors)
    suite.update_statistics()
    assert told == (suite.tests, suite.failures, suite.errors)
    assert (found.tests, found.failures, found.errors) == told
    return {case.name: case for case in suite}


def test_a_check_as_junit(lab: Path) -> None:
    (lab / "my models" / "broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    ran = CliRunner().invoke(cli, ["check", "my models", "--junit", "report.xml"])
    assert ran.exit_code == 1
    found = cases(lab / "report.xml")
    assert {name.rpartition("/")[2] for name in found} == {
        *("base", "other", "false", "broken.safetensors"),
    }
    assert found["base"].is_passed
    (failure,) = found["false"].result
    assert isinstance(failure, junitparser.Failure)
    assert failure.type == "MOTHER001 contradicted"
    assert "other" in failure.message
    assert "README.md:2: error MOTHER001 contradicted" in failure.text
    assert "undeclared" not in failure.text
    (broken,) = (case for name, case in found.items() if "broken" in name)
    assert [type(r) for r in broken.result] == [junitparser.Error]
    assert found["base"].classname == "mother check"


def test_the_shape_that_gitlab_reads(lab: Path) -> None:
    CliRunner().invoke(cli, ["check", "my models", "--junit", "report.xml"])
    root = ElementTree.parse(lab / "report.xml").getroot()
    assert (root.tag, [child.tag for child in root]) == ("testsuites", ["testsuite"])
    for case in root.iter("testcase"):
        assert {"name", "classname", "file"} == set(case.keys())
        tags = [child.tag for child in case]
        assert set(tags) <= {"failure", "error", "system-out"}
        assert len(set(tags)) == len(tags)


def test_what_was_looked_at_is_told_in_every_form() -> None:
    note = "of its weights 62 % were compared"
    models = (ModelVerdict("a", Path("a"), "unknown", "because", notes=(note,)),)
    report = Report(models, (), read=(0.25, 4000))
    suite = ElementTree.fromstring(to_junit(report))[0]
    assert [(p.get("name"), p.get("value")) for p in suite[0]] == [("read", "0.25 of 4000 bytes")]
    assert note in "".join(suite.itertext())
    (found,) = json.loads(to_sarif(report, "1.0.0"))["runs"]
    assert found["properties"] == {"notes": {"a": [note]}, "read": {"share": 0.25, "bytes": 4000}}


def test_names_are_text_in_it(tmp_path: Path) -> None:
    """No control character, which XML has no way to write, and nothing that ends an attribute."""
    name = 'a"/><failure>\x00\x1b[31m\ud800'
    finding = Finding("denied", "error", name, f"]]> {name}", Path(name.replace("\0", "")), 3)
    models = (ModelVerdict(name, tmp_path, "unknown", "because"),)
    text = to_junit(Report(models, (finding,)))
    (case,) = ElementTree.fromstring(text).iter("testcase")
    spelt = 'a"/><failure>\\x00\\x1b[31m\\ud800'
    assert case.get("name") == spelt
    assert case.find("failure").get("message") == f"]]> {spelt}"
    # a message that has spelled a name already says no more than that
    again = Finding("denied", "error", name, spelt, Path("a"), 3)
    (case,) = ElementTree.fromstring(to_junit(Report((), (again,)))).iter("testcase")
    assert case.find("failure").get("message") == spelt
    assert text == to_junit(Report(models, (finding,)))
    assert "\x1b" not in text


def test_every_rule_can_be_told() -> None:
    for rule in RULES:
        for level in ("error", "warn", "note"):
            text = to_junit(Report((), (Finding(rule, level, "a", "so", Path("a")),)))
            (case,) = ElementTree.fromstring(text).iter("testcase")
            kind = "error" if rule == "unreadable" else "failure"
            assert (case.find(kind) is not None) == (level == "error")


def test_it_is_written_over_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    ran = CliRunner().invoke(cli, ["check", ".", "--junit", str(tmp_path / "mine.txt")])
    assert "is there and is no XML" in str(ran.exception)


# GitLab


def test_the_template_is_valid() -> None:
    schemas = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "gitlab-ci.json").read_text())
    content = yaml.safe_load((ROOT / "gitlab-ci.yml").read_text())
    check_valid(content, schema)
    assert JOB["artifacts"]["reports"]["junit"] == "mother-junit.xml"


def arguments(**variables: str) -> list[str]:
    """What the job's script gives to `mother`, run as a runner runs it."""
    tools = Path("tools")
    tools.mkdir(exist_ok=True)
    (tools / "mother").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 1\n')
    (tools / "mother").chmod(0o755)
    env = {**os.environ, **JOB["variables"], **variables}
    env["PATH"] = f"{tools.absolute()}{os.pathsep}{env['PATH']}"
    ran = subprocess.run(
        ["sh", "-e", "-c", "\n".join(JOB["script"])],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 1  # that of the check
    return ran.stdout.splitlines()


def test_the_template_checks_and_fails(lab: Path) -> None:
    given = arguments(MOTHER_PATHS="my models/base\nmy models/false\nmy models/other\n")
    assert given[-4:] == ["--", "my models/base", "my models/false", "my models/other"]
    assert CliRunner().invoke(cli, given).exit_code == 1
    assert not cases(lab / "mother-junit.xml")["false"].is_passed
    assert (lab / "mother-check.html").exists()
    assert arguments(MOTHER_PATHS="a", MOTHER_POLICY="my policy.toml")[-4:] == [
        *("--policy", "my policy.toml", "--", "a")
    ]
    for path in ("--help", "$(touch pwned)", "*"):
        assert arguments(MOTHER_PATHS=path)[-2:] == ["--", path]
    assert not Path("pwned").exists()


# the Dockerfile


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    parts = (line.partition(" ") for line in re.sub(r"\\\n\s*", "", lines).splitlines())
    return [(word, rest) for word, _, rest in parts]


def test_the_dockerfile_names_what_there_is() -> None:
    """No engine builds it here: its parts are held against the project."""
    given = instructions()
    words = [word for word, _ in given]
    assert set(words) <= {"FROM", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    stages = [rest.split(" AS ")[1] for word, rest in given if word == "FROM" and " AS " in rest]
    assert set(re.findall(r"from=(\w+)", str(given))) == set(stages)
    copied = {src for word, rest in given if word == "COPY" for src in rest.split()[:-1]}
    assert all((ROOT / src).exists() for src in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{src}" for src in copied} == {line for line in ignored if line.startswith("!")}
    for extras in re.findall(r"\[([\w,]+)\]\"", str(given)):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert f"{PROJECT['name']}[" in str(given)
    (command,) = json.loads(next(rest for word, rest in given if word == "ENTRYPOINT"))
    assert command in PROJECT["scripts"]
    assert given[-1] == ("CMD", '["--help"]')
    assert {"serve", "check"} <= set(COMMANDS)
    assert "USER" in words[words.index("ENTRYPOINT") - 3 :]  # not root
    version = re.search(r"python:(\d+\.\d+)", str(given))
    assert version is not None
    assert tuple(map(int, version[1].split("."))) >= (3, 11)
