"""NeMo's .nemo files: a tar archive with a configuration, and weights as PyTorch saves them; and
other tar archives of one file of weights, whose bytes lie in them as they are."""

from __future__ import annotations

from dataclasses import replace

from mother.checkpoints.archives import WEIGHTS
from mother.checkpoints.safetensors import looks_like_safetensors, read_safetensors
from mother.checkpoints.storage import File
from mother.checkpoints.tar_archive import looks_like_tar, read_tar
from mother.checkpoints.tensor import Checkpoint, printable
from mother.checkpoints.torch_files import has_torch_members, read_torch_zip
from mother.checkpoints.zip_archive import looks_like_zip, read_members

_GZIP = b"\x1f\x8b"


def is_nemo(file: File, start: bytes) -> bool:
    """Whether a file is a tar archive, or a .nemo that is compressed."""
    packed = start.startswith(_GZIP) and file.path.suffix.lower() == ".nemo"
    return packed or (file.size >= 512 and looks_like_tar(file.read(0, 512)))


def read_nemo(file: File) -> Checkpoint:
    """The checkpoint in a .nemo file, or another tar archive with one. Raises InputError."""
    if file.read(0, 2) == _GZIP:
        raise file.fault("a compressed .nemo archive; unpack it by `tar -xf` and name the folder")
    members = read_tar(file)
    found = [name for name in members if name.lower().endswith(WEIGHTS)]
    if any(name.endswith((".distcp", ".metadata")) for name in members):
        raise file.fault("a .nemo archive with a distributed checkpoint; unpack it by `tar -xf`")
    if not found:
        raise file.fault("a tar archive that holds no weights")
    first = printable(found[0], 100)
    if len(found) > 1:
        raise file.fault(
            f"a tar archive that holds {len(found)} files of weights, {first} first; "
            "unpack it by `tar -xf` and name the folder"
        )
    inside = members[found[0]]
    start = inside.read(0, min(16, inside.size))
    if looks_like_zip(start) and has_torch_members(zipped := read_members(inside)):
        return replace(read_torch_zip(inside, zipped), format="nemo", files=(file,))
    if looks_like_safetensors(start):
        return replace(read_safetensors(inside), files=(file,))
    raise file.fault(f"a tar archive that holds {first}; unpack it by `tar -xf`")
