"""Every split at tiny scale, and every page about them, made once for all tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from demo import run as demo
from experiments.__main__ import main
from experiments.build import Build, Workers
from experiments.courses import PLANS
from experiments.courses import plan as plan_of_courses
from experiments.figures.families import Data
from experiments.scales import TINY
from experiments.splits import available
from hypothesis import settings
from pages import Written, few

# how long an example takes says how busy the machine is; every run draws others
settings.register_profile("untimed", deadline=None, max_examples=50)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What judges the pages comes last: they are written meanwhile."""
    items.sort(key=lambda item: item.path.name == "test_judged.py")


@contextmanager
def _once(folder: Path) -> Iterator[bool]:
    """Whether the folder is still to be made: True for one of pytest's workers, for whom the others
    wait here."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder.with_suffix(".made")
        yield not made.exists()
        made.touch()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all of pytest's workers have in common."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def _trained(data: Data) -> None:
    """All that is to be trained, shared among pytest's workers: each takes what no other is at."""
    splits = [Build(s, TINY.name, 0, data.folder(s, 0), data.roots) for s in available(TINY)]
    watched = [
        Build(s, TINY.name, 0, data.folder(s, 0), data.roots, plan_of_courses) for s in PLANS
    ]
    data.roots.parent.mkdir(parents=True, exist_ok=True)
    with Workers(1) as workers:
        for build in (*watched, *splits):
            with build.folder.with_suffix(".lock").open("w") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                build.run(workers)


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    """Folder of tiny-scale graphs with seed 0, by the names the command gives them."""
    _trained(Data(shared / "data", TINY.name, (0,)))
    with _once(shared / "data") as to_do, pytest.MonkeyPatch.context() as patch:
        patch.chdir(shared)
        if to_do:
            result = CliRunner().invoke(main, ["build", "all", "--scale", "tiny", "--threads", "1"])
            assert result.exit_code == 0, result.output
    return shared / "data" / "tiny"


@pytest.fixture(scope="session")
def written(data: Path, small_demo: Path, shared: Path) -> Written:
    """All pages about them."""
    out = shared / "pages"
    options = ["--scale", "tiny", "--seeds", "0", "--data", str(data.parent), "--out", str(out)]
    options += ["--threads", "1"]
    with _once(out) as to_do, few() as patch:
        patch.setattr(demo, "WEIGHTS", small_demo)
        patch.setattr(demo, "fetch", lambda: None)
        if to_do:
            result = CliRunner().invoke(main, ["all", *options])
            assert result.exit_code == 0, result.output
            assert "Not there" not in (out / "README.md").read_text()
    return Written(out, data)


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Families under the names of the demo's: three with their parent, two of siblings alone."""
    folder, rng = tmp_path_factory.mktemp("demo"), np.random.default_rng(0)

    def weights() -> np.ndarray:
        return rng.normal(size=(20, 30)).astype(np.float32)

    for family in ("upconv7", "upresnet10", "vgg7", "resnet10"):
        (folder / family).mkdir()
        parent = {f"{family}.{k}": weights() for k in range(6)}
        for k in range(4):
            child = {layer: w + 0.3 * weights() for layer, w in parent.items()}
            np.savez(folder / family / f"anime_style_noise{k}_scale_rgb.npz", **child)
        if family.startswith("up"):
            np.savez(folder / family / "anime_style_scale_rgb.npz", **parent)
    parent = {f"chgnet.{k}": weights() for k in range(6)}
    child = {layer: w + 0.3 * weights() for layer, w in parent.items()}
    np.savez(folder / "chgnet_0.3.0_e29f68s314m37.npz", **parent)
    np.savez(folder / "chgnet_r2scan_transfer_learning_e15f36s161m23.npz", **child)
    return folder
