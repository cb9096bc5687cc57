"""action.yml and .pre-commit-hooks.yaml: valid by the tools' schemas, and their commands run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import yaml
from kit import check_valid, save_claims
from pre_commit.clientlib import load_manifest

from mother.checkpoints.foreign import BY_ENDING
from mother.checkpoints.formats import ENDINGS

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}
(HOOK,) = load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base and a model that claims another; `mother` and `python -m pip` on the PATH."""
    save_claims(tmp_path / "my models")
    tools = tmp_path / "tools"
    tools.mkdir()
    run = f'exec {sys.executable} -c "from mother.cli import main; main()"'
    scripts = {"mother": f'{run} "$@"', "python": 'echo "$@" > installed'}
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_step(name: str, **context: str) -> tuple[int, str, dict[str, str]]:
    """A step's script as a runner runs it: exit code, what it printed, its outputs."""

    def value(expression: re.Match[str]) -> str:
        return context[expression[1].strip()]

    step = STEPS[name]
    env = {k: re.sub(r"\$\{\{(.*?)\}\}", value, v) for k, v in step["env"].items()}
    assert "${{" not in step["run"]  # what is put into a script could end it
    Path("outputs").write_text("")
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(
        shell,
        env={**os.environ, **env, "GITHUB_OUTPUT": "outputs"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    told = dict(line.split("=", 1) for line in Path("outputs").read_text().splitlines())
    return done.returncode, done.stdout + done.stderr, told


def check(paths: str, policy: str = "") -> tuple[int, str, dict[str, str]]:
    defaults = {f"inputs.{name}": given["default"] for name, given in ACTION["inputs"].items()}
    return run_step("Check", **{**defaults, "inputs.paths": paths, "inputs.policy": policy})


def test_action_is_valid():
    schemas = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "github-actions.json").read_text())
    check_valid(ACTION, schema)


def test_action_installs_itself(lab):
    code, _, _ = run_step("Install", **{"github.action_path": "/the/action"})
    assert code == 0
    assert Path("installed").read_text() == "-m pip install --quiet /the/action\n"


def test_action_checks_writes_sarif_and_fails_at_its_end(lab):
    code, said, told = check("my models/base\n\nmy models/other\nmy models/false\n")
    assert code == 0
    assert "MOTHER001 contradicted" in said
    assert told == {"exit-code": "1", "written": "true"}
    (result,) = json.loads(Path("mother.sarif").read_text())["runs"][0]["results"]
    assert result["ruleId"] == "MOTHER001"
    assert run_step("Result", **{"steps.check.outputs.exit-code": "1"})[0] == 1
    assert run_step("Result", **{"steps.check.outputs.exit-code": "0"})[0] == 0


def test_action_passes_a_policy_on(lab):
    Path("policy.toml").write_text("[rules]\ncontradicted = 'warn'")
    assert check("my models", "policy.toml")[2] == {"exit-code": "0", "written": "true"}


def test_action_uploads_nothing_where_nothing_could_be_checked(lab):
    Path("mother.sarif").write_text("{}")
    assert check("none")[2] == {"exit-code": "2"}
    assert not Path("mother.sarif").exists()
    assert STEPS["Upload"]["if"].endswith("steps.check.outputs.written == 'true'")


def test_action_takes_no_path_for_an_option_or_a_script(lab):
    for path in ("--help", "$(touch pwned)", "`touch pwned`", '"; touch pwned; "'):
        assert check(path)[2]["exit-code"] == "2"
    assert not Path("pwned").exists()


def test_action_lets_no_name_command_the_runner(lab):
    Path("::add-mask::x").mkdir()
    Path("my models/false").rename("::add-mask::x/false")
    code, said, told = check(".")
    assert (code, told["exit-code"]) == (0, "1")
    lines = said.splitlines()
    commands = [line for line in lines if line.startswith("::")]
    assert commands[1].startswith("::add-mask::x/")
    word, token = commands[0].rsplit("::", 1)
    assert word == "::stop-commands"
    assert commands[-1] == f"::{token}::"
    assert len(token) == 32
    assert token not in check(".")[1]


def test_hook_checks_the_whole_folder(lab):
    command = [*HOOK["entry"].split(), *HOOK["args"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "MOTHER001 contradicted" in done.stdout
    assert HOOK["pass_filenames"] is False


MODELS = [f"a/m{end}" for end in (*ENDINGS, *BY_ENDING, ".dvc", ".GGUF", ".safetensors.index.json")]
CARDS = ["README.md", "a/config.json", "adapter_config.json", "model_index.json", "model.json"]


@pytest.mark.parametrize("name", [*MODELS, *CARDS])
def test_hook_runs_when_models_or_cards_change(name):
    assert re.search(HOOK["files"], name)
    assert not re.search(HOOK["files"], "src/main.py")
