"""The drawings of docs/method.md are those that their script makes, and fit their card."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "drawings.py"))
SVG = "{http://www.w3.org/2000/svg}"
#: the widest that a letter of the fonts is on average, in its size
WIDE = 0.55


@pytest.mark.parametrize("name", SCRIPT["DRAWINGS"])
def test_a_drawing(name):
    written = (ROOT / "docs" / "images" / f"{name}.svg").read_text(encoding="utf-8")
    assert SCRIPT["drawing"](name) == written
    assert f"(images/{name}.svg)" in (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    root = ElementTree.fromstring(written)
    width, height, size = (float(root.get(x)) for x in ("width", "height", "font-size"))
    for text in root.iter(f"{SVG}text"):
        long = WIDE * size * len(text.text)
        start = {"start": 0, "middle": -long / 2, "end": -long}[text.get("text-anchor")]
        x, y = float(text.get("x")) + start, float(text.get("y"))
        assert x >= 0, text.text
        assert x + long <= width, text.text
        assert size <= y <= height - 4


def test_what_a_scheme_colours_the_other_colours_too():
    light, _, dark = SCRIPT["STYLE"].partition("@media")
    coloured = re.compile(r"\.([a-z-]+) \{")
    assert set(coloured.findall(light)) == set(coloured.findall(dark))
