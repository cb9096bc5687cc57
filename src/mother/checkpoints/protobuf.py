"""The wire format of protocol buffers, walked field by field; long fields are stepped over.

Format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mother.checkpoints.laid_out import Span

#: fields that are walked through in one file
MAX_FIELDS = 8_000_000
#: bytes that are read at a time
_BUFFER = 1 << 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field: its number, and an integer or, in its place (-1), where its bytes lie."""

    number: int
    value: int
    start: int
    stop: int


class Messages:
    """The messages in a span of bytes. Raises ValueError, one line, where they are damaged.

    >>> from mother.checkpoints.laid_out import Bytes
    >>> messages = Messages(Bytes(b"\\x08\\x96\\x01" + b"\\x12\\x02hi"))
    >>> [(f.number, f.value, messages.text(f)) for f in messages.fields()]
    [(1, 150, ''), (2, -1, 'hi')]
    """

    def __init__(self, span: Span) -> None:
        self.span = span
        self._held = b""
        self._from = 0
        self._walked = 0

    def fields(self, start: int = 0, stop: int | None = None) -> Iterator[Field]:
        """The fields of the message in bytes [start, stop), in their order."""
        stop = self.span.nbytes if stop is None else stop
        while start < stop:
            self._walked += 1
            if self._walked > MAX_FIELDS:
                raise ValueError(f"has more than {MAX_FIELDS} fields")
            key, start = self._varint(start, stop)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, start = self._varint(start, stop)
                yield Field(number, value, start, start)
                continue
            if wire == _BYTES:
                length, start = self._varint(start, stop)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:
                raise ValueError(f"is damaged: a field of the wire type {wire}")
            if length > stop - start:
                raise ValueError("is damaged or truncated: a field ends beyond its message")
            yield Field(number, -1, start, start + length)
            start += length

    def inside(self, field: Field) -> Iterator[Field]:
        """The fields of the message that a field holds."""
        return self.fields(field.start, field.stop)

    def content(self, field: Field, most: int = 1 << 20) -> bytes:
        """A field's bytes; ValueError where they are more than `most`."""
        if field.stop - field.start > most:
            raise ValueError(
                f"has a field of {field.stop - field.start} bytes; {most} are the most"
            )
        return self._take(field.start, field.stop - field.start)

    def text(self, field: Field, most: int = 1 << 16) -> str:
        """A field's bytes as text."""
        return self.content(field, most).decode("utf-8", "backslashreplace")

    def numbers(self, field: Field, most: int = 1 << 20) -> list[int]:
        """The signed integers of a repeated field, whether it is packed or not."""
        if field.value >= 0:
            return [_signed(field.value)]
        if field.stop - field.start > most:
            raise ValueError(
                f"has {field.stop - field.start} bytes of integers; {most} are the most"
            )
        found, at = [], field.start
        while at < field.stop:
            value, at = self._varint(at, field.stop)
            found.append(_signed(value))
        return found

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        data = self._near(at, min(10, stop - at))
        value = 0
        for k, byte in enumerate(data):
            value |= (byte & 127) << 7 * k
            if byte < 128:
                return value & (1 << 64) - 1, at + k + 1
        raise ValueError("is damaged or truncated: a number that does not end")

    def _near(self, at: int, count: int) -> bytes:
        if not self._from <= at <= at + count <= self._from + len(self._held):
            stop = min(at + _BUFFER, self.span.nbytes)
            self._from, self._held = at, self.span.array(at, stop).tobytes()
        return self._held[at - self._from : at - self._from + count]

    def _take(self, at: int, count: int) -> bytes:
        inside = at - self._from
        if inside >= 0 and inside + count <= len(self._held):
            return self._held[inside : inside + count]
        return self.span.array(at, at + count).tobytes()


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
