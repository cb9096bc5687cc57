"""A real scheduler of Dask with two workers, and a real Ray, on this machine."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import dying
import pytest

from mother.index import Index
from mother.index.executors import TRIES, opened

pytestmark = pytest.mark.cluster


def forest(folder, path, **options):
    """The graph of what is added to a new index, as bytes, and what add said."""
    with Index.create(folder, budget=8 << 10) as index:
        added = index.add([path], **options)
        assert index.verify() == []
        return index.graph().to_json(), added


@pytest.fixture(scope="module")
def environment():
    """Where workers find mother, and the work that kills them."""
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@contextlib.contextmanager
def dask(folder):
    """A scheduler and two workers, each a process of its own that is started again if it dies."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    log = (folder / "log").open("w")
    scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler += ["--host", address, "--no-dashboard", "--no-jupyter"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    worker += ["--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    worker += ["--local-directory", str(folder)]
    running = [
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for command in (scheduler, worker)
    ]
    try:
        yield f"dask:{address}"
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()
        log.close()


@pytest.fixture(scope="module")
def cluster(request, environment, tmp_path_factory):
    """Its executor."""
    with contextlib.ExitStack() as stack:
        name = "ray:local"
        if request.param == "dask":
            name = stack.enter_context(dask(tmp_path_factory.mktemp("dask")))
        yield stack.enter_context(opened(name))


@pytest.mark.parametrize("cluster", ["dask", "ray"], indirect=True)
def test_graphs_are_those_made_here(cluster, own, tmp_path, monkeypatch):
    """With a torn checkpoint among them, and with a worker killed in the middle."""
    (own / "torn.safetensors").write_bytes(b"\xff" * 30)
    wanted = forest(tmp_path / "alone", own)
    monkeypatch.setattr("mother.index.family.TOGETHER", 1)  # each family is sent alone
    assert forest(tmp_path / "sent", own, executor=cluster) == wanted
    with Index(tmp_path / "sent") as index:
        assert index.recover(executor=cluster).to_json() == wanted[0]
        assert index.verify(cluster) == []
    monkeypatch.setattr("mother.index.coming.sketched", dying.dies_once)
    assert forest(tmp_path / "again", own, executor=cluster) == wanted
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize("cluster", ["ray"], indirect=True)
def test_a_checkpoint_that_kills_its_workers_fails_alone(cluster, own, tmp_path, monkeypatch):
    monkeypatch.setattr("mother.index.coming.sketched", dying.always_dies)
    found, added = forest(tmp_path / "deadly", own, executor=cluster)
    (problem,) = added.problems
    assert problem.path.stem == "b2"
    assert f"no worker could finish it, {TRIES} have tried" in problem.fault
    (own / "b2.safetensors").unlink()
    assert found == forest(tmp_path / "without", own)[0]
