"""The table of constants is that of the code."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "constants.py"


def test_the_page_is_what_the_code_says() -> None:
    script = runpy.run_path(str(SCRIPT))
    page = (SCRIPT.parents[1] / "docs" / "constants.md").read_text(encoding="utf-8")
    assert page == script["page"](), "python scripts/constants.py writes it anew"


def test_a_constant_is_changed_where_it_stands() -> None:
    script = runpy.run_path(str(SCRIPT))
    (scaled,) = (c for c in script["constants"]() if c.name == "SCALED")
    text = (script["PACKAGE"] / scaled.module).read_text(encoding="utf-8")
    found: dict[str, object] = {}
    for line in script["changed"](text, scaled, 10.0).splitlines():
        if line.startswith("SCALED"):
            exec(line, found)
    assert found["SCALED"] == float(scaled.value) * 10
