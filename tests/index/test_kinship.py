"""Kinship within the error of sketches: larger ones tell, whatever the order."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from families import at_once, killed_at, order_does_not_matter, write
from safetensors.numpy import save_file

import mother
from mother.index import Index
from mother.index.kin import nearest
from mother.index.relatives import kinships

SHAPES = {f"block.{k}.fc{j}.weight": (96, 80) for k in range(3) for j in range(2)}
BUDGET = 8 << 10
pytestmark = pytest.mark.usefixtures("few_replicates")
TREES = {("a0", "a1", "b0", "b1"), ("c0", "c1"), ("d0", "d1")}


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """A family, another that shares a little more with it than strangers may, one that shares a
    little less, and one that shares nothing."""
    folder = tmp_path_factory.mktemp("strangers")
    rng = np.random.default_rng(1)
    first = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    for name, cosine in (("a", 1.0), ("b", 0.14), ("c", 0.06), ("d", 0.0)):
        noise = np.sqrt(1 - cosine**2)
        root = {n: cosine * w + noise * rng.normal(size=w.shape) for n, w in first.items()}
        write(folder / f"{name}0.safetensors", root)
        tuned = {n: w + 0.05 * rng.normal(size=w.shape) for n, w in root.items()}
        write(folder / f"{name}1.safetensors", tuned)
    return folder


def trees(graph):
    return {t.members for t in graph.trees}


def families(index):
    found = {}
    for model in index.models():
        found.setdefault(model.family, []).append(model.id)
    return {tuple(ids) for ids in found.values()}


def undecided(index):
    with sqlite3.connect(index._store.path) as database:
        return database.execute("SELECT * FROM doubtful WHERE waiting").fetchall()


def test_the_weights_say_so(strangers):
    assert trees(mother.recover([strangers], bootstrap=0)) == TREES


@pytest.mark.parametrize("budget", [4 << 10, BUDGET, 32 << 10])
def test_families_are_those_of_the_weights(strangers, tmp_path, budget, monkeypatch):
    with Index.create(tmp_path / "closer", budget=budget) as index:
        assert index.add([strangers]).closer
        assert trees(index.graph()) == families(index) == TREES
        assert (index.verify(), undecided(index)) == ([], [])
        kept = index.graph().to_json()
        assert index.recover().to_json() == kept
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    with Index.create(tmp_path / "plain", budget=budget, read=0) as index:
        assert index.add([strangers]).closer == ()
        assert trees(index.graph()) != TREES or budget == 32 << 10


def test_the_order_does_not_matter(strangers, tmp_path):
    paths = sorted(strangers.glob("*.safetensors"))
    wanted = at_once(tmp_path, paths, budget=BUDGET)
    order_does_not_matter(wanted, tmp_path, paths, seeds=1, most=3, budget=BUDGET)


def test_kinship_is_that_of_the_two_whoever_is_beside(tmp_path):
    """Of numbers half as long, a sketch holds more: it is no smaller for those that it is not
    compared with."""
    rng = np.random.default_rng(0)
    first = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    for name, kind in (("a", np.float16), ("b", np.float16), ("c", np.float32)):
        near = {n: (w + 2 * rng.normal(size=w.shape)).astype(kind) for n, w in first.items()}
        save_file(near, tmp_path / f"{name}.safetensors")
    with Index.create(tmp_path / "index", budget=2 << 10, read=0) as index:
        index.add([tmp_path])
        new, *others = (index._catalogue.sketch(m.number) for m in index.models())
    together = kinships(new, others)
    alone = [kinships(new, [other]) for other in others]
    assert [tuple(map(float, row)) for row in zip(*together, strict=True)] == [
        (float(kin[0]), float(doubt[0])) for kin, doubt in alone
    ]


def test_whoever_is_stopped_before_kinship_is_known_goes_on(strangers, tmp_path):
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        killed_at("read", index, strangers)
        assert families(index) == {(f"{name}0", f"{name}1") for name in "abcd"}
        assert undecided(index)
        assert index.verify() == []
        assert index.add([strangers]).closer
        assert families(index) == TREES


def test_files_that_are_gone_leave_it_to_what_is_there(strangers, tmp_path):
    for path in strangers.glob("*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.insert([index.reduce(c) for c in mother.checkpoints.discover([tmp_path])[0]])
        for path in tmp_path.glob("*.safetensors"):
            path.unlink()
        assert index.settle() == ()
        assert (index.verify(), undecided(index)) == ([], [])
        kept = index.graph().to_json()
        assert index.recover().to_json() == kept


def test_place_asks_as_add_does(strangers, tmp_path):
    paths = sorted(strangers.glob("*.safetensors"))
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.add([p for p in paths if p.stem[0] != "b"])
        placed = index.place(strangers / "b0.safetensors")
        assert placed.compared == 2  # with the a, not with the c
        assert index.place(strangers / "b0.safetensors", closer=False).compared == 0
        index.add([strangers / "b0.safetensors"])
        (edge,) = [e for e in index.graph().edges if e.child == "b0"] or [None]
        assert placed.edge == edge


def test_who_came_first_rounds_nothing(tmp_path):
    """Beside a layer of another scale, what is left of the products of the other model depends on
    which of the two is the first."""
    rng = np.random.default_rng(0)
    root = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    noise = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    other = {n: 0.12 * w + 0.99 * noise[n] for n, w in root.items()}
    other["block.0.fc0.weight"] *= 1e-6
    paths = [write(tmp_path / f"{n}.safetensors", w) for n, w in (("a", root), ("b", other))]
    kin = []
    for order in (paths, paths[::-1]):
        with Index.create(tmp_path / order[0].stem, budget=BUDGET) as index:
            for path in order:
                index.add([path])
            one, other = (m.sure for m in index.models())
            assert one != other
            pair = nearest(index._catalogue, one, other)
            kin.append([m.id for m in pair.values()])
    assert kin == [["a", "b"]] * 2
