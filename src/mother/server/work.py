"""Reading weights for one request, in a process of its own that can be stopped.

What is to be done comes as JSON on stdin; the answer leaves as JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mother.comparison import compare
from mother.errors import InputError, MotherError
from mother.graph.placement import Placement, in_words
from mother.hub import Opened, opened_at
from mother.hub.schemes import SCHEMES, scheme_of
from mother.server.confinement import OUTSIDE, confine
from mother.server.placement import place
from mother.views.comparing import not_compared, reasons, relation


def answer(task: Mapping[str, Any], folders: list[Path]) -> dict[str, Any]:
    """{"done": the answer}, or {"status": of HTTP, "detail": one line}."""
    held = list(_opened(task))
    refused = confine(folders)
    try:
        if task["do"] == "compare":
            a, b = task["names"]
            told = replace(compare(task["a"], task["b"]), a=a, b=b)
            done = {**asdict(told), "said": [*relation(told), *reasons(told), *not_compared(told)]}
        elif "index" in task:
            from mother.index import Index  # and with it sqlite: two models need none

            with Index(task["index"]) as index:
                done = _placed(index.place(task["path"], closer=False))
        else:
            done = _placed(place(task["path"], task["models"]))
    except MotherError as fault:
        if not refused:
            return {"status": 422, "detail": str(fault).removeprefix(task.get("within", ""))}
    except MemoryError:
        return {"status": 422, "detail": "too large for the memory of this machine"}
    del held
    if refused:
        return {"status": 403, "detail": f"links to what is {OUTSIDE}"}
    return {"done": done}


def _opened(task: Mapping[str, Any]) -> Iterator[Opened | InputError]:
    """One place of each store that is asked about: their libraries look for credentials in files of
    their own, once, and nothing but these is opened for it."""
    every = (task.get("path", ""), task.get("a", ""), task.get("b", ""))
    by_scheme = {scheme_of(at): at for at in (*every, *task.get("models", {}).values())}
    for scheme, address in by_scheme.items():
        if scheme is not None and scheme not in SCHEMES:
            with suppress(InputError):  # whoever opens it says so
                yield from opened_at(address)


def _placed(found: Placement) -> dict[str, Any]:
    return {**asdict(found), "said": [*in_words(found)]}


def main() -> None:
    """One task. Nothing is said where nobody listens any more, for the server has ended."""
    try:
        given = json.load(sys.stdin)
        json.dump(answer(given, [Path(folder) for folder in given["folders"]]), sys.stdout)
        sys.stdout.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)


if __name__ == "__main__":
    main()
