"""Parts of a graph to and from what JSON has, with figures rounded and types checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

BEYOND = 2.0**63  # whatever is counted or measured stays below


def rounded(value: float | None, digits: int = 6) -> float | None:
    """To `digits` significant digits, so that graphs don't differ in noise; None if not finite.

    >>> rounded(0.123456789), rounded(float("nan"))
    (0.123457, None)
    """
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def plain(item: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A node, an edge or another part of a graph as JSON has it, figures rounded."""
    names = (field.name for field in fields(item))
    return {name: _plain(getattr(item, name)) for name in names if name not in without}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, tuple | list):
        return [_plain(x) for x in value]
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    return plain(value) if is_dataclass(value) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Types of a dataclass's fields by name."""
    return get_type_hints(kind)


@cache
def _as_they_are(kind: type) -> dict[str, frozenset[type]]:
    """By field, the types of values that need no look: texts, and none."""
    return {
        name: frozenset(t for t in (str, type(None)) if t in (hint, *get_args(hint)))
        for name, hint in _hints(kind).items()
    }


def parsed(kind: type, items: Any) -> Iterator[Any]:
    """Parts of a graph from what JSON has of them. TypeError where one is broken."""
    known, fine = _hints(kind), _as_they_are(kind)
    for item in items:
        yield kind(
            **{
                k: v if type(v) in fine[k] else _value(v, known[k], k)
                for k, v in item.items()
                if k in known
            }
        )


def _value(value: Any, hint: Any, key: str) -> Any:
    """A value read from JSON as the field's type has it; TypeError if it does not fit."""
    parts = get_args(hint)
    if isinstance(value, dict) and parts and is_dataclass(parts[0]):
        return next(parsed(parts[0], [value]))  # type: ignore[arg-type]
    if parts and parts[-1] is ...:
        if not isinstance(value, list):
            raise TypeError(f"{key} is of the wrong type")
        if is_dataclass(parts[0]):
            return tuple(parsed(parts[0], value))  # type: ignore[arg-type]
        return tuple(_value(x, parts[0], key) for x in value)
    allowed = parts or (hint,)
    if not isinstance(value, (*allowed, int) if float in allowed else allowed):
        raise TypeError(f"{key} is of the wrong type")
    if isinstance(value, int | float) and not abs(value) < BEYOND:
        raise TypeError(f"{key} is no number that can be")
    return value
