"""Tar archives, as NeMo's .nemo are: where each member's bytes lie.

Format: POSIX.1-1988 ustar with GNU's long names, https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import clean

MAX_MEMBERS = 100_000
_BLOCK = 512


def looks_like_tar(start: bytes) -> bool:
    """Whether a file's first 512 bytes are the header of a tar archive.

    >>> looks_like_tar(b"\\0" * 257 + b"ustar")
    True
    """
    return start[257:262] == b"ustar"


def read_tar(file: File) -> dict[str, File]:
    """The regular files in an archive by name, as parts of it. Raises InputError."""
    members: dict[str, File] = {}
    at, long_name = 0, ""
    for _ in range(MAX_MEMBERS):
        if at + _BLOCK > file.size:
            break
        header = file.read(at, _BLOCK)
        if not header.strip(b"\0"):
            break
        if not looks_like_tar(header):
            raise file.fault("tar archive that is damaged or truncated")
        size, kind = _number(header[124:136]), header[156:157]
        at += _BLOCK
        if size < 0 or at + size > file.size:
            raise file.fault("tar archive that is damaged or truncated: a member ends beyond it")
        if kind == b"L":
            long_name = _text(file.read(at, min(size, 4096)))
        elif kind in (b"0", b"\0"):
            name = long_name or _name(header)
            members[name.removeprefix("./")] = file.section(at, at + size)
            long_name = ""
        at += -(-size // _BLOCK) * _BLOCK
    return members


def member_at(header: bytes) -> tuple[str, int] | None:
    """Name and size of the member that a header of 512 bytes is of; None where it is none."""
    if len(header) < _BLOCK or not looks_like_tar(header):
        return None
    size = _number(header[124:136])
    return (_name(header), size) if size >= 0 else None


def _name(header: bytes) -> str:
    before, name = _text(header[345:500]), _text(header[:100])
    return f"{before}/{name}" if before else name


def _number(field: bytes) -> int:
    """A number in octal digits, or where it is large in binary ones."""
    if field[0] & 128:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits and all(48 <= d < 56 for d in digits) else -1 if digits else 0


def _text(data: bytes) -> str:
    return clean(data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))
