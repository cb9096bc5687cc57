"""What every test starts from, and what a run says of the tests that it left out."""

from __future__ import annotations

import fcntl
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says how busy the machine is; every run draws others
settings.register_profile("untimed", deadline=None, max_examples=50)
settings.load_profile("untimed")

#: what runs the tests of each mark that a plain run leaves out
COMMANDS = {"slow": "make test-slow", "cluster": "make test-clusters"}
_left = pytest.StashKey[Counter[str]]()


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folders that all of pytest's workers have in common: `once(name, make)` is one that `make`
    has filled for the first that asked, while the others waited."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, partial = shared / name, shared / f"{name}.partial"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                partial.mkdir(exist_ok=True)
                make(partial)
                partial.rename(folder)
        return folder

    return made


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C reaches what tests start, also where a script runs them in the background: such a
    shell lets all below it ignore the signal."""
    config.stash[_left] = Counter()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    for item in items:
        mark = next((mark for mark in COMMANDS if item.get_closest_marker(mark)), None)
        if mark is not None:
            item.config.stash[_left][mark] += 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist tells the one that reports: all workers leave out the same."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left"] = dict(session.config.stash[_left])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    node.config.stash[_left] = Counter(node.workeroutput.get("left", {}))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line: what was not tested, and what brings it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return
    left = [f"{n} {mark}: {COMMANDS[mark]}" for mark, n in sorted(config.stash[_left].items())]
    why = Counter(report.longrepr[2] for report in reporter.stats.get("skipped", ()))
    left += [f"{n} {reason.removeprefix('Skipped: ')}" for reason, n in sorted(why.items())]
    if left:
        reporter.write_line(f"left out: {'; '.join(left)}")
