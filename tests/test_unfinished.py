"""Outputs are whole or absent, and what killed writers left is removed by the next one."""

from __future__ import annotations

import errno
import os

import pytest

from mother import InputError
from mother.cli.output import write_atomically
from mother.index import Index
from mother.unfinished import unfinished


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def left_by_a_killed_writer(target):
    """A child that is gone without a word in the middle of writing."""
    child = os.fork()
    if child == 0:
        with unfinished(target) as (descriptor, _):
            os.write(descriptor, b"half")
            os._exit(1)
    os.waitpid(child, 0)


def test_what_a_killed_writer_left_is_removed(tmp_path):
    target = tmp_path / "graph.json"
    left_by_a_killed_writer(target)
    left_by_a_killed_writer(tmp_path / "other.json")
    mine = tmp_path / ".graph.json.backup01"
    mine.write_text("not ours")
    assert len(names(tmp_path)) == 3
    write_atomically(target, "{}")
    assert target.read_text() == "{}"
    assert len(names(tmp_path)) == 3
    assert mine.exists()
    assert any(name.startswith(".other.json.") for name in names(tmp_path))


def test_what_another_process_writes_is_left_alone(tmp_path):
    target = tmp_path / "graph.json"
    with unfinished(target) as (descriptor, path):
        write_atomically(target, "theirs")
        os.write(descriptor, b"ours")
        path.replace(target)
    assert target.read_text() == "ours"
    assert names(tmp_path) == ["graph.json"]


def test_an_index_that_was_killed_at_birth(tmp_path):
    Index.create(tmp_path / "index").close()
    (name,) = [name for name in names(tmp_path / "index") if not name.endswith(("-wal", "-shm"))]
    (tmp_path / "index" / name).rename(tmp_path / "gone")
    left_by_a_killed_writer(tmp_path / "index" / name)
    Index.create(tmp_path / "index").close()
    assert names(tmp_path / "index") == [name]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, fault):
    target = tmp_path / "graph.json"
    write_atomically(target, "old")

    def full(_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="can't be written: "):
        write_atomically(target, "new" * 1000)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["graph.json"]
