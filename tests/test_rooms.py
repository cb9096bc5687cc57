"""Rooms import from rooms to their left alone, as the data flows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mother

PACKAGE = Path(mother.__file__).parent
FLOW = (
    "checkpoints",
    "layouts",
    "measures",
    "sketches",
    "evidence",
    "trees",
    "copies",
    "methods",
    "graph",
)
#: imports that wait for what they import to move
KNOWN: set[tuple[str, str]] = set()


def imported(path: Path) -> set[str]:
    """Rooms that a module imports from when it is imported; not for types alone."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mother."):
            found.add(str(node.module).split(".")[1])
    return found


@pytest.mark.parametrize("room", FLOW)
def test_a_room_knows_nothing_of_those_to_its_right(room: str) -> None:
    right = set(FLOW[FLOW.index(room) + 1 :])
    for path in sorted((PACKAGE / room).rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        wrong = {other for other in imported(path) & right if (name, other) not in KNOWN}
        assert not wrong, f"{name} imports from {', '.join(sorted(wrong))}"
