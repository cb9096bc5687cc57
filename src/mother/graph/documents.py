"""Documents that people and scripts hand over: read whole, and no larger than they can be."""

from __future__ import annotations

import json
import math
from os import PathLike
from pathlib import Path
from typing import Any

from mother.errors import InputError

#: of an integer: what a float holds
MAX_DIGITS = 309


def read_text(path: str | PathLike[str], most: int) -> str:
    """All of a file, or of a pipe that ends within `most` bytes, as UTF-8 without a byte-order
    mark. InputError if it can't be read, is larger, or is something else."""
    whole = bytearray()
    try:
        with Path(path).open("rb") as file:
            while len(whole) <= most and (block := file.read(1 << 20)):
                whole += block
    except OSError as fault:
        raise InputError(path, (fault.strerror or str(fault)).lower()) from None
    except ValueError:
        raise InputError(path, "not a valid path") from None
    if len(whole) > most:
        limit = f"{most >> 20} MiB" if most >> 20 else f"{most >> 10} KiB"
        raise InputError(path, f"larger than {limit}")
    try:
        return whole.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8") from None


def read_json(path: str | PathLike[str], most: int) -> Any:
    """What such a JSON document holds. InputError as above, or if it is none."""
    try:
        return parse_json(read_text(path, most))
    except ValueError as fault:
        raise InputError(path, str(fault)) from None


def parse_json(text: str) -> Any:
    """What a JSON text holds. ValueError, in one line, where it is none; so are numbers that are
    none, and such as a float cannot hold.

    >>> parse_json('{"certainty": 1e999}')
    Traceback (most recent call last):
        ...
    ValueError: not JSON (a number that is too large)
    """
    try:
        return json.loads(text, parse_float=_float, parse_int=_integer, parse_constant=_constant)
    except RecursionError:
        raise ValueError("not JSON (nested too deeply)") from None
    except ValueError as fault:
        raise ValueError(f"not JSON ({fault})") from None


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number that is too large")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no number")
