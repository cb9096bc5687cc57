"""What can go wrong with the disk, with other processes and with the file itself."""

import contextlib
import multiprocessing
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from kit import run

from mother.checkpoints import open_checkpoint
from mother.cli import cli
from mother.errors import InputError, MotherError, UsageError
from mother.index import Index
from mother.index.store import NAME
from mother.methods import refinement

BUDGET = 4 << 10
ROOT = Path(__file__).parents[2]

# the processes that tests start are told of it, too
pytestmark = pytest.mark.usefixtures("few_replicates")


@pytest.fixture(scope="module")
def template(tmp_path_factory, models):
    """An index of one family, closed, that nobody changes."""
    folder = tmp_path_factory.mktemp("template") / "index"
    with Index.create(folder, budget=BUDGET) as index:
        index.add(sorted(models.glob("a[0-3].safetensors")))
    return folder


@pytest.fixture
def made(tmp_path, template):
    """The same for a test of its own."""
    return shutil.copytree(template, tmp_path / "index")


def line(folder, *words):
    """What the command says, which must be one line, and exit 2."""
    done = run("index", *words)
    assert (done.code, done.out) == (2, "")
    (said,) = done.err.splitlines()
    assert said.startswith(f"mother: {folder}: ")
    return said


@pytest.mark.slow
def test_kills_lose_nothing(tmp_path):
    script = (
        "from mother.methods import refinement; refinement.REPLICATES = 1;"
        "from benchmarks.kill import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--rounds", "20"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = [int(n) for n in re.findall(r"\d+", done.stdout)]
    assert counts[0] == 20
    assert counts[1] > 0
    assert counts[2] > 0
    assert counts[3:] == [0, 0]


def _add(folder, paths):
    refinement.REPLICATES = 1
    with Index(folder) as index:
        for path in paths:
            index.add([path])


def test_what_the_database_says_is_one_line(made):
    """Its messages quote the file, which may hold anything."""
    with Index(made) as index, pytest.raises(InputError) as raised, index._store.faults():
        raise sqlite3.DatabaseError("malformed database schema - \n\x1b[31m")
    assert str(raised.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("many", [2, 8])
def test_writers_at_once(tmp_path, models, many):
    folder, paths = tmp_path / "index", sorted(models.glob("*.safetensors"))
    Index.create(folder, budget=BUDGET).close()
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_add, args=(folder, paths[k::many])) for k in range(many)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with Index(folder) as index, Index.create(tmp_path / "one", budget=BUDGET) as alone:
        alone.add(paths)
        assert index.graph().to_json() == alone.graph().to_json()
        assert index.verify() == []


@pytest.mark.parametrize("hours", [-1, 24 * 365 * 100, -24 * 365 * 80])
def test_clocks_that_jump(made, models, tmp_path, hours):
    """A file is another where its time is another, which need not be later."""
    path = tmp_path / "m.safetensors"
    shutil.copy(models / "b0.safetensors", path)
    now = path.stat().st_mtime_ns
    with Index(made) as index:
        assert index.add([path]).new == ("m",)
        assert index.add([path]).unchanged == ("m",)
        shutil.copy(models / "b1.safetensors", path)
        os.utime(path, ns=(now, now + hours * 3600 * 10**9))
        assert index.add([path]).changed == ("m",)
        assert index.verify() == []
        index.remove(["m"])
        index.add([models / "b1.safetensors"])
        assert "b1" in index.graph().to_json()


def test_a_reader_sees_what_another_process_wrote(made, models):
    with Index(made) as one, Index(made) as other:
        assert one.place(models / "b1.safetensors").found == "alone"
        other.add([models / "b0.safetensors"])
        assert one.place(models / "b1.safetensors").found != "alone"


def test_an_architecture_that_another_process_brought(made, models):
    with Index(made) as one, Index(made) as other:
        one.add([models / "c0.safetensors"])
        other.add([models / "c1.safetensors"])
        one.add([models / "c2.safetensors"])
        other.remove(["c0"])
        assert one.verify() == other.verify() == []
        assert one.recover() == other.graph()


@pytest.mark.slow
def test_full_disk(made, models):
    """A limit on the size of files stands for a full disk."""
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, 1 << 15));"
        "from mother.cli import main; sys.argv[0] = 'mother'; main()"
    )
    with Index(made) as index:
        before = index.graph().to_json()
    done = subprocess.run(
        [sys.executable, "-c", script, "index", "add", made, models / "b0.safetensors"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "unharmed" in said
    with Index(made) as index:
        assert index.verify() == []
        assert index.graph().to_json() == before
        index.add([models / "b0.safetensors"])
        assert index.verify() == []


def test_not_a_database(made):
    (made / NAME).write_bytes(b"not a database at all" * 1000)
    assert "the index is damaged" in line(made, "list", made)


def test_another_database(made):
    (made / NAME).unlink()
    connection = sqlite3.connect(made / NAME)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert "no index of mother's" in line(made, "list", made)


def test_a_newer_schema(made):
    connection = sqlite3.connect(made / NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "upgrade" in line(made, "list", made)


def test_an_older_schema(made):
    connection = sqlite3.connect(made / NAME)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert "create another and add the models again" in line(made, "list", made)


def test_no_index(tmp_path):
    assert "no index" in line(tmp_path, "add", tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["file:x", ":memory:", "a b", "50%25?mode=ro#x"])
def test_a_folder_may_have_any_name(name, tmp_path, models, monkeypatch):
    """Of what SQLite takes for the address of a database, too."""
    monkeypatch.chdir(tmp_path)
    with Index.create(name, budget=BUDGET) as index:
        index.add([models / "a0.safetensors"])
    with Index(name) as index:
        assert index.verify() == []
    assert [path.name for path in (tmp_path / name).iterdir()] == [NAME]


def test_an_id_that_is_no_text(made):
    done = CliRunner().invoke(cli, ["index", "remove", str(made), "\udcff"])
    assert isinstance(done.exception, UsageError)
    assert "is not in the index" in str(done.exception)


@pytest.mark.parametrize("letter", [b"h", b"\xff"])
def test_a_damaged_schema_is_found(made, letter):
    """It may be one that SQLite still takes."""
    path = made / NAME
    data = path.read_bytes()
    assert data.count(b"waiting INTEGER") == 1
    path.write_bytes(data.replace(b"waiting INTEGER", b"waitin" + letter + b" INTEGER"))
    done = CliRunner().invoke(cli, ["index", "verify", str(made)])
    assert done.exit_code == 1 or isinstance(done.exception, InputError)


def test_the_log_of_an_index_that_is_gone_makes_none_of_another(made, models, tmp_path):
    left = tmp_path / "left"
    left.mkdir()
    with Index(made) as index:
        index.add([models / "b0.safetensors"])
        shutil.copy(made / f"{NAME}-wal", left)
    with pytest.raises(InputError, match=f"the log of an index that is gone.*{NAME}-wal"):
        Index.create(left, budget=BUDGET)
    assert [path.name for path in left.iterdir()] == [f"{NAME}-wal"]
    (left / f"{NAME}-wal").unlink()
    with Index.create(left, budget=BUDGET) as index:
        assert len(index) == 0


def test_a_folder_that_can_not_be_written(made, models):
    with Index(made) as index:
        index._store.write("PRAGMA query_only = ON")
        with pytest.raises(InputError, match=r"readonly database; .*copy the index"):
            index.add([models / "b0.safetensors"])


def test_torn_pages_are_found(made):
    path = made / NAME
    data = bytearray(path.read_bytes())
    assert len(data) > 8 * 4096
    data[4096 : len(data) // 2] = bytes(len(data) // 2 - 4096)
    path.write_bytes(data)
    done = CliRunner().invoke(cli, ["index", "verify", str(made)])
    assert done.exit_code == 1 or isinstance(done.exception, InputError)


def test_a_torn_log_leaves_what_was_committed_before(made, models, tmp_path):
    """The write-ahead log is cut in the middle of the last transaction."""
    copy = tmp_path / "copy"
    with Index(made) as index:
        before = index.graph().to_json()
        index.insert([index.reduce(open_checkpoint(models / "b0.safetensors"))])
        shutil.copytree(made, copy)  # while it is open: the log is not yet in the database
    log = copy / f"{NAME}-wal"
    os.truncate(log, log.stat().st_size - 100)
    with Index(copy) as index:
        assert index.verify() == []
        assert index.graph().to_json() == before


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "UPDATE sketches SET content = zeroblob(9) WHERE model = 1",
            "not as it was stored",
        ),
        ("DELETE FROM sketches WHERE model = 1", "not as it was stored"),
        ("UPDATE models SET signature = zeroblob(256)", "not as it was stored"),
        ("UPDATE models SET facts = '{}' WHERE number = 2", "not as it was stored"),
        ("UPDATE models SET path = '/x' WHERE number = 2", "not as it was stored"),
        ("UPDATE models SET stamp = '[]' WHERE number = 2", "not as it was stored"),
        ("UPDATE models SET id = 'x' WHERE number = 2", "not as it was stored"),
        ("DELETE FROM edges", "the forest is not what its models make"),
        ("DELETE FROM items", "the forest is not what its models make"),
        ("UPDATE nodes SET id = 'x' WHERE id = 'a1'", "the forest is not what its models make"),
        ("UPDATE edges SET parent = 'x' WHERE child = 'a1'", "the forest is not what its models"),
        ("UPDATE items SET words = '' WHERE name = 'a1'", "the forest is not what its models make"),
        ("UPDATE models SET family = 77 WHERE number = 2", "not in the family"),
    ],
)
def test_verify_finds_what_was_altered(made, statement, fault):
    connection = sqlite3.connect(made / NAME)
    connection.execute(statement)
    connection.commit()
    connection.close()
    done = CliRunner().invoke(cli, ["index", "verify", str(made)])
    assert done.exit_code == 1
    assert fault in done.output


@pytest.mark.parametrize("facts", ["", "{", "[]", "{}", '{"files": 1, "notes": [], "base": null}'])
def test_a_damaged_row_of_a_model_is_told(made, facts):
    with contextlib.closing(sqlite3.connect(made / NAME)) as connection, connection:
        connection.execute("UPDATE models SET facts = ? WHERE id = 'a1'", (facts,))
    with Index(made) as index:
        with pytest.raises(InputError, match="a damaged row of models"):
            index.recover()
        with pytest.raises(InputError, match="a damaged row of models"):
            index.remove(["a3"])
        assert len(index) == len(index.graph().nodes) == 4


@pytest.mark.parametrize(
    ("column", "wrong"),
    [("facts", wrong) for wrong in ("", "{", "[]", "{}", '{"base": 5}')]
    + [("stamp", wrong) for wrong in ("", "{", "5", "[5]", "[[]]")],
)
def test_a_damaged_row_of_a_model_that_more_is_wanted_of_is_told(made, models, column, wrong):
    with contextlib.closing(sqlite3.connect(made / NAME)) as connection, connection:
        connection.execute(f"UPDATE models SET {column} = ? WHERE id = 'a1'", (wrong,))
        connection.execute("INSERT OR REPLACE INTO wanted VALUES (2, 3, 0)")
    with Index(made) as index:
        (model,) = (m for m in index.models() if m.id == "a1")
        for ask in (index.settle, lambda: index.reader.one(model, 3)):
            with pytest.raises(InputError, match="a damaged row of models"):
                ask()
    assert "a damaged row of models" in line(made, "add", made, models / "a0.safetensors")


@pytest.mark.parametrize("facts", ["", "{", "[]", "{}", '{"base": 5}'])
def test_damaged_facts_of_a_model_that_is_to_be_read_in_full_are_told(made, facts):
    with contextlib.closing(sqlite3.connect(made / NAME)) as connection, connection:
        connection.execute("UPDATE models SET facts = ? WHERE id = 'a1'", (facts,))
    with Index(made) as index, pytest.raises(InputError, match="a damaged row of models"):
        index.reader.measured(index.models())


@pytest.mark.parametrize("stamp", ["", "{", "5", "[5]", "[[]]"])
def test_a_damaged_stamp_of_a_model_that_is_added_again_is_told(made, models, stamp):
    with contextlib.closing(sqlite3.connect(made / NAME)) as connection, connection:
        connection.execute("UPDATE models SET stamp = ? WHERE id = 'a1'", (stamp,))
    assert "a damaged row of models" in line(made, "add", made, models / "a1.safetensors")


@pytest.mark.parametrize("wrong", ["x", b"\xff", 1 << 62, 1.5])
@pytest.mark.parametrize(
    "column",
    [
        *("models.id", "models.path", "models.family", "models.sure", "models.signature"),
        *("contents.model", "sketches.content", "architectures.layout", "larger.content"),
        *("wanted.model", "doubtful.one", "measured.models", "measured.content"),
    ],
)
def test_what_is_in_the_place_of_another_type_does_no_harm(made, models, column, wrong):
    """Each command does what it is for, or says in one line what it is about."""
    table, of = column.split(".")
    with contextlib.closing(sqlite3.connect(made / NAME)) as connection, connection:
        if table == "measured":
            connection.execute("INSERT INTO measured VALUES (' 1 2 ', 1, x'00', x'00')")
        else:
            connection.execute("INSERT OR IGNORE INTO larger VALUES (1, 3, x'00', x'00')")
            connection.execute("INSERT OR REPLACE INTO wanted VALUES (2, 3, 0)")
            connection.execute("INSERT OR IGNORE INTO doubtful VALUES (1, 2, 0)")
        first = f"(SELECT {of} FROM {table} LIMIT 1)"
        connection.execute(f"UPDATE {table} SET {of} = ? WHERE {of} = {first}", (wrong,))
    new, folder = str(models / "b1.safetensors"), str(made)
    for words in (["list"], ["export"], ["verify"], ["place", new], ["remove", "a3"], ["add", new]):
        done = CliRunner().invoke(cli, ["index", words[0], folder, *words[1:]])
        assert isinstance(done.exception, SystemExit | MotherError | None)
        assert "\n" not in str(done.exception)


def test_the_commands(tmp_path, models):
    runner, folder = CliRunner(), str(tmp_path / "index")

    def said(*words, code=0):
        done = runner.invoke(cli, ["index", *map(str, words)])
        assert done.exit_code == code, done.output
        return done.output

    said("create", folder, "--budget", "8K")
    assert said("add", folder, models).startswith("17 added; 17 models in the index\n")
    assert said("add", folder, models) == "17 unchanged; 17 models in the index\n"
    assert f"a0\t{models / 'a0.safetensors'}\n" in said("list", folder)
    assert '"id": "a0"' in said("list", folder, "--json")
    assert said("verify", folder) == "all is well with 17 models\n"
    printed = said("export", folder)
    assert printed == said("recover", folder)
    out = tmp_path / "graph.json"
    said("export", folder, "-o", out)
    with Index(folder) as index:
        assert out.read_text() == index.graph().to_json()
    assert said("remove", folder, "a3", "a4").startswith("15 models in the index\n")
    placed = said("place", folder, models / "a3.safetensors")
    assert re.match("a3: (strong|likely|open): ", placed)
    assert "compared with 5 of " in placed
    assert '"found": "child"' in said("place", folder, models / "a3.safetensors", "--json")
    stranger = said("place", folder, models / "s0.safetensors")
    assert stranger.startswith("s0: no relative among the models compared\n")
