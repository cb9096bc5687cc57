"""More bytes where decisions lie within their error."""

from __future__ import annotations

import random
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner
from families import comings_and_goings, killed_at, write
from kit import edges

import mother
from mother.cli import cli
from mother.index import Index, forests

SHAPES = {f"block.{k}.fc{j}.weight": (96, 80) for k in range(3) for j in range(2)}
BUDGET = 8 << 10
REPLICATES = 3  # one raises no doubt about so few
pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(scope="module")
def close(tmp_path_factory):
    """A family of which some steps are so short, and so uneven over rows and columns, that a
    window of a twentieth tells little of who is whose parent."""
    folder = tmp_path_factory.mktemp("close")
    rng = np.random.default_rng(6)
    held = [{n: rng.normal(size=s) for n, s in SHAPES.items()}]
    write(folder / "m0.safetensors", held[0])
    for k in range(1, 14):
        up = held[rng.integers(len(held))]
        new = {}
        for name, weights in up.items():
            rows, columns = (np.exp(0.7 * rng.normal(size=side)) for side in weights.shape)
            step = rng.normal(size=weights.shape) * np.outer(rows, columns)
            new[name] = weights + 0.02 * step
        held.append(new)
        write(folder / f"m{k}.safetensors", new)
    return folder


def asked(index):
    with sqlite3.connect(index._store.path) as database:
        return dict(database.execute("SELECT model, max(level) FROM larger GROUP BY model"))


def test_what_a_sketch_cannot_tell_more_bytes_do(close, tmp_path, monkeypatch):
    whole = edges(mother.recover([close], bootstrap=0))
    with Index.create(tmp_path / "closer", budget=BUDGET) as index:
        added = index.add([close])
        assert 0 < len(added.closer) < 14
        assert len(asked(index)) == len(added.closer)
        closer = edges(index.graph())
        assert index.verify() == []
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    with Index.create(tmp_path / "plain", budget=BUDGET, read=0) as index:
        assert index.add([close]).closer == ()
        plain = edges(index.graph())
    assert len(closer & whole) > len(plain & whole)
    assert len(closer & whole) >= len(whole) - 1


@pytest.mark.slow
def test_the_order_does_not_matter_and_afresh_is_the_same(close, tmp_path):
    paths = sorted(close.glob("*.safetensors"))
    with Index.create(tmp_path / "all", budget=BUDGET) as index:
        index.add(paths)
        wanted = index.graph().to_json()
        assert index.recover().to_json() == wanted
    lots = random.Random(3)
    with Index.create(tmp_path / "grown", budget=BUDGET) as index:
        for _ in comings_and_goings(index, paths, lots, 5, 0.5):
            assert index.verify() == []
        assert index.graph().to_json() == wanted


def test_whoever_is_stopped_before_more_is_read_goes_on(close, tmp_path):
    with Index.create(tmp_path / "all", budget=BUDGET) as index:
        index.add([close])
        wanted = index.graph().to_json()

    with Index.create(tmp_path / "stopped", budget=BUDGET) as index:
        killed_at("read", index, close)
        assert (len(index), asked(index), index.verify()) == (14, {}, [])
        assert index.graph().to_json() != wanted
        again = index.add([close])
        assert len(again.unchanged) == 14
        assert again.closer
        assert index.graph().to_json() == wanted


def test_files_that_are_gone_or_changed_are_done_without(close, tmp_path):
    for path in close.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.insert([index.reduce(c) for c in mother.checkpoints.discover([tmp_path])[0]])
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()
        assert index.settle() == ()
        assert index.verify() == []
        assert index._catalogue.readings.wanted() == []  # not looked for at every change
        before = index.graph().to_json()
        for path in close.glob("*.safetensors"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        assert index.recover().to_json() == before  # times differ: other files, for all we know
        assert index.add([tmp_path]).closer


@pytest.mark.slow
def test_place_reads_as_much_as_add_would_and_stores_nothing(close, tmp_path):
    paths = sorted(close.glob("*.safetensors"))
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        for path in paths[::4]:
            index.add([p for p in paths if p != path])
            before = asked(index)
            placed = index.place(path)
            assert asked(index) == before
            index.add([path])
            (edge,) = [e for e in index.graph().edges if e.child == path.stem] or [None]
            assert placed.edge == edge
            index.remove([path.stem])


def test_it_is_said(close, tmp_path):
    folder = str(tmp_path / "index")
    for command in (["create", folder, "--budget", "8K"], ["add", folder, str(close)]):
        done = CliRunner().invoke(cli, ["index", *command])
        assert done.exit_code == 0
    assert "for more bytes, since decisions about them were within their error" in done.output


@pytest.mark.slow
def test_so_does_a_family_too_large_for_matrices(close, tmp_path, monkeypatch):
    whole = edges(mother.recover([close], bootstrap=0))
    monkeypatch.setattr("mother.architecture.MANY", 6)
    monkeypatch.setattr(forests, "MANY", 6)
    paths = sorted(close.glob("*.safetensors"))
    with Index.create(tmp_path / "all", budget=BUDGET) as index:
        assert index.add(paths).closer
        found = index.graph()
        assert len(edges(found) & whole) >= len(whole) - 1
        assert index.verify() == []
        assert index.recover().to_json() == found.to_json()
    with Index.create(tmp_path / "grown", budget=BUDGET) as index:
        for _ in comings_and_goings(index, paths, random.Random(4), 5, 0.5):
            assert index.verify() == []
        assert index.graph().to_json() == found.to_json()
