"""Small JSON files beside weights, bounded before they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mother.checkpoints.storage import File
from mother.errors import InputError

MAX_JSON = 64 << 20
MAX_CONFIG = 16 << 20


def read_json(path: Path, most: int = MAX_JSON) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError."""
    found: dict[str, Any] = _read(path, most, dict, "object")
    return found


def read_json_list(path: Path, most: int = MAX_CONFIG) -> list[Any]:
    """The list in a JSON file. Raises InputError."""
    found: list[Any] = _read(path, most, list, "list")
    return found


def read_config(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The config and, where it can't be read, a note in its place."""
    try:
        return read_json(path, MAX_CONFIG), ()
    except InputError as error:
        return {}, (f"no config read: {path.name}: {error.fault}",)


def _read(path: Path, most: int, kind: type, name: str) -> Any:
    file = File(path)
    if file.size > most:
        raise file.fault(f"has {file.size} bytes; JSON of {most} is the most")
    try:
        parsed = json.loads(file.read(0, file.size).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise file.fault("not valid JSON") from None
    if not isinstance(parsed, kind):
        raise file.fault(f"no JSON {name}")
    return parsed
