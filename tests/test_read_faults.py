"""Disks that fail and files that change or vanish while they are read: the model is refused in one
line, and the others get their tree."""

from __future__ import annotations

import errno
import mmap
import os

import numpy as np
import pytest
from kit import check_one_line, model, run, save, tuned

import mother
from mother import InputError
from mother.checkpoints import laid_out, open_checkpoint, storage


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    root = model(layers=3)
    save(folder / "root.safetensors", root)
    for k in range(1, 4):
        save(folder / f"child{k}.safetensors", tuned(root, k))
    return folder


@pytest.fixture
def after_opening(monkeypatch):
    """What is done once the headers were read, at the first read of weights."""

    def plan(act):
        tensor = laid_out.Contiguous.read
        done = []

        def read(self, start, stop):
            if not done:
                done.append(act())
            return tensor(self, start, stop)

        monkeypatch.setattr(laid_out.Contiguous, "read", read)

    monkeypatch.setattr(storage, "MAX_HELD", 0)
    return plan


def check_the_rest(result, *said):
    check_one_line(result, "child2.safetensors", *said)
    assert "root   3 models" in result.out


@pytest.mark.parametrize("fault", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_in_the_middle(models, monkeypatch, fault):
    bad = os.stat(models / "child2.safetensors").st_ino  # noqa: PTH116
    header = int.from_bytes((models / "child2.safetensors").read_bytes()[:8], "little") + 8
    for name in ("pread", "preadv"):
        plain = getattr(os, name)

        def read(descriptor, what, at, plain=plain):
            if os.fstat(descriptor).st_ino == bad and at > header + 9000:
                raise OSError(fault, os.strerror(fault))
            return plain(descriptor, what, at)

        monkeypatch.setattr(os, name, read)
    check_the_rest(run("recover", models), "can't be read", os.strerror(fault).lower())


def test_a_file_that_vanishes(models, after_opening):
    after_opening((models / "child2.safetensors").unlink)
    check_the_rest(run("recover", models), "no such file")


def test_a_file_that_grows(models, after_opening):
    path = models / "child2.safetensors"
    after_opening(lambda: path.write_bytes(path.read_bytes() + b"more"))
    check_the_rest(run("recover", models), "has changed since it was opened")


def test_a_file_in_whose_place_a_pipe_comes(models, after_opening):
    def swap():
        (models / "child2.safetensors").unlink()
        os.mkfifo(models / "child2.safetensors")

    after_opening(swap)
    check_the_rest(run("recover", models), "not a regular file")


def test_a_map_that_can_not_be_read_is_refused(tmp_path, monkeypatch):
    """A page that is not there kills a process that touches it."""
    path = tmp_path / "m.safetensors"
    save(path, {"w": np.zeros((1024, 1024), np.float32)})
    tensor = open_checkpoint(path).tensors["w"]
    plain = mmap.mmap

    def cut(*place, **options):
        mapped = plain(*place, **options)
        os.truncate(path, 1 << 16)
        return mapped

    monkeypatch.setattr(mmap, "mmap", cut)
    child = os.fork()
    if child == 0:
        try:
            tensor.read().sum()
        except InputError as fault:
            os._exit(0 if "can't be read" in str(fault) else 2)
        os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("name", ["gpt2", "org/model"])
def test_what_is_called_like_a_repository_is_looked_for_on_the_hub(tmp_path, monkeypatch, name):
    """Files are opened by their absolute path; the hint is to what the user wrote."""
    monkeypatch.chdir(tmp_path)
    for ask in (mother.recover, open_checkpoint):
        with pytest.raises(InputError, match=f"on the Hub it is hf://.*{name}$"):
            ask(name)
