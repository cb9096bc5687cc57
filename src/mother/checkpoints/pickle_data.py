"""The data in a pickle, without the code: nothing is imported, called or constructed.

A pickle is a program for a stack machine. This one knows the operations that build plain data;
whatever would import a name yields a `Symbol`, and whatever would call one what `pickled_objects`
has in its place.
Operations: the `pickletools` module of the standard library, which also decodes arguments here.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from mother.checkpoints.pickled_objects import (
    MAX_NAME,
    Opaque,
    PickledArray,
    PickledDType,
    Storage,
    Stored,
    Symbol,
    rebuild,
    set_state,
)
from mother.checkpoints.work import STEP, Work

#: operations in one pickle, however large the file
MAX_OPERATIONS = 5_000_000
#: of an integer that is kept
MAX_BITS = 1024
_MARK = object()
#: what may be a dict's key; hashing a deeply nested tuple would overflow the C stack
_KEYS = (str, int, float, bytes)


def read_pickle(
    stream: BinaryIO,
    storages: dict[str, Storage] | None = None,
    objects_as_keys: bool = False,
    work: Work | None = None,
    apart: int | None = None,
) -> Any:
    """The data of the pickle at the stream's position, which ends behind it.

    Dicts, lists, tuples (sets as lists) and scalars, with the classes of `pickled_objects` in
    place of all else, and of integers of more than MAX_BITS; `storages` receives every storage
    that is mentioned, by key. objects_as_keys: keep what a dict holds under an object, too. work:
    of the file, which pays for each operation and for what it touches. apart: of bytes of so many
    and more only where they lie is taken, as `Stored`. Raises ValueError, in one line, for
    whatever is no pickle of that sort.

    >>> import io, pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"epochs": [1, 2], "when": 0.5})))
    {'epochs': [1, 2], 'when': 0.5}
    >>> read_pickle(io.BytesIO(b"cos\\nsystem\\n(S'reboot'\\ntR.")).symbol
    'os system'
    """
    keys = (*_KEYS, Opaque) if objects_as_keys else _KEYS
    work = Work(0) if work is None else work
    machine = _Machine({} if storages is None else storages, keys, work)
    try:
        for _ in range(MAX_OPERATIONS):
            code = stream.read(1)
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise ValueError("the pickle is damaged or truncated")
            act, reader = operation
            work.spend(STEP)
            if code == b".":
                return machine.pop()
            if apart is not None and code in _WIDTHS:
                act(machine, _bytes(stream, _WIDTHS[code], apart))
            else:
                act(machine, _argument(reader, stream))
    except (IndexError, KeyError, TypeError, OverflowError, UnicodeError):
        raise ValueError("the pickle is damaged") from None
    raise ValueError(f"the pickle takes more than {MAX_OPERATIONS} operations")


def _argument(reader: Callable[[BinaryIO], Any] | None, stream: BinaryIO) -> Any:
    try:
        return reader(stream) if reader else None
    except ValueError:
        raise ValueError("the pickle is damaged or truncated") from None


def _bytes(stream: BinaryIO, width: int, apart: int) -> bytes | Stored:
    many = int.from_bytes(stream.read(width), "little")
    if many < apart:
        return stream.read(many)
    start = stream.tell()
    stream.seek(start + many)
    return Stored(start, start + many)


def _line(stream: BinaryIO) -> str:
    return stream.readline().rstrip(b"\n").decode("latin-1")


#: operations that push bytes: how wide the number of these is
_WIDTHS = {b"B": 4, b"\x8e": 8, b"\x96": 8}
#: in place of pickletools' readers that warn of unknown escapes
_READERS: dict[str, Callable[[BinaryIO], str]] = {
    "STRING": lambda stream: _line(stream)[1:-1],
    "PERSID": _line,
    "GLOBAL": lambda stream: f"{_line(stream)} {_line(stream)}",
    "INST": lambda stream: f"{_line(stream)} {_line(stream)}",
}


class _Machine:
    """The stack, the marks on it and the memo; one method for each sort of operation."""

    def __init__(self, storages: dict[str, Storage], keys: tuple[type, ...], work: Work) -> None:
        self.keys = keys
        self.storages = storages
        self.work = work
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("the pickle is damaged")
        return value

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_integer(self, value: int) -> None:
        # a larger one takes as long to hash or to spell as it has digits, each time
        self.push(value if value.bit_length() <= MAX_BITS else Opaque("builtins int"))

    def mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def pop_mark(self) -> list[Any]:
        """Everything above the last mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def discard(self, _: Any) -> None:
        self.stack.pop()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def symbol(self, name: str) -> None:
        if len(name) > MAX_NAME:
            raise ValueError(f"the pickle imports a name of more than {MAX_NAME} characters")
        self.work.spend(len(name))
        self.push(Symbol(name))

    def stack_symbol(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError("the pickle is damaged")
        if len(name) + len(module) > MAX_NAME:
            raise ValueError(f"the pickle imports a name of more than {MAX_NAME} characters")
        self.symbol(f"{module} {name}")

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(values[::-1]))

    def tuple_from_mark(self, _: Any) -> None:
        self.push(tuple(self.pop_mark()))

    def list_from_mark(self, _: Any) -> None:
        self.push(self.pop_mark())

    def dict_from_mark(self, _: Any) -> None:
        made: dict[Any, Any] = {}
        self._fill(made, self.pop_mark())
        self.push(made)

    def append(self, _: Any) -> None:
        self._extend([self.pop()])

    def extend(self, _: Any) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Opaque):
            first = len(target.items)
            target.items.update({first + i: value for i, value in enumerate(values)})

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._set([key, value])

    def set_items(self, _: Any) -> None:
        self._set(self.pop_mark())

    def _set(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Opaque):
            target = target.items
        if isinstance(target, dict):
            self._fill(target, pairs)

    def _fill(self, target: dict[Any, Any], pairs: list[Any]) -> None:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            # larger integers could all have one hash
            if isinstance(key, self.keys) and not (type(key) is int and key.bit_length() > 64):
                target[key] = value

    def reduce(self, _: Any) -> None:
        arguments, function = self.pop(), self.pop()
        self.push(rebuild(function, arguments, self.work))

    def reduce_with_keywords(self, _: Any) -> None:
        self.pop()
        self.reduce(None)

    def instance(self, name: str) -> None:
        self.pop_mark()
        self.push(Opaque(name))

    def object(self, _: Any) -> None:
        self.push(rebuild(self.pop_mark()[0], (), self.work))

    def build(self, _: Any) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, PickledArray | PickledDType):
            set_state(target, state)
        elif isinstance(target, Opaque):
            # of an object with slots, two dicts; of one of TorchScript's, what its class returned
            for k, part in enumerate(state if isinstance(state, tuple) else (state,)):
                if isinstance(part, dict) and k < 2:
                    self.work.spend(STEP * len(part))
                    target.state.update(part)
                elif isinstance(state, tuple):
                    self.work.spend(STEP)
                    target.items[k] = part

    def persistent(self, _: Any) -> None:
        """torch's ("storage", class, key, device, count), to which legacy files add a view, mostly
        None; or, in whole modules of theirs, ("module", class, file, source)."""
        value = self.pop()
        if isinstance(value, tuple) and value[:1] == ("module",) and len(value) > 1:
            self.push(value[1])
            return
        if isinstance(value, tuple) and len(value) in (5, 6) and value[0] == "storage":
            _, kind, key, _, count = value[:5]
            if isinstance(kind, Symbol) and isinstance(key, str) and type(count) is int:
                if any(part is not None for part in value[5:]):
                    raise ValueError("the pickle holds storages that are views of others")
                self.storages[key] = Storage(kind.name.split(" ")[-1], key, count)
                self.push(self.storages[key])
                return
        self.push(Opaque("persistent"))


def _table() -> dict[bytes, tuple[Any, Any]]:
    """What to do for each operation, and how its argument is read; others are refused."""
    m = _Machine
    values: dict[str, Any] = {
        "NONE": lambda: None,
        "NEWTRUE": lambda: True,
        "NEWFALSE": lambda: False,
        "EMPTY_LIST": list,
        "EMPTY_SET": list,
        "EMPTY_TUPLE": tuple,
        "EMPTY_DICT": dict,
    }
    acts: dict[str, Any] = {
        name: lambda machine, _, make=make: machine.push(make()) for name, make in values.items()
    }
    pushed = """BININT BININT1 BININT2 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES
        SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8"""
    acts |= dict.fromkeys(pushed.split(), m.push)
    acts |= dict.fromkeys(("INT", "LONG", "LONG1", "LONG4"), m.push_integer)
    acts |= dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None)
    acts |= dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), m.remember)
    acts |= dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), m.recall)
    acts |= dict.fromkeys(("REDUCE", "NEWOBJ"), m.reduce)
    acts |= dict.fromkeys(("APPENDS", "ADDITEMS"), m.extend)
    acts |= dict.fromkeys(("LIST", "FROZENSET"), m.list_from_mark)
    acts |= {
        f"TUPLE{count}": lambda machine, _, count=count: machine.tuple_of(count)
        for count in (1, 2, 3)
    }
    acts |= {
        "MARK": m.mark,
        "POP": m.discard,
        "POP_MARK": lambda machine, _: machine.pop_mark(),
        "DUP": m.duplicate,
        "MEMOIZE": m.memoize,
        "TUPLE": m.tuple_from_mark,
        "DICT": m.dict_from_mark,
        "APPEND": m.append,
        "SETITEM": m.set_item,
        "SETITEMS": m.set_items,
        "GLOBAL": m.symbol,
        "STACK_GLOBAL": m.stack_symbol,
        "INST": m.instance,
        "OBJ": m.object,
        "NEWOBJ_EX": m.reduce_with_keywords,
        "BUILD": m.build,
        "PERSID": lambda machine, _: machine.push(Opaque("persistent")),
        "BINPERSID": m.persistent,
    }
    table = {}
    for code in pickletools.opcodes:
        if code.name in acts:
            reader: Any = code.arg.reader if code.arg else None
            table[code.code.encode("latin-1")] = acts[code.name], _READERS.get(code.name, reader)
    return table


_OPERATIONS = _table()
