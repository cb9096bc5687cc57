"""A model with a NaN in one of its arrays is compared by the others."""

import json

import numpy as np
import pytest
from kit import check_refused, model, run, save, tuned

import mother


@pytest.fixture
def paths(tmp_path):
    base = model(0, layers=6)
    child = tuned(base, 1, 0.05)
    child["layer2.weight"][3, 4] = np.nan
    return [save(tmp_path / f"{n}.safetensors", x) for n, x in (("base", base), ("child", child))]


def test_recover_leaves_out_the_array_and_says_so(paths):
    graph = mother.recover(paths, bootstrap=0)
    assert not graph.refused
    assert len(graph.trees) == 1
    (child,) = (node for node in graph.nodes if node.id == "child")
    assert "left out 'layer2.weight': NaN or infinite weights" in child.notes
    assert child.compared == pytest.approx(5 / 6, abs=0.01)


def test_compare_says_what_it_left_out_and_how_much_it_compared(paths):
    for pair in (paths, paths[::-1]):
        done = run("compare", *pair, "--json")
        found = json.loads(done.out)
        assert found["kinship"] > 1, done
        assert found["compared"] == pytest.approx([5 / 6] * 2, abs=0.01)
        assert any(
            "1 not read as finite numbers: layer2.weight" in x for x in found["not_compared"]
        )


def test_an_index_takes_it_and_places_it(paths, tmp_path):
    index = tmp_path / "models.index"
    assert run("index", "create", index).code == 0
    added = run("index", "add", index, *paths)
    assert (added.code, added.err) == (0, ""), added
    graph = tmp_path / "grown.json"
    assert run("index", "export", index, "-o", graph).code == 0
    assert len(json.loads(graph.read_text())["trees"]) == 1


def test_copies_are_not_called_so_where_an_array_is_unknown(paths, tmp_path):
    import shutil

    again = shutil.copy(paths[1], tmp_path / "again.safetensors")
    graph = mother.recover([*paths, again], bootstrap=0)
    assert not graph.refused
    assert len(graph.trees) == 1
    assert not any(node.duplicate_of for node in graph.nodes)


def test_under_half_there_is_no_verdict(tmp_path):
    base = model(0, layers=6)
    child = tuned(base, 1, 0.05)
    for k in range(4):
        child[f"layer{k}.weight"][0, 0] = np.inf
    paths = [save(tmp_path / f"{n}.safetensors", x) for n, x in (("base", base), ("child", child))]
    check_refused(run("compare", *paths), "child", "NaN or infinite weights in layer3.weight")
    graph = mother.recover(paths, bootstrap=0)
    assert [r.fault for r in graph.refused] == ["NaN or infinite weights in layer3.weight"]


def test_measures_are_of_the_other_arrays(paths):
    measured = mother.measure(paths)
    assert measured.ids == ("base", "child")
    assert measured.not_compared[-1] == (
        "child: layer2.weight (NaN or infinite weights, or too large)"
    )
    assert "layer2.weight" not in measured.layers
    assert np.isfinite(measured.gram).all()
    assert np.isfinite(measured.distances()).all()
    assert measured.kinship[0, 1] > 1


def test_a_model_of_nothing_else_is_refused(tmp_path):
    whole = {"w": np.ones((64, 64), np.float32)}
    spoilt = {"w": np.full((64, 64), np.nan, np.float32)}
    measured = mother.measure({"a": whole, "b": spoilt})
    assert measured.ids == ("a",)
    assert measured.refused[0].fault == "NaN or infinite weights in w"
    with pytest.raises(mother.InputError, match="NaN or infinite"):
        mother.measure({"b": spoilt})
