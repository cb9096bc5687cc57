"""Core ML's programs, as a package holds them (protocol buffers) and as a compiled model does
(text): only those operations that take values from a file of weights.

Format: https://github.com/apple/coremltools/blob/main/mlmodel/format/MIL.proto
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Window
from mother.checkpoints.protobuf import Field, Messages
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import clean
from mother.checkpoints.work import STEP

#: MIL's number types, by their numbers
_KINDS = {
    **dict(enumerate(("fp16", "fp32", "fp64", "bf16"), 10)),
    **dict(enumerate(("int8", "int16", "int32", "int64", "int4"), 21)),
    **dict(enumerate(("uint8", "uint16", "uint32", "uint64"), 31)),
    **dict(enumerate(("uint4", "uint2", "uint1", "uint6", "uint3"), 35)),
}
#: fields: of a model its program; of that its functions; of these their blocks, by what they are
#: specialized for; of a map its value; of a block its operations
_PROGRAM, _FUNCTIONS, _BLOCKS, _VALUE, _OPERATIONS = 502, 2, 3, 2, 3
#: of an operation
_TYPE, _INPUTS, _OUTPUTS, _INNER, _ATTRIBUTES = 1, 2, 3, 4, 5
MAX_NAME, MAX_NESTED = 4096, 32


class Stored(NamedTuple):
    """Values of one kind ("fp16") and shape in a file of weights: the place of its entry there."""

    kind: str
    shape: tuple[int, ...]
    file: str
    offset: int


class Operation(NamedTuple):
    """What an operation is ("const"), what it makes, what it takes from files by name, what else it
    takes, and of these the axis, -1 where none is told."""

    type: str
    name: str
    kind: str
    shape: tuple[int, ...]
    takes: dict[str, Stored]
    others: frozenset[str] = frozenset()
    axis: int = -1


def operations(file: File) -> Iterator[Operation]:
    """Those in a model's protocol buffers that take values from a file. Raises ValueError."""
    held = Messages(Window(file, 0, file.size))
    for program in _under(held, held.fields(), _PROGRAM):
        for function in _under(held, held.inside(program), _FUNCTIONS):
            for value in _under(held, held.inside(function), _VALUE):
                for block in _under(held, held.inside(value), _BLOCKS):
                    for inner in _under(held, held.inside(block), _VALUE):
                        yield from _of_block(file, held, inner, 0)


def _under(held: Messages, fields: Iterator[Field], number: int) -> Iterator[Field]:
    return (field for field in fields if field.number == number and field.value < 0)


def _of_block(file: File, held: Messages, block: Field, depth: int) -> Iterator[Operation]:
    if depth > MAX_NESTED:
        raise ValueError(f"nests blocks deeper than {MAX_NESTED}")
    for operation in list(_under(held, held.inside(block), _OPERATIONS)):
        file.work.spend(STEP)
        kind, name, made, takes = "", "", ("", tuple[int, ...]()), dict[str, Stored]()
        others, axis = set[str](), -1
        for field in list(held.inside(operation)):
            if field.value >= 0:
                continue
            if field.number == _TYPE:
                kind = held.text(field, MAX_NAME)
            elif field.number == _OUTPUTS and not name:
                name, made = _named(held, field)
            elif field.number in (_INPUTS, _ATTRIBUTES):
                key, stored, number = _taken(held, field, field.number == _INPUTS)
                if stored is not None:
                    takes[key] = stored
                else:
                    others.add(key)
                    axis = number if key == "axis" else axis
            elif field.number == _INNER:
                yield from _of_block(file, held, field, depth + 1)
        if takes:
            yield Operation(kind, name, *made, takes, frozenset(others), axis)


def _named(held: Messages, field: Field) -> tuple[str, tuple[str, tuple[int, ...]]]:
    name, made = "", ("", tuple[int, ...]())
    for part in list(held.inside(field)):
        if part.number == 1 and part.value < 0:
            name = clean(held.text(part, MAX_NAME))
        elif part.number == 2 and part.value < 0:
            made = _typed(held, part)
    return name, made


def _typed(held: Messages, field: Field) -> tuple[str, tuple[int, ...]]:
    """The kind and shape of a type, if it is a tensor's of known sides; else "" and none."""
    for tensor in list(_under(held, held.inside(field), 1)):
        kind, shape = "", list[int]()
        for part in list(held.inside(tensor)):
            if part.number == 1:
                kind = _KINDS.get(part.value, "")
            elif part.number == 3 and part.value < 0:
                sides = [
                    x.value for c in _under(held, held.inside(part), 1) for x in held.inside(c)
                ]
                shape.append(sides[0] if sides else 0)
                if len(shape) > MAX_DIMENSIONS:
                    raise ValueError(f"has a tensor of more than {MAX_DIMENSIONS} dimensions")
        return kind, tuple(shape)
    return "", ()


def _taken(held: Messages, field: Field, wrapped: bool) -> tuple[str, Stored | None, int]:
    """An entry of the map of what an operation takes, with the number that it is, -1 where it is
    none. wrapped: in an argument and a binding."""
    key, stored, number = "", None, -1
    for part in list(held.inside(field)):
        if part.number == 1 and part.value < 0:
            key = held.text(part, MAX_NAME)
        elif part.number == 2 and part.value < 0:
            values = [part]
            if wrapped:
                bindings = list(_under(held, held.inside(part), 1))
                values = [v for b in bindings for v in _under(held, held.inside(b), 2)]
            for value in values:
                stored = _stored(held, value) or stored
                number = max(number, _number(held, value))
    return key, stored, number


def _stored(held: Messages, value: Field) -> Stored | None:
    made, place, offset = ("", tuple[int, ...]()), None, 0
    for part in list(held.inside(value)):
        if part.number == 2 and part.value < 0:
            made = _typed(held, part)
        elif part.number == 5 and part.value < 0:
            place = ""
            for x in list(held.inside(part)):
                if x.number == 1 and x.value < 0:
                    place = held.text(x, MAX_NAME)
                elif x.number == 2 and x.value >= 0:
                    offset = x.value
    return None if place is None else Stored(*made, place, offset)


def _number(held: Messages, value: Field) -> int:
    """Of a value that is a whole number, told where it stands; -1 of others."""
    for immediate in list(_under(held, held.inside(value), 3)):
        for tensor in list(_under(held, held.inside(immediate), 1)):
            for integers in list(_under(held, held.inside(tensor), 2)):
                for field in held.inside(integers):
                    if field.number == 1:
                        return (
                            held.numbers(field, 10)[0] if field.start < field.stop else field.value
                        )
    return -1


_TENSOR = r"tensor<(\w+), \[([\d, ]*)\]>"
_LINE = re.compile(_TENSOR + r" (\S+) = (\w+)\(")
_BLOB = re.compile(
    r"(\w+) = " + _TENSOR + r'\(BLOBFILE\(path = (?:tensor<string, \[\]>|string)\("([^"]+)"\), '
    r"offset = (?:tensor<uint64, \[\]>|uint64)\((\d{1,19})\)\)\)"
)
_KEY = re.compile(r"(\w+) = ")
_AXIS = re.compile(r"axis = (?:tensor<int32, \[\]>|int32)\((\d{1,2})\)")
MAX_TEXT, MAX_LINE = 64 << 20, 1 << 16


def in_text(file: File) -> Iterator[Operation]:
    """The same of a compiled model's text, of which each operation is a line. Raises ValueError."""
    if file.size > MAX_TEXT:
        raise ValueError(f"has {file.size} bytes of text; {MAX_TEXT} are the most")
    for line in file.read(0, file.size).decode("utf-8", "replace").splitlines():
        if "BLOBFILE" not in line:
            continue
        made = _LINE.search(line[:MAX_LINE])
        blobs = _BLOB.findall(line[:MAX_LINE])
        if made is None or not blobs:
            raise ValueError("takes weights in a way that is not known")
        takes = {key: Stored(k, _sides(s), path, int(at)) for key, k, s, path, at in blobs}
        others = frozenset(_KEY.findall(_BLOB.sub("", line[made.end() : MAX_LINE])))
        axis = _AXIS.search(line[:MAX_LINE])
        number = int(axis[1]) if axis else -1
        yield Operation(made[4], clean(made[3]), made[1], _sides(made[2]), takes, others, number)


def _sides(told: str) -> tuple[int, ...]:
    """Of "16, 3"."""
    sides = tuple(int(n) for n in told.split(",") if n.strip() and len(n) < 20)
    if len(sides) > MAX_DIMENSIONS:
        raise ValueError(f"has a tensor of more than {MAX_DIMENSIONS} dimensions")
    return sides
