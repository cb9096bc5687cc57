"""What is stated of models: a table as a CSV file, a pandas frame or plain Python, by attribute."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any

from mother.errors import InputError, UsageError
from mother.graph import ModelGraph
from mother.graph.documents import read_text

if TYPE_CHECKING:
    import pandas

LARGEST = 1 << 30  # bytes of a table
MOST_ATTRIBUTES = 1000
LONGEST = 1000  # letters of a value, or of an attribute's name
TOLD = 80  # letters of what is no value
IDS = ("id", "model", "name")  # what the column of models is called, else it is the first
#: what stands where nothing is stated
NOTHING = {"", "?", "n/a", "na", "nan", "none", "null", "unknown"}
Value = str | float | tuple[str, ...]
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SEPARATOR = re.compile(r"\s*[;|]\s*")


@dataclass
class Stated:
    """What is stated of a graph's models. values: by attribute, by the model's place in the graph.
    source: of an attribute and a model's place, where it is stated. strangers: ids that the graph
    does not hold. faults: what could not be read, in a line each."""

    values: dict[str, list[Value | None]] = field(default_factory=dict)
    source: Callable[[str, int], str] = lambda attribute, place: ""
    strangers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def over(self, other: Stated) -> Stated:
        """Both, this one where both state something."""
        values = {name: list(column) for name, column in other.values.items()}
        for name, column in self.values.items():
            below = values.get(name, [None] * len(column))
            pairs = zip(column, below, strict=True)
            values[name] = [a if a is not None else b for a, b in pairs]

        def source(attribute: str, place: int) -> str:
            own = self.values.get(attribute)
            first = own is not None and own[place] is not None
            return (self if first else other).source(attribute, place)

        return Stated(values, source, self.strangers + other.strangers, self.faults + other.faults)


def stated(graph: ModelGraph, table: Any) -> Stated:
    """What a table states of a graph's models.

    table: the path of a CSV file (separated by commas, semicolons or tabs; a column `id`, `model`
    or `name`, else the first, holds ids), a pandas.DataFrame (the same, or ids as its index), or
    {id: {attribute: value}}. A value is text, a number, or several texts: in a CSV separated by ;
    or |, in Python a list, tuple or set.

    >>> from mother.graph import Node
    >>> graph = ModelGraph("", (Node("a", "a", "npz", "x", 1),))
    >>> stated(graph, {"a": {"license": "mit", "tags": {"fr", "en"}, "rate": 1e-4}}).values
    {'license': ['mit'], 'rate': [0.0001], 'tags': [('en', 'fr')]}

    Raises InputError where it is no table, names a model twice, or none of the graph's.
    """
    if isinstance(table, str | PathLike):
        return _placed(graph, str(table), *_read(table))
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        return _placed(graph, "the table", *_frame(table))
    if isinstance(table, Mapping):
        return _placed(graph, "the table", *_mapping(table))
    raise UsageError(f"{type(table).__name__} is no table: a path, a pandas frame or a mapping is")


def _read(path: str | PathLike[str]) -> tuple[list[str], Iterator[tuple[str, list[Any]]], int]:
    text = read_text(path, LARGEST)
    first = text[: text.find("\n") + 1 or None]
    delimiter = max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def rows() -> Iterator[list[str]]:
        try:
            yield from lines
        except csv.Error as fault:
            raise InputError(path, f"no CSV in line {lines.line_num} ({fault})") from None

    every = rows()
    head = [name.strip() for name in next(every, [])]
    if not any(head):
        raise InputError(path, "an empty table")
    at = next((head.index(x) for x in head if x.lower() in IDS), 0)

    def cells() -> Iterator[tuple[str, list[Any]]]:
        for row in every:
            if not any(row):
                continue
            if len(row) != len(head):
                raise InputError(
                    path, f"line {lines.line_num} has {len(row)} cells, the first {len(head)}"
                )
            id_ = row.pop(at)
            yield id_.strip(), row

    return head[:at] + head[at + 1 :], cells(), 2


def _mapping(
    table: Mapping[Any, Any],
) -> tuple[list[str], Iterator[tuple[str, list[Any]]], int]:
    rows = []
    for id_, row in table.items():
        if not isinstance(row, Mapping):
            raise UsageError(f"of {id_!r} the table holds no attributes but {_short(row)}")
        rows.append((str(id_), {str(name): cell for name, cell in row.items()}))
        if len(rows[-1][1]) < len(row):
            raise InputError("the table", f"names an attribute of {id_!r} twice")
    names = sorted({name for _, row in rows for name in row})
    return names, ((id_, [row.get(name) for name in names]) for id_, row in rows), 1


def _short(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= TOLD else text[: TOLD - 1] + "…"


def _frame(frame: pandas.DataFrame) -> tuple[list[str], Iterator[tuple[str, list[Any]]], int]:
    head = [str(name) for name in frame.columns]
    at = next((head.index(x) for x in head if x.lower() in IDS), None)
    ids = frame.index if at is None else frame.iloc[:, at]
    others = [k for k in range(len(head)) if k != at]
    columns = [frame.iloc[:, k].tolist() for k in others]
    rows = zip(map(str, ids), map(list, zip(*columns, strict=True)), strict=True)
    return [head[k] for k in others], iter(rows if columns else ()), 1


def _placed(
    graph: ModelGraph, name: str, head: list[str], rows: Iterator[tuple[str, list[Any]]], first: int
) -> Stated:
    """first: the number of the first row, for those who look it up."""
    if not head:
        raise InputError(name, "holds no attributes, only ids")
    if len(head) > MOST_ATTRIBUTES:
        raise InputError(name, f"holds {len(head)} attributes; {MOST_ATTRIBUTES} are the most")
    twice = next((x for k, x in enumerate(head) if x in head[:k]), None)
    if twice is not None or "" in head:
        fault = f"names the attribute {twice!r} twice" if twice else "has a column without a name"
        raise InputError(name, fault)
    place = {node.id: k for k, node in enumerate(graph.nodes)}
    row_of: dict[int, int] = {}
    strangers: list[str] = []
    columns: list[list[Value | None]] = [[None] * len(place) for _ in head]
    same: dict[str, Value | None] = {}
    number = first - 1
    for number, (id_, cells) in enumerate(rows, first):
        at = place.get(id_)
        if at is None:
            strangers.append(id_)
            continue
        if at in row_of:
            raise InputError(name, f"row {number} names {id_!r} again, after row {row_of[at]}")
        row_of[at] = number
        for column, cell in zip(columns, cells, strict=True):
            if isinstance(cell, str):
                if cell not in same:
                    same[cell] = value(cell)
                column[at] = same[cell]
            elif cell is not None:
                try:
                    column[at] = value(cell)
                except UsageError as fault:
                    raise InputError(name, f"row {number}: {fault}") from None
    if number < first:
        raise InputError(name, "holds no rows")
    if not row_of:
        raise InputError(name, f"names none of the graph's models; its first is {strangers[0]!r}")
    values = {n[:LONGEST]: column for n, column in zip(head, columns, strict=True)}
    return Stated(values, lambda attribute, at: f"{name}, row {row_of[at]}", strangers)


def value(cell: object) -> Value | None:
    """A cell as text, a number or a set of texts; None where it states nothing.

    >>> value(" mit "), value("en; fr"), value("1e-5"), value("N/A"), value(float("nan"))
    ('mit', ('en', 'fr'), '1e-5', None, None)
    """
    if hasattr(cell, "tolist"):  # of numpy, pandas, torch
        cell = cell.tolist()
    if cell is None:
        return None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if hasattr(cell, "__float__"):
        return _finite(cell)
    if isinstance(cell, Sequence | set | frozenset) and not isinstance(cell, str | bytes):
        texts = {_single(x) for x in cell if x is not None}
        return tuple(sorted(x for x in texts if x.lower() not in NOTHING))
    text = _single(cell)
    if text.lower() in NOTHING:
        return None
    return value(_SEPARATOR.split(text)) if ";" in text or "|" in text else text


def _finite(cell: Any) -> float | None:
    try:
        number = float(cell)
    except (ValueError, OverflowError):
        raise UsageError(f"{_short(cell)} is no number that a computer can hold") from None
    return number if math.isfinite(number) else None


def _single(cell: object) -> str:
    if isinstance(cell, bytes | bytearray | complex | Mapping | Sequence) and not isinstance(
        cell, str
    ):
        raise UsageError(f"{_short(cell)} is no value: text, a number or several texts is")
    return str(cell).strip()[:LONGEST]


def number(text: Value) -> float | None:
    """The finite number that a value is, or None.

    >>> number("2e-5"), number("1_000"), number("1,000"), number("inf")
    (2e-05, None, None, None)
    """
    if isinstance(text, float):
        return text
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        return None
    found = float(text)
    return found if math.isfinite(found) else None
