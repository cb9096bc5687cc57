"""Reading weights for one request, in a process of its own that can be stopped.

What is to be done comes as JSON on stdin; the answer leaves as JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mother.comparison import compare
from mother.errors import MotherError
from mother.index import Index
from mother.server.confinement import OUTSIDE, confine
from mother.server.placement import place


def answer(task: Mapping[str, Any], folders: list[Path]) -> dict[str, Any]:
    """{"done": the answer}, or {"status": of HTTP, "detail": one line}."""
    refused = confine(folders)
    try:
        if task["do"] == "compare":
            done = asdict(compare(task["a"], task["b"]))
        elif "index" in task:
            with Index(task["index"]) as index:
                done = asdict(index.place(task["path"], closer=False))
        else:
            done = asdict(place(task["path"], task["models"]))
    except MotherError as fault:
        if not refused:
            return {"status": 422, "detail": str(fault)}
    except MemoryError:
        return {"status": 422, "detail": "too large for the memory of this machine"}
    if refused:
        return {"status": 403, "detail": f"links to what is {OUTSIDE}"}
    return {"done": done}


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(answer(given, [Path(folder) for folder in given["folders"]]), sys.stdout)
