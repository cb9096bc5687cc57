"""Archives that hold weights, by the names in them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from mother.checkpoints.storage import File
from mother.checkpoints.tar_archive import member_at
from mother.checkpoints.tensor import printable
from mother.checkpoints.zip_archive import looks_like_zip, read_members
from mother.errors import InputError

#: how weights are called that nothing else is called like
WEIGHTS = (
    *(".safetensors", ".gguf", ".pt", ".pth", ".ckpt", ".distcp", ".onnx", ".tflite", ".keras"),
    *(".h5", ".msgpack", ".caffemodel", ".pdparams", "pytorch_model.bin", "saved_model.pb"),
)
#: zip archives of other programs, which may hold samples
_DOCUMENTS = (".whl", ".jar", ".apk", ".docx", ".xlsx", ".pptx", ".epub")
_GZIP, _PACKED = b"\x1f\x8b", (".tar.gz", ".tgz")
#: bytes of a compressed archive that are looked at, packed and unpacked
_START, _UNPACKED = 1 << 18, 1 << 20


def archived(path: Path) -> str | None:
    """What to do with an archive that holds weights; None for all else, and what can't be read."""
    if path.name.lower().endswith(_DOCUMENTS):
        return None
    try:
        file = File(path)
        if file.remote:
            return None
        start = file.read(0, min(4, file.size))
        if looks_like_zip(start):
            names: Iterator[str] = iter(read_members(file))
            return _told(names, "unzip it")
        if start.startswith(_GZIP) and path.name.lower().endswith(_PACKED):
            return _told(_names(file.read(0, min(_START, file.size))), "unpack it by `tar -xf`")
    except InputError:
        return None
    return None


def _told(names: Iterator[str], how: str) -> str | None:
    first = next((name for name in names if name.lower().endswith(WEIGHTS)), None)
    return first and f"an archive that holds {printable(first, 100)}; {how}"


def _names(packed: bytes) -> Iterator[str]:
    """Of the members of a compressed tar archive, as far as its start tells."""
    try:
        data = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(packed, _UNPACKED)
    except zlib.error:
        return
    at = 0
    while (member := member_at(data[at : at + 512])) is not None:
        name, size = member
        yield name
        at += 512 + -(-size // 512) * 512
