import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dying
import numpy as np
import pytest
from families import grown, write
from hypothesis import given
from hypothesis import strategies as st
from loopback_hub import COMMIT, serve
from safetensors.numpy import save_file

from mother.checkpoints import Problem, discover
from mother.errors import MotherError, UsageError
from mother.index import Index
from mother.index.executors import TRIES, Lost, Processes, in_order, opened
from mother.index.unit import sketched, unit
from mother.sketches.windows import SAMPLED_MATRICES


def forest(folder, path, **options):
    """The graph of what is added to a new index, as bytes, and what add said."""
    with Index.create(folder, budget=8 << 10) as index:
        added = index.add([path], **options)
        assert index.verify() == []
        return index.graph().to_json(), added


@pytest.fixture(scope="module")
def processes():
    with Processes(2) as started:
        yield started


@pytest.mark.parametrize("kind", ["threads", "processes", "pool"])
def test_whoever_sketches_the_forest_is_the_same(kind, models, tmp_path, request):
    wanted, alone = forest(tmp_path / "alone", models)
    if kind == "processes":
        found, added = forest(
            tmp_path / kind, models, executor=request.getfixturevalue("processes")
        )
    else:
        with (ThreadPoolExecutor if kind == "threads" else ProcessPoolExecutor)(2) as executor:
            found, added = forest(tmp_path / kind, models, executor=executor)
    assert found == wanted
    assert added == alone
    assert len(added.new) == 17


def test_a_bad_checkpoint_fails_alone(own, tmp_path, processes):
    (own / "torn.safetensors").write_bytes(b"\xff" * 30)
    save_file({"w": np.full((40, 40), np.nan, np.float32)}, own / "nan.safetensors")
    save_file({"w": np.ones((40, 40), np.int32)}, own / "whole.safetensors")
    wanted, alone = forest(tmp_path / "alone", own)
    found, added = forest(tmp_path / "sent", own, executor=processes)
    assert (found, added) == (wanted, alone)
    assert {p.path.stem for p in added.problems} == {"torn", "nan", "whole"}


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(own, tmp_path, monkeypatch, processes):
    wanted, alone = forest(tmp_path / "alone", own)
    monkeypatch.setattr("mother.index.coming.sketched", dying.dies_once)
    assert forest(tmp_path / "sent", own, executor=processes) == (wanted, alone)
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_a_checkpoint_that_kills_its_workers_fails_alone(own, tmp_path, monkeypatch):
    monkeypatch.setattr("mother.index.coming.sketched", dying.always_dies)
    with Processes(1) as one:
        found, added = forest(tmp_path / "sent", own, executor=one)
    (problem,) = added.problems
    assert problem.path.stem == "b2"
    assert problem.fault.startswith(f"no worker could finish it, {TRIES} have tried (BrokenProcess")
    assert (tmp_path / "deaths").read_text() == "." * TRIES
    (own / "b2.safetensors").unlink()
    assert found == forest(tmp_path / "without", own)[0]


def test_workers_that_are_gone(own, tmp_path):
    with Index.create(tmp_path / "index") as index:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        with pytest.raises(MotherError, match=r"the workers are gone.*the same again goes on"):
            index.add([own], executor=executor)
        assert index.verify() == []


@pytest.mark.cluster
@pytest.mark.parametrize(
    "name", ["dask:tcp://", "dask:127.0.0.1", "dask:ucx:///:x", "ray:127.0.0.1:1", "ray:nowhere:x"]
)
def test_addresses_that_lead_nowhere(name, capfd):
    """One line at once, and what to do; their libraries say nothing of their own."""
    with pytest.raises(UsageError) as refused, opened(name):
        pass
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{name}: can't be reached (")
    assert line.endswith("); check the address, and that it is up")
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_that_is_gone_has_cancelled_what_was_out():
    """And takes more without a word, which nobody will ever do."""
    future = Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    executor = ThreadPoolExecutor(1)
    executor.submit = lambda *_: future
    with pytest.raises(MotherError, match=r"the workers are gone \(cancelled\)"):
        next(in_order(executor, abs, [1], ahead=1))


def test_what_is_no_single_file_is_found_again(tmp_path, processes):
    """A sharded set without an index, a model's folder, an adapter merged into a base."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "mixed"
    (folder / "model").mkdir(parents=True)
    base = {f"layers.{k}.weight": rng.normal(size=(48, 32)) for k in range(4)}
    halves = list(base.items())[:2], list(base.items())[2:]
    for k, half in enumerate(halves):
        near = {n: w + 0.01 * rng.normal(size=w.shape) for n, w in half}
        write(folder / f"set-{k + 1:05}-of-00002.safetensors", near)
    write(folder / "model" / "model.safetensors", base)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "adapter").mkdir()
    factors = {
        f"base_model.model.layers.{k}.lora_{side}.weight": rng.normal(
            size=(4, 32) if side == "A" else (48, 4)
        )
        for k in range(4)
        for side in "AB"
    }
    write(folder / "adapter" / "adapter_model.safetensors", factors)
    (folder / "adapter" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 4, "lora_alpha": 0.1, "base_model_name_or_path": "model"}'
    )
    whole = folder / "model"
    wanted, alone = forest(tmp_path / "alone", folder, base=whole)
    assert set(alone.new) == {"set", "model", "adapter"}
    assert forest(tmp_path / "sent", folder, base=whole, executor=processes) == (wanted, alone)


def test_a_worker_refuses_other_files_and_another_version(own):
    (checkpoint, *_), _ = discover([own])
    sent = unit(checkpoint, 8 << 10, 0, SAMPLED_MATRICES)
    assert isinstance(sketched(sent), bytes)
    older = sketched(replace(sent, version="0.0.1"))
    assert isinstance(older, Problem)
    assert "0.0.1; install the same" in older.fault
    write(checkpoint.path, {"w": np.ones((5, 5))})
    other = sketched(sent)
    assert other == Problem(
        checkpoint.path, "other files there, or of other sizes, than were seen before"
    )
    checkpoint.path.unlink()
    assert sketched(sent) == Problem(checkpoint.path, "no such file or folder")


class Failing(Executor):
    """Fails at given submissions, counted from 0, as a worker does that is gone."""

    def __init__(self, at):
        self.at, self.count, self.out, self.most = at, 0, 0, 0

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.out += 1
        self.most = max(self.most, self.out)
        if self.count in self.at:
            future.set_exception(OSError("gone\nfor good"))
        else:
            future.set_result(fn(*args, **kwargs))
        self.count += 1
        return future


@given(st.integers(0, 30), st.integers(1, 9), st.sets(st.integers(0, 60)))
def test_results_come_in_order_whatever_fails(count, ahead, at):
    executor = Failing(at)
    found = []
    for result in in_order(executor, str, range(count), ahead):
        found.append(result)
        executor.out -= 1
    lost = Lost(f"no worker could finish it, {TRIES} have tried (OSError: gone)")
    assert len(found) == count
    assert all(result in (str(k), lost) for k, result in enumerate(found))
    retried = executor.count - count
    assert executor.most <= ahead + retried
    assert TRIES * found.count(lost) <= len(at)
    assert retried <= len(at)


def test_who_stops_cancels_what_waits(own, tmp_path):
    (tmp_path / "asked").mkdir()
    units = [unit(c, 8 << 10, 0, SAMPLED_MATRICES) for c in discover([own])[0]]
    with ThreadPoolExecutor(1) as thread:
        results = in_order(thread, dying.slow, units, ahead=17)
        next(results)
        results.close()
    assert len(list((tmp_path / "asked").iterdir())) <= 3


@pytest.mark.slow
def test_ctrl_c_stops_the_command_and_its_processes(own, tmp_path):
    """The whole group gets the signal, as from a terminal; nothing stays behind."""
    (tmp_path / "asked").mkdir()
    index = tmp_path / "index"
    Index.create(index, budget=8 << 10).close()
    program = (
        "import dying, sys, mother.cli\n"
        "from mother.index import coming, index\n"
        "if __name__ == '__main__':\n"
        "    coming.sketched, index.BATCH = dying.slow, 1\n"
        f"    sys.argv = ['mother', 'index', 'add', {str(index)!r}, {str(own)!r},"
        " '--executor', 'local:2']\n"
        "    mother.cli.main()\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    paths = [str(Path(__file__).parent), *sys.path]
    run = subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list((tmp_path / "asked").iterdir())) < 2:
        assert run.poll() is None, run.communicate()
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (130, "", "mother: stopped\n")
    gone(lambda: os.killpg(run.pid, 0))
    assert len(list((tmp_path / "asked").iterdir())) < 17
    with Index(index) as left:
        assert left.verify() == []
        assert len(left) < 17


def test_ctrl_c_is_not_for_workers_that_are_starting(processes):
    """They are in the group of processes that a terminal sends it to, and have not read a line of
    ours while they import what they need."""
    blocked = processes.submit(signal.pthread_sigmask, signal.SIG_BLOCK, []).result()
    assert signal.SIGINT in blocked


def test_processes_end_with_who_started_them(tmp_path):
    program = (
        "import os, time; from mother.index.executors import Processes\n"
        "if __name__ == '__main__':\n"
        "    with Processes(1) as one: print(one.submit(os.getpid).result(), flush=True); "
        "time.sleep(600)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    with subprocess.Popen(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        worker = int(run.stdout.readline())
        os.kill(worker, 0)
        run.kill()
    gone(lambda: os.kill(worker, 0))


def gone(ask):
    """Wait until there is no such process."""
    for _ in range(600):
        try:
            ask()
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("it is still there")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "'' is none of local:N, dask:ADDRESS, ray:ADDRESS"),
        ("local", "'local' is none of"),
        ("local:0", "'local:0' is none of"),
        ("local:99999999999", "'local:99999999999' is none of"),
        ("local:²", "'local:²' is none of"),
        ("dask:", "'dask:' is none of"),
        ("spark:x", "'spark:x' is none of"),
    ],
)
def test_names_of_executors(name, said):
    with pytest.raises(UsageError, match=said), opened(name):
        pass


@pytest.mark.parametrize(("extra", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_an_extra_that_is_missing(extra, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    said = f"{module} is not installed; run: pip install 'mother-recovery[{extra}]'"
    with pytest.raises(UsageError) as refused, opened(f"{extra}:127.0.0.1:1"):
        pass
    assert str(refused.value) == said


@pytest.mark.slow
def test_workers_read_from_the_hub_themselves(tmp_path):
    """The command and its workers, each with a client of its own, at the commit that it found."""
    for name in ("base", "tuned"):
        (tmp_path / "hub" / "models" / "org" / name).mkdir(parents=True)
    grown(tmp_path, "m", 2, 0)
    for k, name in enumerate(("base", "tuned")):
        file = tmp_path / "hub" / "models" / "org" / name / "model.safetensors"
        (tmp_path / f"m{k}.safetensors").rename(file)
    graphs = []
    with serve(tmp_path / "hub") as endpoint:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "home"),
        }
        for sent in ([], ["--executor", "local:1"]):
            index = tmp_path / f"index{len(sent)}"
            Index.create(index, budget=8 << 10).close()
            program = "import mother.cli; mother.cli.main()"
            command = [sys.executable, "-c", program, "index", "add", index, "hf://org", *sent]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
            with Index(index) as opened:
                graphs.append(opened.graph())
                assert opened.verify() == []
    assert graphs[0].to_json() == graphs[1].to_json()
    assert [(e.parent, e.child) for e in graphs[1].edges] == [("base", "tuned")]
    assert [node.path for node in graphs[1].nodes] == [
        f"hf://org/{name}@{COMMIT}" for name in ("base", "tuned")
    ]
