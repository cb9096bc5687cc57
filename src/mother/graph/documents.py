"""Documents that people and scripts hand over: read whole, and no larger than they can be."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

from mother.errors import InputError


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
        raise InputError(path, f"larger than {most >> 20} MiB")
    try:
        return whole.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(path, "not UTF-8") from None


def read_json(path: str | PathLike[str], most: int) -> Any:
    """What such a JSON document holds. InputError as above, or if it is none."""
    try:
        return json.loads(read_text(path, most))
    except (ValueError, RecursionError) as fault:
        raise InputError(path, f"not JSON ({fault})") from None
