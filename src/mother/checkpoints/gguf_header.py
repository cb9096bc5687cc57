"""The start of a GGUF file: its key-values, and where its tensors lie.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

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
#: axes that ggml's tensors have
_AXES = 4
#: tensors of one file; models of today have some thousands
MAX_TENSORS = 1 << 17
#: what vocabularies are stored under
_VOCABULARY = "tokenizer."
Value = str | int | float | bool
Order = Literal["<", ">"]
Fields = dict[str, Value | list[str] | list[int]]


@dataclass(frozen=True)
class Entry:
    """A tensor as the header describes it: `shape` in the order of numpy, `start` in the file."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """Key-values but for the vocabulary's, the tensors, and the byte order as numpy writes it."""

    fields: Fields
    tensors: tuple[Entry, ...]
    order: Order


def looks_like_gguf(start: bytes) -> bool:
    """Whether a file's first 4 bytes are those of a GGUF file."""
    return start.startswith(MAGIC)


def read_gguf_header(file: File) -> Header:
    """What a GGUF file says before its tensors' bytes, each bounded by the file. Raises
    InputError."""
    with file.held():
        cursor, many = _open(file)
        fields = _fields(cursor, lambda key: not key.startswith(_VOCABULARY))
        if many > MAX_TENSORS:
            raise file.fault(f"GGUF header claims {many} tensors; {MAX_TENSORS} are the most")
        entries = [_entry(cursor) for _ in range(many)]
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or not 0 < alignment <= _BUFFER:
        raise file.fault("GGUF header has an alignment that is none")
    start = cursor.at + -cursor.at % alignment
    moved = [Entry(e.name, e.shape, e.kind, start + e.start) for e in entries]
    return Header(fields, tuple(moved), cursor.order)


def _entry(cursor: _Cursor) -> Entry:
    name = cursor.string()
    axes = int(cursor.number("I"))
    if axes > _AXES:
        raise cursor.file.fault(f"tensor {name[:80]!r} has {axes} axes; {_AXES} are the most")
    shape = tuple(cursor.count() for _ in range(axes))[::-1]
    kind = int(cursor.number("I"))
    start = cursor.count()
    if max(*shape, start, 0) >= 1 << 62:
        raise cursor.file.fault(f"tensor {name[:80]!r} claims more than any file holds")
    return Entry(name, shape, kind, start)


def read_gguf_fields(file: File, prefix: str = "general.") -> Fields:
    """The numbers, strings and lists of either whose keys start with `prefix`.

    Everything else is stepped over. Allocates no more than what it keeps, whatever the header
    claims; a list that is kept ends at MAX_LIST. Raises InputError.
    """
    with file.held():
        return _fields(_open(file)[0], lambda key: key.startswith(prefix))


@dataclass
class _Cursor:
    """A place in a file that only moves on, over a buffer."""

    file: File
    at: int
    order: Order = "<"
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


def _open(file: File) -> tuple[_Cursor, int]:
    """A cursor at the number of key-values, and the number of tensors."""
    if not looks_like_gguf(file.read(0, min(4, file.size))):
        raise file.fault("not a GGUF file")
    cursor = _Cursor(file, 4)
    version = int(cursor.number("I"))
    if not version & 0xFFFF:
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (1, 2, 3):
        raise file.fault(f"GGUF version {version} is not known")
    if version == 1:
        raise file.fault("GGUF version 1 is no longer read; convert it to version 3")
    return cursor, cursor.count()


def _fields(cursor: _Cursor, wanted: Callable[[str], bool]) -> Fields:
    fields: Fields = {}
    for _ in range(cursor.count()):
        key = cursor.string()
        kind = int(cursor.number("I"))
        if not wanted(key):
            _step_over(cursor, kind, 0)
        elif kind == _STRING:
            fields[key] = cursor.string()
        elif kind == _ARRAY:
            fields[key] = _list(cursor)
        else:
            fields[key] = cursor.number(_code(cursor, kind))
    return fields


def _code(cursor: _Cursor, kind: int) -> str:
    if kind not in _NUMBERS:
        raise cursor.file.fault(f"GGUF header has a value of the unknown type {kind}")
    return _NUMBERS[kind]


def _list(cursor: _Cursor) -> list[str] | list[int]:
    """The first strings or whole numbers of a list; nothing of other ones."""
    kind, many = int(cursor.number("I")), cursor.count()
    if kind == _STRING:
        texts: list[str] = []
        for _ in range(many):
            text = cursor.string()
            if len(texts) < MAX_LIST:
                texts.append(text)
        return texts
    if kind == _ARRAY or _code(cursor, kind) in "fd?":
        _step_over_items(cursor, kind, many, 0)
        return []
    numbers = [int(cursor.number(_code(cursor, kind))) for _ in range(min(many, MAX_LIST))]
    _step_over_items(cursor, kind, many - len(numbers), 0)
    return numbers


def _step_over(cursor: _Cursor, kind: int, depth: int) -> None:
    if kind == _STRING:
        cursor.skip(cursor.count())
    elif kind == _ARRAY:
        _step_over_items(cursor, int(cursor.number("I")), cursor.count(), depth)
    else:
        cursor.skip(struct.calcsize(f"={_code(cursor, kind)}"))


def _step_over_items(cursor: _Cursor, kind: int, many: int, depth: int) -> None:
    if depth >= _DEEPEST:
        raise cursor.file.fault(f"GGUF header has arrays deeper than {_DEEPEST}")
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
