"""What starting costs: what is imported, and what Ctrl-C and the shell's TAB do meanwhile."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

import mother
from mother.cli import COMMANDS, cli

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "tests" / "data" / "demo-graph.json"
MAIN = "import sys; sys.argv[0] = 'mother'; from mother.cli import main; main()"
#: the libraries that take long to import, and the one room that all measuring needs
HEAVY = {"numpy", "scipy", "ml_dtypes", "yaml", "sqlite3", "asyncio", "huggingface_hub"}
HEAVY |= {"multiprocessing", "mother.checkpoints", "mother.measures"}


def started(*arguments, code=MAIN, **environment):
    words = [sys.executable, "-c", code, *map(str, arguments)]
    env = {**os.environ, **environment}
    return subprocess.run(words, capture_output=True, text=True, env=env, timeout=60, check=False)


@pytest.mark.parametrize(
    ("code", "words", "also"),
    [
        ("import mother", (), {"rich", "click"}),
        (MAIN, ("--help",), {"rich"}),
        (MAIN, ("show", DEMO), {"rich.progress"}),
    ],
    ids=("import", "help", "show"),
)
def test_nothing_is_imported_that_is_not_used(code, words, also):
    told = "import atexit, json, sys\n"
    told += "atexit.register(lambda: print(json.dumps([*sys.modules]), file=sys.stderr))\n"
    ran = started(*words, code=told + code)
    assert ran.returncode == 0
    assert set(json.loads(ran.stderr)) & (HEAVY | also) == set()


def test_two_models_are_weighed_without_what_their_weights_do_not_need(tmp_path):
    """In the process that the server starts for it."""
    draw = np.random.default_rng(0)
    weights = {f"{k}.weight": draw.standard_normal((32, 32)) for k in range(4)}
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", **weights)
        weights = {n: w + 0.1 * draw.standard_normal(w.shape) for n, w in weights.items()}
    paths = {name: str(tmp_path / f"{name}.npz") for name in ("a", "b")}
    code = (
        "import json, pathlib, sys\n"
        "from mother.server.work import answer\n"
        "answer(json.loads(sys.argv[1]), [pathlib.Path(sys.argv[2])])\n"
        "print(json.dumps([*sys.modules]))\n"
    )
    for task in ({"do": "compare", "names": "ab", **paths},
                 {"do": "place", "path": paths["a"], "models": {"b": paths["b"]}}):  # fmt: skip
        ran = started(json.dumps(task), tmp_path, code=code)
        assert (
            set(json.loads(ran.stdout)) & {"scipy", "yaml", "sqlite3", "rich", "asyncio"} == set()
        )


def test_work_for_a_server_that_has_ended_ends_in_silence(tmp_path):
    task = {"do": "place", "path": str(tmp_path / "none"), "models": {}, "folders": []}
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-m", "mother.server.work"],
        input=json.dumps(task).encode(),
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_type_checkers_see_what_is_imported_on_use():
    (block,) = (
        node for node in ast.parse(Path(mother.__file__).read_text()).body if type(node) is ast.If
    )
    seen = {line.module: tuple(alias.name for alias in line.names) for line in block.body}
    assert seen == mother._WHERE
    assert mother.__all__ == sorted(name for names in seen.values() for name in names)
    assert set(mother.__all__) <= set(dir(mother))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mother.nothing


def test_help_tells_of_each_command_what_it_tells_of_itself():
    context = click.Context(cli)
    assert [*COMMANDS] == sorted(COMMANDS)
    for name, says in COMMANDS.items():
        assert cli.get_command(context, name).help.split("\n\n")[0] == says


@pytest.mark.parametrize("library", ["click", "numpy"])
def test_ctrl_c_while_importing_is_no_traceback(tmp_path, library):
    """A library that takes forever to import, in place of the real one; and one that takes an
    exception for the lack of a part."""
    (tmp_path / f"{library}.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "except BaseException:\n"
        "    raise ImportError('a part is missing')\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = started("recover", "no/such/folder", PYTHONPATH=path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "mother: stopped\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_as_click_documents_it(shell):
    ran = started(_MOTHER_COMPLETE=f"{shell}_source")
    assert ran.returncode == 0
    assert f"_MOTHER_COMPLETE={shell}_complete" in ran.stdout


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("mother re", ["plain,recover", "plain,report"]),
        ("mother export --to c", ["plain,csv", "plain,cyclonedx"]),
        ("mother show --d", ["plain,--depth"]),
        ("mother recover ", ["file,"]),
        ("mother compare a ", ["file,"]),
        ("mother index a", ["plain,add"]),
    ],
)
def test_completion_of_words(line, wanted):
    words = line.split(" ")
    at = str(len(words) - 1)
    ran = started(_MOTHER_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=at)
    assert (ran.stdout.splitlines(), ran.stderr) == (wanted, "")


def test_errors_are_named_as_users_import_them():
    code = "import mother.recovery; mother.recovery.recover('no/such/folder')"
    last = started(code=code).stderr.splitlines()[-1]
    assert last == "mother.InputError: no/such/folder: no such file or folder"
