"""The table of constants is that of the code."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "constants.py"


def test_the_page_is_what_the_code_says() -> None:
    script = runpy.run_path(str(SCRIPT))
    page = (SCRIPT.parents[1] / "docs" / "constants.md").read_text(encoding="utf-8")
    assert page == script["page"](), "python scripts/constants.py writes it anew"


def test_a_constant_is_changed_where_it_stands() -> None:
    script = runpy.run_path(str(SCRIPT))
    (siblings,) = (c for c in script["constants"]() if c.name == "SIBLINGS")
    text = (script["PACKAGE"] / siblings.module).read_text(encoding="utf-8")
    found: dict[str, object] = {}
    for line in script["changed"](text, siblings, 10.0).splitlines():
        if line.startswith("SIBLINGS"):
            exec(line, found)
    assert found["SIBLINGS"] == float(siblings.value) * 10


def test_a_name_stands_for_one_number() -> None:
    """Readers meet a name in several modules: it means the same in all of them."""
    script = runpy.run_path(str(SCRIPT))
    names = Counter(c.name.lstrip("_") for c in script["constants"]())
    assert not [name for name, many in names.items() if many > 1]
