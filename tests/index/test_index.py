import json
import os
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from families import SHAPES, collection, comings_and_goings, grown, write
from safetensors.numpy import load_file

import mother
import mother.options
from mother.checkpoints import open_checkpoint
from mother.cli import cli
from mother.errors import InputError, UsageError
from mother.index import Index, Settings
from mother.index.browser import Browser
from mother.index.catalogue import Catalogue
from mother.index.closer import Stored
from mother.methods.refinement import Refinement

pytestmark = pytest.mark.usefixtures("few_replicates")


def edges(graph):
    return {(e.parent, e.child, e.relation) for e in graph.edges}


def members(graph):
    return sorted(tree.members for tree in graph.trees)


@pytest.fixture
def index(tmp_path):
    with Index.create(tmp_path / "index", budget=16 << 10) as made:
        yield made


def test_the_forest_is_the_true_one_and_that_of_the_weights(index, models, tmp_path):
    truth = collection(tmp_path)
    added = index.add([models])
    assert set(added.new) == set(truth)
    found = index.graph()
    assert {(p, c) for p, c, _ in edges(found)} == {(p, c) for c, p in truth.items() if p}
    whole = mother.recover([models], bootstrap=0)
    assert edges(whole) == edges(found)
    assert members(whole) == members(found)
    assert [(n.id, n.files, n.notes) for n in whole.nodes] == [
        (n.id, n.files, n.notes) for n in found.nodes
    ]
    assert mother.ModelGraph.from_json(found.to_json()).to_json() == found.to_json()
    assert index.verify() == []


@pytest.fixture(scope="module")
def at_once(tmp_path_factory, models):
    """The forest of all, added at once."""
    with Index.create(tmp_path_factory.mktemp("all") / "index", budget=8 << 10) as index:
        index.add([models])
        return index.graph().to_json(), index.recover().to_json()


@pytest.mark.parametrize("seed", range(4))
def test_order_does_not_matter(tmp_path, models, at_once, seed):
    """Added in any order, one by one or many at once, with some taken out and put back: the same
    bytes as added at once, and as recovered afresh."""
    lots = random.Random(seed)
    paths = sorted(models.glob("*.safetensors"))
    with Index.create(tmp_path / "grown", budget=8 << 10) as index:
        for _ in comings_and_goings(index, paths, lots, 4, 0.4):
            pass
        assert (index.graph().to_json(),) * 2 == at_once
        assert index.verify() == []


@pytest.fixture
def few_are_many(monkeypatch):
    """Families of four and more are too large for matrices."""
    monkeypatch.setattr("mother.architecture.MANY", 3)
    monkeypatch.setattr("mother.index.forests.MANY", 3)


@pytest.mark.usefixtures("few_are_many")
def test_a_large_family_is_that_of_the_weights(index, models):
    index.add([models])
    found = index.graph()
    whole = mother.recover([models], bootstrap=0)
    assert edges(found) == edges(whole)
    assert members(found) == members(whole)
    assert index.verify() == []
    assert index.recover().to_json() == found.to_json()
    sketches = [index._catalogue.sketch(m.number) for m in index.models()]
    ids = [m.id for m in index.models()]
    named = [replace(sketch, id=id) for sketch, id in zip(sketches, ids, strict=True)]
    stored = Stored(index._catalogue.readings, {m.id: m for m in index.models()})
    at_once = mother.recovery.recover_checkpoints(
        named, mother.options.Options(bootstrap=0), refinement=Refinement(stored)
    )
    assert at_once.edges == found.edges


@pytest.mark.usefixtures("few_are_many")
def test_order_does_not_matter_to_large_families(tmp_path, models):
    paths = sorted(models.glob("*.safetensors"))
    with Index.create(tmp_path / "all", budget=8 << 10) as index:
        index.add(paths)
        wanted = index.graph().to_json()
    with Index.create(tmp_path / "grown", budget=8 << 10) as index:
        for path in random.Random(3).sample(paths, len(paths)):
            index.add([path])
        index.remove(["a3"])
        index.add([models / "a3.safetensors"])
        assert index.graph().to_json() == wanted
        assert index.verify() == []


def test_a_family_that_grows_one_by_one_is_recovered_but_now_and_then(
    tmp_path, models, monkeypatch
):
    """And is seen as it was meanwhile."""
    monkeypatch.setattr("mother.index.index.BATCH", 1)
    paths, recovered = sorted(models.glob("a*.safetensors")), []
    put = Catalogue.put
    monkeypatch.setattr(
        Catalogue,
        "put",
        lambda self, family, graph, *rest: (
            recovered.append(len(graph.nodes)),
            put(self, family, graph, *rest),
        ),
    )
    with Index.create(tmp_path / "index", budget=1 << 20) as index:
        browser = Browser(tmp_path / "index")
        seen = [
            [index.insert([index.reduce(open_checkpoint(p))]), browser.counts()[0]] for p in paths
        ]
        many = len(paths)
        assert [n for _, n in seen] == [1 << k.bit_length() - 1 for k in range(1, many + 1)]
        assert recovered == [1 << k for k in range(many.bit_length())]
        assert index.verify() == []
        index.add(paths)
        assert browser.counts()[0] == many
        assert index.graph().to_json() == index.recover().to_json()
        browser.close()


@pytest.mark.usefixtures("few_are_many")
def test_a_large_family_without_its_forest_is_recovered_by_whoever_asks(tmp_path, models):
    """As where `add` was stopped after its last transaction but one."""
    paths = sorted(models.glob("a*.safetensors"))
    with Index.create(tmp_path / "index", budget=8 << 10) as index:
        index.insert([index.reduce(open_checkpoint(path)) for path in paths])
        assert list(map(len, index._catalogue.waiting())) == [len(paths)]
        found = index.graph()
        assert len(found.edges) == len(paths) - 1
        assert index.verify() == []
        index.add(paths[:1])  # there already; what was left is made up for
        assert index._catalogue.waiting() == []
        assert edges(index.graph()) == edges(found)  # some from larger sketches
        assert index.verify() == []


def test_a_bridge_joins_families_and_its_removal_parts_them(index, tmp_path):
    rng = np.random.default_rng(0)
    one, other = ({n: rng.normal(size=s) for n, s in SHAPES.items()} for _ in range(2))
    for name, weights in (("one", one), ("other", other)):
        write(tmp_path / f"{name}.safetensors", weights)
        near = {n: w + 0.05 * rng.normal(size=w.shape) for n, w in weights.items()}
        write(tmp_path / f"{name}-child.safetensors", near)
    index.add([tmp_path])
    before = index.graph()
    assert members(before) == [("one", "one-child"), ("other", "other-child")]
    merge = {n: (one[n] + other[n]) / 2 for n in SHAPES}
    write(tmp_path / "merge.safetensors", merge)
    index.add([tmp_path / "merge.safetensors"])
    assert len(index.graph().trees) == 2
    assert set(index.graph().parents("merge")) == {"one", "other"}
    assert index.verify() == []
    index.remove(["merge"])
    assert index.graph().to_json() == before.to_json()
    # one that was trained from a merge which is not there
    trained = {n: w + 0.05 * rng.normal(size=w.shape) for n, w in merge.items()}
    write(tmp_path / "trained.safetensors", trained)
    index.add([tmp_path / "trained.safetensors"])
    assert len(index.graph().trees) == 1
    assert index.verify() == []
    index.remove(["trained"])
    assert index.graph().to_json() == before.to_json()


def test_a_newcomer_of_an_architecture_that_was_not_there_is_compared(index, tmp_path):
    """As one with a head of its own."""
    rng = np.random.default_rng(0)
    weights = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    for classes in (0, 2, 3, 4):
        head = {"head.weight": rng.normal(size=(classes, 32))} if classes else {}
        near = {n: w + 0.05 * rng.normal(size=w.shape) for n, w in weights.items()}
        write(tmp_path / f"m{classes}.safetensors", near | head)
        index.add([tmp_path / f"m{classes}.safetensors"])
        assert len(index.graph().trees) == 1
        assert index.verify() == []


def test_added_again(index, models, tmp_path):
    for path in models.glob("a*.safetensors"):
        shutil.copy(path, tmp_path)
    index.add([tmp_path])
    before = index.graph().to_json()
    again = index.add([tmp_path])
    assert (again.new, again.changed, len(again.unchanged)) == ((), (), 7)
    write(tmp_path / "a3.safetensors", load_file(models / "b0.safetensors"))
    changed = index.add([tmp_path])
    assert (changed.new, changed.changed, len(changed.unchanged)) == ((), ("a3",), 6)
    assert len(index) == 7
    assert not [e for e in index.graph().edges if "a3" in (e.parent, e.child)]
    assert index.verify() == []
    shutil.copy(models / "a3.safetensors", tmp_path)
    index.add([tmp_path])
    assert index.graph().to_json() == before


def test_models_of_one_name_are_told_apart_by_their_folders(index, models, tmp_path):
    for name, source in (("x", "a0"), ("y", "b0"), ("z", "c0")):
        (tmp_path / name).mkdir()
        shutil.copy(models / f"{source}.safetensors", tmp_path / name / "model.safetensors")
        index.add([tmp_path / name / "model.safetensors"])
    assert [m.id for m in index.models()] == ["model", "y/model", "z/model"]


def test_place_says_what_add_does_and_stores_nothing(index, models):
    index.add([models])
    for path in (models / "a4.safetensors", models / "b0.safetensors", models / "s0.safetensors"):
        index.remove([path.stem])
        before = index.graph().to_json()
        placed = index.place(path)
        assert index.graph().to_json() == before
        index.add([path])
        graph = index.graph()
        (edge,) = [e for e in graph.edges if e.child == path.stem] or [None]
        assert placed.edge == edge
        assert placed.children == graph.children(path.stem)
        assert index.place(path).parent == placed.parent  # itself, as it lies there, is left out


def test_place_calls_a_checkpoint_as_add_would(index, models, tmp_path):
    for name in ("z", "a"):
        (tmp_path / name).mkdir()
        shutil.copy(models / "a0.safetensors", tmp_path / name / "model.safetensors")
    index.add([tmp_path / "z" / "model.safetensors"])
    placed = index.place(tmp_path / "a" / "model.safetensors")
    assert (placed.id, placed.found) == ("a/model", "root")
    assert index.add([tmp_path / "a" / "model.safetensors"]).new == ("a/model",)
    assert [(e.parent, e.child) for e in index.graph().edges] == [("a/model", "model")]


def test_a_copy_that_comes_first_by_name_is_no_parent(index, models, tmp_path):
    index.add([models])
    for name, root in (("a6", ""), ("a0", "root")):
        copy = tmp_path / f"a--{name}.safetensors"
        shutil.copy(models / f"{name}.safetensors", copy)
        placed = index.place(copy)
        assert placed.copies == (name,)
        assert name not in placed.children
        assert placed.found == (root or "child")
        said = CliRunner().invoke(cli, ["index", "place", str(tmp_path / "index"), str(copy)])
        assert f"  the same weights as {name}\n" in said.output


def test_place_among_none_and_of_an_unknown_architecture(index, models, tmp_path):
    assert index.place(models / "a0.safetensors").found == "alone"
    index.add([models])
    path = write(tmp_path / "new.safetensors", {"w": np.random.default_rng(9).normal(size=(9, 9))})
    placed = index.place(path)
    assert (placed.found, placed.comparable) == ("alone", 0)


def test_large_families_are_placed_by_their_nearest(index, models, monkeypatch):
    monkeypatch.setattr("mother.index.placing.LARGE", 3)
    monkeypatch.setattr("mother.index.placing.MOST", 3)
    index.add([p for p in models.glob("*.safetensors") if p.stem != "a6"])
    placed = index.place(models / "a6.safetensors")
    whole = mother.recover([models], bootstrap=0)
    assert placed.parent == whole.parent("a6")
    assert placed.compared < 6


def test_what_cannot_be_compared_is_refused_and_the_rest_added(index, models, tmp_path):
    shutil.copy(models / "a0.safetensors", tmp_path)
    (tmp_path / "broken.safetensors").write_bytes(b"\0" * 64)
    nan = {n: np.full(s, np.nan) for n, s in SHAPES.items()}
    write(tmp_path / "nan.safetensors", nan)
    write(tmp_path / "none.safetensors", {})
    added = index.add([tmp_path, tmp_path / "absent"])
    assert added.new == ("a0",)
    faults = sorted((p.path.name, p.fault) for p in added.problems)
    assert [name for name, _ in faults] == [
        "absent",
        "broken.safetensors",
        "nan.safetensors",
        "none.safetensors",
    ]
    assert index.verify() == []
    with pytest.raises(InputError, match="NaN"):
        index.place(tmp_path / "nan.safetensors")


def test_a_path_that_is_no_text_is_refused_and_the_rest_added(index, models, tmp_path):
    """It could not be read again, and two such may look alike."""
    for name in (b"x\xff", b"y", b"x\\udcff"):
        shutil.copy(models / "a0.safetensors", tmp_path / os.fsdecode(name + b".safetensors"))
    added = index.add([tmp_path])
    assert added.new == ("x\\udcff.safetensors", "y")
    (problem,) = added.problems
    assert "its path is not UTF-8" in str(problem)
    assert index.add([tmp_path]).unchanged == added.new
    assert index.verify() == []
    with pytest.raises(InputError, match="its path is not UTF-8"):
        index.place(tmp_path / os.fsdecode(b"x\xff.safetensors"))


def test_unknown_ids_remove_nothing(index, models):
    index.add([models])
    with pytest.raises(UsageError, match="'nobody' is not in the index"):
        index.remove(["a0", "nobody"])
    assert "a0" in [m.id for m in index.models()]
    assert index.verify() == []


def test_sketches_are_all_that_is_needed(index, tmp_path):
    truth = grown(tmp_path, "a", 5, 1)
    index.add([tmp_path])
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    graph = index.recover()
    assert {(e.parent, e.child) for e in graph.edges} == {(p, c) for c, p in truth.items() if p}
    assert index.verify() == []


def test_settings_are_kept_and_checked(tmp_path):
    with Index.create(tmp_path / "i", budget=4096, seed=5, matrices=3, bootstrap=7) as index:
        pass
    with Index(tmp_path / "i") as index:
        assert index.settings == Settings(budget=4096, seed=5, matrices=3, bootstrap=7)
        assert index.graph().options["bootstrap"] == 7
    for wrong in ({"budget": 10}, {"budget": 1 << 40}, {"seed": -1}, {"matrices": 0}):
        with pytest.raises(UsageError):
            Index.create(tmp_path / "other", **wrong)
    with pytest.raises(InputError, match="holds an index already"):
        Index.create(tmp_path / "i")
    with pytest.raises(InputError, match="no index"):
        Index(tmp_path / "nothing")


def test_few_matrices_still_make_the_forest(tmp_path, models):
    with Index.create(tmp_path / "i", matrices=4) as index:
        index.add([models])
        whole = mother.recover([models], bootstrap=0)
        assert {(p, c) for p, c, _ in edges(index.graph())} == {(p, c) for p, c, _ in edges(whole)}


def test_the_graph_is_what_other_commands_read(index, models, tmp_path):
    index.add([models])
    path = tmp_path / "graph.json"
    path.write_text(index.graph().to_json())
    assert mother.ModelGraph.load(path) == index.graph()
    assert json.loads(path.read_text())["schema"] == "mother.model-graph/1"
