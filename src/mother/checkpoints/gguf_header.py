"""The key-values at the start of a GGUF file; its tensors are not looked at.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from mother.checkpoints.storage import File
from mother.checkpoints.tensor import clean

MAGIC = b"GGUF"
#: bytes of key-values that are walked through; the vocabularies of today take some 10 MiB
MAX_HEADER = 32 << 20
#: bytes of one string that is kept
MAX_STRING = 1 << 16
#: strings of one list that are kept
MAX_LIST = 1000
_BUFFER = 1 << 20
_STRING, _ARRAY = 8, 9
#: struct codes of the numbers, by the number of their type
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_DEEPEST = 4
Value = str | int | float | bool


def looks_like_gguf(start: bytes) -> bool:
    """Whether a file's first 4 bytes are those of a GGUF file."""
    return start.startswith(MAGIC)


def read_gguf_fields(file: File, prefix: str = "general.") -> dict[str, Value | list[str]]:
    """The numbers, strings and lists of strings whose keys start with `prefix`.

    Everything else is stepped over. Allocates no more than what it keeps, whatever the header
    claims; a list that is kept ends at MAX_LIST
    strings. Raises InputError.
    """
    with file.held():
        if not looks_like_gguf(file.read(0, min(4, file.size))):
            raise file.fault("not a GGUF file")
        return _fields(_Cursor(file, 4), prefix)


@dataclass
class _Cursor:
    """A place in a file that only moves on, over a buffer."""

    file: File
    at: int
    order: str = "<"
    held: bytes = field(default=b"", repr=False)
    start: int = 0

    def fill(self, count: int) -> int:
        """Have the next bytes in `held`; the place there of the first."""
        if not (self.start <= self.at and self.at + count <= self.start + len(self.held)):
            if count > self.file.size - self.at:
                raise self.file.fault("GGUF header is truncated")
            self.start = self.at
            size = min(max(count, _BUFFER), self.file.size - self.at)
            self.held = self.file.read(self.at, size)
        return self.at - self.start

    def take(self, count: int) -> bytes:
        """The next bytes."""
        first = self.fill(count)
        self.skip(count)
        return self.held[first : first + count]

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self.file.size:
            raise self.file.fault("GGUF header is truncated")
        if self.at > MAX_HEADER:
            raise self.file.fault(f"GGUF header is longer than {MAX_HEADER} bytes")

    def number(self, code: str) -> int | float | bool:
        (value,) = struct.unpack(self.order + code, self.take(struct.calcsize(f"={code}")))
        return value  # type: ignore[no-any-return]

    def count(self) -> int:
        return int(self.number("Q"))

    def string(self) -> str:
        length = self.count()
        if length > MAX_STRING:
            self.skip(length)
            return ""
        return clean(self.take(length).decode("utf-8", "backslashreplace"))


def _fields(cursor: _Cursor, prefix: str) -> dict[str, Value | list[str]]:
    version = int(cursor.number("I"))
    if not version & 0xFFFF:
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (1, 2, 3):
        raise cursor.file.fault(f"GGUF version {version} is not known")
    if version == 1:
        raise cursor.file.fault("GGUF version 1 is no longer read; convert it to version 3")
    cursor.count()
    fields: dict[str, Value | list[str]] = {}
    for _ in range(cursor.count()):
        key = cursor.string()
        kind = int(cursor.number("I"))
        if not key.startswith(prefix):
            _step_over(cursor, kind, 0)
        elif kind == _STRING:
            fields[key] = cursor.string()
        elif kind == _ARRAY:
            fields[key] = _strings(cursor)
        else:
            fields[key] = cursor.number(_code(cursor, kind))
    return fields


def _code(cursor: _Cursor, kind: int) -> str:
    if kind not in _NUMBERS:
        raise cursor.file.fault(f"GGUF header has a value of the unknown type {kind}")
    return _NUMBERS[kind]


def _strings(cursor: _Cursor) -> list[str]:
    kept: list[str] = []
    kind = int(cursor.number("I"))
    if kind != _STRING:
        _step_over_items(cursor, kind, 0)
        return kept
    for _ in range(cursor.count()):
        text = cursor.string()
        if len(kept) < MAX_LIST:
            kept.append(text)
    return kept


def _step_over(cursor: _Cursor, kind: int, depth: int) -> None:
    if kind == _STRING:
        cursor.skip(cursor.count())
    elif kind == _ARRAY:
        _step_over_items(cursor, int(cursor.number("I")), depth)
    else:
        cursor.skip(struct.calcsize(f"={_code(cursor, kind)}"))


def _step_over_items(cursor: _Cursor, kind: int, depth: int) -> None:
    if depth >= _DEEPEST:
        raise cursor.file.fault(f"GGUF header has arrays deeper than {_DEEPEST}")
    many = cursor.count()
    if kind == _STRING:
        _step_over_strings(cursor, many)
    elif kind == _ARRAY:
        for _ in range(many):
            _step_over(cursor, kind, depth + 1)
    else:
        cursor.skip(many * struct.calcsize(f"={_code(cursor, kind)}"))


def _step_over_strings(cursor: _Cursor, many: int) -> None:
    """Vocabularies have hundreds of thousands: as many at a time as the buffer holds."""
    length = struct.Struct(f"{cursor.order}Q").unpack_from
    while many:
        at = cursor.fill(8)
        begin, last = at, len(cursor.held) - 8
        while many and at <= last:
            at += 8 + length(cursor.held, at)[0]
            many -= 1
        cursor.skip(at - begin)
