"""The SQLite database of an index: its schema, its transactions, and its faults in one line.

One file in a folder of its own, in WAL mode, so that readers never wait and whatever was committed
outlives a kill. Writers take turns.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from mother.errors import InputError
from mother.names import printable
from mother.unfinished import unfinished

VERSION, OLDEST = 8, 7  # 8: labels may follow a signature
NAME = "index.sqlite"
APPLICATION = 0x4D544852  # "MTHR": what `file` and we know the database by
PATIENCE = 600.0  # seconds that a writer waits for another one

SCHEMA = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE architectures (key TEXT PRIMARY KEY, layout BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE models (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL UNIQUE,
    architecture TEXT NOT NULL REFERENCES architectures,
    family INTEGER NOT NULL,
    sure INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    seal BLOB NOT NULL,
    signature BLOB NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX families ON models (family);
CREATE INDEX sure_families ON models (sure);
CREATE TABLE sketches (
    model INTEGER PRIMARY KEY REFERENCES models ON DELETE CASCADE,
    content BLOB NOT NULL
);
CREATE TABLE contents (
    hash INTEGER NOT NULL,
    model INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    PRIMARY KEY (hash, model)
) WITHOUT ROWID;
CREATE INDEX contents_of ON contents (model);
CREATE TABLE larger (
    model INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    level INTEGER NOT NULL,
    digest BLOB NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (model, level)
);
CREATE TABLE wanted (
    model INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    level INTEGER NOT NULL,
    tried INTEGER NOT NULL,
    PRIMARY KEY (model, level)
) WITHOUT ROWID;
CREATE TABLE doubtful (
    one INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    other INTEGER NOT NULL REFERENCES models ON DELETE CASCADE,
    waiting INTEGER NOT NULL,
    PRIMARY KEY (one, other)
) WITHOUT ROWID;
CREATE TABLE measured (
    models TEXT PRIMARY KEY, tried INTEGER NOT NULL, digest BLOB, content BLOB
) WITHOUT ROWID;
CREATE TABLE waiting (family INTEGER PRIMARY KEY);
CREATE TABLE nodes (id TEXT PRIMARY KEY, family INTEGER NOT NULL, content TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE edges (
    child TEXT NOT NULL, parent TEXT NOT NULL, family INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (child, parent)
) WITHOUT ROWID;
CREATE TABLE hidden (family INTEGER NOT NULL, content TEXT NOT NULL);
CREATE TABLE trees (family INTEGER NOT NULL, content TEXT NOT NULL);
CREATE TABLE items (
    key INTEGER PRIMARY KEY,
    family INTEGER NOT NULL,
    name TEXT NOT NULL,
    above INTEGER NOT NULL,
    children INTEGER NOT NULL,
    below INTEGER NOT NULL,
    words TEXT NOT NULL
);
CREATE INDEX items_below ON items (above, name);
CREATE INDEX items_by_size ON items (above, below DESC, name);
CREATE INDEX items_of ON items (family);
CREATE INDEX nodes_of ON nodes (family);
CREATE INDEX edges_of ON edges (family);
CREATE INDEX children ON edges (parent);
CREATE INDEX hidden_of ON hidden (family);
CREATE INDEX trees_of ON trees (family);
"""
_TABLES = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
_DAMAGED = "; the index is damaged: restore it, or create another and add the models again"


def is_index(folder: Path) -> bool:
    """Whether a folder holds an index, sound or not."""
    return (folder / NAME).is_file()


class Store:
    """A connection to an index. Every fault of the database is an InputError of one line."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        if not is_index(folder):
            raise InputError(folder, "no index: `mother index create` makes one")
        self._file = _file(self.path)
        with self.faults():
            # in full, for SQLite may take a name such as file:x for an address
            self._connection = sqlite3.connect(
                self.path.absolute(),
                timeout=PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    @staticmethod
    def create(folder: Path, settings: dict[str, str]) -> Store:
        """A new, empty one. InputError where there is one, or the folder can't be written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # under a name of its own until it is whole
            with unfinished(folder / NAME) as (_, path):
                _write_empty(path, folder, settings)
                umask = os.umask(0)
                os.umask(umask)
                path.chmod(0o666 & ~umask)
                if not is_index(folder) and (folder / f"{NAME}-wal").exists():
                    # SQLite would take it for the log of the new one
                    gone = "holds the log of an index that is gone"
                    raise InputError(folder, f"{gone}; remove {NAME}-wal, or restore {NAME}")
                os.link(path, folder / NAME)
        except FileExistsError:
            raise InputError(folder, "holds an index already") from None
        except OSError as fault:
            raise InputError(folder, f"can't be written: {fault.strerror or fault}") from None
        return Store(folder)

    def _open(self) -> None:
        connection = self._connection
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if application != APPLICATION:
            raise InputError(self.folder, f"{NAME} is a database, but no index of mother's")
        if version < OLDEST:
            raise InputError(
                self.folder,
                f"an index of schema {version}, this mother knows {VERSION}; create another and add"
                " the models again",
            )
        if version > VERSION:
            raise InputError(
                self.folder, f"an index of schema {version}, this mother knows {VERSION}; upgrade"
            )
        # FULL: what is committed outlives a power cut, too
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        self.settings = dict(connection.execute("SELECT name, value FROM settings"))

    def renew(self) -> None:
        """What is written now is of the newest schema; an older one is read as it is."""
        if self.rows("PRAGMA user_version")[0][0] != VERSION:
            self.write(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Let go of the database."""
        with self.faults():
            self._connection.close()

    def is_there(self) -> bool:
        """Whether the file that was opened is still the one in the folder."""
        return self._file == _file(self.path)

    def faults(self) -> AbstractContextManager[None]:
        """What the database says, as an InputError."""
        return _faults_of(self.folder)

    @contextmanager
    def sound(self, table: str) -> Iterator[None]:
        """Reading what rows of a table hold: what is not as it was written is an InputError."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise InputError(self.folder, f"a damaged row of {table}") from None

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.faults():
            return self._connection.execute(query, values).fetchall()

    def typed(
        self, table: str, types: tuple[type, ...], query: str, *values: object
    ) -> list[tuple[Any, ...]]:
        """The same of a table, whose columns hold these: SQLite gives what is there, whatever a
        column was made for, and a damaged row is an InputError."""
        found = self.rows(query, *values)
        if any(tuple(map(type, row)) != types for row in found):
            raise InputError(self.folder, f"a damaged row of {table}")
        return found

    def write(self, statement: str, *values: object) -> int:
        """Run one statement; the number of the row that it made, if it made one."""
        with self.faults():
            return self._connection.execute(statement, values).lastrowid or 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile."""
        with self.faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads that all see the same state."""
        with self.faults():
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    @property
    def version(self) -> int:
        """A number that changes when another connection has written."""
        with self.faults():
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def damage(self) -> list[str]:
        """What SQLite itself finds wrong with the file."""
        found = [str(line) for (line,) in self.rows("PRAGMA integrity_check(20)") if line != "ok"]
        if self.rows(_TABLES) != _tables():
            found.append("its tables are not those that were made")
        lost = self.rows("PRAGMA foreign_key_check")
        return found + [f"a row of {table} without its owner" for table, *_ in lost]


def _write_empty(path: Path, folder: Path, settings: dict[str, str]) -> None:
    """Tables and settings into an empty file. folder: of the index, which faults are told of."""
    with _faults_of(folder), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        rows = "".join(
            f"INSERT INTO settings VALUES ({_quoted(name)}, {_quoted(value)});"
            for name, value in settings.items()
        )
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} {rows} PRAGMA application_id = {APPLICATION};"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )


def _file(path: Path) -> tuple[int, int] | None:
    """What tells a file from others, whatever it is called; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _tables() -> list[tuple[Any, ...]]:
    """The tables of a new index, as `_TABLES` asks for them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return connection.execute(_TABLES).fetchall()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def _faults_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as fault:
        said = printable(str(fault))  # it may quote the file
        hint = ""
        if "malformed" in said or "not a database" in said:
            hint = _DAMAGED
        elif "full" in said or "disk I/O" in said:
            hint = "; what was committed before is unharmed, and with more room the same goes on"
        elif "readonly" in said or "unable to open" in said:
            hint = "; SQLite writes beside what it reads: copy the index to a folder of your own"
        elif "locked" in said:
            hint = "; another process is writing, try again"
        raise InputError(folder, f"{said}{hint}") from None
    except UnicodeDecodeError:
        raise InputError(folder, f"text that is no UTF-8{_DAMAGED}") from None
