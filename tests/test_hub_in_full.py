"""Models on a Hub in an index, where the largest sketches leave a doubt: nothing is read in full
unless asked for, and then it is what a disk would yield. By the real client on a loopback Hub."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from loopback_hub import COMMIT, Record, client_of, serve
from safetensors.numpy import load_file, save_file

from mother.cli import cli
from mother.graph import ModelGraph
from mother.index import Index
from mother.index.settings import Settings

SHAPES = {f"block.{k}.fc{j}.weight": (200, 192) for k in range(3) for j in range(2)}
BUDGET = 2 << 10
BASE = "org/m1/model.safetensors"
FILE = f"org/m1/resolve/{COMMIT}/model.safetensors"
Weights = dict[str, np.ndarray]
Once = Callable[..., Path]


def short_steps(count: int = 6) -> list[Weights]:
    """A family of steps so short and uneven that windows tell little of who is whose parent."""
    rng = np.random.default_rng(6)
    held = [{n: rng.normal(size=s) for n, s in SHAPES.items()}]
    for _ in range(1, count):
        up = held[rng.integers(len(held))]
        rows, columns = np.exp(0.7 * rng.normal(size=200)), np.exp(0.7 * rng.normal(size=192))
        step = 0.02 * np.outer(rows, columns)
        held.append({n: w + step * rng.normal(size=w.shape) for n, w in up.items()})
    return held


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits; sketches grow once, and small files are large ones."""
    monkeypatch.setattr("mother.hub.patience.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 1)
    sizes = {"HEAD": 1 << 12, "LEAST": 1 << 10, "MOST": 1 << 16, "GAP": 1 << 10, "AHEAD": 1 << 12}
    for name, size in sizes.items():
        monkeypatch.setattr(f"mother.hub.files.{name}", size)
    monkeypatch.setattr("mother.hub.mirrors.HEAD", 1 << 12)


def write_models(folder: Path) -> None:
    for k, weights in enumerate(short_steps()):
        home = folder / "org" / f"m{k}"
        home.mkdir(parents=True)
        save_file({n: w.astype(np.float32) for n, w in weights.items()}, home / "model.safetensors")


@pytest.fixture
def models(
    once: Once, tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """What the Hub serves, and the same on the disk: models/org/NAME/model.safetensors."""
    folder, spool = tmp_path / "hub" / "models", tmp_path / "spool"
    spool.mkdir()
    shutil.copytree(once("short steps", write_models), folder)
    monkeypatch.setattr("mother.hub.mirrors._spool", spool)
    with serve(folder.parent, record) as endpoint:
        client_of(endpoint, tmp_path, monkeypatch)
        yield folder


def forest(graph: ModelGraph) -> object:
    """All that does not say where models lie."""
    return graph.edges, graph.trees, graph.hidden, [(n.id, n.notes) for n in graph.nodes]


@pytest.fixture
def local(models: Path, once: Once) -> object:
    """The forest of the same on a disk."""

    def make(folder: Path) -> None:
        with Index.create(folder, budget=BUDGET) as index:
            index.add([models / "org"])

    with Index(once("index of short steps", make)) as index:
        return forest(index.graph())


@pytest.fixture
def added(models: Path, once: Once, tmp_path: Path) -> Path:
    """An index of the test's own, of what the Hub serves: its addresses are those of any Hub."""

    def make(folder: Path) -> None:
        with Index.create(folder, budget=BUDGET) as index:
            index.add(["hf://org"])

    return shutil.copytree(once("index of a hub of short steps", make), tmp_path / "index")


def fetched_whole(record: Record, models: Path) -> set[str]:
    """The files that came in full, all answers together."""
    size = {str(p.relative_to(models)): p.stat().st_size for p in models.rglob("*.safetensors")}
    return {name for name, many in record.served.items() if many >= size[name]}


def test_nothing_is_read_in_full_unless_asked_for(
    models: Path, record: Record, tmp_path: Path, local: object
) -> None:
    folder = str(tmp_path / "index")
    run = CliRunner().invoke
    assert run(cli, ["index", "create", folder, "--budget", "2K"]).exit_code == 0
    added = run(cli, ["index", "add", folder, "hf://org"])
    assert added.exit_code == 0
    assert not fetched_whole(record, models)
    assert not (tmp_path / "cache").exists()
    (said,) = added.stderr.splitlines()
    assert "on the Hub stay within their error" in said
    assert f"`mother index recover {folder} --download` reads" in said
    with Index(folder) as index:
        assert forest(index.graph()) != local
        assert index.verify() == []

    # nothing new: what may not be read was said
    assert run(cli, ["index", "add", folder, "hf://org"]).stderr == ""
    placed = run(cli, ["index", "place", folder, "hf://org/m1", "--json"])
    assert json.loads(placed.stdout)["id"] == "m1"
    assert not fetched_whole(record, models)

    # asked for, now and from now on
    found = run(cli, ["index", "recover", folder, "--download", "-o", str(tmp_path / "g.json")])
    assert (found.exit_code, found.stderr) == (0, "")
    assert forest(ModelGraph.load(tmp_path / "g.json")) == local
    with Index(folder) as index:
        assert index.settings.download
        assert index.verify() == []
    assert run(cli, ["index", "recover", folder, "--no-download"]).exit_code == 0
    with Index(folder) as index:
        assert not index.settings.download
        assert forest(index.graph()) == local  # what was read is kept


def test_asked_for_it_is_what_a_disk_yields(
    models: Path, record: Record, tmp_path: Path, local: object
) -> None:
    size = (models / BASE).stat().st_size
    with Index.create(tmp_path / "index", budget=BUDGET, download=True) as index:
        for k in range(6):  # one at a time, each of which may raise a doubt about all
            index.add([f"hf://org/m{k}"])
        assert forest(index.graph()) == local
        assert index.verify() == []
        assert index.reader.problems == []
        assert index.reader.withheld == {}
    whole = fetched_whole(record, models)
    assert BASE in whole
    # once by ranges, for sketches, and once whole: the next newcomer finds it in the cache
    assert all(record.served[name] < 2 * size for name in whole)
    with Index.create(tmp_path / "other", budget=BUDGET, download=True) as index:
        index.add([f"hf://org/m{k}" for k in range(5)])
        placed = index.place("hf://org/m5")
        index.add(["hf://org/m5"])
        assert forest(index.graph()) == local
        edge = next((e for e in index.graph().edges if e.child == "m5"), None)
        assert placed.edge == edge


@pytest.mark.parametrize("kind", ["busy for now", "throttled", "cut", "short"])
def test_what_passes_while_it_is_read_is_survived(
    record: Record, added: Path, local: object, kind: str
) -> None:
    with Index(added) as index:
        # where a file is looked for, and where it is read; "short" would be a lie where it is not
        asked = ["", kind, "", kind] if kind == "short" else [kind, "", kind, kind, "", kind]
        record.faults = {f"resolve/{COMMIT}/model.safetensors": asked}
        index.recover(download=True)
        # but for the last, where fewer reads were needed than there are faults
        assert len(record.faults[f"resolve/{COMMIT}/model.safetensors"]) <= 1
        assert forest(index.graph()) == local
        assert index.reader.problems == []
        assert index.verify() == []


def changed(models: Path) -> None:
    """Other bytes of the same size."""
    weights = load_file(models / BASE)
    save_file({n: w + np.float32(0.5) for n, w in weights.items()}, models / BASE)


def longer(models: Path) -> None:
    """Another size."""
    with (models / BASE).open("ab") as file:
        file.write(b" ")


LIES = [
    (changed, {}, "holds other bytes than those that its sketch was made of"),
    (longer, {}, "other files there, or of other sizes, than were seen before"),
    (None, {FILE: "moved"}, "comes from another commit"),
    (None, {FILE: "busy"}, "the Hub answers 503 Service Unavailable; try again later"),
    (None, {FILE: "gated"}, "gated: accept its terms"),
]


@pytest.mark.parametrize(("alter", "faults", "fault"), LIES)
def test_a_hub_that_lies_is_refused_in_one_line(
    models: Path, record: Record, added: Path, alter, faults: dict[str, str], fault: str
) -> None:
    folder = str(added)
    with Index(folder) as index:
        before = index.graph().to_json()
    if alter is not None:
        alter(models)
    record.faults |= faults
    ran = CliRunner().invoke(cli, ["index", "recover", folder, "--download"])
    assert ran.exit_code == 2
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"mother: hf://org/m1@{COMMIT}")
    assert fault in line
    with Index(folder) as index:
        assert index.verify() == []
        assert index.graph().to_json() == before


def test_other_bytes_in_a_larger_sketch_are_refused(
    models: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "index")
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    with Index.create(folder, budget=BUDGET, read=0) as index:
        index.add(["hf://org"])
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 1)
    changed(models)
    ran = CliRunner().invoke(cli, ["index", "recover", folder])
    assert ran.exit_code == 2
    assert ran.stderr == (
        f"mother: hf://org/m1@{COMMIT}: holds other bytes than those that its sketch was made of\n"
    )
    with Index(folder) as index, sqlite3.connect(Path(folder) / "index.sqlite") as database:
        (number,) = (m.number for m in index.models() if m.id == "m1")
        query = "SELECT 1 FROM larger WHERE model = ?"
        assert database.execute(query, (number,)).fetchall() == []
        assert index.verify() == []


def test_larger_sketches_ask_once_where_a_file_is(
    models: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.add(["hf://org"])
        record.elsewhere = True
        record.asked.clear()
        monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 1)
        index.recover()
    asked = Counter(path for path, _ in record.asked)
    paths = [f"org/m{k}/resolve/{COMMIT}/model.safetensors" for k in range(6)]
    larger = [k for k, path in enumerate(paths) if asked[path]]
    assert len(larger) > 1
    for k in larger:
        assert asked[paths[k]] == 1
        assert asked[f"elsewhere/{paths[k]}"] > 1
        assert asked[f"api/models/org/m{k}/revision/{COMMIT}"] == 1


def test_a_base_on_the_hub_is_not_read_in_full_either(
    models: Path, record: Record, tmp_path: Path
) -> None:
    """Of adapters on the disk: the weights that they are merged into lie there."""
    for k in range(4):
        home, rng = tmp_path / "adapters" / f"a{k}", np.random.default_rng(k)
        home.mkdir(parents=True)
        factors = {}
        for name, (height, width) in SHAPES.items():
            layer = f"base_model.model.{name.removesuffix('.weight')}"
            for side, shape in (("A", (2, width)), ("B", (height, 2))):
                factor = np.exp(0.7 * rng.normal(size=shape)) * rng.normal(size=shape)
                factors[f"{layer}.lora_{side}.weight"] = (0.05 * factor).astype(np.float32)
        save_file(factors, home / "adapter_model.safetensors")
        (home / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    with Index.create(tmp_path / "index", budget=BUDGET) as index:
        index.add([tmp_path / "adapters"], base="hf://org/m0")
        index.reader.measured(index.models())
        assert list(index.reader.withheld) == [f"hf://org/m0@{COMMIT}"]
    assert not fetched_whole(record, models)


def test_an_index_older_than_the_setting_opens(tmp_path: Path) -> None:
    Index.create(tmp_path / "index", download=True).close()
    path = tmp_path / "index" / "index.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM settings WHERE name = 'download'")
    with Index(tmp_path / "index") as index:
        assert index.settings == Settings(download=False)
        index.recover(download=True)
    with Index(tmp_path / "index") as index:
        assert index.settings.download
