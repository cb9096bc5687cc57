"""One attribute's values as arrays, by kind: a category, a set, a number, or text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mother.attributes.pedigree import Array, Indices
from mother.attributes.table import Value, number
from mother.errors import UsageError

KINDS = ("category", "set", "number", "text")
#: a number that takes no more values than this, each so often, is one of few
FEW, OFTEN = 12, 3
MOSTLY = 0.9  # where so many of the values are numbers, the others are mistakes
LARGEST = 1e150  # numbers whose squares can be summed
ELEMENTS = 64  # of sets, the most frequent
_COMMA = re.compile(r"[+-]?\d{1,15},\d{1,15}(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """names: values of a category, or elements of sets, the most frequent first. codes: (models,)
    which one is stated, or -1. numbers: (models,) or NaN. held: (models, elements) 1, 0, or -1."""

    name: str
    kind: str
    names: tuple[str, ...] = ()
    codes: Indices | None = None
    numbers: Array | None = None
    held: NDArray[np.int8] | None = None

    @property
    def told(self) -> Indices:
        """Models of which something is stated."""
        if self.codes is not None:
            return np.flatnonzero(self.codes >= 0)
        if self.numbers is not None:
            return np.flatnonzero(np.isfinite(self.numbers))
        assert self.held is not None
        return np.flatnonzero((self.held >= 0).any(1))


def column(name: str, values: Sequence[Value | None], kind: str | None = None) -> Column:
    """An attribute as arrays; kind: as one of KINDS, or as what its values look like.

    Sets are what has several values somewhere. Numbers are what holds nothing else, unless they
    take few values, each often; text is what nearly never says the same twice.

    >>> column("license", ["mit", None, "mit", "gpl"]).names
    ('mit', 'gpl')
    >>> column("rate", ["1e-5", 0.5, None]).numbers
    array([1.e-05, 5.e-01,     nan])

    Raises UsageError for a value that is no number where nearly all are.
    """
    kind = kind or _kind(name, values)
    if kind == "number":
        found = [np.nan if v is None else _number(name, v) for v in values]
        return Column(name, kind, numbers=np.array(found, dtype=np.float64))
    if kind == "set":
        return _sets(name, values)
    texts = [None if v is None else _text(v) for v in values]
    names = _by_frequency(Counter(t for t in texts if t is not None))
    code = {text: k for k, text in enumerate(names)}
    codes = np.array([-1 if t is None else code[t] for t in texts], dtype=np.intp)
    return Column(name, kind, tuple(names), codes=codes)


def _kind(name: str, values: Sequence[Value | None]) -> str:
    many = Counter(v for v in values if v is not None)
    told = sum(many.values())
    if any(isinstance(v, tuple) for v in many):
        return "set"
    numbers = sum(times for v, times in many.items() if number(v) is not None)
    if told and numbers == told:
        few = len(many) <= FEW and told >= OFTEN * len(many)
        return "category" if few else "number"
    commas = [v for v in many if isinstance(v, str) and _COMMA.fullmatch(v)]
    if sum(many[v] for v in commas) > MOSTLY * told:
        raise UsageError(
            f"{name}: {commas[0]!r} is text, numbers have a point; "
            f"write {commas[0].replace(',', '.')}, or say --kind {name}=category"
        )
    if numbers > MOSTLY * told and told - numbers < OFTEN * FEW:
        wrong = next(v for v in many if number(v) is None)
        raise UsageError(
            f"{name}: {wrong!r} is no number, and {numbers} of {told} values are; "
            f"mend it, or say --kind {name}=category"
        )
    return "text" if len(many) > MOSTLY * told and told > OFTEN * FEW else "category"


def _number(name: str, value: Value) -> float:
    found = number(value)
    if found is None:
        raise UsageError(f"{name}: {value!r} is no number")
    if found and not 1 / LARGEST <= abs(found) <= LARGEST:
        raise UsageError(f"{name}: {value!r} is beyond {LARGEST:g}, or as close to 0")
    return found


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return "; ".join(value)
    return value if isinstance(value, str) else f"{value:.12g}"


def _sets(name: str, values: Sequence[Value | None]) -> Column:
    sets = [None if v is None else v if isinstance(v, tuple) else (_text(v),) for v in values]
    names = _by_frequency(Counter(x for s in sets if s is not None for x in set(s)))[:ELEMENTS]
    code = {text: k for k, text in enumerate(names)}
    held = np.full((len(sets), len(names)), -1, dtype=np.int8)
    for k, s in enumerate(sets):
        if s is not None:
            held[k] = 0
            held[k, [code[x] for x in s if x in code]] = 1
    return Column(name, "set", tuple(names), held=held)


def _by_frequency(many: Counter[str]) -> list[str]:
    return sorted(many, key=lambda text: (-many[text], text))
