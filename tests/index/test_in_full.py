"""Models of an index read in full, where the largest sketches leave a doubt."""

from __future__ import annotations

import shutil
import sqlite3

import numpy as np
import pytest
from families import killed_at, order_does_not_matter, write
from kit import edges

import mother
from mother.errors import UsageError
from mother.index import Index
from mother.index import closer as closer_module

SHAPES = {f"block.{k}.fc{j}.weight": (96, 80) for k in range(3) for j in range(2)}
BUDGET = 2 << 10
REPLICATES = 2  # one raises no doubt about whose parent is whose
pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Sketches grow once, to a twentieth of the weights."""
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 1)


@pytest.fixture(scope="module")
def close(once):
    """A family of short and uneven steps, and two that share a little more with it than strangers
    may."""
    return once("close", write_close)


def write_close(folder):
    rng = np.random.default_rng(6)
    held = [{n: rng.normal(size=s) for n, s in SHAPES.items()}]
    for _ in range(1, 9):
        up = held[rng.integers(len(held))]
        rows, columns = np.exp(0.7 * rng.normal(size=96)), np.exp(0.7 * rng.normal(size=80))
        step = np.outer(rows, columns)
        held.append({n: w + 0.02 * step * rng.normal(size=w.shape) for n, w in up.items()})
    far = {n: 0.14 * w + 0.99 * rng.normal(size=w.shape) for n, w in held[0].items()}
    held += [far, {n: w + 0.05 * rng.normal(size=w.shape) for n, w in far.items()}]
    for k, arrays in enumerate(held):
        write(folder / f"m{k}.safetensors", arrays)


@pytest.fixture(scope="module")
def template(close, once):
    """An index of all of them, which nobody changes."""

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mother.sketches.levels.MAX_LEVELS", 1)
            with Index.create(folder, budget=BUDGET) as index:
                index.add([close])

    return once("index of close", make)


@pytest.fixture
def made(template, tmp_path):
    """The same for a test of its own."""
    with Index(shutil.copytree(template, tmp_path / "made")) as index:
        yield index


def trees(graph):
    return {t.members for t in graph.trees}


def measured(index):
    with sqlite3.connect(index._store.path) as database:
        return database.execute("SELECT models, tried, content NOTNULL FROM measured").fetchall()


@pytest.mark.slow
def own(graph):
    """Edges but the one to the two that hardly share anything with the family: from so far, several
    of its models are as near."""
    far = {"m9", "m10"}
    return {edge for edge in edges(graph) if len(far & set(edge)) != 1}


def test_what_no_sketch_tells_the_weights_do(close, made, tmp_path):
    whole, found = mother.recover([close], bootstrap=0), made.graph()
    assert (own(found), trees(found)) == (own(whole), trees(whole))
    assert sum(len(n.notes) for n in found.nodes) < 2
    assert made.verify() == []
    assert all(tried and held for _, tried, held in measured(made))
    assert made.recover().to_json() == found.to_json()
    with Index.create(tmp_path / "sketches", budget=BUDGET, read=0) as index:
        index.add([close])
        found = index.graph()
        assert measured(index) == []
        assert own(found) != own(whole)
        said = [line for n in found.nodes for line in n.notes]
        assert any("its parent" in line for line in said)
        assert index.verify() == []
    with pytest.raises(UsageError):
        Index.create(tmp_path / "none", read=-1)


@pytest.mark.slow
def test_the_order_does_not_matter(close, made, tmp_path):
    paths, wanted = sorted(close.glob("*.safetensors")), made.graph().to_json()
    order_does_not_matter(wanted, tmp_path, paths, seeds=1, most=5, budget=BUDGET)


@pytest.mark.slow
def test_it_is_not_read_twice_and_outlives_its_files(close, tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    for path in close.glob("*.safetensors"):
        (folder / path.name).write_bytes(path.read_bytes())
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.add([folder])
        kept = index.graph().to_json()
        monkeypatch.setattr(closer_module, "measured", None)  # would fail
        assert index.recover().to_json() == kept
        for path in folder.glob("*.safetensors"):
            path.unlink()
        assert index.recover().to_json() == kept
        assert index.verify() == []


def test_whoever_is_stopped_before_it_is_read_goes_on(close, made, tmp_path):
    wanted = made.graph().to_json()
    with Index.create(tmp_path / "stopped", budget=BUDGET) as index:
        killed_at("measured", index, close)
        assert index.verify() == []
        assert [held for _, _, held in measured(index) if held] == []
        assert index.add([close]).closer
        assert index.graph().to_json() == wanted


def test_a_model_that_another_takes_out_meanwhile(close, tmp_path, monkeypatch):
    folder, read = tmp_path / "index", closer_module.measured

    def meanwhile(models):
        with Index(folder) as other:
            if models[0].id in [m.id for m in other.models()]:
                other.remove([models[0].id])
        return read(models)

    with Index.create(folder, budget=BUDGET) as index:
        with monkeypatch.context() as patched:
            patched.setattr(closer_module, "measured", meanwhile)
            index.add([close])
        assert index.verify() == []
        left = {m.number for m in index.models()}
        assert len(left) < 10
        assert all(left >= set(map(int, models.split())) for models, *_ in measured(index))


def test_files_that_can_not_be_read_are_done_without(close, tmp_path, monkeypatch):
    monkeypatch.setattr(closer_module, "is_address", lambda path: True)  # as on the Hub
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.add([close])
        assert measured(index)
        assert all(tried and not held for _, tried, held in measured(index))
        assert index.verify() == []
        assert index.settle() == ()


def test_damage_is_found(made):
    with sqlite3.connect(made._store.path) as database:
        database.execute("UPDATE measured SET content = x'00' WHERE content NOTNULL")
    assert "not as it was stored" in made.verify()[0]


def test_place_reads_as_much_as_add_would(close, made):
    for path in sorted(close.glob("*.safetensors"))[::6]:
        made.remove([path.stem])
        before = measured(made)
        placed = made.place(path)
        assert measured(made) == before
        made.add([path])
        (edge,) = [e for e in made.graph().edges if e.child == path.stem] or [None]
        assert placed.edge == edge
