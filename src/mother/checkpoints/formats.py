"""One file of any format, told by its content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mother.checkpoints.numpy_files import looks_like_npy, read_npy, read_npz
from mother.checkpoints.safetensors import looks_like_safetensors, read_safetensors
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint
from mother.checkpoints.torch_files import (
    has_torch_members,
    looks_like_legacy_torch,
    read_legacy_torch,
    read_torch_zip,
)
from mother.checkpoints.zip_archive import looks_like_zip, read_members

#: endings by which checkpoints are known in a folder; a file that is named may have any
ENDINGS = (
    ".safetensors",
    ".pth.tar",
    ".pt.tar",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".tar",
    ".npz",
    ".npy",
)

_KNOWN_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights; fetch them by `git lfs pull`",
    b"GGUF": "a GGUF file; convert it to safetensors first",
    b"\x89HDF": "an HDF5 file; convert it to safetensors first",
    b"\x80": "a pickle that torch did not write; save it by torch.save or as safetensors",
}


def ending(name: str) -> str:
    """The weight ending of a file name, "" if it has none.

    >>> ending("best.pth.tar"), ending("model.SAFETENSORS"), ending("notes.txt")
    ('.pth.tar', '.SAFETENSORS', '')
    """
    for end in ENDINGS:
        if name.lower().endswith(end) and len(name) > len(end):
            return name[-len(end) :]
    return ""


def open_file(path: Path) -> Checkpoint:
    """The checkpoint in one file; raises InputError for whatever is none."""
    file = File(path)
    return replace(_read(file), files=(file,))


def _read(file: File) -> Checkpoint:
    with file.held():
        start = file.read(0, min(32, file.size))
        if not start:
            raise file.fault("the file is empty")
        if looks_like_zip(start):
            return _open_zip(file)
        if looks_like_npy(start):
            return read_npy(file)
        if looks_like_legacy_torch(start):
            return read_legacy_torch(file)
        for magic, fault in _KNOWN_OTHERS.items():
            if start.startswith(magic) and not looks_like_safetensors(start):
                raise file.fault(fault)
        if looks_like_safetensors(start) or file.path.suffix.lower() == ".safetensors":
            return read_safetensors(file)
    raise file.fault("no checkpoint: neither safetensors, PyTorch, .npz nor .npy")


def _open_zip(file: File) -> Checkpoint:
    members = read_members(file)
    if has_torch_members(members):
        return read_torch_zip(file, members)
    if any(name.endswith(".npy") for name in members):
        return read_npz(file, members)
    raise file.fault("a zip archive that holds neither PyTorch data nor .npy arrays")
