"""The constants that decide, as a table, and whether a test notices each.

    python scripts/constants.py            # writes docs/constants.md
    python scripts/constants.py --try      # doubles and halves each, and names what no test notices

A constant is a name in capitals at the top of a module of a room that decides, with a number, or a
tuple of numbers, and a comment that says what for. `--try` runs the tests once for each change, on
a copy of the package: hours. It takes names, to try these alone.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "mother"
ROOMS = ("measures", "sketches", "evidence", "trees", "copies", "methods")
PAGE = ROOT / "docs" / "constants.md"
FACTORS = (2.0, 0.5)
TESTS = ("tests", "-q", "-x", "-p", "no:cacheprovider")
HEAD = """# Constants

Every number in the rooms that decide, with what it is for. `scripts/constants.py` writes this page,
and a test holds it to the code. Where a number comes from a measurement,
[research/direction.md](research/direction.md) and [research/scale.md](research/scale.md) have it.
What several rules ask in the same way (most of it, nearly all of it, beyond chance) is one number,
in `thresholds.py`.
"""
#: what a constant is, by its numbers
PARTS = {
    "Decide": "Thresholds, shares and log-odds: beyond one, something else is said.",
    "Fitted": "Coefficients of regressions, fitted together on trainings: no single one decides.",
    "How much is looked at": "Of layers, rows or models: with fewer, more is left to chance.",
    "Bound work": "Bytes and weights at once: large enough, they move no result.",
    "Guard arithmetic": "Far from what weights have: they keep quotients and roots finite.",
}
LARGE = 1 << 12  # counts from this on bound work
FAR = 1e8  # from 1 by so much, or by its inverse, no weights are


@dataclass(frozen=True)
class Constant:
    """A constant: the module it is in, relative to the package, and the line of its assignment."""

    module: str
    name: str
    value: str
    says: str
    line: int


def constants() -> Iterator[Constant]:
    """All of them: those that several rooms go by, then by room and module."""
    rooms = (path for room in ROOMS for path in sorted((PACKAGE / room).glob("*.py")))
    for path in (PACKAGE / "thresholds.py", *rooms):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and (_is_number(node.value) or _is_fitted(node.value)):
                says, value = _comment(lines, node), ast.unparse(node.value)
                for name in _names(node.targets[0]):
                    module = path.relative_to(PACKAGE).as_posix()
                    yield Constant(module, name, value, says, node.lineno)


def _comment(lines: list[str], node: ast.Assign) -> str:
    """What is said behind an assignment, or in the lines above it that begin with `#:`."""
    behind = lines[(node.end_lineno or node.lineno) - 1].partition("  # ")[2]
    above = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.startswith("#: "):
            break
        above.append(line[3:])
    return behind or " ".join(reversed(above))


def _names(target: ast.expr) -> list[str]:
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return [name for name in names if re.fullmatch(r"_?[A-Z][A-Z_0-9]*", name)]


def _is_number(value: ast.expr) -> bool:
    """Whether it is a number, a product or power of numbers, or a tuple of such."""
    if isinstance(value, ast.Tuple):
        return all(map(_is_number, value.elts))
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    if isinstance(value, ast.UnaryOp):
        return _is_number(value.operand)
    return isinstance(value, ast.Name | ast.Constant) and not isinstance(
        getattr(value, "value", 0), str | bytes | bool | type(None)
    )


def _is_fitted(value: ast.expr) -> bool:
    """Whether it is a table of coefficients: a dict of numbers, or an array of rows of numbers."""
    if isinstance(value, ast.Dict):
        return all(isinstance(key, ast.Constant) for key in value.keys) and all(
            map(_is_number, value.values)
        )
    rows = value.args[0] if isinstance(value, ast.Call) and value.args else None
    return isinstance(rows, ast.List) and all(isinstance(row, ast.List) for row in rows.elts)


def part(constant: Constant) -> str:
    """Which of PARTS it is.

    >>> part(Constant("m.py", "A", "0.5, 3", "", 1)), part(Constant("m.py", "B", "1 << 20", "", 1))
    ('Decide', 'Bound work')
    """
    tree = ast.parse(constant.value, mode="eval")
    if _is_fitted(tree.body):
        return "Fitted"
    if any(isinstance(node, ast.Name) for node in ast.walk(tree)):
        return "How much is looked at"
    found = eval(compile(tree, constant.module, "eval"))  # numbers alone (`_is_number`)
    numbers = found if isinstance(found, tuple) else (found,)
    if all(isinstance(n, int) for n in numbers):
        return "Bound work" if max(numbers) >= LARGE else "How much is looked at"
    far = all(n > FAR or 0 < n < 1 / FAR for n in map(abs, numbers))
    return "Guard arithmetic" if far else "Decide"


def page() -> str:
    """A table for each of PARTS."""
    every, text = list(constants()), HEAD
    for name, what in PARTS.items():
        own = [c for c in every if part(c) == name]
        rows = [f"| {c.module}: `{c.name}` | {c.value} | {c.says} |" for c in own]
        table = ["| constant | value | what for |", "|---|---|---|", *rows]
        text += f"\n## {name}: {len(own)}\n\n{what}\n\n" + "\n".join(table) + "\n"
    return text


def changed(text: str, constant: Constant, factor: float) -> str:
    """A module's text with one constant multiplied.

    >>> changed("A = 2  # of it", Constant("m.py", "A", "2", "of it", 1), 0.5)
    'A = type(2)((2) * 0.5)  # of it'
    """
    lines = text.split("\n")
    value = constant.value
    lines[constant.line - 1] = lines[constant.line - 1].replace(
        f"= {value}", f"= type({value})(({value}) * {factor})", 1
    )
    return "\n".join(lines)


def noticed(constant: Constant, factor: float) -> bool:
    """Whether a test fails where the constant is multiplied."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mother"
        shutil.copytree(PACKAGE, copy)
        module = copy / constant.module
        text = changed(module.read_text(encoding="utf-8"), constant, factor)
        module.write_text(text, encoding="utf-8")
        run = [sys.executable, "-m", "pytest", *TESTS]
        env = {**os.environ, "PYTHONPATH": folder}
        return subprocess.run(run, cwd=ROOT, env=env, capture_output=True).returncode != 0


def main(arguments: list[str]) -> None:
    """Write the page, or try constants."""
    if "--try" not in arguments:
        PAGE.write_text(page(), encoding="utf-8")
        return
    names = set(arguments) - {"--try"}
    for constant in constants():
        if names and constant.name not in names:
            continue
        if "(" in constant.value or "," in constant.value:
            continue  # several numbers: no one factor
        for factor in FACTORS:
            if not noticed(constant, factor):
                where = f"{constant.module}: {constant.name}"
                print(f"{where} times {factor:g}: no test notices", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
