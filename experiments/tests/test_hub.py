"""Simulated hubs: what is drawn, and a whole trial of a small one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from experiments.__main__ import main
from experiments.hub.phylogeny import LAYERS, SEEN, Steps, depths, draw, family_sizes, grown
from experiments.hub.steps import FIGURES, read_steps


def test_sizes_are_heavy_tailed_and_add_up() -> None:
    for n in (100, 1000, 54321):
        sizes = family_sizes(n, np.random.default_rng(0))
        assert sizes.sum() == n
        assert sizes.max() == n // 10
        assert (sizes == 1).sum() >= 0.15 * n - 1


def test_trees_have_hubs() -> None:
    parents = grown(5000, np.random.default_rng(1))
    assert (parents[1:] < np.arange(1, 5000)).all()
    assert parents[0] == -1
    assert np.bincount(parents[1:]).max() > 100
    assert depths(parents).max() > 3


def test_steps_are_those_that_were_measured(tmp_path: Path) -> None:
    """A hub's own edges: their lengths lie where the measured ones do, and layers are frozen."""
    hub = draw(600, 3, tmp_path)
    child = np.flatnonzero(hub.parents >= 0)
    rows = np.asarray(hub.samples.rows, dtype=np.float64).reshape(-1, LAYERS, SEEN)
    start, end = rows[hub.parents[child]], rows[child]
    moved = np.square(end - start).sum(axis=2)
    step = np.sqrt((moved / np.square(start).sum(axis=2)).mean(axis=1))
    measured = np.array([float(row["step"]) for row in read_steps()])
    inside = (measured.min() / 2 < step) & (step < 2 * measured.max())
    assert inside.all()
    assert ((moved == 0).any(axis=1)).any()
    assert (hub.family[hub.parents[child]] == hub.family[child]).all()
    assert (hub.architecture[hub.parents[child]] == hub.architecture[child]).all()


def test_faint_steps_keep_to_themselves() -> None:
    steps = Steps.read()
    rng = np.random.default_rng(0)
    parents = grown(50, rng)
    faint = steps.rows[steps.first[-1] :, FIGURES.index("step")].max()
    usual = np.median(steps.rows[: steps.first[-1], FIGURES.index("step")])
    assert faint < usual / 10
    for _ in range(20):
        lengths = steps.drawn(depths(parents), parents, rng)[:, FIGURES.index("step")]
        assert (lengths <= faint).all() or np.median(lengths) > faint


def test_same_seed_same_hub(tmp_path: Path) -> None:
    one, other = (draw(200, 5, tmp_path / str(k)) for k in _folders(tmp_path))
    np.testing.assert_array_equal(one.samples.rows, other.samples.rows)
    np.testing.assert_array_equal(one.parents, other.parents)


def _folders(base: Path) -> range:
    for k in range(2):
        (base / str(k)).mkdir()
    return range(2)


@pytest.mark.filterwarnings("default")  # processes start with warnings of their own
def test_a_whole_trial(tmp_path: Path) -> None:
    run = ["hub", "--models", "150", "--out", str(tmp_path), "--threads", "1"]
    result = CliRunner().invoke(main, run, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.iterdir()} == {"hub.md", "hub.csv", "hub.svg"}
    text = (tmp_path / "hub.md").read_text()
    assert "| 150 | no |" in text
    assert "that size was not run here" in text
