"""Families that workers recover are as those recovered here."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import dying
import pytest
from click.testing import CliRunner

from mother.checkpoints import Problem
from mother.cli import cli
from mother.errors import InputError, MotherError
from mother.index import Index, family
from mother.index.executors import TRIES, Processes
from mother.index.family import Family, recovered


@pytest.fixture(scope="module")
def processes():
    with Processes(2) as started:
        yield started


@pytest.fixture(scope="module")
def template(models, tmp_path_factory):
    """Of several families; the smallest sketches, so that larger ones are kept, too."""
    folder = tmp_path_factory.mktemp("template") / "index"
    with Index.create(folder, budget=1 << 10) as index:
        assert index.add([models]).closer
    return folder


@pytest.fixture
def grown_index(template, tmp_path, monkeypatch):
    """The same for a test of its own, each family a part of its own."""
    monkeypatch.setattr(family, "TOGETHER", 1)
    return shutil.copytree(template, tmp_path / "index")


def families_of(index: Index) -> list[Family]:
    every = sorted({m.family for m in index.models()})
    members = (index._catalogue.models("family = ?", f) for f in every)
    return [Family.of(index._catalogue, m, index._options, index.settings.read) for m in members]


@pytest.mark.parametrize("kind", ["threads", "processes", "pool"])
@pytest.mark.slow
def test_whoever_recovers_the_forest_is_the_same(kind, grown_index, request, tmp_path):
    executor = request.getfixturevalue("processes") if kind == "processes" else None
    if executor is None:
        executor = (ThreadPoolExecutor if kind == "threads" else ProcessPoolExecutor)(2)
    with Index(grown_index) as index:
        wanted = index.graph().to_json()
        assert index.recover().to_json() == wanted
        assert index.recover(executor=executor).to_json() == wanted
        assert index.verify(executor) == []
        assert index.verify() == []


def test_what_a_worker_sends_back_is_what_is_found_here(grown_index):
    with Index(grown_index) as index:
        every = families_of(index)
        assert len(every) > 1
        assert any(x.kept.sketches for x in every)
        here = list(recovered(every, None))
        sent = [pickle.loads(pickle.dumps(x)) for x in every]
        assert [one for x in sent for one in family._recovered([x])] == here


def test_small_families_go_together(grown_index, monkeypatch):
    with Index(grown_index) as index:
        every = families_of(index)
    assert [len(part) for part in family._together(every)] == [1] * len(every)
    monkeypatch.setattr(family, "TOGETHER", 1 << 30)
    assert list(family._together(every)) == [every]
    two = every[0].nbytes + every[1].nbytes
    monkeypatch.setattr(family, "TOGETHER", two)
    assert next(family._together(every)) == every[:2]
    assert list(family._together([])) == []


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(grown_index, monkeypatch, processes, models):
    with Index(grown_index) as index:
        wanted = index.graph().to_json()
        monkeypatch.setattr(family, "_recovered", dying.recovers_once)
        assert index.recover(executor=processes).to_json() == wanted
    assert (models.parent / "died").exists()


@pytest.mark.slow
def test_where_no_worker_can_the_index_stays_as_it_was(grown_index, monkeypatch):
    with Index(grown_index) as index, Processes(1) as processes:
        wanted = index.graph().to_json()
        monkeypatch.setattr(family, "_recovered", dying.never_recovers)
        with pytest.raises(MotherError, match=f"a family was not recovered: .* {TRIES} have tried"):
            index.recover(executor=processes)
    with Index(grown_index) as index:
        assert index.graph().to_json() == wanted
        assert index.verify() == []


def test_another_version_refuses(grown_index):
    with Index(grown_index) as index:
        (one, *_) = families_of(index)
    found = family._recovered([replace(one, version="0.0")])
    assert isinstance(found, Problem)
    assert "install the same" in found.fault


def test_what_is_damaged_is_told_in_one_line(grown_index, processes):
    with Index(grown_index) as index:
        index._store.write("UPDATE larger SET content = x'00'")
        for executor in (None, processes):
            with pytest.raises(InputError) as refused:
                index.recover(executor=executor)
            assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_the_command_recovers_by_workers(grown_index, tmp_path):
    outs = []
    for k, sent in enumerate(([], ["--executor", "local:1"])):
        copy, out = tmp_path / f"copy{k}", tmp_path / f"{k}.json"
        shutil.copytree(grown_index, copy)
        done = CliRunner().invoke(cli, ["index", "recover", str(copy), "-o", str(out), *sent])
        assert done.exit_code == 0, done.output
        outs.append(Path(out).read_bytes())
        assert CliRunner().invoke(cli, ["index", "verify", str(copy), *sent]).exit_code == 0
    assert outs[0] == outs[1]


def test_what_was_read_of_a_family_goes_along(grown_index):
    sets = [(1, 2), (1, 2, 3), (12,), (2, 12), (3,), (1, 20), (11, 2)]
    with Index(grown_index) as index:
        with index._catalogue.writing():
            for k, some in enumerate(sets):
                index._readings.keep_measured(some, bytes([k]) if k % 2 else None)
            index._readings.to_measure([(1,), (2, 3)])
        for own in ([1, 2, 3], [12, 2], [1, 20, 2, 11], [7]):
            kept = index._readings.of(own)
            inside = [some for some in [*sets, (1,), (2, 3)] if set(some) <= set(own)]
            for some in inside:
                assert kept.measured(some) == index._readings.measured(some)
                assert kept.measured_in_vain(some) == index._readings.measured_in_vain(some)
            assert set(kept.whole) == set(inside) & set(sets)
